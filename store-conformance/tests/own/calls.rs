//! The requests of calls, on backends where each primitive is one request.

use std::time::Duration;

use store_core::limits::{LimitKey, Quota, QuotaSet, Take};
use store_core::{Batch, Body, Change, Expect, Partition, Result, Scan};

use super::faults::Wired;
use super::{End, THINGS, key, other, partition, put, write};

/// Twice, because the state from the first round may make the second one cheaper, but
/// never more expensive.
pub(crate) async fn every_primitive_is_one_request(place: impl Wired) -> End {
    let (proxy, store) = place.behind(0).await?;
    let (records, partition) = (store.records(), partition());
    for round in 0..2 {
        proxy.requests();
        let mut counted = Vec::new();
        let mut count = |what: &'static str| counted.push((what, proxy.requests()));
        write(&store, "a", 1).await?;
        count("put");
        records
            .commit(&put(&store, "a", Expect::Present, 2)?)
            .await?;
        count("put of a present one");
        let refused = records.commit(&put(&store, "a", Expect::Absent, 3)?).await;
        assert!(refused.is_err());
        count("conflict");
        let mut check = Batch::new(partition.clone(), store.now());
        check.check(key("a"), Expect::Present)?;
        records.commit(&check).await?;
        count("check");
        let mut delete = Batch::new(partition.clone(), store.now());
        delete.item(key("absent"), Expect::Absent, Change::Delete)?;
        records.commit(&delete).await?;
        count("delete");
        let mut hundred = Batch::new(partition.clone(), store.now());
        for i in 0..50 {
            let id = format!("{round}-{i:03}");
            hundred.put(key(&id), Expect::Absent, Body::json(i)?)?;
            hundred.check(other(&id), Expect::Absent)?;
        }
        records.commit(&hundred).await?;
        count("commit of 100 in two collections");
        records.get(key("a").at(&partition)).await?;
        count("get");
        let (a, b, elsewhere) = (key("a"), other("b"), Partition::new("elsewhere")?);
        let at = [
            a.at(&partition),
            b.at(&partition),
            a.at(&elsewhere),
            a.at(&partition),
        ];
        records.get_many(&at).await?;
        count("get_many over two collections and two partitions");
        let scan = Scan::partition(THINGS, partition.clone()).limit(10)?;
        let page = records.scan(&scan).await?;
        count("page");
        records
            .scan(&scan.after(&page.next.ok_or("there are fifty")?)?)
            .await?;
        count("next page");
        for (what, quotas) in [("take", quotas(1)?), ("take of two quotas", quotas(2)?)] {
            let own = format!("{what} {round}");
            for attempt in ["allowed", "denied"] {
                let take = Take::new(&own, &quotas, 1, store.now())?;
                let decision = store.limits().take(&take).await?;
                assert_eq!(decision.is_allowed(), attempt == "allowed");
                count(what);
            }
            store.limits().peek(LimitKey::new(&own)?).await?;
            count("peek");
        }
        records.ping().await?;
        count("ping");
        records
            .commit(&Batch::new(partition.clone(), store.now()))
            .await?;
        records.get_many(&[]).await?;
        assert_eq!(proxy.requests(), 0, "there is nothing to do");
        for (what, requests) in counted {
            assert_eq!(requests, 1, "{what}");
        }
    }
    Ok(())
}

/// On backends where it is not a read and a write.
pub(crate) async fn a_limit_is_deleted_by_one_request(place: impl Wired) -> End {
    let (proxy, store) = place.behind(0).await?;
    let key = LimitKey::new("k")?;
    for _ in 0..2 {
        let quotas = quotas(1)?;
        let take = Take::new(key.as_str(), &quotas, 1, store.now())?;
        assert!(store.limits().take(&take).await?.is_allowed());
        proxy.requests();
        store.limits().delete(key).await?;
        assert_eq!(proxy.requests(), 1);
    }
    Ok(())
}

/// On backends whose server removes what has expired.
pub(crate) async fn there_is_nothing_to_sweep(place: impl Wired) -> End {
    let (proxy, store) = place.behind(0).await?;
    proxy.requests();
    store.records().sweep(Duration::ZERO).await?;
    assert_eq!(proxy.requests(), 0);
    Ok(())
}

/// This many quotas of one token each.
fn quotas(count: u32) -> Result<QuotaSet> {
    let quota = |i| Quota::per_second(1)?.named(format!("q{i}"));
    QuotaSet::new((0..count).map(quota).collect::<Result<Vec<_>>>()?)
}
