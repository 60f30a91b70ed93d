-- Removes what expired by `p_until`, at most `p_most` rows of each table,
-- passing over rows that someone is writing.
CREATE FUNCTION {schema}.sweep(p_until bigint, p_most int)
RETURNS TABLE (removed bigint, more boolean) LANGUAGE plpgsql VOLATILE
-- Nobody is told of what is swept: it was absent to all before.
SET store.sweeps = 'on' AS $sweep$
DECLARE
    t text;
    n bigint;
BEGIN
    removed := 0;
    more := false;
    FOR t IN
        SELECT 'records_' || c.name FROM {schema}.collections AS c UNION ALL SELECT 'buckets'
    LOOP
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
