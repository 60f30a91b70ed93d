//! How the standard implementation stores buckets as records.

use serde_json::{Value, json};
use store_core::limits::RecordLimits;
use store_core::{Batch, Body, Collection, Record, RecordStore, Scan};

use super::*;

pub(super) fn cases() -> Vec<Case<Store>> {
    vec![case!(
        fields_of_a_newer_release_survive_a_change_of_a_bucket,
        "5"
    )]
}

const BUCKETS: Collection = Collection::new("buckets");

/// The record of the only bucket.
async fn bucket(store: &Store) -> Result<Record> {
    let scan = Scan::collection(BUCKETS, "");
    let mut found = store.records().scan(&scan).await?.items;
    let bucket = found.pop().filter(|_| found.is_empty());
    bucket.ok_or_else(|| store_core::Error::not_found("there is no one bucket"))
}

/// Adds a field as a newer release would.
async fn add_field(records: &dyn RecordStore, bucket: &Record) -> CaseResult {
    let mut body = (*bucket.decode::<Value>()?).clone();
    body["later"] = json!({ "since": 1 });
    let mut batch = Batch::new(bucket.partition().clone(), records.clock().now());
    let body = Body::json(body)?;
    batch.put_until(bucket.key().clone(), bucket, body, bucket.expires_at())?;
    records.commit(&batch).await?;
    Ok(())
}

async fn fields_of_a_newer_release_survive_a_change_of_a_bucket(
    given: Arc<dyn Harness<Store>>,
) -> CaseResult {
    const TAKES: u32 = 12;
    let quotas = QuotaSet::new([quota(100).named("a")?, quota(100).named("b")?])?;
    let (one, other) = (
        QuotaSet::from(quotas[0].clone()),
        QuotaSet::from(quotas[1].clone()),
    );
    for coalescing in [false, true] {
        let opened = given.open(()).await?;
        let limits = RecordLimits::new(Arc::clone(opened.first.records()));
        let limits: Handle = match coalescing {
            true => Arc::new(limits.coalescing()),
            false => Arc::new(limits),
        };
        assert!(allows(&limits, "k", &quotas, 1).await?);
        add_field(&**opened.second.records(), &bucket(&opened.second).await?).await?;
        // Concurrent takes of a coalescing handle are written in groups.
        let mut takes = tokio::task::JoinSet::new();
        for _ in 0..TAKES {
            let (limits, quotas) = (Arc::clone(&limits), quotas.clone());
            takes.spawn(async move { allows(&limits, "k", &quotas, 1).await });
        }
        for allowed in takes.join_all().await {
            assert!(allowed?);
        }
        limits.reset(key("k"), &one).await?;
        let stored = bucket(&opened.second).await?;
        let body = stored.decode::<Value>()?;
        assert_eq!(
            body["later"],
            json!({ "since": 1 }),
            "coalescing: {coalescing}"
        );
        assert_eq!(drain(&limits, "k", &one, 200).await?, 100);
        assert_eq!(drain(&limits, "k", &other, 200).await?, 100 - 1 - TAKES);
    }
    Ok(())
}
