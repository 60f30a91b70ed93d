//! Lost connections, unreachable servers, callers that give up.

use std::time::Duration;

use store_conformance::proxy::{self, Proxy};
use store_core::{Batch, Body, ErrorKind, Expect, Result, Retry, Store};

use crate::own::faults::*;
use crate::{End, Failure, Place, key, number, other, partition, put, tests, write};

tests![
    a_commit_whose_reply_was_lost_is_found,
    a_commit_of_several_whose_reply_was_lost_is_found,
    a_commit_that_may_apply_twice_is_ambiguous,
    a_commit_whose_request_was_lost_is_sent_again,
    a_transaction_whose_connection_was_lost_applies_once,
    a_take_whose_reply_was_lost_is_ambiguous_and_not_sent_again,
    a_read_whose_connection_was_lost_is_sent_again,
    an_outage_is_an_error_and_never_an_absence,
    the_first_call_after_an_outage_is_answered,
    a_server_that_is_not_there_is_unavailable,
    a_server_that_does_not_answer_times_out,
    a_dropped_call_never_mixes_up_answers,
    a_storm_makes_no_answer_untrue,
];

#[async_trait::async_trait]
impl Wired for Place {
    const STORM: (u64, u64) = (6, 30);

    fn another(&self) -> Self {
        Self::new(&self.endpoint)
    }

    async fn whole(&self) -> Result<Store> {
        self.open().await
    }

    async fn behind(&self, seed: u64) -> std::result::Result<(Proxy, Store), Failure> {
        self.open().await?;
        let proxy = Proxy::start(self.address(), Some(proxy::http), seed).await?;
        let endpoint = format!("http://{}", proxy.address());
        let store = self.builder().endpoint(endpoint).connect().await?;
        proxy.requests();
        Ok((proxy, store.into()))
    }

    async fn at(&self, address: &str) -> Result<Store> {
        let builder = self.builder().credentials("id", "hunter2");
        let builder = builder.endpoint(format!("http://{address}"));
        Ok(builder.connect().await?.into())
    }
}

/// The server recognizes a second copy by its token, whatever it expects.
async fn a_transaction_whose_connection_was_lost_applies_once(place: Place) -> End {
    let (proxy, store) = place.behind(0).await?;
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

async fn a_read_whose_connection_was_lost_is_sent_again(place: Place) -> End {
    let (proxy, store) = place.behind(0).await?;
    write(&store, "a", 1).await?;
    for cut in CUTS {
        proxy.requests();
        proxy.script([cut]);
        assert_eq!(number(&store, "a").await?, Some(1), "{cut:?}");
        assert_eq!(proxy.requests(), 2, "{cut:?}");
    }
    Ok(())
}

async fn the_first_call_after_an_outage_is_answered(place: Place) -> End {
    let (proxy, store) = place.behind(0).await?;
    write(&store, "a", 1).await?;
    proxy.set_down(true);
    for _ in 0..2 {
        number(&store, "a")
            .await
            .expect_err("the server is unreachable");
        write(&store, "a", 2)
            .await
            .expect_err("the server is unreachable");
    }
    proxy.set_down(false);
    assert_eq!(number(&store, "a").await?, Some(1));
    Ok(())
}

/// The server accepts connections and never answers.
async fn a_server_that_does_not_answer_times_out(place: Place) -> End {
    place.open().await?;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let relay = silent.local_addr()?;
    let server = place.address().to_owned();
    // The first call, which opens the store, is answered.
    let held = tokio::spawn(async move {
        let (mut first, _) = silent.accept().await?;
        let mut onward = tokio::net::TcpStream::connect(server).await?;
        let mut request = vec![0; 64 * 1024];
        let length = tokio::io::AsyncReadExt::read(&mut first, &mut request).await?;
        tokio::io::AsyncWriteExt::write_all(&mut onward, &request[..length]).await?;
        let length = tokio::io::AsyncReadExt::read(&mut onward, &mut request).await?;
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
    let error = number(&store, "a")
        .await
        .expect_err("the server never answers");
    assert_eq!(
        (error.kind(), error.retry()),
        (ErrorKind::Timeout, Retry::Safe)
    );
    let error = write(&store, "a", 2)
        .await
        .expect_err("the server never answers");
    assert_eq!(
        (error.kind(), error.retry()),
        (ErrorKind::Timeout, Retry::Ambiguous)
    );
    held.abort();
    Ok(())
}

async fn a_dropped_call_never_mixes_up_answers(place: Place) -> End {
    let store = place.open().await?;
    let mut compared = 0;
    for i in 0..200u64 {
        let mut two = put(&store, "a", Expect::Any, i)?;
        two.put(key("b"), Expect::Any, Body::json(i)?)?;
        let commit = store.records().commit(&two);
        // The first calls are dropped before they are sent, the last are nearly all done.
        let _ = tokio::time::timeout(Duration::from_micros(i * 40), commit).await;
        let _ = tokio::time::timeout(Duration::from_micros(i * 10), number(&store, "a")).await;
        // Two reads are no snapshot, unless a check of both in one commit succeeds.
        let partition = partition();
        let (a, b) = (key("a"), key("b"));
        let both = [a.at(&partition), b.at(&partition)];
        let found = store.records().get_many(&both).await?;
        let mut check = Batch::new(partition.clone(), store.now());
        check.check(a, found[0].as_ref())?;
        check.check(b, found[1].as_ref())?;
        if store.records().commit(&check).await.is_ok() {
            let version = |i: usize| found[i].as_ref().map(|record| record.version());
            assert_eq!(version(0), version(1), "half of a commit is visible");
            compared += 1;
        }
    }
    assert!(compared > 100, "{compared}");
    Ok(())
}
