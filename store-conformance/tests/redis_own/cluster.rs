//! What is special to a cluster: which server gets a request, and how many.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use store_conformance::servers::{Options, Server, redis};
use store_core::{Batch, Body, Cursor, ErrorKind, Expect, Partition, RecordKey, Scan, Store};
use store_redis::redis::aio::MultiplexedConnection;
use store_redis::redis::{Client, Value, cmd};
use tokio::task::block_in_place;

use crate::moving::slot;
use crate::{End, Failure, Place, THINGS, key, tests};

tests![
    reads_of_many_records_are_one_request_per_slot,
    any_server_of_a_cluster_leads_to_all,
    a_collection_scan_over_a_changed_cluster_ends_with_an_error,
    a_redirection_is_followed_while_another_server_is_silent,
    records_are_read_together_while_their_slot_is_on_two_servers,
];

/// A cluster for one test.
pub(crate) struct Nodes {
    pub(crate) server: Server,
    pub(crate) ports: Vec<u16>,
}

impl Nodes {
    pub(crate) fn start(replicas: usize) -> Result<Self, Failure> {
        let server = block_in_place(|| redis::cluster(&Options::from_env(), replicas))?;
        let hosts = server.url().trim_start_matches("redis://").split(',');
        let ports = hosts
            .map(|host| host.rsplit(':').next().unwrap_or_default().parse())
            .collect::<Result<_, _>>()?;
        Ok(Self { server, ports })
    }

    pub(crate) async fn connection(&self, node: usize) -> Result<MultiplexedConnection, Failure> {
        let url = format!("redis://127.0.0.1:{}", self.ports[node]);
        let client = Client::open(url)?;
        Ok(client.get_multiplexed_async_connection().await?)
    }

    /// The reply to `CLUSTER` with these words.
    pub(crate) async fn ask(&self, node: usize, words: &str) -> Result<Value, Failure> {
        let mut command = cmd("CLUSTER");
        for word in words.split(' ') {
            command.arg(word);
        }
        Ok(command
            .query_async(&mut self.connection(node).await?)
            .await?)
    }

    pub(crate) async fn name(&self, node: usize) -> Result<String, Failure> {
        Ok(store_redis::redis::from_redis_value(
            self.ask(node, "MYID").await?,
        )?)
    }

    /// Waits until all servers agree on the owner and the epoch of every slot.
    ///
    /// The server that receives a slot gives the move an epoch above all epochs that it
    /// knows. If it does not know all of them, an earlier claim of another server can have
    /// a higher epoch. A server that learns of that claim late gives the slot back, and
    /// two servers then name each other as its owner permanently.
    async fn agree(&self) -> End {
        let begin = Instant::now();
        loop {
            let mut claimed = Vec::new();
            for node in 0..self.ports.len() {
                let nodes = self.ask(node, "NODES").await?;
                claimed.push(claims(&store_redis::redis::from_redis_value::<String>(
                    nodes,
                )?));
            }
            if claimed.windows(2).all(|two| two[0] == two[1]) {
                return Ok(());
            }
            if begin.elapsed() > Duration::from_secs(30) {
                return Err(format!("they disagree: {claimed:#?}").into());
            }
            tokio::task::yield_now().await;
        }
    }

    /// Moves a slot with all its keys, as an operator's tool would.
    pub(crate) async fn move_slot(&self, slot: u16, from: usize, to: usize) -> End {
        self.begin_to_move(slot, from, to).await?;
        while self.move_some_key(slot, from, to).await? {}
        let target = self.name(to).await?;
        self.ask(to, &format!("SETSLOT {slot} NODE {target}"))
            .await?;
        self.ask(from, &format!("SETSLOT {slot} NODE {target}"))
            .await?;
        Ok(())
    }

    async fn begin_to_move(&self, slot: u16, from: usize, to: usize) -> End {
        self.agree().await?;
        let (source, target) = (self.name(from).await?, self.name(to).await?);
        self.ask(to, &format!("SETSLOT {slot} IMPORTING {source}"))
            .await?;
        self.ask(from, &format!("SETSLOT {slot} MIGRATING {target}"))
            .await?;
        Ok(())
    }

    /// Moves one key of the slot; returns whether there was one.
    async fn move_some_key(&self, slot: u16, from: usize, to: usize) -> Result<bool, Failure> {
        let mut connection = self.connection(from).await?;
        let mut command = cmd("CLUSTER");
        command.arg("GETKEYSINSLOT").arg(slot).arg(1);
        let keys: Vec<Vec<u8>> = command.query_async(&mut connection).await?;
        if keys.is_empty() {
            return Ok(false);
        }
        let mut command = cmd("MIGRATE");
        command.arg("127.0.0.1").arg(self.ports[to]);
        command.arg("").arg(0).arg(5000).arg("KEYS").arg(keys);
        command.query_async::<Value>(&mut connection).await?;
        Ok(true)
    }

