//! The counted calls: one function for each contract.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use store_core::api_keys::{ApiKeys, KeyData, ListKeys};
use store_core::blobs::{BlobList, BlobRef, BlobStoreExt, PutOptions};
use store_core::entity::Listing;
use store_core::iam::{Group, Iam, Identity, Policy, User};
use store_core::limits::{Bucket, LimitKey, Quota, QuotaSet, Take};
use store_core::lti::{
    AccessToken, Deployment, LaunchClaims, Lti, NewToolKey, PublicJwk, Registration,
};
use store_core::secret::{KeyRing, Secret};
use store_core::tenants::{Tenant, TenantPath};
use store_core::{PageRequest, Result, Store};

use super::{Counter, Failure, Notes, Trip};
use crate::suite::CaseResult;

const HOUR: Duration = Duration::from_secs(3600);

/// Makes every call once, on names that contain the round.
pub(super) async fn all(
    store: &Store,
    counter: Counter<'_>,
    round: u32,
) -> std::result::Result<Vec<Trip>, Failure> {
    let mut notes = Notes {
        counter,
        contract: "",
        trips: Vec::new(),
    };
    api_keys(&mut notes, store, round).await?;
    limits(&mut notes, store, round).await?;
    blobs(&mut notes, store, round).await?;
    lti(&mut notes, store, round).await?;
    tenants(&mut notes, store, round).await?;
    iam(&mut notes, store, round).await?;
    Ok(notes.trips)
}

async fn api_keys(notes: &mut Notes<'_>, store: &Store, round: u32) -> CaseResult {
    notes.contract = "api keys";
    let keys = ApiKeys::new(store, &crate::cases::api_keys::ring()?);
    let tenant = format!("tenant {round}");
    let data = || KeyData::new().permit("reports", ["read"]);
    // The first call of a process also compares the key ring with the stored fingerprint.
    let (first, _) = keys.issue(data()).await?;
    keys.delete(&first).await?;
    notes.cost("issue", keys.issue(data())).await?;
    let owned = data().with_tenant(&tenant);
    let (key, entry) = notes.note("issue, of a tenant", keys.issue(owned)).await?;
    let (unknown, _) = keys.issue(data()).await?;
    keys.delete(&unknown).await?;
    notes.cost("authenticate", keys.authenticate(&key)).await?;
    notes
        .cost("authenticate, unknown", keys.authenticate(&unknown))
        .await?;
    notes
        .cost("authorize", keys.authorize(&key, "reports", "read"))
        .await?;
    notes
        .cost("get by id", keys.store().get_by_id(entry.id()))
        .await?;
    let relabel = |data: &mut KeyData| {
        data.label = Some("new".into());
        Ok(())
    };
    notes.cost("update", keys.update(&key, relabel)).await?;
    notes.cost("disable", keys.disable(&key)).await?;
    notes
        .cost(
            "list of a tenant, a page",
            keys.list(&ListKeys::of_tenant(&tenant)),
        )
        .await?;
    notes
        .cost("list of all, a page", keys.list(&ListKeys::all()))
        .await?;
    notes.cost("delete", keys.delete(&key)).await?;
    Ok(())
}

async fn limits(notes: &mut Notes<'_>, store: &Store, round: u32) -> CaseResult {
    notes.contract = "rate limits";
    let limits = store.limits();
    let quota = |name: &str, burst| Quota::new(burst, HOUR).and_then(|q| q.named(name));
    let one = QuotaSet::new([quota("a", 1)?])?;
    let two = QuotaSet::new([quota("a", 5)?, quota("b", 5)?])?;
    let (single, several) = (format!("single {round}"), format!("several {round}"));
    for call in ["take", "take, denied"] {
        let take = Take::new(&single, &one, 1, store.now())?;
        notes.cost(call, limits.take(&take)).await?;
    }
    let take = Take::new(&several, &two, 1, store.now())?;
    notes.cost("take of two quotas", limits.take(&take)).await?;
    let key = LimitKey::new(&several)?;
    notes.cost("peek", limits.peek(key)).await?;
    let keep = |bucket: Option<&Bucket>| bucket.cloned();
    notes
        .cost("update by a closure", limits.update(key, &keep))
        .await?;
    notes
        .cost("update that changes nothing", limits.update(key, &|_| None))
        .await?;
    notes.cost("reset", limits.reset(key, &two)).await?;
    notes
        .cost("delete", limits.delete(LimitKey::new(&single)?))
        .await?;
    Ok(())
}

