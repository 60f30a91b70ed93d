-- For people: what the contracts keep, in columns. Nothing of the store reads
-- these; setup makes them anew. Expired records are in them until a sweep:
-- `expired_after` says which.

DROP VIEW IF EXISTS {schema}.api_keys, {schema}.rate_limits, {schema}.objects,
    {schema}.tenants, {schema}.users, {schema}.groups, {schema}.policies,
    {schema}.attachments, {schema}.inline_policies, {schema}.memberships, {schema}.lti_registrations,
    {schema}.lti_deployments, {schema}.lti_nonces, {schema}.lti_tool_keys;

CREATE VIEW {schema}.api_keys AS SELECT
    body->>'id' AS id,
    body->>'tenant' AS tenant,
    body->>'label' AS label,
    coalesce((body->>'enabled')::boolean, true) AS enabled,
    body->'permissions' AS permissions,
    (body->>'created_at')::timestamptz AS created_at,
    (body->>'expires_at')::timestamptz AS expires_at,
    body->'extra' AS extra,
    {schema}.moment(expires_at) AS expired_after
FROM {schema}.records_api_keys;
COMMENT ON VIEW {schema}.api_keys IS 'API keys, by their public ids; their secrets are nowhere.';

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
    'Rate limits in use. full_at: when the bucket will be full, if a take wrote it; tokens: what is in it, if a closure did.';

CREATE VIEW {schema}.objects AS SELECT
    partition,
    body->>'key' AS key,
    (body->'published'->'content'->>'size')::numeric AS bytes,
    body->'published'->'metadata'->>'tag' AS tag,
    body->'published'->'metadata'->'attributes' AS attributes,
    (body->'published'->>'published_at')::timestamptz AS published_at,
    body->'published'->'content'->>'generation' AS generation,
    jsonb_array_length(coalesce(body->'uploads', '[]')) AS writes_open,
    {schema}.moment(expires_at) AS expired_after
FROM {schema}.records_blobs;
COMMENT ON VIEW {schema}.objects IS 'Streamed objects. Without bytes: being written, or deleted.';

CREATE VIEW {schema}.tenants AS SELECT
    body->>'id' AS id,
    body->>'parent_id' AS parent_id,
    body->>'name' AS name,
    body->>'organization' AS organization,
    body->>'tenant_type' AS tenant_type,
    body->>'status' AS status,
    body->>'quota_mode' AS quota_mode,
    body->'quotas' AS quotas,
    (body->>'max_child_depth')::bigint AS max_child_depth,
    (body->>'can_create_sub_tenants')::boolean AS can_create_sub_tenants,
    body->'admin_principals' AS admin_principals,
    body->'metadata' AS metadata,
    (body->>'created_at')::timestamptz AS created_at,
    body ? 'deleting' AS being_deleted
FROM {schema}.records_tenants;
COMMENT ON VIEW {schema}.tenants IS 'Tenants.';

CREATE VIEW {schema}.users AS SELECT
    body->>'tenant_id' AS tenant_id,
    body->>'name' AS user_name,
    body->>'id' AS user_id,
    coalesce(body->>'path', '/') AS path,
    body->>'permissions_boundary' AS permissions_boundary,
    body->'tags' AS tags,
    (body->>'password_last_used')::timestamptz AS password_last_used,
    (body->>'create_date')::timestamptz AS create_date,
    body->>'incarnation' AS incarnation
FROM {schema}.records_iam_users;
COMMENT ON VIEW {schema}.users IS 'Users of tenants.';

CREATE VIEW {schema}.groups AS SELECT
    body->>'tenant_id' AS tenant_id,
    body->>'name' AS group_name,
    body->>'id' AS group_id,
    coalesce(body->>'path', '/') AS path,
    body->'tags' AS tags,
    (body->>'create_date')::timestamptz AS create_date,
    body->>'incarnation' AS incarnation
FROM {schema}.records_iam_groups;
COMMENT ON VIEW {schema}.groups IS 'Groups of tenants.';

CREATE VIEW {schema}.policies AS SELECT
    body->>'tenant_id' AS tenant_id,
    body->>'name' AS policy_name,
    body->>'id' AS policy_id,
    coalesce(body->>'path', '/') AS path,
    body->>'default_version_id' AS default_version_id,
    (body->>'attachment_count')::numeric AS attachment_count,
    (body->>'is_attachable')::boolean AS is_attachable,
    body->>'description' AS description,
    body->>'policy_document' AS policy_document,
    (body->>'create_date')::timestamptz AS create_date,
    (body->>'update_date')::timestamptz AS update_date
FROM {schema}.records_iam_policies;
COMMENT ON VIEW {schema}.policies IS 'Managed policies of tenants.';

