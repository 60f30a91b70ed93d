-- The tables of records. `{schema}` is replaced by the store's schema; every name is
-- qualified by it, since a connection pooler does not preserve search_path.

CREATE TABLE {schema}.collections (
    name text COLLATE "C" PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('records', 'chunks', 'transient')),
    announces boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE {schema}.collections IS
    'The collections that programs have declared, and which table holds their records.';
COMMENT ON COLUMN {schema}.collections.name IS 'The collection''s name.';
COMMENT ON COLUMN {schema}.collections.kind IS
    'The table of its records: records; chunks for large opaque bytes; transient for records that a crash may lose.';
COMMENT ON COLUMN {schema}.collections.announces IS
    'Whether each change is announced by NOTIFY, on the channel store_changes/<schema>.';
COMMENT ON COLUMN {schema}.collections.created_at IS 'When it was first declared.';

-- Creates one of the tables of records. They differ only in storage.
CREATE FUNCTION {schema}.create_table(p_name text) RETURNS void
LANGUAGE plpgsql AS $create$
BEGIN
    EXECUTE format($ddl$
        CREATE TABLE {schema}.%1$I (
            collection text COLLATE "C" NOT NULL,
            partition text COLLATE "C" NOT NULL,
            id text COLLATE "C" NOT NULL,
            version uuid NOT NULL,
            expires_at bigint,
            size integer NOT NULL,
            body json,
            bytes bytea,
            PRIMARY KEY (collection, partition, id),
            CHECK (num_nonnulls(body, bytes) = 1)
        );
        CREATE INDEX %2$I ON {schema}.%1$I (expires_at) WHERE expires_at IS NOT NULL;
        COMMENT ON TABLE {schema}.%1$I IS
            'Records. Change them only through {schema}.commit_to_%1$s or {schema}.commit_many, '
            'which hold the partition''s lock.';
        COMMENT ON COLUMN {schema}.%1$I.collection IS 'The collection of the record.';
        COMMENT ON COLUMN {schema}.%1$I.partition IS
            'The unit of atomicity; a commit changes one partition.';
        COMMENT ON COLUMN {schema}.%1$I.id IS
            'The name within partition and collection, in bytewise order.';
        COMMENT ON COLUMN {schema}.%1$I.version IS
            'Identifies the commit that wrote the record. Never reused.';
        COMMENT ON COLUMN {schema}.%1$I.expires_at IS
            'When the record expires, in nanoseconds since 1970. '
            '{schema}.moment() converts it to a timestamp.';
        COMMENT ON COLUMN {schema}.%1$I.size IS 'The bytes of the body, by which pages are bounded.';
        COMMENT ON COLUMN {schema}.%1$I.body IS 'The body, if it is JSON, exactly as it was written.';
        COMMENT ON COLUMN {schema}.%1$I.bytes IS 'The body, if it is not JSON.'
        $ddl$, p_name, p_name || '_expiry');
END
$create$;

SELECT {schema}.create_table('records');
SELECT {schema}.create_table('chunks');
SELECT {schema}.create_table('transient');
-- Large opaque bytes are stored outside of the row, uncompressed.
ALTER TABLE {schema}.chunks ALTER COLUMN bytes SET STORAGE EXTERNAL;

CREATE FUNCTION {schema}.moment(nanos bigint) RETURNS timestamptz
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN timestamptz '1970-01-01 00:00:00+00' + interval '1 microsecond' * (nanos / 1000);
COMMENT ON FUNCTION {schema}.moment IS 'Nanoseconds since 1970 as a timestamp, to the microsecond.';

CREATE FUNCTION {schema}.lock_of(partition text) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN hashtextextended('{schema}/' || partition, 0);
COMMENT ON FUNCTION {schema}.lock_of IS
    'The advisory lock of a partition. Two partitions that share one only wait for each other.';
