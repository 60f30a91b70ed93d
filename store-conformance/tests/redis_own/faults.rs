//! Lost connections, servers that are down, and calls that are dropped.

use std::time::Duration;

use store_conformance::proxy::{self, Message, Proxy};
use store_core::{Body, ErrorKind, Expect, Result, Retry, Store};

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
    a_dropped_call_does_not_mix_up_replies,
    a_write_for_which_no_connection_could_be_opened_is_safe_to_repeat,
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

/// A store behind a proxy that can cut its connections; it has made one call.
pub(crate) async fn behind(
    place: &Place,
    seed: u64,
) -> std::result::Result<(Proxy, Store), Failure> {
    let proxy = Proxy::start(place.address(), Some(proxy::redis), seed).await?;
    let url = format!("redis://{}", proxy.address());
    let store = place.builder().url(url).connect().await?;
    // The server knows the scripts, so each call is one request.
    store.setup().await?;
    let store = Store::from(store);
    write(&store, "warm", 0).await?;
    Ok((proxy, store))
}

async fn a_dropped_call_does_not_mix_up_replies(place: Place) -> End {
    let store = place.open().await?;
    for i in 0..300u64 {
        let mut two = put(&store, "a", Expect::Any, i)?;
        two.put(key("b"), Expect::Any, Body::json(i)?)?;
        let commit = store.records().commit(&two);
        // From never run to nearly always finished.
        let _ = tokio::time::timeout(Duration::from_micros(i * 5), commit).await;
        let _ = tokio::time::timeout(Duration::from_micros(i), number(&store, "a")).await;
        let both = [key("a"), key("b")];
        let partition = partition();
        let both = both.each_ref().map(|key| key.at(&partition));
        let found = store.records().get_many(&both).await?;
        let versions = found.iter().map(|r| r.as_ref().map(|r| r.version()));
        let versions: Vec<_> = versions.collect();
        assert_eq!(versions[0], versions[1], "half of a commit");
    }
    Ok(())
}

/// As [`proxy::redis`], and a check of the server's role is a request.
fn role_checks_too(bytes: &[u8]) -> Message {
    const CHECK: &[u8] = b"*1\r\n$5\r\nHELLO\r\n";
    match bytes.starts_with(CHECK) {
        true => Message::Request(CHECK.len()),
        false => proxy::redis(bytes),
    }
}

async fn a_write_for_which_no_connection_could_be_opened_is_safe_to_repeat(place: Place) -> End {
    let proxy = Proxy::start(place.address(), Some(role_checks_too), 0).await?;
    let builder = place.builder().url(format!("redis://{}", proxy.address()));
    let store = Store::from(builder.connect().await?);
    for (number_before, cut) in (0..).zip(CUTS) {
        write(&store, "a", number_before).await?;
        proxy.set_down(true);
        while number(&store, "a").await.is_ok() {}
        let refused = write(&store, "a", 100).await;
        proxy.set_down(false);
        // The first request on a new connection checks the role.
        proxy.script([cut]);
        let unchecked = write(&store, "a", 100).await;
        for error in [refused, unchecked].map(|written| written.expect_err("no connection")) {
            assert_eq!(
                (error.kind(), error.retry()),
                (ErrorKind::Unavailable, Retry::Safe),
                "{cut:?}: {error:?}"
            );
        }
        assert_eq!(number(&store, "a").await?, Some(number_before), "{cut:?}");
    }
    Ok(())
}
