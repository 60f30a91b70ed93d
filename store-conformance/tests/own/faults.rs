//! Calls whose connection is cut or whose server is down, on any server behind a proxy.

use store_conformance::proxy::{Cut, Proxy, Weather};
use store_conformance::storm;
use store_core::limits::{Quota, QuotaSet, Take};
use store_core::{ErrorKind, Expect, Result, Retry, Store};

use super::{End, Failure, key, number, partition, put, storm_seeds, write};

/// Every way in which a request or its answer is lost.
pub(crate) const CUTS: [Cut; 4] = [
    Cut::BeforeReply,
    Cut::InReply,
    Cut::BeforeRequest,
    Cut::InRequest,
];

/// A [`crate::Place`] whose server is reached through a proxy.
#[async_trait::async_trait]
pub(crate) trait Wired: Clone + Send + Sync + 'static {
    /// The number of callers in a storm, and the steps of each.
    const STORM: (u64, u64) = (6, 40);

    /// Another place on the same server.
    fn another(&self) -> Self;

    /// The store here, over a connection that is not cut.
    async fn whole(&self) -> Result<Store>;

    /// The same over a proxy that can cut, at random from `seed`. It was used before, so
    /// that a call needs as many requests as usual.
    async fn behind(&self, seed: u64) -> std::result::Result<(Proxy, Store), Failure>;

    /// Opens a store at this `host:port`, with the secret `hunter2`.
    async fn at(&self, address: &str) -> Result<Store>;
}

pub(crate) async fn a_commit_whose_reply_was_lost_is_found(place: impl Wired) -> End {
    let (proxy, store) = place.behind(0).await?;
    for cut in [Cut::BeforeReply, Cut::InReply] {
        for (id, expect) in [("a", Expect::Absent), ("b", Expect::Any)] {
            let id = &format!("{id} {cut:?}");
            write(&store, "warm", 0).await?;
            proxy.script([cut]);
            // It was done, and has its own version.
            store.records().commit(&put(&store, id, expect, 1)?).await?;
            let found = store.records().get(key(id).at(&partition())).await?;
            let found = found.ok_or("just written")?;
            proxy.script([cut]);
            store.records().commit(&put(&store, id, &found, 2)?).await?;
            assert_eq!(number(&store, id).await?, Some(2));
        }
    }
    Ok(())
}

pub(crate) async fn a_commit_of_several_whose_reply_was_lost_is_found(place: impl Wired) -> End {
    let (proxy, store) = place.behind(0).await?;
    write(&store, "a", 1).await?;
    write(&store, "b", 1).await?;
    for (cut, put_number) in [Cut::BeforeReply, Cut::InReply].into_iter().zip(2..) {
        let mut two = put(&store, "a", Expect::Present, put_number)?;
        two.check(key("b"), Expect::Present)?;
        proxy.script([cut]);
        store.records().commit(&two).await?;
        assert_eq!(number(&store, "a").await?, Some(put_number));
    }
    Ok(())
}

pub(crate) async fn a_commit_that_may_apply_twice_is_ambiguous(place: impl Wired) -> End {
    let (proxy, store) = place.behind(0).await?;
    for cut in [Cut::BeforeRequest, Cut::InRequest] {
        write(&store, "warm", 0).await?;
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

pub(crate) async fn a_commit_whose_request_was_lost_is_sent_again(place: impl Wired) -> End {
    let (proxy, store) = place.behind(0).await?;
    for (cut, put_number) in [Cut::BeforeRequest, Cut::InRequest].into_iter().zip(2..) {
        write(&store, "a", 1).await?;
        let found = store.records().get(key("a").at(&partition())).await?;
        let found = found.ok_or("just written")?;
        proxy.script([cut]);
        // It expects a version, so it can never apply twice.
        let batch = put(&store, "a", &found, put_number)?;
        store.records().commit(&batch).await?;
        assert_eq!(number(&store, "a").await?, Some(put_number));
    }
    Ok(())
}

/// On backends where a take is one request.
pub(crate) async fn a_take_whose_reply_was_lost_is_ambiguous_and_not_sent_again(
    place: impl Wired,
) -> End {
    let (proxy, store) = place.behind(0).await?;
    let quotas = QuotaSet::new([Quota::per_second(10)?])?;
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
    // Four takes were answered, and the answers of two were lost.
    let take = Take::new("k", &quotas, 4, store.now())?;
    assert!(store.limits().take(&take).await?.is_allowed());
    let take = Take::new("k", &quotas, 1, store.now())?;
    assert!(!store.limits().take(&take).await?.is_allowed());
    Ok(())
}

pub(crate) async fn an_outage_is_an_error_and_never_an_absence(place: impl Wired) -> End {
    let (proxy, store) = place.behind(0).await?;
    write(&store, "a", 1).await?;
    proxy.set_down(true);
    for _ in 0..3 {
        let error = number(&store, "a").await.expect_err("the server is down");
        assert_eq!(
            (error.kind(), error.retry()),
            (ErrorKind::Unavailable, Retry::Safe),
            "{error:?}"
        );
        let error = write(&store, "a", 2).await.expect_err("the server is down");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
    proxy.set_down(false);
    // An old connection, or one that was being made, fails one more call.
    while number(&store, "a").await.is_err() {}
    assert_eq!(number(&store, "a").await?, Some(1));
    Ok(())
}

pub(crate) async fn a_server_that_is_not_there_is_unavailable(place: impl Wired) -> End {
    let free = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let opened = place.at(&free.to_string()).await;
    let error = opened.expect_err("nothing listens");
    assert_eq!(
        (error.kind(), error.retry()),
        (ErrorKind::Unavailable, Retry::Safe)
    );
    assert!(!format!("{error:?} {error}").contains("hunter2"));
    Ok(())
}

pub(crate) async fn a_storm_makes_no_answer_untrue<P: Wired>(place: P) -> End {
    let (callers, steps) = P::STORM;
    for seed in storm_seeds()? {
        let place = place.another();
        let whole = place.whole().await?;
        let (proxy, store) = place.behind(seed).await?;
        proxy.set_weather(Weather::ROUGH);
        let figures = storm::ride(&store, &whole, callers, steps).await?;
        println!("seed {seed}: {figures}; {} cuts", proxy.cuts());
        assert!(proxy.cuts() > 5, "a breeze");
    }
    Ok(())
}
