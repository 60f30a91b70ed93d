//! The views that people read with psql.

use store_core::Store;
use store_core::api_keys::{ApiKeys, KeyData};
use store_core::blobs::{BlobRef, PutOptions};
use store_core::iam::{Group, Identity, Policy, User};
use store_core::limits::{Quota, RateLimiter};
use store_core::lti::{Deployment, Lti, Registration};
use store_core::secret::KeyRing;
use store_core::tenants::{Tenant, TenantPath};

use crate::{End, Place, tests};

tests![
    every_contract_is_shown_in_columns,
    every_view_and_column_has_a_comment,
    setup_creates_a_view_that_is_missing,
    no_view_shows_a_secret,
];

/// Writes a little of everything that the contracts store; returns the issued key.
async fn furnish(store: &Store) -> Result<String, store_core::Error> {
    let keys = ApiKeys::new(store, &KeyRing::random());
    let data = KeyData::new().with_tenant("acme").with_label("nightly");
    let (key, _) = keys.issue(data).await?;

    let limiter = RateLimiter::new(store, Quota::per_second(2)?);
    let _ = limiter.take("so\0me key", 1).await?;

    let mut sink = store
        .blobs()
        .begin(BlobRef::new("box", "a/b")?, PutOptions::default())
        .await?;
    sink.write(vec![7; 1000].into()).await?;
    let _ = sink.commit().await?;

    let identity = Identity::new(store, &KeyRing::random());
    let acme = TenantPath::root(1);
    identity.tenants.create(Tenant::new(&acme, "Acme")).await?;
    let at_acme = identity.iam.tenant(&acme);
    at_acme.users().create(User::new("ada")).await?;
    at_acme.groups().create(Group::new("engineers")).await?;
    at_acme.group("engineers").add_member("ada").await?;
    at_acme.access_keys_of("ada")?.create().await?;
    let policy = at_acme
        .policies()
        .create(Policy::new("deploy", "{}"))
        .await?;
    at_acme.user("ada").attach_policy(policy.arn()).await?;
    at_acme
        .group("engineers")
        .put_inline_policy("own", "{}")
        .await?;

    let lti: Lti = Lti::new(store, &KeyRing::random());
    let platform = Registration::from_json(include_str!(
        "../../../store-memory/examples/tour/platform.json"
    ))?;
    let platform = lti.store().upsert_registration(platform).await?;
    lti.store()
        .set_default_registration(platform.issuer(), platform.client_id())
        .await?;
    lti.store()
        .upsert_deployment(&platform, Deployment::new("7")?)
        .await?;
    lti.begin_login(platform.issuer(), None).await?;
    Ok(key.expose().to_owned())
}

async fn every_contract_is_shown_in_columns(place: Place) -> End {
    let store = Store::from(place.open().await?);
    furnish(&store).await?;
    for (question, answer) in [
        (
            "SELECT tenant || ' ' || label || ' ' || enabled FROM {schema}.api_keys",
            "acme nightly true",
        ),
        (
            r"SELECT quota || ' ' || key FROM {schema}.rate_limits",
            r"default so\000me key",
        ),
        (
            "SELECT key || ' ' || bytes FROM {schema}.objects",
            "a/b 1000",
        ),
        ("SELECT id || ' ' || name FROM {schema}.tenants", "1 Acme"),
        (
            "SELECT tenant_id || ' ' || name FROM {schema}.users",
            "1 ada",
        ),
        (
            "SELECT tenant_id || ' ' || name FROM {schema}.groups",
            "1 engineers",
        ),
        (
            "SELECT name || ' ' || attachment_count FROM {schema}.policies",
            "deploy 1",
        ),
        (
            "SELECT principal || ' ' || policy_name FROM {schema}.attachments",
            "ada deploy",
        ),
        (
            "SELECT owner || ' ' || status FROM {schema}.access_keys",
            "ada Active",
        ),
        (
            "SELECT principal || ' ' || principal_kind || ' ' || policy_name
             FROM {schema}.inline_policies",
            "engineers group own",
        ),
        (
            "SELECT user_name || ' ' || group_name FROM {schema}.memberships",
            "ada engineers",
        ),
        (
            "SELECT client_id || ' ' || (record->>'issuer' = issuer) FROM {schema}.lti_registrations",
            "10000000000001 true",
        ),
        (
            "SELECT is_default::text FROM {schema}.lti_registrations",
            "true",
        ),
        ("SELECT deployment_id FROM {schema}.lti_deployments", "7"),
        (
            "SELECT (used_at IS NULL)::text FROM {schema}.lti_nonces",
            "true",
        ),
        ("SELECT count(*)::text FROM {schema}.lti_tool_keys", "0"),
    ] {
        let seen: String = place
            .ask(question)
            .await
            .map_err(|e| format!("{question}: {e}"))?;
        assert_eq!(seen, answer, "{question}");
    }
    Ok(())
}

async fn every_view_and_column_has_a_comment(place: Place) -> End {
    place.open().await?;
    let without: String = place
        .ask(
            "SELECT coalesce(string_agg(v.relname || '.' || a.attname, ', '), '')
             FROM pg_class AS v JOIN pg_attribute AS a ON a.attrelid = v.oid AND a.attnum > 0
             WHERE v.relnamespace = '{schema}'::regnamespace AND v.relkind = 'v'
               AND (col_description(v.oid, a.attnum) IS NULL OR obj_description(v.oid) IS NULL)",
        )
        .await?;
    assert_eq!(without, "");
    Ok(())
}

/// As after a migration by a program without the contract.
async fn setup_creates_a_view_that_is_missing(place: Place) -> End {
    let store = place.open().await?;
    place.run("DROP VIEW {schema}.groups").await?;
    store.setup().await?;
    let count: i64 = place.ask("SELECT count(*) FROM {schema}.groups").await?;
    assert_eq!(count, 0);
    Ok(())
}

async fn no_view_shows_a_secret(place: Place) -> End {
    let store = Store::from(place.open().await?);
    let secret = furnish(&store).await?;
    let views: Vec<String> = place
        .ask("SELECT array_agg(viewname::text) FROM pg_views WHERE schemaname = '{schema}'")
        .await?;
    assert!(views.len() >= 14, "{views:?}");
    for view in views {
        let all: String = place
            .ask(&format!(
                "SELECT coalesce(jsonb_agg(to_jsonb(v))::text, '') FROM {{schema}}.{view} AS v"
            ))
            .await?;
        assert!(!all.contains(&secret), "{view}");
        assert!(!all.contains("PRIVATE KEY"), "{view}");
    }
    Ok(())
}
