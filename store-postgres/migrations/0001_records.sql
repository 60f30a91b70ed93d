-- What every collection's table needs. `{schema}` is replaced by the store's
-- schema; every name is qualified by it, since search_path does not survive a
-- connection pooler.

CREATE TABLE {schema}.collections (
    name text COLLATE "C" PRIMARY KEY,
    chunks boolean NOT NULL,
    announces boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE {schema}.collections IS
    'The store''s collections. Each one''s records are in the table records_<name>.';
COMMENT ON COLUMN {schema}.collections.name IS 'The collection''s name.';
COMMENT ON COLUMN {schema}.collections.created_at IS 'When its table was made.';
COMMENT ON COLUMN {schema}.collections.chunks IS
    'Bodies are large opaque bytes, kept out of line and uncompressed.';
COMMENT ON COLUMN {schema}.collections.announces IS
    'Each change is told by NOTIFY, on the channel store_changes/<schema>.';

-- Makes a collection's table, unless it is there. Called by setup; a person may
-- call it too.
CREATE FUNCTION {schema}.create_collection(p_name text, p_chunks boolean)
RETURNS void LANGUAGE plpgsql AS $create$
DECLARE
    t constant text := format('{schema}.%I', 'records_' || p_name);
BEGIN
    INSERT INTO {schema}.collections (name, chunks) VALUES (p_name, p_chunks)
        ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    EXECUTE format($ddl$
        CREATE TABLE %1$s (
            partition text COLLATE "C" NOT NULL,
            id text COLLATE "C" NOT NULL,
            version uuid NOT NULL,
            expires_at bigint,
            body jsonb,
            bytes bytea,
            PRIMARY KEY (partition, id),
            CHECK (num_nonnulls(body, bytes) = 1)
        );
        CREATE INDEX %2$I ON %1$s (expires_at) WHERE expires_at IS NOT NULL;
        COMMENT ON TABLE %1$s IS
            'Records of one collection. Change them through {schema}.commit_to_<name> or '
            '{schema}.commit_many, which hold the partition''s lock.';
        COMMENT ON COLUMN %1$s.partition IS 'The unit of atomicity; commits span one partition.';
        COMMENT ON COLUMN %1$s.id IS 'The name within partition and collection, in bytewise order.';
        COMMENT ON COLUMN %1$s.version IS 'Names the commit that wrote the record; never reused.';
        COMMENT ON COLUMN %1$s.expires_at IS
            'From then on the record counts as absent: nanoseconds since 1970, exact. '
            '{schema}.moment() makes a timestamp of it.';
        COMMENT ON COLUMN %1$s.body IS 'The body, if it is a value.';
        COMMENT ON COLUMN %1$s.bytes IS 'The body, if it is plain bytes.';
        $ddl$, t, 'records_' || p_name || '_expiry');
    IF p_chunks THEN
        EXECUTE format('ALTER TABLE %s ALTER COLUMN bytes SET STORAGE EXTERNAL', t);
    END IF;
    PERFORM {schema}.create_commit(p_name);
END
$create$;

CREATE FUNCTION {schema}.moment(nanos bigint) RETURNS timestamptz
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN timestamptz '1970-01-01 00:00:00+00' + interval '1 microsecond' * (nanos / 1000);
COMMENT ON FUNCTION {schema}.moment IS 'Nanoseconds since 1970 as a timestamp, to the microsecond.';

CREATE FUNCTION {schema}.lock_of(partition text) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN hashtextextended('{schema}/' || partition, 0);
COMMENT ON FUNCTION {schema}.lock_of IS
    'The advisory lock of a partition. Two partitions that share one merely wait for each other.';
