-- Change notices, if setup enables them: triggers on each table that
-- holds an announced collection send one notice for each row, whichever program
-- writes it. Notices are delivered when the transaction commits.
--
-- A notice is `collection/octets of partition/partition and id`, far below the
-- 8000 bytes that NOTIFY carries. An empty notice means that any record may have changed.
-- Sweeping sends no notices, because subscribers know when a record expires.

CREATE FUNCTION {schema}.announce() RETURNS trigger LANGUAGE plpgsql AS $announce$
DECLARE
    c text;
    p text;
    i text;
    notice text := '';
BEGIN
    IF TG_OP = 'DELETE' THEN
        c := OLD.collection;
        p := OLD.partition;
        i := OLD.id;
    ELSIF TG_OP <> 'TRUNCATE' THEN
        c := NEW.collection;
        p := NEW.partition;
        i := NEW.id;
    END IF;
    -- Longer names can only come from rows that were written by hand.
    IF octet_length(p) + octet_length(i) < 1000 THEN
        notice := c || '/' || octet_length(p) || '/' || p || i;
    END IF;
    PERFORM pg_notify('store_changes/' || TG_TABLE_SCHEMA, notice);
    RETURN NULL;
END
$announce$;
COMMENT ON FUNCTION {schema}.announce IS
    'Notifies subscribers which record was written. Commits that notify are serialized by the server.';

-- Creates the triggers again from the table `collections`.
CREATE FUNCTION {schema}.apply_announcing() RETURNS void LANGUAGE plpgsql AS $apply$
DECLARE
    t text;
    names text[];
BEGIN
    FOREACH t IN ARRAY ARRAY['records', 'chunks', 'transient'] LOOP
        EXECUTE format('DROP TRIGGER IF EXISTS announce ON {schema}.%1$I;'
            ' DROP TRIGGER IF EXISTS announce_delete ON {schema}.%1$I;'
            ' DROP TRIGGER IF EXISTS announce_all ON {schema}.%1$I', t);
        SELECT array_agg(c.name ORDER BY c.name) INTO names
        FROM {schema}.collections AS c WHERE c.kind = t AND c.announces;
        IF names IS NOT NULL THEN
            EXECUTE format($ddl$
                CREATE TRIGGER announce AFTER INSERT OR UPDATE ON {schema}.%1$I FOR EACH ROW
                    WHEN (NEW.collection = ANY (%2$L::text[]))
                    EXECUTE FUNCTION {schema}.announce();
                CREATE TRIGGER announce_delete AFTER DELETE ON {schema}.%1$I FOR EACH ROW
                    WHEN (OLD.collection = ANY (%2$L::text[])
                        AND current_setting('store.sweeps', true) IS DISTINCT FROM 'on')
                    EXECUTE FUNCTION {schema}.announce();
                CREATE TRIGGER announce_all AFTER TRUNCATE ON {schema}.%1$I FOR EACH STATEMENT
                    EXECUTE FUNCTION {schema}.announce()
                $ddl$, t, names);
        END IF;
    END LOOP;
END
$apply$;
COMMENT ON FUNCTION {schema}.apply_announcing IS
    'Creates or drops the triggers, as the column announces of the table collections requires. Called by setup.';
