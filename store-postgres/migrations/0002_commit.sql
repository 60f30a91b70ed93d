-- The functions through which every record changes: one for commits of several
-- records, and one for each collection, for commits of one.
--
-- Why functions, VOLATILE, at READ COMMITTED, with the lock in a statement of
-- its own: each statement in them then sees everything committed before the
-- lock was granted. In one plain statement, or at a stricter level, the
-- snapshot is older than the lock, and two commits that each check what the
-- other creates both succeed.
--
-- A commit of several records holds its partition's lock exclusively; one of a
-- single record shares it, and is atomic by its row. So a commit of several is
-- alone in its partition, and those of one meet only at the row. There is one
-- advisory lock per commit and rows are written in key order: no deadlock.
-- Sweeping takes no lock: it removes only what is absent to everyone already.
--
-- expect: 0 any, 1 absent, 2 present, 3 this version.
-- change: 0 check, 1 put, 2 delete.
-- They answer nothing if they committed; otherwise they wrote nothing, and
-- answer each failed item with the record that is there, if there is one.

CREATE FUNCTION {schema}.check_isolation() RETURNS void LANGUAGE plpgsql STABLE AS $check$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'the store commits at READ COMMITTED only' USING ERRCODE = 'ST001';
    END IF;
END
$check$;

-- Makes a collection's own functions: `commit_to_<name>` for a commit of one
-- record, and for one of several `check_in_<name>` and `write_to_<name>`, which
-- `commit_many` calls. The server plans their statements once per connection,
-- where those of a function for all tables would be planned in each call. It
-- would also plan anew for arrays shorter than it guesses: hence the generic plan.
CREATE FUNCTION {schema}.create_commit(p_name text) RETURNS void
LANGUAGE plpgsql VOLATILE AS $create$
BEGIN
    EXECUTE format($ddl$
CREATE FUNCTION {schema}.%1$I(
    p_partition text, p_id text, p_version uuid, p_now bigint,
    p_expect smallint, p_expected uuid,
    p_change smallint, p_expires_at bigint, p_json jsonb, p_bytes bytea
) RETURNS TABLE (version uuid, expires_at bigint, body jsonb, bytes bytea)
LANGUAGE plpgsql VOLATILE ROWS 1 AS $commit$
#variable_conflict use_column
DECLARE
    writes constant boolean := p_change = 1 OR (p_change = 2 AND p_expect <> 1);
    as_expected boolean;
    -- An expression costs less than a statement. The statements below have
    -- snapshots of their own all the same.
    held constant boolean :=
        pg_advisory_xact_lock_shared({schema}.lock_of(p_partition)) IS NOT NULL;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        PERFORM {schema}.check_isolation();
    END IF;
    LOOP
        IF p_change = 1 AND p_expect IN (0, 1) THEN
            INSERT INTO {schema}.%2$I AS r (partition, id, version, expires_at, body, bytes)
            VALUES (p_partition, p_id, p_version, p_expires_at, p_json, p_bytes)
            ON CONFLICT (partition, id) DO UPDATE SET
                version = p_version, expires_at = p_expires_at, body = p_json, bytes = p_bytes
            WHERE p_expect = 0 OR r.expires_at <= p_now;
        ELSIF p_change = 1 THEN
            UPDATE {schema}.%2$I AS r SET
                version = p_version, expires_at = p_expires_at, body = p_json, bytes = p_bytes
            WHERE r.partition = p_partition AND r.id = p_id
                AND (r.expires_at IS NULL OR r.expires_at > p_now)
                AND (p_expect = 2 OR r.version = p_expected);
        ELSIF writes THEN
            DELETE FROM {schema}.%2$I AS r
            WHERE r.partition = p_partition AND r.id = p_id
                AND (p_expect = 0 OR (r.expires_at IS NULL OR r.expires_at > p_now)
                    AND (p_expect = 2 OR r.version = p_expected));
        END IF;
        IF p_expect = 0 OR (writes AND FOUND) THEN
            RETURN;
        END IF;
        SELECT r.version, r.expires_at, r.body, r.bytes INTO version, expires_at, body, bytes
        FROM {schema}.%2$I AS r
        WHERE r.partition = p_partition AND r.id = p_id
            AND (r.expires_at IS NULL OR r.expires_at > p_now);
        as_expected := CASE p_expect
            WHEN 1 THEN NOT FOUND
            WHEN 2 THEN FOUND
            ELSE FOUND AND version = p_expected END;
        IF NOT as_expected THEN
            RETURN NEXT;
            RETURN;
        END IF;
        -- As expected. If something was to be written, another commit of this
        -- one record came between: look again.
        IF NOT writes THEN
            RETURN;
        END IF;
    END LOOP;
END
$commit$;
COMMENT ON FUNCTION {schema}.%1$I IS
    'Commits one record of %2$s: expect 0 any, 1 absent, 2 present, 3 this version; '
    'change 0 check, 1 put, 2 delete. Answers nothing, or the record that stood against it.';
        $ddl$, 'commit_to_' || p_name, 'records_' || p_name);
    EXECUTE format($ddl$
CREATE FUNCTION {schema}.%1$I(
    p_partition text, p_now bigint,
    p_items int[], p_ids text[], p_expects smallint[], p_expected uuid[]
) RETURNS TABLE (item int, version uuid, expires_at bigint, body jsonb, bytes bytea)
LANGUAGE plpgsql VOLATILE SET plan_cache_mode = force_generic_plan AS $check$
BEGIN
    RETURN QUERY SELECT w.item, r.version, r.expires_at, r.body, r.bytes
    FROM unnest(p_items, p_ids, p_expects, p_expected) AS w (item, id, expect, expected)
    -- LIMIT makes this one look-up for each, also when the kept plan is of a
    -- time when the table was small.
    LEFT JOIN LATERAL (
        SELECT * FROM {schema}.%2$I AS r
        WHERE r.partition = p_partition AND r.id = w.id
            AND (r.expires_at IS NULL OR r.expires_at > p_now) LIMIT 1
    ) AS r ON true
    WHERE NOT CASE w.expect
        WHEN 0 THEN true
        WHEN 1 THEN r.id IS NULL
        WHEN 2 THEN r.id IS NOT NULL
        ELSE r.id IS NOT NULL AND r.version = w.expected END;
END
$check$;
COMMENT ON FUNCTION {schema}.%1$I IS
    'The items, of those that a commit names in %2$s, that are not as it expects.';
        $ddl$, 'check_in_' || p_name, 'records_' || p_name);
    EXECUTE format($ddl$
CREATE FUNCTION {schema}.%1$I(
    p_partition text, p_version uuid,
    p_ids text[], p_changes smallint[], p_expires_at bigint[], p_jsons jsonb[], p_bytes bytea[]
) RETURNS void LANGUAGE plpgsql VOLATILE SET plan_cache_mode = force_generic_plan AS $write$
BEGIN
    IF 1 = ANY (p_changes) THEN
        INSERT INTO {schema}.%2$I (partition, id, version, expires_at, body, bytes)
        SELECT p_partition, w.id, p_version, w.expires_at, w.body, w.bytes
        FROM unnest(p_ids, p_changes, p_expires_at, p_jsons, p_bytes)
            AS w (id, change, expires_at, body, bytes)
        WHERE w.change = 1 ORDER BY w.id COLLATE "C"
        ON CONFLICT (partition, id) DO UPDATE SET version = excluded.version,
            expires_at = excluded.expires_at, body = excluded.body, bytes = excluded.bytes;
    END IF;
    IF 2 = ANY (p_changes) THEN
        DELETE FROM {schema}.%2$I AS r
        WHERE r.partition = p_partition AND r.id = ANY (ARRAY(
            SELECT w.id FROM unnest(p_ids, p_changes) AS w (id, change) WHERE w.change = 2));
    END IF;
END
$write$;
COMMENT ON FUNCTION {schema}.%1$I IS
    'Writes what a commit changes in %2$s. For commit_many alone, which holds the lock.';
        $ddl$, 'write_to_' || p_name, 'records_' || p_name);
