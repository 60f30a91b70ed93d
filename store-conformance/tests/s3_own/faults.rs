//! Lines that break, servers that are overloaded, callers that give up.

use std::sync::Arc;
use std::time::Duration;

use store_conformance::proxy::{self, Cut, Proxy};
use store_conformance::storm;
use store_core::{Body, Expect, ManualClock, Result, Retry, Store};
use store_s3::S3Store;
use store_s3::object_store::memory::InMemory;

use crate::drivers::{Client, Manner};
use crate::own::faults::*;
use crate::{End, Failure, Place, harness, key, number, own, put, tests};

tests![
    a_commit_whose_reply_was_lost_is_found,
    a_commit_whose_request_was_lost_is_sent_again,
    a_commit_that_expects_nothing_is_sent_again,
    a_commit_of_several_survives_any_cut,
    an_outage_is_an_error_and_never_an_absence,
    a_server_that_is_not_there_is_unavailable,
    a_dropped_commit_is_wholly_done_or_wholly_not,
    a_storm_makes_no_answer_untrue,
    an_overloaded_server_makes_no_answer_untrue,
];

#[async_trait::async_trait]
impl Wired for Place {
    const STORM: (u64, u64) = (3, 12);

    fn another(&self) -> Self {
        Self::new(&self.url)
    }

    async fn whole(&self) -> Result<Store> {
        self.open().await
    }

    async fn behind(&self, seed: u64) -> std::result::Result<(Proxy, Store), Failure> {
        let proxy = Proxy::start(harness::address(&self.url), Some(proxy::http), seed).await?;
        let url = format!("http://{}", proxy.address());
        let builder = self.builder_at(&url).lease(Duration::from_millis(200));
        let store = Store::from(builder.connect().await?);
        Ok((proxy, store))
    }

    async fn at(&self, address: &str) -> Result<Store> {
        let builder = self.builder_at(&format!("http://{address}"));
        Ok(builder.credentials("id", "hunter2").connect().await?.into())
    }
}

async fn a_commit_that_expects_nothing_is_sent_again(place: Place) -> End {
    let (proxy, store) = place.behind(0).await?;
    for cut in [Cut::BeforeRequest, Cut::InRequest] {
        // Its put is on condition of what was read.
        proxy.script([Cut::None, cut]);
        store
            .records()
            .commit(&put(&store, "a", Expect::Any, 1)?)
            .await?;
        assert_eq!(number(&store, "a").await?, Some(1));
    }
    Ok(())
}

/// Cuts the line at each of its requests in turn, in each way.
async fn a_commit_of_several_survives_any_cut(place: Place) -> End {
    for cut in CUTS {
        for at in 0..10u64 {
            let place = Place::new(&place.url);
            let (proxy, store) = place.behind(0).await?;
            let whole = place.open().await?;
            let mut two = put(&store, "a", Expect::Any, at)?;
            two.put(key("b"), Expect::Any, Body::json(at)?)?;
            let mut cuts = vec![Cut::None; usize::try_from(at)?];
            cuts.push(cut);
            proxy.script(cuts);
            let answer = store.records().commit(&two).await;
            let found = [number(&whole, "a").await?, number(&whole, "b").await?];
            assert_eq!(found[0], found[1], "{cut:?} at {at}");
            match answer {
                Ok(_) => assert_eq!(found[0], Some(at), "{cut:?} at {at}"),
                Err(error) if error.retry() != Retry::Ambiguous => {
                    assert_ne!(found[0], Some(at), "{cut:?} at {at}: {error:?}");
                }
                Err(_) => {}
            }
        }
    }
    Ok(())
}

async fn a_dropped_commit_is_wholly_done_or_wholly_not(place: Place) -> End {
    let store = place.open().await?;
    for i in 0..40u64 {
        let mut two = put(&store, "a", Expect::Any, i)?;
        two.put(key("b"), Expect::Any, Body::json(i)?)?;
        let commit = store.records().commit(&two);
        // From not at all to nearly always done.
        let _ = tokio::time::timeout(Duration::from_millis(i), commit).await;
        let mut two = put(&store, "a", Expect::Any, i)?;
        two.put(key("b"), Expect::Any, Body::json(i)?)?;
        // It waits for the dropped call, which runs to its end.
        store.records().commit(&two).await?;
        let found = [number(&store, "a").await?, number(&store, "b").await?];
        assert_eq!(found[0], found[1], "a commit by half");
    }
    Ok(())
}

async fn an_overloaded_server_makes_no_answer_untrue(_: Place) -> End {
    for seed in own::storm_seeds()? {
        let bucket = Arc::new(InMemory::new());
        let clock = ManualClock::default();
        let open = |manner| {
            let client = Arc::new(Client::new(&bucket, manner, seed));
            S3Store::builder().object_store(client).clock(clock.clone())
        };
        let whole = Store::from(open(Manner::Sound).connect().await?);
        let mut opened = open(Manner::Overloaded).connect().await;
        while opened.is_err() {
            opened = open(Manner::Overloaded).connect().await;
        }
        let figures = storm::ride(&opened?.into(), &whole, 6, 40).await?;
        println!("seed {seed}: {figures}");
    }
    Ok(())
}
