//! Notices of changes when connections are lost, and what replicas confirm.

use std::time::Duration;

use store_core::changes::Notice;
use store_core::lti::{Lti, NonceCheck, Registration};
use store_core::secret::KeyRing;
use store_core::{Batch, Body, Collection, ErrorKind, Expect, RecordKey, Retry, Store};
use store_redis::redis::cmd;

use crate::cluster::Nodes;
use crate::{End, Place, partition, tests};

tests![
    a_lost_connection_is_a_gap_and_notices_arrive_again,
    a_nonce_that_no_replica_confirms_is_refused,
];

const PRICES: Collection = Collection::new("prices").cacheable();

async fn a_lost_connection_is_a_gap_and_notices_arrive_again(place: Place) -> End {
    let builder = place.builder().change_notice(true);
    let store = Store::from(builder.connect().await?);
    let mut changes = store.records().changes().await?;
    let write = |id: &'static str| {
        let store = store.clone();
        async move {
            let mut batch = Batch::new(partition(), store.now());
            batch.put(RecordKey::new(PRICES, id)?, Expect::Any, Body::json(1)?)?;
            store.records().commit(&batch).await.map(drop)
        }
    };
    let changed = |id: &str| -> Result<Notice, crate::Failure> {
        let (partition, key) = (partition(), RecordKey::new(PRICES, id)?);
        Ok(Notice::Changed { partition, key })
    };
    write("a").await?;
    assert_eq!(changes.next().await, Some(changed("a")?));
    for _ in 0..2 {
        let mut kill = cmd("CLIENT");
        place
            .ask::<u64>(kill.arg("KILL").arg("TYPE").arg("pubsub"))
            .await?;
        // One when it is lost, and one when it is open again.
        assert_eq!(changes.next().await, Some(Notice::Gap));
        assert_eq!(changes.next().await, Some(Notice::Gap));
        write("b").await?;
        // Another test may have killed the connection too.
        let mut next = changes.next().await;
        while next == Some(Notice::Gap) {
            write("b").await?;
            next = changes.next().await;
        }
        assert_eq!(next, Some(changed("b")?));
    }
    store.close().await?;
    while let Some(rest) = changes.next().await {
        assert!(rest == changed("b")? || rest == Notice::Gap);
    }
    Ok(())
}

async fn a_nonce_that_no_replica_confirms_is_refused(_: Place) -> End {
    let mut nodes = Nodes::start(1)?;
    let place = Place::new(nodes.server.url());
    let strict = place
        .builder()
        .strict_nonces(1, Duration::from_millis(500))
        .connect()
        .await?;
    let lti: Lti = Lti::new(Store::from(strict), &KeyRing::random());
    let platform = Registration::from_json(
        r#"{"issuer":"https://platform.example.org","client_id":"tool","auth_endpoint":
        "https://platform.example.org/auth","jwks_uri":"https://platform.example.org/jwks"}"#,
    )?;
    let platform = lti.store().upsert_registration(platform).await?;
    let names: Vec<_> = (0..12).map(|i| format!("nonce {i}")).collect();
    for name in &names {
        lti.store().store_nonce(name, &platform).await?;
    }
    let accepted = lti.store().validate_nonce(&names[0], &platform).await?;
    assert_eq!(accepted, NonceCheck::Accepted);
    // The replicas are killed; the primaries still run.
    for replica in 3..6 {
        assert!(tokio::task::block_in_place(|| nodes
            .server
            .kill_part(replica)));
    }
    for name in &names[1..] {
        let error = lti
            .store()
            .validate_nonce(name, &platform)
            .await
            .expect_err("no replica confirms it");
        assert_eq!(
            (error.kind(), error.retry()),
            (ErrorKind::Timeout, Retry::Ambiguous)
        );
        // It was used all the same.
        let again = lti.store().validate_nonce(name, &platform).await?;
        assert_eq!(again, NonceCheck::AlreadyUsed);
    }
    Ok(())
}
