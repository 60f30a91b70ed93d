//! Opening a store by its URL.

use store_core::ErrorKind;
use store_core::open::Registry;

use crate::{End, Place, number, tests, write};

tests![
    a_registry_opens_a_store_by_its_url,
    a_sentinel_url_is_refused_and_says_what_to_do,
];

async fn a_registry_opens_a_store_by_its_url(place: Place) -> End {
    write(&place.open().await?, "a", 1).await?;
    let registry = Registry::new()
        .with(store_memory::OPENER)
        .with(store_redis::OPENER);
    let url = format!("{}?namespace={}", place.url, place.namespace);
    assert_eq!(number(&registry.open(&url).await?, "a").await?, Some(1));
    let opened = registry.open(&format!("{url}&zone=hunter2")).await;
    let error = opened.expect_err("there is no such option");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.message().contains("`zone`"), "{error}");
    assert!(!format!("{error:?} {error}").contains("hunter2"));
    Ok(())
}

async fn a_sentinel_url_is_refused_and_says_what_to_do(place: Place) -> End {
    for url in ["redis+sentinel://h:26379/main", "rediss+sentinel://h/main"] {
        let opened = place.builder().url(url).connect().await;
        let error = opened.expect_err("Sentinel is not supported");
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.message().contains("Sentinel"), "{error}");
    }
    Ok(())
}