async fn blobs(notes: &mut Notes<'_>, store: &Store, round: u32) -> CaseResult {
    notes.contract = "objects";
    let blobs = store.blobs();
    let bucket = format!("bucket-{round}");
    let named = |key| BlobRef::new(&bucket, key);
    let bytes = |size: usize| Bytes::from(vec![7; size]);
    let small = named("small")?;
    let options = PutOptions::default;
    notes
        .cost("put of 1 KiB", blobs.put(small, options(), bytes(1 << 10)))
        .await?;
    notes
        .cost(
            "put of 1 KiB over another",
            blobs.put(small, options(), bytes(1 << 10)),
        )
        .await?;
    let large = named("large")?;
    notes
        .cost("put of 1 MiB", blobs.put(large, options(), bytes(1 << 20)))
        .await?;
    notes.cost("stat", blobs.stat(small)).await?;
    notes
        .cost("read of 1 KiB", blobs.read(small, 1 << 20))
        .await?;
    notes
        .cost("read of 1 MiB", blobs.read(large, 1 << 20))
        .await?;
    notes
        .cost("read of none", blobs.read(named("none")?, 1))
        .await?;
    notes
        .cost("list, a page", blobs.list(&BlobList::new(&bucket)?))
        .await?;
    notes.cost("delete", blobs.delete(large)).await?;
    Ok(())
}

fn platform(round: u32) -> Result<Registration> {
    let issuer = format!("https://lms-{round}.example.edu");
    Registration::from_json(
        &json!({
            "issuer": issuer,
            "client_id": "42",
            "auth_endpoint": format!("{issuer}/auth"),
            "token_endpoint": format!("{issuer}/token"),
            "jwks_uri": format!("{issuer}/jwks"),
        })
        .to_string(),
    )
}

fn tool_key(kid: String) -> Result<NewToolKey> {
    let private = "-----BEGIN PRIVATE KEY-----\nAQ\n-----END PRIVATE KEY-----\n";
    let public = [
        ("kty", "OKP"),
        ("crv", "Ed25519"),
        ("x", "AQ"),
        ("use", "sig"),
    ];
    let public = public.map(|(name, value)| (name.to_owned(), value.into()));
    let public = PublicJwk::new(public.into_iter().collect())?;
    NewToolKey::new(kid, Secret::new(private), public)
}

async fn lti(notes: &mut Notes<'_>, store: &Store, round: u32) -> CaseResult {
    notes.contract = "lti";
    let handle: Lti = Lti::new(store, &KeyRing::random());
    let lti = handle.store();
    let lms = notes
        .note(
            "upsert registration",
            lti.upsert_registration(platform(round)?),
        )
        .await?;
    let issuer = lms.issuer();
    let site = || Deployment::new("7");
    notes
        .cost("upsert deployment", lti.upsert_deployment(&lms, site()?))
        .await?;
    notes
        .cost("get registration", lti.get_registration(issuer, Some("42")))
        .await?;
    notes
        .cost(
            "get registration, by issuer alone",
            lti.get_registration(issuer, None),
        )
        .await?;
    notes
        .cost(
            "set default registration",
            lti.set_default_registration(issuer, "42"),
        )
        .await?;
    notes
        .cost("get deployment", lti.get_deployment(&lms, "7"))
        .await?;
    notes
        .cost("store nonce", lti.store_nonce("n", &lms))
        .await?;
    notes
        .cost("validate nonce", lti.validate_nonce("n", &lms))
        .await?;
    notes
        .cost("validate nonce, used", lti.validate_nonce("n", &lms))
        .await?;
    let login = notes
        .note("begin login", handle.begin_login(issuer, Some("42")))
        .await?;
    let login = login.ok_or("it is registered")?;
    let claims = LaunchClaims {
        issuer,
        client_id: "42",
        deployment_id: "7",
        nonce: &login.nonce,
    };
    notes
        .cost("accept launch", handle.accept_launch(claims))
        .await?;
    let kid = format!("key {round}");
    notes
        .cost("add key", lti.add_key(tool_key(kid.clone())?))
        .await?;
    notes.cost("signing key", lti.signing_key(&lms)).await?;
    notes.cost("list keys", lti.list_keys()).await?;
    notes
        .cost("retire key", lti.set_key_active(&kid, false))
        .await?;
    notes.cost("delete key", lti.delete_key(&kid)).await?;
    let uri = format!("{issuer}/jwks");
    notes
        .cost(
            "cache jwks",
            lti.cache_jwks(&uri, json!({ "keys": [] }), HOUR),
        )
        .await?;
    notes.cost("cached jwks", lti.cached_jwks(&uri)).await?;
    let token = AccessToken {
        token: Secret::new("t"),
        expires_at: store.now() + HOUR,
    };
    notes
        .cost("store token", lti.store_token(&lms, &["a"], token))
        .await?;
    notes.cost("get token", lti.get_token(&lms, &["a"])).await?;
    let page = PageRequest::new();
    notes
        .cost(
            "list registrations, a page",
            lti.list_registrations(None, &page),
        )
        .await?;
    notes
        .cost(
            "list deployments, a page",
            lti.list_deployments(&lms, &page),
        )
        .await?;
    notes
        .cost("delete deployment", lti.delete_deployment(&lms, "7"))
        .await?;
    notes
        .cost("delete registration", lti.delete_registration(issuer, "42"))
        .await?;
    Ok(())
}

