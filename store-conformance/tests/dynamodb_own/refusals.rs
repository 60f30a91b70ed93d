//! What DynamoDB refuses: conflicts, throttling, missing rights. Servers in a test never
//! throttle, so most of these answers are injected.

use store_core::limits::{Quota, QuotaSet, Take};
use store_core::{Batch, Body, Error, ErrorKind, Expect, Partition, Retry, Store, Version};

use crate::inject::{Answer, Inject};
use crate::{End, Failure, Place, key, number, partition, put, tests, write};

tests![
    each_refused_item_is_named_with_its_current_record,
    a_transaction_that_conflicts_with_another_is_sent_again,
    transactions_that_conflict_every_time_are_contended,
    a_failed_condition_beside_a_conflict_is_evaluated_again,
    a_throttled_write_is_sent_again,
    a_write_that_is_always_throttled_did_not_happen,
    a_throttled_take_is_not_sent_again,
    a_server_that_fails_leaves_a_write_ambiguous,
    reads_are_sent_again,
    refused_credentials_and_missing_rights_are_different_errors,
    the_applications_own_client_sends_no_write_twice,
];

const CONFLICT: &str = "TransactionConflict";
const THROTTLED: &str = "ProvisionedThroughputExceededException";

/// A transaction of two puts.
fn two(store: &Store, number: u64) -> Result<Batch, Error> {
    let mut batch = put(store, "a", Expect::Any, number)?;
    batch.put(key("b"), Expect::Any, Body::json(number)?)?;
    Ok(batch)
}

/// The error of the commit, which shows no message of the server's.
async fn fails(store: &Store, batch: &Batch) -> Error {
    let answer = store.records().commit(batch).await;
    let error = answer.expect_err("it was refused");
    assert!(
        !format!("{error:?} {error}").contains("hunter2"),
        "{error:?}"
    );
    error
}

async fn each_refused_item_is_named_with_its_current_record(place: Place) -> End {
    let store = place.open().await?;
    write(&store, "here", 7).await?;
    let here = store.records().get(key("here").at(&partition())).await?;
    let here = here.ok_or("just written")?;
    let mut batch = Batch::new(partition(), store.now());
    batch.check(key("0"), Expect::Any)?;
    batch.check(key("1"), Expect::Absent)?;
    batch.put(key("here"), Expect::Absent, Body::json(1)?)?;
    batch.put(key("3"), Expect::Any, Body::json(1)?)?;
    batch.delete(key("4"), Expect::Version(Version::unique()))?;
    batch.check(key("5"), Expect::Present)?;
    let error = fails(&store, &batch).await;
    let conflict = error.conflict().ok_or("it is a conflict")?;
    let failed: Vec<_> = conflict
        .failed()
        .iter()
        .map(|item| (item.index(), item.current().map(|record| record.version())))
        .collect();
    assert_eq!(failed, [(2, Some(here.version())), (4, None), (5, None)]);
    assert_eq!(number(&store, "3").await?, None);
    Ok(())
}

async fn a_transaction_that_conflicts_with_another_is_sent_again(place: Place) -> End {
    let (store, inject) = place.watched().await?;
    inject.script([
        Answer::cancelled(&["None", CONFLICT]),
        Answer::code(400, "TransactionInProgressException"),
        Answer::cancelled(&[CONFLICT, CONFLICT]),
    ]);
    store.records().commit(&two(&store, 1)?).await?;
    assert_eq!((inject.requests(), inject.left()), (4, 0));
    assert_eq!(number(&store, "a").await?, Some(1));
    // A single write can conflict with a transaction too.
    inject.script([Answer::code(400, "TransactionConflictException")]);
    inject.requests();
    write(&store, "a", 2).await?;
    assert_eq!(inject.requests(), 2);
    assert_eq!(number(&store, "a").await?, Some(2));
    Ok(())
}

async fn transactions_that_conflict_every_time_are_contended(place: Place) -> End {
    let (store, inject) = place.watched().await?;
    inject.script(vec![Answer::cancelled(&[CONFLICT, "None"]); 12]);
    let error = fails(&store, &two(&store, 1)?).await;
    assert_eq!(
        (error.kind(), error.retry()),
        (ErrorKind::Contended, Retry::Safe)
    );
    assert_eq!((inject.requests(), inject.left()), (12, 0));
    assert_eq!(number(&store, "a").await?, None);
    Ok(())
}

/// The server may not have evaluated all conditions.
async fn a_failed_condition_beside_a_conflict_is_evaluated_again(place: Place) -> End {
    let (store, inject) = place.watched().await?;
    write(&store, "a", 1).await?;
    write(&store, "b", 1).await?;
    let mut batch = Batch::new(partition(), store.now());
    for id in ["a", "b"] {
        batch.put(key(id), Expect::Absent, Body::json(2)?)?;
    }
    inject.script([Answer::cancelled(&["ConditionalCheckFailed", CONFLICT])]);
    let error = fails(&store, &batch).await;
    let conflict = error.conflict().ok_or("it is a conflict")?;
    assert_eq!(conflict.failed().len(), 2);
    assert!(
        conflict
            .failed()
            .iter()
            .all(|item| item.current().is_some())
    );
    Ok(())
}

