-- Shows rate limits in columns. They are in a table of their own, unlike the contracts'
-- records, whose views are generated from the contracts' declarations (src/views.rs).

DROP VIEW IF EXISTS {schema}.rate_limits;

CREATE VIEW {schema}.rate_limits AS SELECT
    CASE WHEN position(decode('00', 'hex') IN key) = 0
        THEN convert_from(key, 'UTF8') ELSE encode(key, 'escape') END AS key,
    quota,
    {schema}.moment(tat) AS full_at,
    tokens,
    {schema}.moment(last_refill) AS tokens_counted_at,
    {schema}.moment(expires_at) AS expired_after
FROM {schema}.buckets;
COMMENT ON VIEW {schema}.rate_limits IS
    'Rate limits in use. full_at: when the bucket will be full, if a take wrote it; tokens: its content, if a closure wrote it.';
COMMENT ON COLUMN {schema}.rate_limits.key IS 'The key of the limit.';
COMMENT ON COLUMN {schema}.rate_limits.quota IS 'The name of the quota.';
COMMENT ON COLUMN {schema}.rate_limits.full_at IS 'When the bucket will be full, if a take wrote it.';
COMMENT ON COLUMN {schema}.rate_limits.tokens IS 'The tokens in the bucket, if a closure wrote it.';
COMMENT ON COLUMN {schema}.rate_limits.tokens_counted_at IS 'When these tokens were counted.';
COMMENT ON COLUMN {schema}.rate_limits.expired_after IS 'When the bucket expires; null for never.';