CREATE VIEW {schema}.roles AS SELECT
    body->>'tenant_id' AS tenant_id,
    body->>'name' AS role_name,
    body->>'id' AS role_id,
    coalesce(body->>'path', '/') AS path,
    body->>'description' AS description,
    body->>'assume_role_policy_document' AS assume_role_policy_document,
    body->'tags' AS tags,
    (body->>'create_date')::timestamptz AS create_date,
    body->>'incarnation' AS incarnation
FROM {schema}.records_iam_roles;
COMMENT ON VIEW {schema}.roles IS 'Roles of tenants.';

CREATE VIEW {schema}.access_keys AS SELECT
    k.body->>'tenant_id' AS tenant_id,
    k.body->>'name' AS access_key_id,
    r.body->>'name' AS user_name,
    k.body->>'status' AS status,
    (k.body->>'create_date')::timestamptz AS create_date
FROM {schema}.records_iam_access_keys AS k
LEFT JOIN {schema}.records_iam_rosters AS r
    ON r.partition = k.partition AND r.id = k.body->>'owner';
COMMENT ON VIEW {schema}.access_keys IS 'Access keys of users, without their secrets.';

CREATE VIEW {schema}.attachments AS SELECT
    r.partition AS tenant_partition,
    r.body->>'name' AS principal,
    r.body->>'kind' AS principal_kind,
    p.name AS policy_name
FROM {schema}.records_iam_rosters AS r,
    jsonb_array_elements_text((r.body->'held'->'attached_policies')::jsonb) AS p (name);
COMMENT ON VIEW {schema}.attachments IS 'Which policies are attached to which principals.';

CREATE VIEW {schema}.inline_policies AS SELECT
    i.partition AS tenant_partition,
    r.body->>'name' AS principal,
    r.body->>'kind' AS principal_kind,
    i.body->>'policy_name' AS policy_name,
    i.body->>'policy_document' AS policy_document
FROM {schema}.records_iam_inline_policies AS i
LEFT JOIN {schema}.records_iam_rosters AS r
    ON r.partition = i.partition AND r.id = split_part(i.id, '/', 1);
COMMENT ON VIEW {schema}.inline_policies IS
    'Inline policies. Without a principal: left by a deleted one, to be swept.';

CREATE VIEW {schema}.memberships AS SELECT
    m.partition AS tenant_partition,
    u.body->>'name' AS user_name,
    g.body->>'name' AS group_name
FROM {schema}.records_iam_members AS m
JOIN {schema}.records_iam_rosters AS g
    ON g.partition = m.partition AND g.id = split_part(m.id, '/', 1)
JOIN {schema}.records_iam_rosters AS u
    ON u.partition = m.partition AND u.id = split_part(m.id, '/', 2);
COMMENT ON VIEW {schema}.memberships IS 'Which users are in which groups.';

CREATE VIEW {schema}.lti_registrations AS SELECT
    r.body->>'issuer' AS issuer,
    r.body->>'client_id' AS client_id,
    r.body->'record' AS record,
    d.id IS NOT NULL AS is_default
FROM {schema}.records_lti_registrations AS r
LEFT JOIN {schema}.records_lti_defaults AS d
    ON d.partition = r.partition AND d.body->>'client_id' = r.body->>'client_id';
COMMENT ON VIEW {schema}.lti_registrations IS
    'LTI registrations, each as the application''s own record; is_default: meant by the issuer alone.';

CREATE VIEW {schema}.lti_deployments AS SELECT
    body->>'issuer' AS issuer,
    body->>'client_id' AS client_id,
    body->>'deployment_id' AS deployment_id,
    body->'record' AS record
FROM {schema}.records_lti_deployments;
COMMENT ON VIEW {schema}.lti_deployments IS 'LTI deployments, each as the application''s own record.';

CREATE VIEW {schema}.lti_nonces AS SELECT
    body->>'issuer' AS issuer,
    body->>'nonce' AS nonce,
    (body->>'expires_at')::timestamptz AS expires_at,
    (body->>'used_at')::timestamptz AS used_at,
    {schema}.moment(expires_at) AS expired_after
FROM {schema}.records_lti_nonces;
COMMENT ON VIEW {schema}.lti_nonces IS 'Nonces of LTI launches, used ones too until they are swept.';

CREATE VIEW {schema}.lti_tool_keys AS SELECT
    body->>'kid' AS kid,
    (body->>'active')::boolean AS active,
    body->'public' AS public,
    (body->>'created_at')::timestamptz AS created_at
FROM {schema}.records_lti_keys;
COMMENT ON VIEW {schema}.lti_tool_keys IS 'The tool''s signing keys, without their private halves.';
