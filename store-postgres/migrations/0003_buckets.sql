-- Rate limits. Each quota of a key has a row, so that a take is one statement.
--
-- A statement on several rows of a key holds the key's lock exclusively and then
-- locks the existing rows. So a take of one quota needs only the row's lock to
-- change a row, and shares the key's lock to insert one.

CREATE TABLE {schema}.buckets (
    key bytea NOT NULL,
    quota text COLLATE "C" NOT NULL,
    tat bigint,
    tokens float8,
    last_refill bigint,
    expires_at bigint NOT NULL,
    PRIMARY KEY (key, quota)
-- Either tat, or tokens and last_refill. There is no CHECK constraint for this, since it
-- would take a sixth of a take's time: the server prepares the constraint again in every
-- statement. The fill factor leaves room for a row's next version on its page, and no
-- index covers a column that changes, so updates are heap-only.
) WITH (fillfactor = 70);
COMMENT ON TABLE {schema}.buckets IS
    'Rate limits as stored; the view rate_limits shows them. A quota without a row is full.';
COMMENT ON COLUMN {schema}.buckets.key IS 'The limit''s key, encoded as UTF-8.';
COMMENT ON COLUMN {schema}.buckets.quota IS 'The quota''s name.';
COMMENT ON COLUMN {schema}.buckets.tat IS
    'When the bucket will be full, in nanoseconds since 1970, if a take wrote it.';
COMMENT ON COLUMN {schema}.buckets.tokens IS 'The tokens, if a closure wrote them.';
COMMENT ON COLUMN {schema}.buckets.last_refill IS
    'When these tokens were counted, in nanoseconds since 1970.';
COMMENT ON COLUMN {schema}.buckets.expires_at IS
    'When the bucket will certainly be full, in nanoseconds since 1970.';

CREATE FUNCTION {schema}.lock_of_bucket(key bytea) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN hashtextextended(encode(key, 'hex'), hashtextextended('{schema}', 2));
COMMENT ON FUNCTION {schema}.lock_of_bucket IS 'The advisory lock of a limit''s key.';

-- Takes from one quota. Returns the new theoretical arrival time, which is not
-- negative, if the take is allowed; the bitwise complement of the stored arrival
-- time, which is negative, if it is denied; and null for a row that a closure wrote,
-- on which this function cannot decide.
--
-- Its plans are cached and must remain efficient while the table grows, so sequential
-- scans are disabled.
CREATE FUNCTION {schema}.take(
    p_key bytea, p_quota text, p_now bigint, p_increment bigint,
    p_latest bigint, p_expires_at bigint
) RETURNS bigint LANGUAGE plpgsql VOLATILE SET enable_seqscan = off AS $take$
DECLARE
    answer bigint;
    refused boolean;
BEGIN
    LOOP
        UPDATE {schema}.buckets AS b SET
            tat = p_increment
                + CASE WHEN b.expires_at > p_now THEN greatest(b.tat, p_now) ELSE p_now END,
            tokens = NULL, last_refill = NULL, expires_at = p_expires_at
        WHERE b.key = p_key AND b.quota = p_quota
            AND (b.expires_at <= p_now
                OR (b.tat IS NOT NULL AND greatest(b.tat, p_now) <= p_latest))
        RETURNING b.tat INTO answer;
        IF FOUND THEN
            RETURN answer;
        END IF;
        SELECT ~b.tat,
            b.expires_at > p_now AND (b.tat IS NULL OR greatest(b.tat, p_now) > p_latest)
        INTO answer, refused
        FROM {schema}.buckets AS b WHERE b.key = p_key AND b.quota = p_quota;
        IF refused THEN
            RETURN answer;
        END IF;
        IF NOT FOUND THEN
            PERFORM pg_advisory_xact_lock_shared({schema}.lock_of_bucket(p_key));
            INSERT INTO {schema}.buckets (key, quota, tat, expires_at)
            VALUES (p_key, p_quota, p_now + p_increment, p_expires_at)
            ON CONFLICT (key, quota) DO NOTHING;
            IF FOUND THEN
                RETURN p_now + p_increment;
            END IF;
        END IF;
        -- Another transaction changed the row: read it again.
    END LOOP;
END
$take$;

-- Takes from all of several quotas of a key, or from none. Returns the previous row
-- of each, whether the take was allowed or not; the caller decides with the same
-- arithmetic. If a closure wrote one of the rows, nothing is taken, because this
-- function cannot decide on it.
CREATE FUNCTION {schema}.take_many(
    p_key bytea, p_now bigint, p_quotas text[], p_increments bigint[],
    p_latest bigint[], p_expires_at bigint[]
) RETURNS TABLE (quota text, tat bigint, tokens float8, last_refill bigint, expires_at bigint)
LANGUAGE plpgsql VOLATILE AS $take$
#variable_conflict use_column
DECLARE
    refused boolean;
