//! An opened store is one store, however many handles are made from it.

use std::sync::Arc;
use std::time::Duration;

use store_core::api_keys::{ApiKeys, KeyData};
use store_core::blobs::{BlobRef, BlobStoreExt, PutOptions};
use store_core::iam::{Group, Identity, User};
use store_core::limits::{LimitKey, Quota, QuotaSet, Take};
use store_core::lti::{Deployment, LtiStore, NonceCheck, RecordLti};
use store_core::secret::KeyRing;
use store_core::tenants::{Tenant, TenantPath};
use store_core::{
    Batch, Body, Collection, ErrorKind, Expect, Partition, RecordKey, RecordStore, Result, Store,
};

use crate::faults::GivesUp;
use crate::harness::{Harness, Over};
use crate::suite::{Case, CaseResult, Suite};

type Given = Arc<dyn Harness<Store>>;

/// The suite over a backend.
pub fn over(backend: &Arc<Over>) -> Vec<Suite> {
    let harness = Arc::clone(backend.backend_harness());
    vec![Suite::new("store", harness, cases())]
}

/// The cases, for a harness of your own.
pub fn cases() -> Vec<Case<Store>> {
    vec![
        crate::case!(stores_made_from_one_opened_store_share_all_state, "59"),
        crate::case!(closing_any_part_closes_the_whole_store, "R10", "58", "59")
            .needs("close", |given| {
                Box::pin(a_store_without_close_stays_open(given))
            }),
        crate::case!(closing_one_opened_store_leaves_another_open, "R10"),
        crate::case!(a_commit_that_was_given_up_is_made_again, "7"),
    ]
}

/// What coalesces calls is part of the limits, so two handles can only coalesce
/// their work if their stores have the same limits.
async fn stores_made_from_one_opened_store_share_all_state(harness: Given) -> CaseResult {
    let opened = harness.open(()).await?;
    let (one, other) = (&opened.first, opened.convert());
    assert!(Arc::ptr_eq(one.records(), other.records()), "records");
    assert!(Arc::ptr_eq(one.blobs(), other.blobs()), "blobs");
    assert!(Arc::ptr_eq(one.limits(), other.limits()), "limits");
    Ok(())
}

async fn closing_any_part_closes_the_whole_store(harness: Given) -> CaseResult {
    for part in ["records", "blobs", "limits", "store"] {
        let opened = harness.open(()).await?;
        write(&opened.first).await?;
        let other = opened.convert();
        for _twice in 0..2 {
            match part {
                "records" => other.records().close().await?,
                "blobs" => other.blobs().close().await?,
                "limits" => other.limits().close().await?,
                _ => other.close().await?,
            }
        }
        for (store, which) in [(&*opened.first, "first"), (&other, "other")] {
            for (call, answer) in use_every_part(store).await? {
                let error = answer.err().ok_or(format!(
                    "{call} of the {which} handle after closing the {part}"
                ))?;
                assert_eq!(error.kind(), ErrorKind::Closed, "{part}, {call}: {error}");
            }
        }
    }
    Ok(())
}

async fn closing_one_opened_store_leaves_another_open(harness: Given) -> CaseResult {
    let (closed, open) = (harness.open(()).await?, harness.open(()).await?);
    closed.first.close().await?;
    write(&open.first).await?;
    for (call, answer) in use_every_part(&open.first).await? {
        answer.map_err(|error| format!("{call}: {error}"))?;
    }
    Ok(())
}

/// What is left of the promise where there is nothing to close.
async fn a_store_without_close_stays_open(harness: Given) -> CaseResult {
    let opened = harness.open(()).await?;
    opened.convert().close().await?;
    write(&opened.first).await?;
    Ok(())
}

fn record() -> Result<(Partition, RecordKey)> {
    let key = RecordKey::new(Collection::new("things"), "a")?;
    Ok((Partition::new("p")?, key))
}

