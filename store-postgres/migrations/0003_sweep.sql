-- Removes records that expired by `p_until`, at most `p_most` of each
-- collection, passing over rows that someone is writing.
CREATE FUNCTION {schema}.sweep(p_until bigint, p_most int)
RETURNS TABLE (removed bigint, more boolean) LANGUAGE plpgsql VOLATILE AS $sweep$
DECLARE
    name text;
    n bigint;
BEGIN
    removed := 0;
    more := false;
    FOR name IN SELECT c.name FROM {schema}.collections AS c ORDER BY c.name LOOP
        EXECUTE format($delete$
            DELETE FROM {schema}.%1$I WHERE ctid = ANY (ARRAY(
                SELECT ctid FROM {schema}.%1$I WHERE expires_at <= $1
                ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED))
            $delete$, 'records_' || name) USING p_until, p_most;
        GET DIAGNOSTICS n = ROW_COUNT;
        removed := removed + n;
        more := more OR n = p_most;
    END LOOP;
    RETURN NEXT;
END
$sweep$;
