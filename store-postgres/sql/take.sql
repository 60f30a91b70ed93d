-- $1 key, $2 quota, $3 now, $4 increment, $5 latest, $6 expires_at.
-- Answers 1 and the new arrival time, or 0 and the one that refuses.
WITH held AS (
    SELECT pg_advisory_xact_lock_shared({schema}.lock_of_bucket($1)){relaxed}
), taken AS (
    INSERT INTO {schema}.buckets AS b (key, quota, tat, expires_at)
    SELECT $1, $2, $3 + $4, $6 FROM held
    ON CONFLICT (key, quota) DO UPDATE SET
        tat = $4 + CASE WHEN b.expires_at > $3 THEN greatest(b.tat, $3) ELSE $3 END,
        tokens = NULL, last_refill = NULL, expires_at = $6
    WHERE b.expires_at <= $3 OR (b.tat IS NOT NULL AND greatest(b.tat, $3) <= $5)
    RETURNING b.tat
)
SELECT 1 AS taken, tat FROM taken
UNION ALL
SELECT 0, b.tat FROM {schema}.buckets AS b
WHERE b.key = $1 AND b.quota = $2 AND NOT EXISTS (SELECT FROM taken)