    /// How often all servers together have run these commands.
    pub(crate) async fn calls(&self, commands: &[&str]) -> Result<u64, Failure> {
        let mut calls = 0;
        for node in 0..self.ports.len() {
            let mut connection = self.connection(node).await?;
            let mut info = cmd("INFO");
            let stats: String = info
                .arg("commandstats")
                .query_async(&mut connection)
                .await?;
            for command in commands {
                let prefix = format!("cmdstat_{command}:calls=");
                let line = stats.lines().find_map(|line| line.strip_prefix(&*prefix));
                if let Some((number, _)) = line.and_then(|line| line.split_once(',')) {
                    calls += number.parse::<u64>()?;
                }
            }
        }
        Ok(calls)
    }
}

/// Name, epoch and slots of each primary in `CLUSTER NODES`.
fn claims(nodes: &str) -> BTreeSet<String> {
    let of_one = |line: &str| {
        let fields: Vec<&str> = line.split(' ').collect();
        let [name, _, flags, _, _, _, epoch, _, slots @ ..] = &fields[..] else {
            return None;
        };
        // Slots in brackets are being moved.
        let slots = slots.iter().filter(|slot| !slot.starts_with('['));
        let slots: Vec<&str> = slots.copied().collect();
        let claim = format!("{name} {epoch} {}", slots.join(" "));
        flags.contains("master").then_some(claim)
    };
    nodes.lines().filter_map(of_one).collect()
}

/// A cluster that no test changes.
fn unchanged() -> Result<&'static Nodes, Failure> {
    static NODES: Mutex<Option<&'static Nodes>> = Mutex::new(None);
    let mut nodes = NODES.lock().map_err(|_| "it did not start")?;
    if nodes.is_none() {
        *nodes = Some(Box::leak(Box::new(Nodes::start(0)?)));
    }
    Ok(nodes.expect("just started"))
}

async fn reads_of_many_records_are_one_request_per_slot(_: Place) -> End {
    let nodes = Nodes::start(0)?;
    let place = Place::new(nodes.server.url());
    let store = place.open().await?;
    let partitions: Vec<_> = (0..20)
        .map(|i| Partition::new(format!("p{i}")))
        .collect::<Result<_, _>>()?;
    for partition in &partitions {
        let mut batch = Batch::new(partition.clone(), store.now());
        batch.put(key("a"), Expect::Any, Body::json(1)?)?;
        store.records().commit(&batch).await?;
    }
    let (a, b) = (key("a"), key("b"));
    let at: Vec<_> = partitions
        .iter()
        .flat_map(|partition| [a.at(partition), b.at(partition)])
        .collect();
    let before = (nodes.calls(&["mget"]).await?, nodes.calls(&["get"]).await?);
    let found = store.records().get_many(&at).await?;
    assert_eq!(found.iter().flatten().count(), 20);
    let after = (nodes.calls(&["mget"]).await?, nodes.calls(&["get"]).await?);
    assert_eq!((after.0 - before.0, after.1 - before.1), (20, 0));
    Ok(())
}

async fn any_server_of_a_cluster_leads_to_all(_: Place) -> End {
    let nodes = unchanged()?;
    let mut namespace = None;
    for port in &nodes.ports {
        let mut place = Place::new(&format!("redis://127.0.0.1:{port}"));
        place.namespace = namespace.get_or_insert(place.namespace.clone()).clone();
        let store = place.open().await?;
        for i in 0..30 {
            let partition = Partition::new(format!("p{i}"))?;
            let mut batch = Batch::new(partition, store.now());
            batch.put(key(&port.to_string()), Expect::Absent, Body::json(1)?)?;
            store.records().commit(&batch).await?;
        }
        let mut found = 0;
        let mut scan = Scan::collection(THINGS, "").limit(7)?;
        loop {
            let page = store.records().scan(&scan).await?;
            found += page.items.len();
            match page.next {
                Some(next) => scan = scan.after(&next)?,
                None => break,
            }
        }
        assert_eq!(found % 30, 0);
        assert!(found > 0);
    }
    Ok(())
}

