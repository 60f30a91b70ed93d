//! Fail-over behind one address, and among several.

use std::time::Duration;

use store_conformance::proxy::{self, Proxy};
use store_conformance::servers::{Options, Server, redis};
use store_core::{ErrorKind, Retry, Store};
use store_redis::redis::{Cmd, cmd};
use tokio::task::block_in_place;
use tokio::time::timeout;

use crate::{End, Failure, Place, number, tests, write};

tests![
    writes_reach_the_new_primary_after_a_failover,
    reads_reach_the_new_primary_after_a_failover,
    an_address_that_leads_to_a_replica_is_an_error_for_reads_too,
    the_primary_among_several_servers_is_found_again,
];

/// Much longer than it takes.
const DEADLINE: Duration = Duration::from_secs(20);

/// A primary and its replica.
struct Pair {
    _servers: [Server; 2],
    primary: Place,
    replica: Place,
}

impl Pair {
    async fn start() -> Result<Self, Failure> {
        let start = || block_in_place(|| redis::killable(&Options::from_env()));
        let servers = [start()?, start()?];
        let primary = Place::new(servers[0].url());
        let replica = Place {
            url: servers[1].url().into(),
            namespace: primary.namespace.clone(),
        };
        replica.ask::<()>(&replica_of(&primary)).await?;
        let mut info = cmd("INFO");
        info.arg("replication");
        let linked = async {
            while !replica
                .ask::<String>(&info)
                .await?
                .contains("master_link_status:up")
            {}
            Ok::<_, Failure>(())
        };
        timeout(DEADLINE, linked).await??;
        Ok(Self {
            _servers: servers,
            primary,
            replica,
        })
    }

    /// Makes the replica the primary, and the primary its replica.
    async fn swap(&self) -> Result<(), Failure> {
        let mut none = cmd("REPLICAOF");
        none.arg("NO").arg("ONE");
        self.replica.ask::<()>(&none).await?;
        self.primary.ask::<()>(&replica_of(&self.replica)).await?;
        Ok(())
    }
}

fn replica_of(primary: &Place) -> Cmd {
    let (host, port) = primary.address().split_once(':').unwrap_or_default();
    let mut command = cmd("REPLICAOF");
    command.arg(host).arg(port);
    command
}

/// A store that reaches the pair's primary by the proxy's address.
async fn behind(pair: &Pair) -> Result<(Proxy, Store), Failure> {
    let proxy = Proxy::start(pair.primary.address(), Some(proxy::redis), 0).await?;
    let url = format!("redis://{}", proxy.address());
    let store = Store::from(pair.primary.builder().url(url).connect().await?);
    write(&store, "a", 1).await?;
    Ok((proxy, store))
}

async fn writes_reach_the_new_primary_after_a_failover(_: Place) -> End {
    let pair = Pair::start().await?;
    let (proxy, store) = behind(&pair).await?;
    pair.swap().await?;
    proxy.set_server(pair.replica.address());
    let written = async {
        while let Err(error) = write(&store, "a", 2).await {
            assert_eq!(
                (error.kind(), error.retry()),
                (ErrorKind::Unavailable, Retry::Safe),
                "{error:?}"
            );
        }
    };
    timeout(DEADLINE, written).await?;
    let there = Store::from(pair.replica.builder().connect().await?);
    assert_eq!(number(&there, "a").await?, Some(2));
    Ok(())
}

async fn reads_reach_the_new_primary_after_a_failover(_: Place) -> End {
    let pair = Pair::start().await?;
    let (proxy, store) = behind(&pair).await?;
    // From here on the old primary does not receive the writes of the new one.
    let mut alone = cmd("REPLICAOF");
    alone.arg("NO").arg("ONE");
    pair.replica.ask::<()>(&alone).await?;
    let there = Store::from(pair.replica.builder().connect().await?);
    write(&there, "a", 2).await?;
    let mut nowhere = cmd("REPLICAOF");
    nowhere.arg("127.0.0.1").arg("1");
    pair.primary.ask::<()>(&nowhere).await?;
    proxy.set_server(pair.replica.address());
    let read = async { while number(&store, "a").await.ok().flatten() != Some(2) {} };
    timeout(DEADLINE, read).await?;
    Ok(())
}

async fn an_address_that_leads_to_a_replica_is_an_error_for_reads_too(_: Place) -> End {
    let pair = Pair::start().await?;
    let (_proxy, store) = behind(&pair).await?;
    pair.swap().await?;
    let refused = async {
        loop {
            if let Err(error) = number(&store, "a").await {
                return error;
            }
        }
    };
    let error = timeout(DEADLINE, refused).await?;
    assert_eq!(
        (error.kind(), error.retry()),
        (ErrorKind::Unavailable, Retry::Safe)
    );
    for _ in 0..3 {
        let error = number(&store, "a").await.expect_err("it is a replica");
        assert!(error.message().contains("replica"), "{error}");
        store.records().ping().await.expect_err("it is a replica");
    }
    let opened = pair.primary.builder().connect().await;
    let error = opened.expect_err("it is a replica");
    assert!(error.message().contains("replica"), "{error}");
    Ok(())
}

async fn the_primary_among_several_servers_is_found_again(_: Place) -> End {
    let pair = Pair::start().await?;
    let [one, other] = [&pair.replica, &pair.primary].map(Place::address);
    let url = format!("redis://{one},{other}");
    let store = Store::from(pair.primary.builder().url(url).connect().await?);
    write(&store, "a", 1).await?;
    pair.swap().await?;
    let written = async { while write(&store, "a", 2).await.is_err() {} };
    timeout(DEADLINE, written).await?;
    let there = Store::from(pair.replica.builder().connect().await?);
    assert_eq!(number(&there, "a").await?, Some(2));
    Ok(())
}