BEGIN
    PERFORM {schema}.check_isolation();
    PERFORM pg_advisory_xact_lock({schema}.lock_of_bucket(p_key));
    PERFORM FROM {schema}.buckets AS b
        WHERE b.key = p_key AND b.quota = ANY (p_quotas) FOR UPDATE;
    RETURN QUERY SELECT b.quota, b.tat, b.tokens, b.last_refill, b.expires_at
        FROM {schema}.buckets AS b
        WHERE b.key = p_key AND b.quota = ANY (p_quotas) AND b.expires_at > p_now;
    SELECT bool_or(greatest(b.tat, p_now) > w.latest OR b.tokens IS NOT NULL) INTO refused
        FROM unnest(p_quotas, p_latest) AS w (quota, latest)
        LEFT JOIN {schema}.buckets AS b
            ON b.key = p_key AND b.quota = w.quota AND b.expires_at > p_now;
    IF refused THEN
        RETURN;
    END IF;
    INSERT INTO {schema}.buckets AS b (key, quota, tat, expires_at)
    SELECT p_key, w.quota, p_now + w.increment, w.expires_at
    FROM unnest(p_quotas, p_increments, p_expires_at) AS w (quota, increment, expires_at)
    ORDER BY w.quota COLLATE "C"
    ON CONFLICT (key, quota) DO UPDATE SET
        tat = excluded.tat + CASE WHEN b.expires_at > p_now THEN greatest(b.tat - p_now, 0) ELSE 0 END,
        tokens = NULL, last_refill = NULL, expires_at = excluded.expires_at;
END
$take$;

-- Replaces all of a key's rows if they are still as the caller read them, and then
-- returns no row. Otherwise it returns the stored rows, or if there are none one row
-- without a quota.
CREATE FUNCTION {schema}.swap_bucket(
    p_key bytea, p_now bigint,
    p_old_quotas text[], p_old_tats bigint[], p_old_tokens float8[], p_old_refills bigint[],
    p_old_expires_at bigint[],
    p_quotas text[], p_tats bigint[], p_tokens float8[], p_refills bigint[], p_expires_at bigint[]
) RETURNS TABLE (quota text, tat bigint, tokens float8, last_refill bigint, expires_at bigint)
LANGUAGE plpgsql VOLATILE AS $swap$
#variable_conflict use_column
BEGIN
    PERFORM {schema}.check_isolation();
    PERFORM pg_advisory_xact_lock({schema}.lock_of_bucket(p_key));
    PERFORM FROM {schema}.buckets AS b WHERE b.key = p_key FOR UPDATE;
    PERFORM FROM (
        (SELECT b.quota, b.tat, b.tokens, b.last_refill, b.expires_at
         FROM {schema}.buckets AS b WHERE b.key = p_key AND b.expires_at > p_now)
    ) AS now FULL JOIN unnest(p_old_quotas, p_old_tats, p_old_tokens, p_old_refills, p_old_expires_at)
        AS old (quota, tat, tokens, last_refill, expires_at) USING (quota)
    WHERE (now.tat, now.tokens, now.last_refill, now.expires_at)
        IS DISTINCT FROM (old.tat, old.tokens, old.last_refill, old.expires_at);
    IF FOUND THEN
        RETURN QUERY SELECT b.quota, b.tat, b.tokens, b.last_refill, b.expires_at
            FROM {schema}.buckets AS b WHERE b.key = p_key AND b.expires_at > p_now;
        IF NOT FOUND THEN
            quota := NULL;
            RETURN NEXT;
        END IF;
        RETURN;
    END IF;
    DELETE FROM {schema}.buckets AS b WHERE b.key = p_key AND b.quota <> ALL (p_quotas);
    INSERT INTO {schema}.buckets (key, quota, tat, tokens, last_refill, expires_at)
    SELECT p_key, w.* FROM unnest(p_quotas, p_tats, p_tokens, p_refills, p_expires_at) AS w
    ON CONFLICT (key, quota) DO UPDATE SET tat = excluded.tat, tokens = excluded.tokens,
        last_refill = excluded.last_refill, expires_at = excluded.expires_at;
END
$swap$;

-- Deletes all of a key's rows. This is a function because a plain statement would not see
-- rows that a concurrent change inserts while the statement waits for the lock.
CREATE FUNCTION {schema}.delete_bucket(p_key bytea) RETURNS void
LANGUAGE plpgsql VOLATILE AS $delete$
BEGIN
    PERFORM {schema}.check_isolation();
    PERFORM pg_advisory_xact_lock({schema}.lock_of_bucket(p_key));
    DELETE FROM {schema}.buckets AS b WHERE b.key = p_key;
END
$delete$;