async fn a_collection_scan_over_a_changed_cluster_ends_with_an_error(_: Place) -> End {
    let nodes = Nodes::start(0)?;
    let place = Place::new(nodes.server.url());
    let store: Store = place.open().await?;
    for i in 0..30 {
        let mut batch = Batch::new(Partition::new(format!("p{i}"))?, store.now());
        batch.put(RecordKey::new(THINGS, "a")?, Expect::Absent, Body::json(1)?)?;
        store.records().commit(&batch).await?;
    }
    let scan = || Scan::collection(THINGS, "").limit(3);
    let page = store.records().scan(&scan()?).await?;
    let cursor = page.next.ok_or("there are thirty")?;

    // The first server has slot 0.
    let (source, target) = (nodes.name(0).await?, nodes.name(1).await?);
    nodes
        .ask(1, &format!("SETSLOT 0 IMPORTING {source}"))
        .await?;
    nodes
        .ask(0, &format!("SETSLOT 0 MIGRATING {target}"))
        .await?;
    let ended = scan_to_the_end(&store, &cursor).await?;
    assert_eq!(ended, Some(ErrorKind::Unavailable), "a slot is moving");
    nodes.ask(0, "SETSLOT 0 STABLE").await?;
    nodes.ask(1, "SETSLOT 0 STABLE").await?;

    nodes.move_slot(0, 0, 1).await?;
    let ended = scan_to_the_end(&store, &cursor).await?;
    assert_eq!(
        ended,
        Some(ErrorKind::Superseded),
        "the cluster has changed"
    );
    let again = store.records().scan(&scan()?).await?.next;
    let ended = scan_to_the_end(&store, &again.ok_or("there are thirty")?).await?;
    assert_eq!(ended, None, "it was begun again");
    Ok(())
}

/// Scans to the end, or to an error.
async fn scan_to_the_end(store: &Store, cursor: &Cursor) -> Result<Option<ErrorKind>, Failure> {
    let mut next = Some(cursor.clone());
    while let Some(cursor) = next {
        let scan = Scan::collection(THINGS, "").limit(3)?.after(&cursor)?;
        match store.records().scan(&scan).await {
            Ok(page) => next = page.next,
            Err(error) => return Ok(Some(error.kind())),
        }
    }
    Ok(None)
}

/// A partition that the second of three servers has.
fn a_partition_of_the_second() -> Result<Partition, Failure> {
    let mut names = (0..).map(|number| format!("p{number}"));
    let is_seconds = |name: &String| usize::from(slot(name)) * 3 / 16_384 == 1;
    Ok(Partition::new(
        names.find(is_seconds).ok_or("there is one")?,
    )?)
}

async fn a_redirection_is_followed_while_another_server_is_silent(_: Place) -> End {
    let nodes = Nodes::start(0)?;
    let place = Place::new(nodes.server.url());
    let opened = place.builder().timeout(Duration::from_secs(30)).connect();
    let store = Store::from(opened.await?);
    let partition = a_partition_of_the_second()?;
    let mut batch = Batch::new(partition.clone(), store.now());
    batch.put(key("a"), Expect::Absent, Body::json(1)?)?;
    store.records().commit(&batch).await?;
    nodes.move_slot(slot(partition.as_str()), 1, 2).await?;

    // A refresh of the slots asks the first server first.
    let mut silent = nodes.connection(0).await?;
    let mut pause = cmd("CLIENT");
    pause.arg("PAUSE").arg(10_000).arg("ALL");
    pause.exec_async(&mut silent).await?;
    let ping = cmd("PING");
    let at = key("a");
    tokio::select! {
        found = store.records().get(at.at(&partition)) => assert!(found?.is_some()),
        _ = ping.exec_async(&mut silent) => panic!("it waited for a server that it does not need"),
    }
    Ok(())
}

/// No server has all of them, and a move can take long.
async fn records_are_read_together_while_their_slot_is_on_two_servers(_: Place) -> End {
    let nodes = Nodes::start(0)?;
    let store = Place::new(nodes.server.url()).open().await?;
    let partition = a_partition_of_the_second()?;
    let ids: Vec<RecordKey> = (0..8).map(|id| key(&id.to_string())).collect();
    for id in &ids {
        let mut batch = Batch::new(partition.clone(), store.now());
        batch.put(id.clone(), Expect::Absent, Body::json(1)?)?;
        store.records().commit(&batch).await?;
    }
    let slot = slot(partition.as_str());
    nodes.begin_to_move(slot, 1, 2).await?;
    for moved in 0..=ids.len() {
        let none = key("none");
        let mut at: Vec<_> = ids.iter().map(|id| id.at(&partition)).collect();
        at.insert(moved, none.at(&partition));
        let found = store.records().get_many(&at).await?;
        for (place, found) in found.iter().enumerate() {
            assert_eq!(found.is_some(), place != moved, "{moved} were moved");
        }
        assert!(nodes.move_some_key(slot, 1, 2).await?);
    }
    Ok(())
}
