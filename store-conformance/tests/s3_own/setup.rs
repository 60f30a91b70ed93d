//! Which servers are refused.

use std::sync::Arc;

use store_conformance::cases::records::change_stored_flags;
use store_core::{ErrorKind, Store};
use store_s3::S3Store;
use store_s3::object_store::ObjectStoreExt;
use store_s3::object_store::memory::InMemory;
use store_s3::object_store::path::Path;

use crate::drivers::{Client, Manner};
use crate::lax::Lax;
use crate::{End, Place, harness, tests, write};

tests![
    a_server_without_a_required_guarantee_is_refused_by_name,
    a_real_server_on_which_two_writes_win_is_refused_by_name,
    a_conflict_that_there_is_none_does_not_refuse_a_server,
    setup_runs_at_every_start_of_every_process,
    a_missing_bucket_is_an_error_and_never_an_absence,
    wrong_credentials_are_reported,
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

async fn a_server_without_a_required_guarantee_is_refused_by_name(_: Place) -> End {
    for (manner, why) in [
        (Manner::IgnoresCreate, "several puts with If-None-Match"),
        (Manner::IgnoresReplace, "several puts with If-Match"),
        (Manner::Races, "several puts with If-None-Match"),
        (
            Manner::ListsInNoOrder,
            "does not list new objects immediately and in order",
        ),
    ] {
        let bucket = Arc::new(InMemory::new());
        let client = Arc::new(Client::new(&bucket, manner, 0));
        let store = S3Store::from_object_store(client.clone()).await?;
        let error = store.setup().await.expect_err("it cannot keep a store");
        assert_eq!(error.kind(), ErrorKind::Config, "{manner:?}");
        assert!(error.message().contains(why), "{error}");
        assert!(error.message().contains(&client.to_string()), "{error}");
        // Opening it again reports the same.
        let error = S3Store::from_object_store(client).await;
        assert_eq!(error.expect_err("refused before").kind(), ErrorKind::Config);
    }
    Ok(())
}

async fn a_real_server_on_which_two_writes_win_is_refused_by_name(place: Place) -> End {
    let lax = Lax::start().await?;
    let store = place.builder_at(lax.url()).connect().await?;
    let error = store.setup().await.expect_err("it cannot keep a store");
    assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
    assert!(error.message().contains("several puts with If-"), "{error}");
    assert!(error.message().contains(lax.url()), "{error}");
    let error = place.builder_at(lax.url()).connect().await;
    assert_eq!(error.expect_err("refused before").kind(), ErrorKind::Config);
    Ok(())
}

async fn a_conflict_that_there_is_none_does_not_refuse_a_server(_: Place) -> End {
    for seed in 0..20 {
        let bucket = Arc::new(InMemory::new());
        let client = Arc::new(Client::new(&bucket, Manner::Conflicts, seed));
        let store = S3Store::from_object_store(client).await?;
        store.setup().await.map_err(|e| format!("{seed}: {e:?}"))?;
    }
    Ok(())
}

async fn setup_runs_at_every_start_of_every_process(place: Place) -> End {
    let starts = (0..4).map(|_| async {
        let store = place.builder().connect().await?;
        store.setup().await?;
        store.setup().await
    });
    for start in starts {
        start.await?;
    }
    let driver = harness::driver(&place.url).build()?;
    let marker = format!("{}/setup", place.prefix);
    let found = driver.get(&Path::from(marker)).await?.bytes().await?;
    let found = String::from_utf8(found.into())?;
    assert!(found.starts_with("{\"store\":1"), "{found}");
    let store = place.open().await?;
    write(&store, "a", 1).await?;
    let name = Path::parse(format!("{}/records/things/=p/=a", place.prefix))?;
    let found = driver.get(&name);
    let text = String::from_utf8(found.await?.bytes().await?.into())?;
    assert!(
        text.ends_with("}\n1") && text.contains("\"id\":\"a\""),
        "{text}"
    );
    Ok(())
}

async fn a_missing_bucket_is_an_error_and_never_an_absence(place: Place) -> End {
    let url = format!("s3://store-none?endpoint={}", place.url);
    let error = place.builder().url(url).connect().await;
    let error = error.expect_err("there is no such bucket");
    assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
    assert!(error.message().contains("no such bucket"), "{error}");
    Ok(())
}

async fn wrong_credentials_are_reported(place: Place) -> End {
    let builder = place.builder().credentials("unknown", "hunter2");
    let error = builder.connect().await.expect_err("an unknown key");
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
    assert!(!format!("{error:?} {error}").contains("hunter2"));
    Ok(())
}
