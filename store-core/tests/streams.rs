//! Every list can be read as a stream that follows its cursors.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use store_core::api_keys::{ApiKeys, KeyData, ListKeys};
use store_core::blobs::{BlobList, BlobMetadata, BlobRef, BlobStoreExt};
use store_core::entity::Listing;
use store_core::iam::{Group, Identity, Policy, User};
use store_core::lti::{Deployment, LtiStore, LtiStoreExt, RecordLti, Registration};
use store_core::secret::KeyRing;
use store_core::tenants::Tenant;
use store_core::{Body, Collection, Expect, Items, PageRequest, Partition, RecordKey, Scan, Store};
use store_memory::MemoryStore;

type Outcome = Result<(), Box<dyn std::error::Error>>;

async fn names<T>(mut items: Items<'_, T>, name: impl Fn(T) -> String) -> Vec<String> {
    let mut names = Vec::new();
    while let Some(item) = items.next().await {
        names.push(name(item.unwrap()));
    }
    names
}

fn in_twos() -> PageRequest {
    PageRequest::new().limit(2).unwrap()
}

fn numbered(prefix: &str) -> Vec<String> {
    (0..5).map(|number| format!("{prefix}{number}")).collect()
}

#[tokio::test]
async fn a_stream_of_records_yields_every_page() -> Outcome {
    let store = Store::from(MemoryStore::new());
    let (things, partition) = (Collection::new("things"), Partition::new("p")?);
    let mut batch = store.batch(&partition);
    for id in numbered("r") {
        batch.put(RecordKey::new(things, id)?, Expect::Absent, Body::json(1)?)?;
    }
    store.commit(&batch).await?;
    let scan = Scan::partition(things, partition).limit(2)?;
    let all = names(store.scan_stream(scan.clone()), |r| r.id().to_owned()).await;
    assert_eq!(all, numbered("r"));
    let next = store.scan(&scan).await?.next.expect("there are five");
    let rest = names(store.scan_stream(scan.after(&next)?), |r| r.id().to_owned()).await;
    assert_eq!(
        rest,
        numbered("r")[2..],
        "the stream begins with the page that the scan requests"
    );
    Ok(())
}

#[tokio::test]
async fn streams_of_api_keys_and_objects_yield_every_page() -> Outcome {
    let store = Store::from(MemoryStore::new());
    let keys = ApiKeys::new(&store, &KeyRing::generate());
    let mut issued = BTreeSet::new();
    for key in numbered("k") {
        let mut data = KeyData::new();
        data.tenant = Some("acme".into());
        issued.insert(keys.issue(data).await?.1.id().to_string());
        let at = BlobRef::new("bucket", &key)?;
        let put = store.blobs().put(at, BlobMetadata::default(), "content");
        put.await?.published()?;
    }
    let query = ListKeys::of_tenant("acme").page(in_twos());
    let listed = names(keys.list_stream(query), |key| key.id().to_string()).await;
    assert_eq!(listed.len(), 5);
    assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), issued);
    let objects = store
        .blobs()
        .list_stream(BlobList::new("bucket")?.page(in_twos()));
    assert_eq!(names(objects, |entry| entry.key).await, numbered("k"));
    Ok(())
}

#[tokio::test]
async fn streams_of_identities_yield_every_page() -> Outcome {
    let identity = Identity::new(MemoryStore::new(), &KeyRing::generate());
    let root = "1".parse()?;
    identity.tenants.create(Tenant::new(&root, "root")).await?;
    for child in 1..=5 {
        let path = format!("1/{child}").parse()?;
        identity.tenants.create(Tenant::new(&path, "child")).await?;
    }
    let listing = || Listing::new().page(in_twos());
    let id = |tenant: std::sync::Arc<Tenant>| tenant.id.to_string();
    let tenants = &identity.tenants;
    assert_eq!(names(tenants.list_stream(listing()), id).await.len(), 6);
    for stream in [
        tenants.children_stream(&root, listing()),
        tenants.descendants_stream(&root, listing()),
    ] {
        assert_eq!(names(stream, id).await.len(), 5);
    }
    let one = identity.iam.tenant(&root);
    let (user, group) = (one.user("u0"), one.group("g0"));
    for number in 0..5 {
        one.users().create(User::new(format!("u{number}"))).await?;
        one.groups()
            .create(Group::new(format!("g{number}")))
            .await?;
        let policy = Policy::new(format!("p{number}"), "{}");
        let policy = one.policies().create(policy).await?;
        user.attach_policy(policy.arn()).await?;
        user.put_inline_policy(format!("i{number}"), "{}").await?;
    }
    for number in 0..5 {
        group.add_member(&format!("u{number}")).await?;
        one.group(&format!("g{number}")).add_member("u0").await?;
    }
    let users = one.users();
    let users = names(
        users.list_stream(listing_of()),
        |user: std::sync::Arc<User>| user.name.clone(),
    );
    assert_eq!(users.await, numbered("u"));
    let attached = user.attached_policies_stream(in_twos());
    assert_eq!(
        names(attached, |policy| policy.policy_name).await,
        numbered("p")
    );
    let inline = user.inline_policies_stream(in_twos());
    assert_eq!(names(inline, |name| name).await, numbered("i"));
    assert_eq!(
        names(user.groups_stream(in_twos()), |g| g.name.clone())
            .await
            .len(),
        5
    );
    assert_eq!(
        names(group.members_stream(in_twos()), |u| u.name.clone())
            .await
            .len(),
        5
    );
    Ok(())
}

fn listing_of() -> Listing<User> {
    Listing::new().page(in_twos())
}

#[tokio::test]
async fn streams_of_lti_registrations_and_deployments_yield_every_page() -> Outcome {
    let lti: RecordLti = RecordLti::new(MemoryStore::new(), &KeyRing::generate());
    let issuer = "https://lms.example.edu";
    for client in numbered("c") {
        lti.upsert_registration(Registration::from_json(&format!(
            r#"{{ "issuer": "{issuer}", "client_id": "{client}",
                  "auth_endpoint": "{issuer}/auth", "jwks_uri": "{issuer}/jwks" }}"#
        ))?)
        .await?;
    }
    let first = lti
        .get_registration(issuer, Some("c0"))
        .await?
        .expect("stored");
    for id in numbered("d") {
        lti.upsert_deployment(&first, Deployment::new(id)?).await?;
    }
    let clients = lti.list_registrations_stream(Some(issuer), in_twos());
    assert_eq!(
        names(clients, |r| r.client_id().to_owned()).await,
        numbered("c")
    );
    let deployments = lti.list_deployments_stream(&first, in_twos());
    assert_eq!(
        names(deployments, |d| d.deployment_id().to_owned()).await,
        numbered("d")
    );
    Ok(())
}
