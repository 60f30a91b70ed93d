//! Lost connections, servers that are gone, callers that give up.

use std::time::Duration;

use store_conformance::core::limits::{Quota, Quotas, Take};
use store_conformance::core::{Body, ErrorKind, Expect, Retry, Store};
use store_conformance::proxy::{self, Cut, Proxy};
use store_redis::RedisStore;

use crate::{End, Failure, Place, key, number, partition, put, tests, write};

tests![
    a_commit_whose_reply_was_lost_is_found,
    a_commit_that_may_apply_twice_is_ambiguous,
    a_commit_whose_request_was_lost_is_sent_again,
    a_take_whose_reply_was_lost_is_ambiguous_and_not_sent_again,
    an_outage_is_an_error_and_never_an_absence,
    a_server_that_is_not_there_is_unavailable,
    a_dropped_call_mixes_no_answers_up,
];

/// A store behind a line that can be cut; it has asked once.
pub(crate) async fn behind(place: &Place, seed: u64) -> Result<(Proxy, Store), Failure> {
    let proxy = Proxy::start(place.address(), Some(proxy::redis), seed).await?;
    let url = format!("redis://{}", proxy.address());
    let store = Store::from(place.builder().url(url).connect().await?);
    // The scripts are there, so each commit is one request.
    write(&store, "warm", 0).await?;
    Ok((proxy, store))
}

async fn a_commit_whose_reply_was_lost_is_found(place: Place) -> End {
    let (proxy, store) = behind(&place, 0).await?;
    for cut in [Cut::BeforeReply, Cut::InReply] {
        for (id, expect) in [("a", Expect::Any), ("b", Expect::Any)] {
            proxy.script([cut]);
            // It landed, and carries its own version.
            store.records().commit(&put(&store, id, expect, 1)?).await?;
            assert_eq!(number(&store, id).await?, Some(1));
        }
        let mut two = put(&store, "a", Expect::Present, 2)?;
        two.check(key("b"), Expect::Present)?;
        proxy.script([cut]);
        store.records().commit(&two).await?;
        assert_eq!(number(&store, "a").await?, Some(2));
    }
    Ok(())
}

async fn a_commit_that_may_apply_twice_is_ambiguous(place: Place) -> End {
    let (proxy, store) = behind(&place, 0).await?;
    for cut in [Cut::BeforeRequest, Cut::InRequest] {
        proxy.script([cut]);
        let batch = put(&store, "a", Expect::Any, 1)?;
        let error = store
            .records()
            .commit(&batch)
            .await
            .expect_err("its request was lost");
        assert_eq!(
            (error.kind(), error.retry()),
            (ErrorKind::Unavailable, Retry::Ambiguous)
        );
        assert_eq!(number(&store, "a").await?, None);
    }
    Ok(())
}

async fn a_commit_whose_request_was_lost_is_sent_again(place: Place) -> End {
    let (proxy, store) = behind(&place, 0).await?;
    write(&store, "a", 1).await?;
    let found = store.records().get(key("a").at(&partition())).await?;
    let found = found.ok_or("just written")?;
    proxy.script([Cut::BeforeRequest]);
    // It expects a version, so it can never apply twice.
    store
        .records()
        .commit(&put(&store, "a", &found, 2)?)
        .await?;
    assert_eq!(number(&store, "a").await?, Some(2));
    Ok(())
}

async fn a_take_whose_reply_was_lost_is_ambiguous_and_not_sent_again(place: Place) -> End {
    let (proxy, store) = behind(&place, 0).await?;
    let quotas = Quotas::new([Quota::per_second(10)?])?;
    for cut in [
        Cut::BeforeReply,
        Cut::InReply,
        Cut::BeforeRequest,
        Cut::InRequest,
    ] {
        let take = Take::new("k", &quotas, 1, store.now())?;
        let _ = store.limits().take(&take).await?;
        proxy.requests();
        proxy.script([cut]);
        let error = store
            .limits()
            .take(&take)
            .await
            .expect_err("the line was cut");
        assert_eq!(
            (error.kind(), error.retry()),
            (ErrorKind::Unavailable, Retry::Ambiguous)
        );
        assert_eq!(proxy.requests(), 1);
    }
    // Four that were answered, two whose answer was lost.
    let take = Take::new("k", &quotas, 4, store.now())?;
    assert!(store.limits().take(&take).await?.is_allowed());
    let take = Take::new("k", &quotas, 1, store.now())?;
    assert!(!store.limits().take(&take).await?.is_allowed());
    Ok(())
}

async fn an_outage_is_an_error_and_never_an_absence(place: Place) -> End {
    let (proxy, store) = behind(&place, 0).await?;
    write(&store, "a", 1).await?;
    proxy.set_down(true);
    for _ in 0..3 {
        let error = number(&store, "a").await.expect_err("the server is gone");
        assert_eq!(
            (error.kind(), error.retry()),
            (ErrorKind::Unavailable, Retry::Safe),
            "{error:?}"
        );
        let error = write(&store, "a", 2).await.expect_err("the server is gone");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
    proxy.set_down(false);
    // A connection that was being made meanwhile fails one call more.
    while number(&store, "a").await.is_err() {}
    assert_eq!(number(&store, "a").await?, Some(1));
    Ok(())
}

async fn a_server_that_is_not_there_is_unavailable(_: Place) -> End {
    let port = std::net::TcpListener::bind("127.0.0.1:0")?
        .local_addr()?
        .port();
    let error = RedisStore::connect(format!("redis://user:hunter2@127.0.0.1:{port}"))
        .await
        .expect_err("nobody listens");
    assert_eq!(
        (error.kind(), error.retry()),
        (ErrorKind::Unavailable, Retry::Safe)
    );
    assert!(!format!("{error:?} {error}").contains("hunter2"));
    Ok(())
}

async fn a_dropped_call_mixes_no_answers_up(place: Place) -> End {
    let store = place.open().await?;
    for i in 0..300u64 {
        let mut two = put(&store, "a", Expect::Any, i)?;
        two.put(key("b"), Expect::Any, Body::json(i)?)?;
        let commit = store.records().commit(&two);
        // From not at all to nearly always done.
        let _ = tokio::time::timeout(Duration::from_micros(i * 5), commit).await;
        let _ = tokio::time::timeout(Duration::from_micros(i), number(&store, "a")).await;
        let both = [key("a"), key("b")];
        let partition = partition();
        let both = both.each_ref().map(|key| key.at(&partition));
        let found = store.records().get_many(&both).await?;
        let versions = found.iter().map(|r| r.as_ref().map(|r| r.version()));
        let versions: Vec<_> = versions.collect();
        assert_eq!(versions[0], versions[1], "a commit by half");
    }
    Ok(())
}
