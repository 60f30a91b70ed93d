-- Views for people: the records of the contracts, in columns. The store does not
-- read these views, and setup creates them again. They show expired records until
-- a sweep; `expired_after` says which those are.

DROP VIEW IF EXISTS {schema}.api_keys, {schema}.rate_limits, {schema}.objects,
    {schema}.tenants, {schema}.users, {schema}.groups, {schema}.policies, {schema}.roles,
    {schema}.access_keys, {schema}.attachments, {schema}.inline_policies,
    {schema}.memberships, {schema}.lti_registrations, {schema}.lti_deployments,
    {schema}.lti_nonces, {schema}.lti_tool_keys;

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
FROM {schema}.records WHERE collection = 'api_keys';
COMMENT ON VIEW {schema}.api_keys IS 'API keys, by their public ids. Their secrets are not stored.';

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
    json_array_length(coalesce(body->'uploads', '[]')) AS writes_open,
    {schema}.moment(expires_at) AS expired_after
FROM {schema}.records WHERE collection = 'blobs';
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
    body->'deleting' IS NOT NULL AS being_deleted
FROM {schema}.records WHERE collection = 'tenants';
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
FROM {schema}.records WHERE collection = 'iam_users';
COMMENT ON VIEW {schema}.users IS 'Users of tenants.';

CREATE VIEW {schema}.groups AS SELECT
    body->>'tenant_id' AS tenant_id,
    body->>'name' AS group_name,
    body->>'id' AS group_id,
    coalesce(body->>'path', '/') AS path,
    body->'tags' AS tags,
    (body->>'create_date')::timestamptz AS create_date,
    body->>'incarnation' AS incarnation
FROM {schema}.records WHERE collection = 'iam_groups';
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
FROM {schema}.records WHERE collection = 'iam_policies';
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
FROM {schema}.records WHERE collection = 'iam_roles';
COMMENT ON VIEW {schema}.roles IS 'Roles of tenants.';

CREATE VIEW {schema}.access_keys AS SELECT
    k.body->>'tenant_id' AS tenant_id,
    k.body->>'name' AS access_key_id,
    r.body->>'name' AS user_name,
    k.body->>'status' AS status,
    (k.body->>'create_date')::timestamptz AS create_date
FROM (SELECT * FROM {schema}.records WHERE collection = 'iam_access_keys') AS k
LEFT JOIN (SELECT * FROM {schema}.records WHERE collection = 'iam_rosters') AS r
    ON r.partition = k.partition AND r.id = k.body->>'owner';
COMMENT ON VIEW {schema}.access_keys IS 'Access keys of users, without their secrets.';

CREATE VIEW {schema}.attachments AS SELECT
    r.partition AS tenant_partition,
    r.body->>'name' AS principal,
    r.body->>'kind' AS principal_kind,
    p.name AS policy_name
FROM (SELECT * FROM {schema}.records WHERE collection = 'iam_rosters') AS r,
    json_array_elements_text(r.body->'held'->'attached_policies') AS p (name);
COMMENT ON VIEW {schema}.attachments IS 'Which policies are attached to which principals.';

CREATE VIEW {schema}.inline_policies AS SELECT
    i.partition AS tenant_partition,
    r.body->>'name' AS principal,
    r.body->>'kind' AS principal_kind,
    i.body->>'policy_name' AS policy_name,
    i.body->>'policy_document' AS policy_document
FROM (SELECT * FROM {schema}.records WHERE collection = 'iam_inline_policies') AS i
LEFT JOIN (SELECT * FROM {schema}.records WHERE collection = 'iam_rosters') AS r
    ON r.partition = i.partition AND r.id = split_part(i.id, '/', 1);
COMMENT ON VIEW {schema}.inline_policies IS
    'Inline policies. Without a principal: left by a deleted one, to be swept.';

CREATE VIEW {schema}.memberships AS SELECT
    m.partition AS tenant_partition,
    u.body->>'name' AS user_name,
    g.body->>'name' AS group_name
FROM (SELECT * FROM {schema}.records WHERE collection = 'iam_members') AS m
JOIN (SELECT * FROM {schema}.records WHERE collection = 'iam_rosters') AS g
    ON g.partition = m.partition AND g.id = split_part(m.id, '/', 1)
JOIN (SELECT * FROM {schema}.records WHERE collection = 'iam_rosters') AS u
    ON u.partition = m.partition AND u.id = split_part(m.id, '/', 2);
COMMENT ON VIEW {schema}.memberships IS 'Which users are in which groups.';

CREATE VIEW {schema}.lti_registrations AS SELECT
    r.body->>'issuer' AS issuer,
    r.body->>'client_id' AS client_id,
    r.body->'record' AS record,
    d.id IS NOT NULL AS is_default
FROM (SELECT * FROM {schema}.records WHERE collection = 'lti_registrations') AS r
LEFT JOIN (SELECT * FROM {schema}.records WHERE collection = 'lti_defaults') AS d
    ON d.partition = r.partition AND d.body->>'client_id' = r.body->>'client_id';
COMMENT ON VIEW {schema}.lti_registrations IS
    'LTI registrations, each as the application''s own record; is_default: meant by the issuer alone.';

CREATE VIEW {schema}.lti_deployments AS SELECT
    body->>'issuer' AS issuer,
    body->>'client_id' AS client_id,
    body->>'deployment_id' AS deployment_id,
    body->'record' AS record
FROM {schema}.records WHERE collection = 'lti_deployments';
COMMENT ON VIEW {schema}.lti_deployments IS 'LTI deployments, each as the application''s own record.';

