//! Lost connections, servers that are gone, callers that give up.

use std::time::Duration;

use store_conformance::core::limits::{Quota, Quotas, Take};
use store_conformance::core::{Batch, Body, ErrorKind, Expect, Retry, Store};
use store_conformance::proxy::{self, Cut, Proxy, Weather};
use store_conformance::storm;

use crate::own::storm_seeds;
use crate::{End, Failure, Place, key, number, other, partition, put, tests, write};

tests![
    a_commit_whose_reply_was_lost_is_found,
    a_commit_that_may_apply_twice_is_ambiguous,
    a_commit_whose_request_was_lost_is_sent_again,
    a_transaction_whose_line_was_cut_applies_once,
    a_take_whose_reply_was_lost_is_ambiguous_and_not_sent_again,
    a_read_whose_line_was_cut_is_asked_again,
    an_outage_is_an_error_and_never_an_absence,
    a_server_that_is_not_there_is_unavailable,
    a_server_that_does_not_answer_times_out,
    a_dropped_call_mixes_no_answers_up,
    a_storm_makes_no_answer_untrue,
];

const CUTS: [Cut; 4] = [
    Cut::BeforeReply,
    Cut::InReply,
    Cut::BeforeRequest,
    Cut::InRequest,
];

/// A store behind a line that can be cut.
async fn behind(place: &Place, seed: u64) -> Result<(Proxy, Store), Failure> {
    place.open().await?;
    let proxy = Proxy::start(place.address(), Some(proxy::http), seed).await?;
    let endpoint = format!("http://{}", proxy.address());
    let store = place.builder().endpoint(endpoint).connect().await?;
    proxy.requests();
    Ok((proxy, store.into()))
}

async fn a_commit_whose_reply_was_lost_is_found(place: Place) -> End {
    let (proxy, store) = behind(&place, 0).await?;
    for cut in [Cut::BeforeReply, Cut::InReply] {
        for id in ["a", "b"] {
            proxy.script([cut]);
            // It landed, and carries its own version.
            let batch = put(&store, id, Expect::Any, 1)?;
            store.records().commit(&batch).await?;
            assert_eq!(number(&store, id).await?, Some(1));
        }
    }
    Ok(())
}

