//! What calls cost, and what they store.

use store_core::{Batch, Body, ErrorKind, Expect, Store};
use store_dynamodb::DynamoDbStore;
use store_dynamodb::sdk::types::AttributeValue;

use crate::own::calls::*;
use crate::own::is_corrupt_in_every_read;
use crate::{End, Place, key, number, partition, tests, write};

tests![
    every_primitive_is_one_request,
    a_limit_is_deleted_by_one_request,
    there_is_nothing_to_sweep,
    more_keys_than_one_request_takes_are_requested_concurrently,
    the_applications_own_client_stays_usable,
    a_closed_store_is_closed_for_all_clones,
    a_stored_record_is_readable_text,
    a_foreign_item_is_corrupt_alone_and_among_others,
];

async fn more_keys_than_one_request_takes_are_requested_concurrently(place: Place) -> End {
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

async fn the_applications_own_client_stays_usable(place: Place) -> End {
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
    // The table `store` does not exist, which `connect` does not refuse.
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

async fn a_stored_record_is_readable_text(place: Place) -> End {
    let store = place.open().await?;
    let mut batch = Batch::new(partition(), store.now());
    batch.put(key("a"), Expect::Any, Body::replacement("text")?)?;
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
    let item = answer.item.ok_or("the record is not stored")?;
    assert_eq!(item["json"], text("\"text\""));
    assert_eq!(item["version"], text(&batch.version().to_string()));
    assert_eq!(item.len(), 4);
    Ok(())
}

async fn a_foreign_item_is_corrupt_alone_and_among_others(place: Place) -> End {
    let store = place.open().await?;
    write(&store, "a", 1).await?;
    let text = |text: &str| AttributeValue::S(text.into());
    let put = place.client().put_item().table_name(&place.table);
    let put = put.item("pk", text("r:p"));
    let put = put.item("sk", text("things:foreign"));
    put.item("json", text("1")).send().await?;
    is_corrupt_in_every_read(&store, "foreign").await
}