CREATE VIEW {schema}.lti_nonces AS SELECT
    body->>'issuer' AS issuer,
    body->>'nonce' AS nonce,
    (body->>'expires_at')::timestamptz AS expires_at,
    (body->>'used_at')::timestamptz AS used_at,
    {schema}.moment(expires_at) AS expired_after
FROM {schema}.transient WHERE collection = 'lti_nonces';
COMMENT ON VIEW {schema}.lti_nonces IS 'Nonces of LTI launches, used ones too until they are swept.';

CREATE VIEW {schema}.lti_tool_keys AS SELECT
    body->>'kid' AS kid,
    (body->>'active')::boolean AS active,
    body->'public' AS public,
    (body->>'created_at')::timestamptz AS created_at
FROM {schema}.records WHERE collection = 'lti_keys';
COMMENT ON VIEW {schema}.lti_tool_keys IS 'The tool''s signing keys, without their private halves.';

-- A column means the same in every view.
DO $comments$
DECLARE
    c record;
BEGIN
    FOR c IN
        SELECT v.relname AS view, a.attname AS name, d.text
        FROM pg_catalog.pg_class AS v
        JOIN pg_catalog.pg_attribute AS a ON a.attrelid = v.oid AND a.attnum > 0
        JOIN (VALUES
            ('access_key_id', 'The id of the access key.'),
            ('active', 'Whether the key signs; an inactive one is only published.'),
            ('admin_principals', 'Who administers the tenant.'),
            ('arn', 'The Amazon resource name.'),
            ('assume_role_policy_document', 'Who may assume the role.'),
            ('attachment_count', 'How many principals the policy is attached to.'),
            ('attributes', 'The application''s own attributes of the object.'),
            ('being_deleted', 'Whether a deletion was begun and is not complete.'),
            ('bytes', 'The size of the published content; null if there is none.'),
            ('can_create_sub_tenants', 'Whether tenants may be created below this one.'),
            ('client_id', 'The client id of the registration.'),
            ('create_date', 'When it was created.'),
            ('created_at', 'When it was created.'),
            ('default_version_id', 'The version of the document that is in force.'),
            ('deployment_id', 'The id of the deployment.'),
            ('description', 'What the policy is for.'),
            ('enabled', 'Whether the key is granted.'),
            ('expired_after', 'From then on the record counts as absent; null for never.'),
            ('expires_at', 'From then on it is refused; null for never.'),
            ('extra', 'The application''s own fields.'),
            ('full_at', 'When the bucket will be full, if a take wrote it.'),
            ('generation', 'Identifies the published content.'),
            ('group_id', 'The id of the group.'),
            ('group_name', 'The name of the group.'),
            ('id', 'The public id.'),
            ('incarnation', 'Identifies this creation of the name; never reused.'),
            ('is_attachable', 'Whether the policy may be attached.'),
            ('is_default', 'Whether the issuer alone means this registration.'),
            ('issuer', 'The issuer of the platform.'),
            ('key', 'The key of the limit or of the object.'),
            ('kid', 'The id of the key.'),
            ('label', 'The application''s name for the key.'),
            ('max_child_depth', 'How many levels of tenants may be below this one.'),
            ('metadata', 'The application''s own fields.'),
            ('name', 'The name.'),
            ('nonce', 'The nonce of the launch.'),
            ('organization', 'The organization that the tenant belongs to.'),
            ('parent_id', 'The id of the tenant above; null for a root.'),
            ('partition', 'The partition of the record.'),
            ('password_last_used', 'When the password was last used.'),
            ('path', 'The path of the name.'),
            ('permissions', 'What the key may do.'),
            ('permissions_boundary', 'The policy that bounds the permissions.'),
            ('policy_document', 'The document of the policy.'),
            ('policy_id', 'The id of the policy.'),
            ('policy_name', 'The name of the policy.'),
            ('principal', 'The name of the user or group; null if it was deleted.'),
            ('principal_kind', 'Whether the principal is a user or a group.'),
            ('public', 'The public half of the key.'),
            ('published_at', 'When the content was published.'),
            ('quota', 'The name of the quota.'),
            ('quota_mode', 'How the quotas apply.'),
            ('quotas', 'The quotas of the tenant.'),
            ('record', 'The application''s own record.'),
            ('role_id', 'The id of the role.'),
            ('role_name', 'The name of the role.'),
            ('status', 'The status.'),
            ('tag', 'The tag of the content.'),
            ('tags', 'The tags.'),
            ('tenant', 'The tenant of the key.'),
            ('tenant_id', 'The tenant that it belongs to.'),
            ('tenant_partition', 'The partition of the tenant that it belongs to.'),
            ('tenant_type', 'The kind of tenant.'),
            ('tokens', 'The tokens in the bucket, if a closure wrote it.'),
            ('tokens_counted_at', 'When these tokens were counted.'),
            ('update_date', 'When it was last changed.'),
            ('used_at', 'When the nonce was used; null if it was not.'),
            ('user_id', 'The id of the user.'),
            ('user_name', 'The name of the user.'),
            ('writes_open', 'How many writes have begun and are not complete.')
        ) AS d (name, text) ON d.name = a.attname
        WHERE v.relnamespace = to_regnamespace('{schema}') AND v.relkind = 'v'
    LOOP
        EXECUTE format('COMMENT ON COLUMN {schema}.%I.%I IS %L', c.view, c.name, c.text);
    END LOOP;
END
$comments$;
