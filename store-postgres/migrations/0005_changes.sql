-- Notices of changes, where they were asked for: a trigger on each table whose
-- changes are worth telling sends one notice a row, so that whoever writes
-- tells, whatever its program was opened with. They leave with the commit.
--
-- A notice is `collection/octets of partition/partition and id`, which is far
-- below the 8000 bytes that NOTIFY carries. An empty one says that anything may
-- have changed. Sweeping is silent: a record says itself when it expires.

CREATE FUNCTION {schema}.announce() RETURNS trigger LANGUAGE plpgsql AS $announce$
DECLARE
    p text;
    i text;
    notice text := '';
BEGIN
    IF TG_OP = 'DELETE' THEN
        p := OLD.partition;
        i := OLD.id;
    ELSIF TG_OP <> 'TRUNCATE' THEN
        p := NEW.partition;
        i := NEW.id;
    END IF;
    -- Longer names are nobody's but a person's who wrote them by hand.
    IF octet_length(p) + octet_length(i) < 1000 THEN
        notice := TG_ARGV[0] || '/' || octet_length(p) || '/' || p || i;
    END IF;
    PERFORM pg_notify('store_changes/' || TG_TABLE_SCHEMA, notice);
    RETURN NULL;
END
$announce$;
COMMENT ON FUNCTION {schema}.announce IS
    'Tells whoever listens which record was written. The commit waits its turn among all that tell.';

CREATE FUNCTION {schema}.set_announcing(p_name text, p_on boolean)
RETURNS void LANGUAGE plpgsql AS $set$
DECLARE
    t constant text := format('{schema}.%I', 'records_' || p_name);
BEGIN
    EXECUTE format('DROP TRIGGER IF EXISTS announce ON %1$s;'
        ' DROP TRIGGER IF EXISTS announce_all ON %1$s', t);
    IF p_on THEN
        EXECUTE format($ddl$
            CREATE TRIGGER announce AFTER INSERT OR UPDATE OR DELETE ON %1$s FOR EACH ROW
                WHEN (current_setting('store.sweeps', true) IS DISTINCT FROM 'on')
                EXECUTE FUNCTION {schema}.announce(%2$L);
            CREATE TRIGGER announce_all AFTER TRUNCATE ON %1$s FOR EACH STATEMENT
                EXECUTE FUNCTION {schema}.announce(%2$L)
            $ddl$, t, p_name);
    END IF;
    UPDATE {schema}.collections SET announces = p_on WHERE name = p_name;
END
$set$;
COMMENT ON FUNCTION {schema}.set_announcing IS
    'Begins or ends telling of a collection''s changes. Called by setup.';
