//! Lost connections, servers that are gone, callers that give up.

use std::time::Duration;

use store_conformance::proxy::{self, Proxy};
use store_core::{Body, Expect, Result, Store};

use crate::own::faults::*;
use crate::{End, Failure, Place, key, number, partition, put, tests, write};

tests![
    a_commit_whose_reply_was_lost_is_found,
    a_commit_of_several_whose_reply_was_lost_is_found,
    a_commit_that_may_apply_twice_is_ambiguous,
    a_commit_whose_request_was_lost_is_sent_again,
    a_take_whose_reply_was_lost_is_ambiguous_and_not_sent_again,
    an_outage_is_an_error_and_never_an_absence,
    a_server_that_is_not_there_is_unavailable,
    a_dropped_call_mixes_no_answers_up,
];

#[async_trait::async_trait]
impl Wired for Place {
    fn another(&self) -> Self {
        Self::new(&self.url)
    }

    async fn whole(&self) -> Result<Store> {
        self.open().await
    }

    async fn behind(&self, seed: u64) -> std::result::Result<(Proxy, Store), Failure> {
        behind(self, seed).await
    }

    async fn at(&self, address: &str) -> Result<Store> {
        let builder = self
            .builder()
            .url(format!("redis://user:hunter2@{address}"));
        Ok(builder.connect().await?.into())
    }
}

/// A store behind a line that can be cut; it has asked once.
pub(crate) async fn behind(
    place: &Place,
    seed: u64,
) -> std::result::Result<(Proxy, Store), Failure> {
    let proxy = Proxy::start(place.address(), Some(proxy::redis), seed).await?;
    let url = format!("redis://{}", proxy.address());
    let store = place.builder().url(url).connect().await?;
    // The scripts are there, so each call is one request.
    store.setup().await?;
    let store = Store::from(store);
    write(&store, "warm", 0).await?;
    Ok((proxy, store))
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
