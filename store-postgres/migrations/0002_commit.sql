-- The functions that change records: for each table one for a commit of one record and
-- one for a commit of several records, and one for a commit across tables.
--
-- They are VOLATILE functions, run at READ COMMITTED and take the lock before the first
-- statement. So each of their statements sees everything that was committed before the
-- lock was granted. In one plain statement, or at a stricter isolation level, the
-- snapshot would be older than the lock, and two commits that each check what the other
-- creates would both succeed.
--
-- A commit of several records holds its partition's lock exclusively. A commit of a
-- single record holds it shared, and is atomic because it writes one row. So a commit of
-- several records never runs concurrently with another commit in its partition, and
-- commits of single records wait for each other only at the same row. A commit takes one
-- advisory lock and writes rows in key order, so there is no deadlock. The server grants
-- the lock in the order of the requests. Sweeping takes no lock, because it removes only
-- records that have expired.
--
-- expect: 0 any, 1 absent, 2 present, 3 this version.
-- change: 0 check, 1 put, 2 delete.
-- They return no row if they committed. Otherwise they wrote nothing, and return
-- a row for each failed item, with the current record if there is one.

CREATE FUNCTION {schema}.check_isolation() RETURNS void LANGUAGE plpgsql STABLE AS $check$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'the store commits at READ COMMITTED only' USING ERRCODE = 'ST001';
    END IF;
END
$check$;

-- Creates a table's two functions. The server plans their statements once per
-- connection. For arrays it would plan again whenever they are shorter than it estimates,
-- hence the generic plan.
CREATE FUNCTION {schema}.create_commit(p_name text) RETURNS void
LANGUAGE plpgsql VOLATILE AS $create$
BEGIN
    EXECUTE format($ddl$
CREATE FUNCTION {schema}.%1$I(
    p_collection text, p_partition text, p_id text, p_version uuid, p_now bigint,
    p_expect smallint, p_expected uuid,
    p_change smallint, p_expires_at bigint, p_size int, p_json json, p_bytes bytea
) RETURNS TABLE (version uuid, expires_at bigint, body json, bytes bytea)
LANGUAGE plpgsql VOLATILE ROWS 1 AS $commit$
#variable_conflict use_column
DECLARE
    writes constant boolean := p_change = 1 OR (p_change = 2 AND p_expect <> 1);
    as_expected boolean;
    -- The lock is taken in an expression because that costs less than a statement. Each
    -- statement below takes a new snapshot.
    held constant boolean :=
        pg_advisory_xact_lock_shared({schema}.lock_of(p_partition)) IS NOT NULL;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        PERFORM {schema}.check_isolation();
    END IF;
    LOOP
        IF p_change = 1 AND p_expect IN (0, 1) THEN
            INSERT INTO {schema}.%2$I AS r
                (collection, partition, id, version, expires_at, size, body, bytes)
            VALUES (p_collection, p_partition, p_id, p_version, p_expires_at, p_size, p_json, p_bytes)
            ON CONFLICT (collection, partition, id) DO UPDATE SET
                version = p_version, expires_at = p_expires_at, size = p_size,
                body = p_json, bytes = p_bytes
            WHERE p_expect = 0 OR r.expires_at <= p_now;
        ELSIF p_change = 1 THEN
            UPDATE {schema}.%2$I AS r SET
                version = p_version, expires_at = p_expires_at, size = p_size,
                body = p_json, bytes = p_bytes
            WHERE r.collection = p_collection AND r.partition = p_partition AND r.id = p_id
                AND (r.expires_at IS NULL OR r.expires_at > p_now)
                AND (p_expect = 2 OR r.version = p_expected);
        ELSIF writes THEN
            DELETE FROM {schema}.%2$I AS r
            WHERE r.collection = p_collection AND r.partition = p_partition AND r.id = p_id
                AND (p_expect = 0 OR (r.expires_at IS NULL OR r.expires_at > p_now)
                    AND (p_expect = 2 OR r.version = p_expected));
        END IF;
        IF p_expect = 0 OR (writes AND FOUND) THEN
            RETURN;
        END IF;
        SELECT r.version, r.expires_at, r.body, r.bytes INTO version, expires_at, body, bytes
        FROM {schema}.%2$I AS r
        WHERE r.collection = p_collection AND r.partition = p_partition AND r.id = p_id
            AND (r.expires_at IS NULL OR r.expires_at > p_now);
        as_expected := CASE p_expect
            WHEN 1 THEN NOT FOUND
            WHEN 2 THEN FOUND
            ELSE FOUND AND version = p_expected END;
        IF NOT as_expected THEN
            RETURN NEXT;
            RETURN;
        END IF;
        -- The expectation holds. If the commit writes but changed no row, another commit
        -- changed the record in the meantime: try again.
        IF NOT writes THEN
            RETURN;
        END IF;
    END LOOP;
END
$commit$;
COMMENT ON FUNCTION {schema}.%1$I IS
    'Commits one record of the table %2$s: expect 0 any, 1 absent, 2 present, 3 this version; '
    'change 0 check, 1 put, 2 delete. Returns nothing, or the record that failed the expectation.';
        $ddl$, 'commit_to_' || p_name, p_name);
    EXECUTE format($ddl$
CREATE FUNCTION {schema}.%1$I(
    p_partition text, p_version uuid, p_now bigint,
    p_items int[], p_collections text[], p_ids text[], p_expects smallint[], p_expected uuid[],
    p_changes smallint[], p_expires_at bigint[], p_sizes int[], p_jsons json[], p_bytes bytea[],
    p_step int
) RETURNS TABLE (item int, version uuid, expires_at bigint, body json, bytes bytea)
LANGUAGE plpgsql VOLATILE SET plan_cache_mode = force_generic_plan AS $commit$
DECLARE
    held constant boolean :=
        pg_advisory_xact_lock({schema}.lock_of(p_partition)) IS NOT NULL;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        PERFORM {schema}.check_isolation();
    END IF;
    IF p_step <> 2 AND 0 < ANY (p_expects) THEN
        RETURN QUERY SELECT w.item, r.version, r.expires_at, r.body, r.bytes
        FROM unnest(p_items, p_collections, p_ids, p_expects, p_expected)
            AS w (item, collection, id, expect, expected)
        -- LIMIT forces one index look-up for each item, even if the plan was cached while
        -- the table was small.
        LEFT JOIN LATERAL (
            SELECT * FROM {schema}.%2$I AS r
            WHERE r.collection = w.collection AND r.partition = p_partition AND r.id = w.id
                AND (r.expires_at IS NULL OR r.expires_at > p_now) LIMIT 1
        ) AS r ON true
        WHERE NOT CASE w.expect
            WHEN 0 THEN true
            WHEN 1 THEN r.id IS NULL
            WHEN 2 THEN r.id IS NOT NULL
            ELSE r.id IS NOT NULL AND r.version = w.expected END;
        IF FOUND THEN
            RETURN;
        END IF;
    END IF;
    IF p_step = 1 THEN
        RETURN;
    END IF;
    IF 1 = ANY (p_changes) THEN
        INSERT INTO {schema}.%2$I
            (collection, partition, id, version, expires_at, size, body, bytes)
        SELECT w.collection, p_partition, w.id, p_version, w.expires_at, w.size, w.body, w.bytes
        FROM unnest(p_collections, p_ids, p_changes, p_expires_at, p_sizes, p_jsons, p_bytes)
            AS w (collection, id, change, expires_at, size, body, bytes)
        WHERE w.change = 1 ORDER BY w.collection COLLATE "C", w.id COLLATE "C"
        ON CONFLICT (collection, partition, id) DO UPDATE SET version = excluded.version,
            expires_at = excluded.expires_at, size = excluded.size,
            body = excluded.body, bytes = excluded.bytes;
    END IF;
    IF 2 = ANY (p_changes) THEN
        -- Deletes by row address, so that the plan never reads the whole table.
        DELETE FROM {schema}.%2$I WHERE ctid = ANY (ARRAY(
            SELECT r.ctid FROM unnest(p_collections, p_ids, p_changes) AS w (collection, id, change)
            CROSS JOIN LATERAL (
                SELECT r.ctid FROM {schema}.%2$I AS r
                WHERE r.collection = w.collection AND r.partition = p_partition AND r.id = w.id
                LIMIT 1
            ) AS r
            WHERE w.change = 2));
    END IF;
END
$commit$;
COMMENT ON FUNCTION {schema}.%1$I IS
    'Commits several records of the table %2$s. Step 0 checks and writes, 1 only checks, '
    '2 only writes.';
        $ddl$, 'commit_all_to_' || p_name, p_name);