END
$create$;

CREATE FUNCTION {schema}.commit_many(
    p_partition text, p_version uuid, p_now bigint,
    p_collections text[], p_ends int[],
    p_items int[], p_ids text[], p_expects smallint[], p_expected uuid[],
    p_changes smallint[], p_expires_at bigint[], p_jsons jsonb[], p_bytes bytea[]
) RETURNS TABLE (item int, version uuid, expires_at bigint, body jsonb, bytes bytea)
LANGUAGE plpgsql VOLATILE AS $commit$
DECLARE
    held constant boolean :=
        pg_advisory_xact_lock({schema}.lock_of(p_partition)) IS NOT NULL;
    -- The items come sorted by collection and id; collection g has those from lo to hi.
    lo int := 1;
    hi int;
    failed boolean := false;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        PERFORM {schema}.check_isolation();
    END IF;
    FOR g IN 1 .. cardinality(p_collections) LOOP
        hi := p_ends[g];
        IF 0 < ANY (p_expects[lo:hi]) THEN
            RETURN QUERY EXECUTE
                format('SELECT * FROM {schema}.%I($1, $2, $3, $4, $5, $6)', 'check_in_' || p_collections[g])
                USING p_partition, p_now, p_items[lo:hi], p_ids[lo:hi], p_expects[lo:hi],
                    p_expected[lo:hi];
            failed := failed OR FOUND;
        END IF;
        lo := hi + 1;
    END LOOP;
    IF failed THEN
        RETURN;
    END IF;
    lo := 1;
    FOR g IN 1 .. cardinality(p_collections) LOOP
        hi := p_ends[g];
        IF 0 < ANY (p_changes[lo:hi]) THEN
            EXECUTE
                format('SELECT {schema}.%I($1, $2, $3, $4, $5, $6, $7)', 'write_to_' || p_collections[g])
                USING p_partition, p_version, p_ids[lo:hi], p_changes[lo:hi],
                    p_expires_at[lo:hi], p_jsons[lo:hi], p_bytes[lo:hi];
        END IF;
        lo := hi + 1;
    END LOOP;
END
$commit$;