async fn a_commit_that_may_apply_twice_is_ambiguous(place: Place) -> End {
    let (proxy, store) = behind(&place, 0).await?;
    for cut in [Cut::BeforeRequest, Cut::InRequest] {
        proxy.script([cut]);
        let batch = put(&store, "a", Expect::Any, 1)?;
        let lost = store.records().commit(&batch).await;
        let error = lost.expect_err("its request was lost");
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
    let batch = put(&store, "a", &found, 2)?;
    store.records().commit(&batch).await?;
    assert_eq!(number(&store, "a").await?, Some(2));
    Ok(())
}

/// By its token, whatever it expects.
async fn a_transaction_whose_line_was_cut_applies_once(place: Place) -> End {
    let (proxy, store) = behind(&place, 0).await?;
    for (cut, number_put) in CUTS.into_iter().zip(1..) {
        let mut two = put(&store, "a", Expect::Any, number_put)?;
        two.put(other("b"), Expect::Any, Body::json(number_put)?)?;
        proxy.requests();
        proxy.script([cut]);
        store.records().commit(&two).await?;
        assert_eq!(proxy.requests(), 2, "{cut:?}");
        assert_eq!(number(&store, "a").await?, Some(number_put));
        // A late copy of it does nothing.
        write(&store, "a", 100).await?;
        store.records().commit(&two).await?;
        assert_eq!(number(&store, "a").await?, Some(100), "{cut:?}");
    }
    Ok(())
}

async fn a_take_whose_reply_was_lost_is_ambiguous_and_not_sent_again(place: Place) -> End {
    let (proxy, store) = behind(&place, 0).await?;
    let quotas = Quotas::new([Quota::per_second(10)?])?;
    for cut in CUTS {
        let take = Take::new("k", &quotas, 1, store.now())?;
        let _ = store.limits().take(&take).await?;
        proxy.requests();
        proxy.script([cut]);
        let lost = store.limits().take(&take).await;
        let error = lost.expect_err("the line was cut");
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

async fn a_read_whose_line_was_cut_is_asked_again(place: Place) -> End {
    let (proxy, store) = behind(&place, 0).await?;
    write(&store, "a", 1).await?;
    for cut in CUTS {
        proxy.requests();
        proxy.script([cut]);
        assert_eq!(number(&store, "a").await?, Some(1), "{cut:?}");
        assert_eq!(proxy.requests(), 2, "{cut:?}");
    }
    Ok(())
}

async fn an_outage_is_an_error_and_never_an_absence(place: Place) -> End {
    let (proxy, store) = behind(&place, 0).await?;
    write(&store, "a", 1).await?;
    proxy.set_down(true);
    for _ in 0..2 {
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
    assert_eq!(number(&store, "a").await?, Some(1));
    Ok(())
}

async fn a_server_that_is_not_there_is_unavailable(place: Place) -> End {
    let port = std::net::TcpListener::bind("127.0.0.1:0")?
        .local_addr()?
        .port();
    let gone = place
        .builder()
        .credentials("id", "hunter2")
        .endpoint(format!("http://127.0.0.1:{port}"));
    let error = gone.connect().await.expect_err("nobody listens");
    assert_eq!(
        (error.kind(), error.retry()),
        (ErrorKind::Unavailable, Retry::Safe)
    );
    assert!(!format!("{error:?} {error}").contains("hunter2"));
    Ok(())
}

/// One that takes calls and says nothing.
async fn a_server_that_does_not_answer_times_out(place: Place) -> End {
    place.open().await?;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let relay = silent.local_addr()?;
    let server = place.address().to_owned();
    // The first call is answered, which opens the store.
    let held = tokio::spawn(async move {
        let (mut first, _) = silent.accept().await?;
        let mut line = tokio::net::TcpStream::connect(server).await?;
        let mut request = vec![0; 64 * 1024];
        let length = tokio::io::AsyncReadExt::read(&mut first, &mut request).await?;
        tokio::io::AsyncWriteExt::write_all(&mut line, &request[..length]).await?;
        let length = tokio::io::AsyncReadExt::read(&mut line, &mut request).await?;
        tokio::io::AsyncWriteExt::write_all(&mut first, &request[..length]).await?;
        let mut held = vec![first];
        while let Ok((next, _)) = silent.accept().await {
            held.push(next);
        }
        Ok::<_, std::io::Error>(())
    });
    let builder = place.builder().endpoint(format!("http://{relay}"));
    let store = builder
        .timeout(Duration::from_millis(500))
        .connect()
        .await?;
    let store = Store::from(store);
    let error = number(&store, "a").await.expect_err("no answer comes");
    assert_eq!(
        (error.kind(), error.retry()),
        (ErrorKind::Timeout, Retry::Safe)
    );
    let error = write(&store, "a", 2).await.expect_err("no answer comes");
    assert_eq!(
        (error.kind(), error.retry()),
        (ErrorKind::Timeout, Retry::Ambiguous)
    );
    held.abort();
    Ok(())
}

async fn a_dropped_call_mixes_no_answers_up(place: Place) -> End {
    let store = place.open().await?;
    let mut compared = 0;
    for i in 0..200u64 {
        let mut two = put(&store, "a", Expect::Any, i)?;
        two.put(key("b"), Expect::Any, Body::json(i)?)?;
        let commit = store.records().commit(&two);
        // From not at all to nearly always done.
        let _ = tokio::time::timeout(Duration::from_micros(i * 40), commit).await;
        let _ = tokio::time::timeout(Duration::from_micros(i * 10), number(&store, "a")).await;
        // Two reads are no snapshot; a check of both at once says whether they
        // were one.
        let partition = partition();
        let (a, b) = (key("a"), key("b"));
        let both = [a.at(&partition), b.at(&partition)];
        let found = store.records().get_many(&both).await?;
        let mut check = Batch::new(partition.clone(), store.now());
        check.check(a, found[0].as_ref())?;
        check.check(b, found[1].as_ref())?;
        if store.records().commit(&check).await.is_ok() {
            let version = |i: usize| found[i].as_ref().map(|record| record.version());
            assert_eq!(version(0), version(1), "a commit by half");
            compared += 1;
        }
    }
    assert!(compared > 100, "{compared}");
    Ok(())
}

async fn a_storm_makes_no_answer_untrue(place: Place) -> End {
    for seed in storm_seeds()? {
        let place = Place::new(&place.endpoint);
        let whole = place.open().await?;
        let (proxy, store) = behind(&place, seed).await?;
        proxy.set_weather(Weather::ROUGH);
        let figures = storm::ride(&store, &whole, 6, 30).await?;
        println!("seed {seed}: {figures}; {} cuts", proxy.cuts());
        assert!(proxy.cuts() > 5, "a breeze");
    }
    Ok(())
}
