//! What calls cost, and what is left of them.

use std::time::Duration;

use store_conformance::core::limits::{LimitKey, Quota, Quotas, Take};
use store_conformance::core::{
    Batch, Body, Change, ErrorKind, Expect, Partition, Result, Scan, Store,
};
use store_dynamodb::DynamoDbStore;
use store_dynamodb::sdk::types::AttributeValue;

use crate::{End, Place, THINGS, key, number, other, partition, put, tests, write};

tests![
    every_primitive_is_one_request,
    more_keys_than_one_call_takes_are_asked_for_at_once,
    a_lent_client_works_still,
    a_closed_store_is_closed_for_all_clones,
    people_can_read_a_record,
];

async fn every_primitive_is_one_request(place: Place) -> End {
    let (store, inject) = place.watched().await?;
    let (records, partition) = (store.records(), partition());
    let mut counted = Vec::new();
    let mut count = |what: &'static str| counted.push((what, inject.requests()));
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
    delete.item(key("nobody"), Expect::Absent, Change::Delete)?;
    records.commit(&delete).await?;
    count("delete");
    let mut hundred = Batch::new(partition.clone(), store.now());
    for i in 0..50 {
        hundred.put(key(&format!("{i:03}")), Expect::Absent, Body::json(i)?)?;
        hundred.check(other(&format!("{i:03}")), Expect::Absent)?;
    }
    records.commit(&hundred).await?;
    count("commit of 100 in two collections");
    records.get(key("a").at(&partition)).await?;
    count("get");
    let (a, b) = (key("a"), other("b"));
    let elsewhere = Partition::new("elsewhere")?;
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
        for attempt in ["allowed", "denied"] {
            let take = Take::new(what, &quotas, 1, store.now())?;
            let decision = store.limits().take(&take).await?;
            assert_eq!(decision.is_allowed(), attempt == "allowed");
            count(what);
        }
    }
    store.limits().peek(LimitKey::new("take")?).await?;
    count("peek");
    store.limits().delete(LimitKey::new("take")?).await?;
    count("delete of a limit");
    records.ping().await?;
    count("ping");
    records.commit(&Batch::new(partition, store.now())).await?;
    records.get_many(&[]).await?;
    records.sweep(Duration::ZERO).await?;
    assert_eq!(inject.requests(), 0, "nothing is to do");
    for (what, requests) in counted {
        assert_eq!(requests, 1, "{what}");
    }
    Ok(())
}

/// So many, of one token each.
fn quotas(count: u32) -> Result<Quotas> {
    let quota = |i| Quota::per_second(1)?.named(format!("q{i}"));
    Quotas::new((0..count).map(quota).collect::<Result<Vec<_>>>()?)
}

async fn more_keys_than_one_call_takes_are_asked_for_at_once(place: Place) -> End {
    let (store, inject) = place.watched().await?;
    for i in 0..250 {
        write(&store, &format!("{i:03}"), i).await?;
    }
    let keys: Vec<_> = (0..300).map(|i| key(&format!("{i:03}"))).collect();
    let partition = partition();
    let at: Vec<_> = keys.iter().map(|key| key.at(&partition)).collect();
    inject.requests();
    let found = store.records().get_many(&at).await?;
    assert_eq!(inject.requests(), 3);
    for (i, record) in found.iter().enumerate() {
        let number = record.as_ref().map(|record| record.decode::<u64>());
        let number = number.transpose()?.map(|number| *number as usize);
        assert_eq!(number, (i < 250).then_some(i));
    }
    Ok(())
}

async fn a_lent_client_works_still(place: Place) -> End {
    place.open().await?;
    let client = place.client();
    let store = place.builder().client(client.clone()).connect().await?;
    store.close().await?;
    store.close().await?;
    let error = number(&Store::from(&store), "a").await.expect_err("closed");
    assert_eq!(error.kind(), ErrorKind::Closed);
    client
        .describe_table()
        .table_name(&place.table)
        .send()
        .await?;
    // Whatever table it names: another is made when it is set up.
    DynamoDbStore::from_client(client).await?;
    Ok(())
}

async fn a_closed_store_is_closed_for_all_clones(place: Place) -> End {
    let store = place.builder().connect().await?;
    let clone = store.clone();
    store.close().await?;
    for closed in [Store::from(&store), Store::from(&clone)] {
        let error = number(&closed, "a").await.expect_err("closed");
        assert_eq!(error.kind(), ErrorKind::Closed);
    }
    let error = clone.setup().await.expect_err("closed");
    assert_eq!(error.kind(), ErrorKind::Closed);
    Ok(())
}

async fn people_can_read_a_record(place: Place) -> End {
    let store = place.open().await?;
    let mut batch = Batch::new(partition(), store.now());
    batch.put(key("a"), Expect::Any, Body::json("text")?)?;
    store.records().commit(&batch).await?;
    let text = |text: &str| AttributeValue::S(text.into());
    let answer = place
        .client()
        .get_item()
        .table_name(&place.table)
        .key("pk", text("r:p"))
        .key("sk", text("things:a"))
        .send()
        .await?;
    let item = answer.item.ok_or("it is not there")?;
    assert_eq!(item["json"], text("\"text\""));
    assert_eq!(item["version"], text(&batch.version().to_string()));
    assert_eq!(item.len(), 4);
    Ok(())
}