async fn tenants(notes: &mut Notes<'_>, store: &Store, round: u32) -> CaseResult {
    notes.contract = "tenants";
    let tenants = Identity::new(store, &KeyRing::random()).tenants;
    let root = TenantPath::root(10 + u64::from(round));
    let child = root.child(1)?;
    notes
        .cost("create", tenants.create(Tenant::new(&root, "Root")))
        .await?;
    notes
        .cost(
            "create a child",
            tenants.create(Tenant::new(&child, "Child")),
        )
        .await?;
    notes.cost("get", tenants.get(&child)).await?;
    let rename = |tenant: &mut Tenant| {
        tenant.name = "Other".into();
        Ok(())
    };
    notes.cost("update", tenants.update(&child, rename)).await?;
    notes
        .cost("list, a page", tenants.list(&Listing::new()))
        .await?;
    notes
        .cost("children, a page", tenants.children(&root, &Listing::new()))
        .await?;
    notes.cost("ancestors", tenants.ancestors(&child)).await?;
    notes
        .cost("effective quotas", tenants.effective_quotas(&child))
        .await?;
    notes.cost("usage", tenants.usage(&child)).await?;
    notes
        .cost(
            "usage with descendants",
            tenants.usage_with_descendants(&root),
        )
        .await?;
    notes.cost("delete", tenants.delete(&child)).await?;
    Ok(())
}

async fn iam(notes: &mut Notes<'_>, store: &Store, round: u32) -> CaseResult {
    notes.contract = "iam";
    let identity = Identity::new(store, &KeyRing::random());
    let tenant = TenantPath::root(20 + u64::from(round));
    identity.tenants.create(Tenant::new(&tenant, "T")).await?;
    let iam = identity.iam.tenant(&tenant);
    let (users, groups, policies) = (iam.users(), iam.groups(), iam.policies());
    notes
        .cost(
            "create user, the first of all",
            users.create(User::new("ada")),
        )
        .await?;
    notes
        .cost("create group", groups.create(Group::new("g")))
        .await?;
    let another = User::new("bob");
    notes.cost("create user", users.create(another)).await?;
    let policy = Policy::new("p", "{}");
    let policy = notes.note("create policy", policies.create(policy)).await?;
    let (ada, eve, group) = (iam.user("ada"), iam.user("eve"), iam.group("g"));
    notes.cost("get user", ada.get()).await?;
    let found = users.get("ada").await?.ok_or("it was created")?;
    notes
        .cost("get user by id", users.get_by_id(&found.id))
        .await?;
    notes.cost("update user", ada.update(|_| Ok(()))).await?;
    notes.cost("tag user", ada.tag([("a", "b")])).await?;
    notes.cost("rename user", ada.rename("eve")).await?;
    notes
        .cost("attach policy", eve.attach_policy(policy.arn()))
        .await?;
    let page = PageRequest::default();
    notes
        .cost("attached policies, a page", eve.attached_policies(&page))
        .await?;
    notes
        .cost("put inline policy", eve.put_inline_policy("i", "{}"))
        .await?;
    notes
        .cost("get inline policy", eve.inline_policy("i"))
        .await?;
    notes.cost("add member", group.add_member("eve")).await?;
    notes
        .cost("groups of a user, a page", eve.groups(&page))
        .await?;
    notes.cost("members, a page", group.members(&page)).await?;
    notes
        .cost("remove member", group.remove_member("eve"))
        .await?;
    notes
        .cost("delete inline policy", eve.delete_inline_policy("i"))
        .await?;
    notes
        .cost("detach policy", eve.detach_policy(policy.arn()))
        .await?;
    notes
        .cost("policy by arn", policies.by_arn(policy.arn()))
        .await?;
    notes
        .cost("list users, a page", users.list(&Listing::new()))
        .await?;
    notes.cost("delete user", eve.delete()).await?;
    deletions(notes, &identity.iam, &tenant).await
}

/// Access keys, and deletions of principals that own other entities.
async fn deletions(notes: &mut Notes<'_>, iam: &Iam, tenant: &TenantPath) -> CaseResult {
    let acme = iam.tenant(tenant);
    let keys = acme.access_keys_of("bob")?;
    let (key, secret) = notes.note("create access key", keys.create()).await?;
    notes
        .cost(
            "authenticate",
            iam.authenticate(key.access_key_id(), &secret),
        )
        .await?;
    let bob = acme.user("bob");
    bob.attach_policy(acme.policy("p").get().await?.ok_or("it was created")?.arn())
        .await?;
    bob.put_inline_policy("i", "{}").await?;
    acme.group("g").add_member("bob").await?;
    notes
        .cost("delete user with one of each", bob.delete())
        .await?;

    acme.users().create(User::new("full")).await?;
    let full = acme.user("full");
    for i in 0..20 {
        let policy = Policy::new(format!("p{i}"), "{}");
        let policy = acme.policies().create(policy).await?;
        full.attach_policy(policy.arn()).await?;
    }
    for i in 0..50 {
        full.put_inline_policy(format!("i{i}"), "{}").await?;
    }
    notes
        .cost(
            "delete user with 20 attached and 50 inline policies",
            full.delete(),
        )
        .await?;

    for i in 0..100 {
        let name = format!("member {i}");
        acme.users().create(User::new(&name)).await?;
        acme.group("g").add_member(&name).await?;
    }
    notes
        .cost("delete group of 100", acme.group("g").delete())
        .await?;
    Ok(())
}