async fn write(store: &Store) -> Result<()> {
    let (partition, key) = record()?;
    let mut batch = Batch::new(partition, store.now());
    batch.put(key, Expect::Any, Body::json(1)?)?;
    store.records().commit(&batch).await.map(drop)
}

/// One call of each part, and what it answered.
async fn use_every_part(store: &Store) -> Result<Vec<(&'static str, Result<()>)>> {
    let (partition, key) = record()?;
    let limits = store.limits();
    let quotas = QuotaSet::from(Quota::new(5, Duration::from_secs(60))?);
    let take = Take::new("k", &quotas, 1, limits.clock().now())?;
    let at = BlobRef::new("bucket", "key")?;
    Ok(vec![
        (
            "get",
            store.records().get(key.at(&partition)).await.map(drop),
        ),
        ("take", limits.take(&take).await.map(drop)),
        ("peek", limits.peek(LimitKey::new("k")?).await.map(drop)),
        ("stat", store.blobs().stat(at).await.map(drop)),
        ("delete", store.blobs().delete(at).await.map(drop)),
    ])
}

async fn a_commit_that_was_given_up_is_made_again(harness: Given) -> CaseResult {
    made_again(harness, |records| records).await
}

/// The case over the store that `above` makes of one that gives up commits.
pub(crate) async fn made_again(
    harness: Given,
    above: fn(Arc<dyn RecordStore>) -> Arc<dyn RecordStore>,
) -> CaseResult {
    let opened = harness.open(()).await?;
    let given_up = Arc::new(GivesUp::new(Arc::clone(opened.first.records())));
    let store = Store::new(above(Arc::clone(&given_up) as _));
    let ring = KeyRing::random();
    let api_keys = ApiKeys::new(&store, &ring);
    let (key, entry) = api_keys.issue(KeyData::new().with_tenant("acme")).await?;
    for label in ["a", "b"] {
        api_keys
            .update(entry.id(), |data| {
                data.label = Some(label.into());
                Ok(())
            })
            .await?;
    }
    api_keys.disable(&key).await?;
    api_keys.delete(&key).await?;

    let lti: RecordLti = RecordLti::new(&store, &ring);
    let platform = crate::cases::lti::fixtures::platform("https://lms.example.edu", "1")?;
    for _ in 0..3 {
        lti.upsert_registration(platform.clone()).await?;
        lti.upsert_deployment(&platform, Deployment::new("d")?)
            .await?;
    }
    lti.store_nonce("nonce", &platform).await?;
    let nonce = lti.validate_nonce("nonce", &platform).await?;
    assert_eq!(nonce, NonceCheck::Accepted);
    assert!(lti.delete_deployment(&platform, "d").await?);
    assert!(lti.delete_registration(platform.issuer(), "1").await?);

    let identity = Identity::new(&store, &ring);
    let tenant = TenantPath::root(1);
    identity.tenants.create(Tenant::new(&tenant, "one")).await?;
    let one = identity.iam.tenant(&tenant);
    one.groups().create(Group::new("g")).await?;
    for name in ["ada", "bob", "eve"] {
        one.users().create(User::new(name)).await?;
        one.group("g").add_member(name).await?;
        one.user(name).tag([("a", "b")]).await?;
        one.user(name).delete().await?;
    }

    let quotas = QuotaSet::from(Quota::per_second(1)?.with_burst(9)?);
    for left in (0..9).rev() {
        let take = Take::new("k", &quotas, 1, store.now())?;
        assert!(
            store.limits().take(&take).await?.is_allowed(),
            "{left} left"
        );
    }
    let object = BlobRef::new("bucket", "object")?;
    for content in ["first", "second", "third"] {
        let put = store.blobs().put(object, PutOptions::default(), content);
        put.await.map(drop)?;
    }
    let found = store.blobs().read(object, 100).await?;
    assert_eq!(found.ok_or("it was published")?.1, "third");
    let gave_up = given_up.gave_up();
    assert!(gave_up >= 20, "only {gave_up} commits were given up");
    Ok(())
}
