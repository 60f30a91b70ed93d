-- Removes at most `p_most` rows of each table that expired by `p_until`, and skips rows
-- that another transaction is writing.
CREATE FUNCTION {schema}.sweep(p_until bigint, p_most int)
RETURNS TABLE (removed bigint, more boolean) LANGUAGE plpgsql VOLATILE
-- Removals by a sweep are not announced, because the records had expired before.
SET store.sweeps = 'on' AS $sweep$
DECLARE
    t text;
    n bigint;
BEGIN
    removed := 0;
    more := false;
    FOREACH t IN ARRAY ARRAY['records', 'chunks', 'transient', 'buckets'] LOOP
        EXECUTE format($delete$
            DELETE FROM {schema}.%1$I WHERE ctid = ANY (ARRAY(
                SELECT ctid FROM {schema}.%1$I WHERE expires_at <= $1
                ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED))
            $delete$, t) USING p_until, p_most;
        GET DIAGNOSTICS n = ROW_COUNT;
        removed := removed + n;
        more := more OR n = p_most;
    END LOOP;
    RETURN NEXT;
END
$sweep$;
