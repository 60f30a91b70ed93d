//! Creating the table, and refusing another one.

use store_conformance::cases::records::change_stored_flags;
use store_conformance::servers::dynamodb;
use store_core::open::Registry;
use store_core::{ErrorKind, Store};
use store_dynamodb::sdk::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
    TimeToLiveSpecification,
};
use tokio::task::JoinSet;

use crate::inject::Answer;
use crate::{End, Place, number, tests, write};

tests![
    many_processes_may_run_setup_at_the_same_time,
    setup_leaves_records_as_they_are,
    a_table_of_another_shape_is_refused_with_what_differs,
    a_table_that_removes_by_another_attribute_is_refused,
    backups_are_turned_on_if_asked_for,
    a_missing_table_is_reported_with_advice,
    a_registry_opens_a_table_by_its_url,
    without_the_right_to_describe_the_table_the_store_opens,
    flags_that_differ_from_those_set_up_are_refused,
];

async fn flags_that_differ_from_those_set_up_are_refused(place: Place) -> End {
    let opened = place.builder().connect().await?;
    opened.setup().await?;
    let store = Store::from(&opened);
    change_stored_flags(&**store.records(), "api_keys", "cacheable").await?;
    let error = opened.setup().await.expect_err("its flags differ");
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(error.message().contains("`api_keys`"), "{error}");
    Ok(())
}

async fn many_processes_may_run_setup_at_the_same_time(place: Place) -> End {
    let mut all = JoinSet::new();
    for _ in 0..8 {
        let place = place.clone();
        all.spawn(async move { place.open().await });
    }
    while let Some(opened) = all.join_next().await {
        write(&opened??, "a", 1).await?;
    }
    let expiry = place.client().describe_time_to_live();
    let expiry = expiry.table_name(&place.table).send().await?;
    let expiry = expiry.time_to_live_description.ok_or("no description")?;
    assert_eq!(expiry.attribute_name(), Some("remove_at"));
    let table = place.client().describe_table().table_name(&place.table);
    let table = table.send().await?.table.ok_or("no description")?;
    let billing = table.billing_mode_summary().and_then(|b| b.billing_mode());
    assert_eq!(billing, Some(&BillingMode::PayPerRequest));
    Ok(())
}

async fn setup_leaves_records_as_they_are(place: Place) -> End {
    let store = place.open().await?;
    write(&store, "a", 1).await?;
    place.open().await?;
    assert_eq!(number(&store, "a").await?, Some(1));
    Ok(())
}

/// Creates the table with these attributes as its key.
async fn create(place: &Place, keys: &[(&str, KeyType, ScalarAttributeType)]) -> End {
    let client = place.client();
    let mut request = client
        .create_table()
        .table_name(&place.table)
        .billing_mode(BillingMode::PayPerRequest);
    for (name, place, kind) in keys {
        let key = KeySchemaElement::builder().attribute_name(*name);
        let attribute = AttributeDefinition::builder().attribute_name(*name);
        request = request
            .key_schema(key.key_type(place.clone()).build()?)
            .attribute_definitions(attribute.attribute_type(kind.clone()).build()?);
    }
    request.send().await?;
    Ok(())
}

async fn a_table_of_another_shape_is_refused_with_what_differs(place: Place) -> End {
    use {KeyType::*, ScalarAttributeType::*};
    let shapes: [(&[_], &str); 3] = [
        (&[("pk", Hash, S)], "partition key `pk` of type S,"),
        (
            &[("pk", Hash, S), ("sk", Range, N)],
            "sort key `sk` of type N,",
        ),
        (
            &[("id", Hash, B), ("sk", Range, S)],
            "partition key `id` of type B and sort key `sk` of type S,",
        ),
    ];
    for (shape, said) in shapes {
        let place = Place::new(&place.endpoint);
        create(&place, shape).await?;
        let store = place.builder().connect().await?;
        let error = store.setup().await.expect_err("the shape differs");
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.message().contains(said), "{error}");
        assert!(error.message().contains(&place.table), "{error}");
    }
    Ok(())
}

async fn a_table_that_removes_by_another_attribute_is_refused(place: Place) -> End {
    use {KeyType::*, ScalarAttributeType::*};
    create(&place, &[("pk", Hash, S), ("sk", Range, S)]).await?;
    let removal = TimeToLiveSpecification::builder()
        .enabled(true)
        .attribute_name("expires");
    place
        .client()
        .update_time_to_live()
        .table_name(&place.table)
        .time_to_live_specification(removal.build()?)
        .send()
        .await?;
    let store = place.builder().connect().await?;
    let error = store.setup().await.expect_err("the attribute differs");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.message().contains("`expires`"), "{error}");
    Ok(())
}

/// A server in a test may not support backups; only the request is checked.
async fn backups_are_turned_on_if_asked_for(place: Place) -> End {
    let (_, inject) = place.watched().await?;
    let config = place.config().interceptor(inject.clone()).build();
    let client = store_dynamodb::sdk::Client::from_conf(config);
    let builder = place.builder().client(client);
    let plain = builder.clone().connect().await?;
    let asked = builder.point_in_time_recovery(true).connect().await?;
    const REQUEST: &str = "UpdateContinuousBackups";
    plain.setup().await?;
    assert_eq!(inject.operations(REQUEST), 0);
    let answer = asked.setup().await;
    assert_eq!(inject.operations(REQUEST), 1);
    if let Err(error) = answer {
        // The server does not support the request.
        assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
    }
    Ok(())
}

async fn a_missing_table_is_reported_with_advice(place: Place) -> End {
    let store = place.builder().connect().await?.into();
    let error = number(&store, "a")
        .await
        .expect_err("the table does not exist");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.message().contains("setup"), "{error}");
    Ok(())
}

async fn a_registry_opens_a_table_by_its_url(place: Place) -> End {
    write(&place.open().await?, "a", 1).await?;
    let registry = Registry::new()
        .with(store_memory::OPENER)
        .with(store_dynamodb::OPENER);
    let (id, region) = (dynamodb::KEY_ID, dynamodb::REGION);
    let (table, endpoint) = (&place.table, &place.endpoint);
    let url = format!("dynamodb://{id}:hunter2@{table}?region={region}&endpoint={endpoint}");
    assert_eq!(number(&registry.open(&url).await?, "a").await?, Some(1));
    let error = registry.open(&format!("{url}&zone=1")).await;
    let error = error.expect_err("it has no such option");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.message().contains("`zone`"), "{error}");
    assert!(!format!("{error:?} {error}").contains("hunter2"));
    Ok(())
}

async fn without_the_right_to_describe_the_table_the_store_opens(place: Place) -> End {
    let (store, inject) = place.watched().await?;
    write(&store, "a", 1).await?;
    inject.script([Answer::code(400, "AccessDeniedException")]);
    store.records().ping().await?;
    assert_eq!(inject.left(), 0);
    Ok(())
}