async fn a_throttled_write_is_sent_again(place: Place) -> End {
    let (store, inject) = place.watched().await?;
    for code in [THROTTLED, "ThrottlingException", "RequestLimitExceeded"] {
        inject.requests();
        inject.script([Answer::code(400, code)]);
        write(&store, "a", 1).await?;
        assert_eq!(inject.requests(), 2, "{code}");
    }
    inject.script([Answer::cancelled(&["ThrottlingError", "None"])]);
    inject.requests();
    store.records().commit(&two(&store, 1)?).await?;
    assert_eq!(inject.requests(), 2);
    Ok(())
}

async fn a_write_that_is_always_throttled_did_not_happen(place: Place) -> End {
    let (store, inject) = place.watched().await?;
    inject.script(vec![Answer::code(400, THROTTLED); 12]);
    let error = fails(&store, &put(&store, "a", Expect::Any, 1)?).await;
    assert_eq!(
        (error.kind(), error.retry()),
        (ErrorKind::Unavailable, Retry::Safe)
    );
    assert_eq!(inject.left(), 0);
    assert_eq!(number(&store, "a").await?, None);
    Ok(())
}

async fn a_throttled_take_is_not_sent_again(place: Place) -> End {
    let (store, inject) = place.watched().await?;
    let quotas = QuotaSet::from(Quota::per_second(1)?);
    let take = Take::new("k", &quotas, 1, store.now())?;
    for (status, code, retry) in [
        (400, THROTTLED, Retry::Safe),
        (400, "TransactionConflictException", Retry::Safe),
        (500, "InternalServerError", Retry::Ambiguous),
    ] {
        inject.requests();
        inject.script([Answer::code(status, code)]);
        let refused = store.limits().take(&take).await;
        assert_eq!(refused.expect_err(code).retry(), retry, "{code}");
        assert_eq!(inject.requests(), 1, "{code}");
    }
    assert!(store.limits().take(&take).await?.is_allowed());
    Ok(())
}

async fn a_server_that_fails_leaves_a_write_ambiguous(place: Place) -> End {
    let (store, inject) = place.watched().await?;
    for (status, code) in [(500, "InternalServerError"), (503, "ServiceUnavailable")] {
        inject.script([Answer::code(status, code)]);
        let error = fails(&store, &put(&store, "a", Expect::Any, 1)?).await;
        assert_eq!(
            (error.kind(), error.retry()),
            (ErrorKind::Unavailable, Retry::Ambiguous),
            "{code}"
        );
    }
    // A write that cannot apply twice is sent again.
    write(&store, "a", 1).await?;
    let found = store.records().get(key("a").at(&partition())).await?;
    let found = found.ok_or("just written")?;
    inject.script([Answer::code(500, "InternalServerError")]);
    store
        .records()
        .commit(&put(&store, "a", &found, 2)?)
        .await?;
    assert_eq!(number(&store, "a").await?, Some(2));
    Ok(())
}

async fn reads_are_sent_again(place: Place) -> End {
    let (store, inject) = place.watched().await?;
    write(&store, "a", 1).await?;
    for (status, code) in [(400, THROTTLED), (500, "InternalServerError")] {
        inject.requests();
        inject.script([Answer::code(status, code)]);
        assert_eq!(number(&store, "a").await?, Some(1), "{code}");
        assert_eq!(inject.requests(), 2, "{code}");
    }
    Ok(())
}

async fn refused_credentials_and_missing_rights_are_different_errors(place: Place) -> End {
    let (store, inject) = place.watched().await?;
    for (code, kind) in [
        ("AccessDeniedException", ErrorKind::PermissionDenied),
        ("UnrecognizedClientException", ErrorKind::Unauthenticated),
        ("ExpiredTokenException", ErrorKind::Unauthenticated),
        ("ResourceNotFoundException", ErrorKind::Config),
        ("ValidationException", ErrorKind::Config),
    ] {
        let batch = put(&store, "a", Expect::Any, 1)?;
        inject.script([Answer::code(400, code)]);
        let error = fails(&store, &batch).await;
        assert_eq!(
            (error.kind(), error.retry()),
            (kind, Retry::Never),
            "{code}"
        );
        inject.script([Answer::code(400, code)]);
        let at = Partition::new("p")?;
        let refused = store.records().get(key("a").at(&at)).await;
        assert_eq!(refused.expect_err(code).kind(), kind, "{code}");
    }
    inject.script([Answer::cancelled(&["AccessDenied", "None"])]);
    let error = fails(&store, &two(&store, 1)?).await;
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    Ok(())
}

/// Whatever retries it is configured with.
async fn the_applications_own_client_sends_no_write_twice(place: Place) -> End {
    use store_dynamodb::sdk::config::retry::RetryConfig;
    place.open().await?;
    let inject = Inject::default();
    let eager = place
        .config()
        .retry_config(RetryConfig::standard().with_max_attempts(9))
        .interceptor(inject.clone())
        .build();
    let client = store_dynamodb::sdk::Client::from_conf(eager);
    let store: Store = place.builder().client(client).connect().await?.into();
    inject.requests();
    let quotas = QuotaSet::from(Quota::per_second(1)?);
    let take = Take::new("k", &quotas, 1, store.now())?;
    inject.script([Answer::code(500, "InternalServerError")]);
    store.limits().take(&take).await.expect_err("it failed");
    assert_eq!(inject.requests(), 1);
    Ok::<(), Failure>(())
}