END
$create$;

SELECT {schema}.create_commit('records');
SELECT {schema}.create_commit('chunks');
SELECT {schema}.create_commit('transient');

-- A commit across tables. The items are sorted by table; those of table g end at
-- p_ends[g] and begin where those of the previous table end.
CREATE FUNCTION {schema}.commit_many(
    p_partition text, p_version uuid, p_now bigint,
    p_items int[], p_collections text[], p_ids text[], p_expects smallint[], p_expected uuid[],
    p_changes smallint[], p_expires_at bigint[], p_sizes int[], p_jsons json[], p_bytes bytea[],
    p_tables text[], p_ends int[]
) RETURNS TABLE (item int, version uuid, expires_at bigint, body json, bytes bytea)
LANGUAGE plpgsql VOLATILE AS $commit$
DECLARE
    held constant boolean :=
        pg_advisory_xact_lock({schema}.lock_of(p_partition)) IS NOT NULL;
    lo int;
    hi int;
    failed boolean := false;
BEGIN
    FOR step IN 1 .. 2 LOOP
        lo := 1;
        FOR g IN 1 .. cardinality(p_tables) LOOP
            hi := p_ends[g];
            RETURN QUERY EXECUTE format(
                'SELECT * FROM {schema}.%I($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)',
                'commit_all_to_' || p_tables[g])
                USING p_partition, p_version, p_now, p_items[lo:hi], p_collections[lo:hi],
                    p_ids[lo:hi], p_expects[lo:hi], p_expected[lo:hi], p_changes[lo:hi],
                    p_expires_at[lo:hi], p_sizes[lo:hi], p_jsons[lo:hi], p_bytes[lo:hi], step;
            failed := failed OR FOUND;
            lo := hi + 1;
        END LOOP;
        IF failed THEN
            RETURN;
        END IF;
    END LOOP;
END
$commit$;
COMMENT ON FUNCTION {schema}.commit_many IS
    'Commits records of several tables, through commit_all_to_<table>.';
