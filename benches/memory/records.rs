//! Compares records in memory with the bare data structures that contain them, and with
//! moka: `cargo xtask bench --name memory_records`.

#![allow(clippy::unwrap_used)] // A failed measurement may end the program.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher;
use std::hint::black_box;
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::{Equivalent, HashMap, HashTable, hash_table};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use store_conformance::bench::{Comparison, Goal, timed};
use store_core::{
    Batch, Body, Collection, Expect, Partition, RecordKey, RecordRef, RecordStore, Scan, Store,
};
use store_memory::MemoryStore;

const USERS: Collection = Collection::new("users");
const PER_PARTITION: usize = 1000;
const PAGE: usize = 100;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct User {
    name: String,
    age: u32,
    active: bool,
}

/// A record's name, created in advance, so that its cost is not measured.
struct Name {
    partition: Partition,
    key: RecordKey,
}

impl Name {
    fn new(i: usize) -> Self {
        Self {
            partition: Partition::new(format!("tenant-{}", i / PER_PARTITION)).unwrap(),
            key: RecordKey::new(USERS, format!("user-{i:08}")).unwrap(),
        }
    }

    fn at(&self) -> RecordRef<'_> {
        self.key.at(&self.partition)
    }
}

fn user(i: usize) -> User {
    User {
        name: format!("user number {i}"),
        age: (i % 90) as u32,
        active: i.is_multiple_of(3),
    }
}

/// The bare data structures of store-memory: one shared entry for each record, in a hash
/// table for reads and in an ordered set for scans, under one lock. There are no batches,
/// expectations, limits, expiry or futures.
struct Bare {
    hasher: foldhash::fast::RandomState,
    inner: RwLock<BareTables>,
}

#[derive(Default)]
struct BareTables {
    points: HashTable<Arc<Entry>>,
    ordered: BTreeSet<ByName>,
}

struct Entry {
    hash: u64,
    partition: Arc<str>,
    id: Arc<str>,
    value: Arc<User>,
}

#[derive(Clone)]
struct ByName(Arc<Entry>);

impl ByName {
    fn name(&self) -> (&str, &str) {
        (&self.0.partition, &self.0.id)
    }
}

impl PartialEq for ByName {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for ByName {}

impl PartialOrd for ByName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.name().cmp(&other.name())
    }
}

impl Bare {
    fn new() -> Self {
        Self {
            hasher: foldhash::fast::RandomState::default(),
            inner: RwLock::default(),
        }
    }

    fn get(&self, at: RecordRef<'_>) -> Option<Arc<User>> {
        let hash = self.hasher.hash_one((at.partition(), at.id()));
        let is = |entry: &Arc<Entry>| *entry.id == *at.id() && *entry.partition == *at.partition();
        let tables = self.inner.read();
        let entry = tables.points.find(hash, is)?;
        Some(Arc::clone(&entry.value))
    }

    fn create(&self, name: &Name, value: Arc<User>) -> bool {
        let at = name.at();
        let hash = self.hasher.hash_one((at.partition(), at.id()));
        let is = |entry: &Arc<Entry>| *entry.id == *at.id() && *entry.partition == *at.partition();
        let entry = Arc::new(Entry {
            hash,
            partition: at.partition().into(),
            id: at.id().into(),
            value,
        });
        let mut tables = self.inner.write();
        let tables = &mut *tables;
        match tables.points.entry(hash, is, |entry| entry.hash) {
            hash_table::Entry::Occupied(_) => false,
            hash_table::Entry::Vacant(free) => {
                free.insert(Arc::clone(&entry));
                tables.ordered.insert(ByName(entry))
            }
        }
    }

    fn page(&self, partition: &Partition, after: &str) -> Vec<Arc<Entry>> {
        let from = ByName(Arc::new(Entry {
            hash: 0,
            partition: partition.as_str().into(),
            id: after.into(),
            value: Arc::new(user(0)),
        }));
        self.inner
            .read()
            .ordered
            .range((Bound::Excluded(from), Bound::Unbounded))
            .take_while(|entry| *entry.0.partition == *partition.as_str())
            .take(PAGE)
            .map(|entry| Arc::clone(&entry.0))
            .collect()
    }
}

/// What a program without this library might use: a hash map and a tree of the values
/// under one lock, without versions or expiry.
#[derive(Default)]
struct Raw {
    inner: RwLock<RawMaps>,
}

#[derive(Default)]
struct RawMaps {
    points: HashMap<RawKey, Arc<User>>,
    ordered: BTreeMap<RawKey, Arc<User>>,
}

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct RawKey(Arc<str>, Arc<str>);

#[derive(Hash)]
struct RawRef<'a>(&'a str, &'a str);

impl Equivalent<RawKey> for RawRef<'_> {
    fn equivalent(&self, key: &RawKey) -> bool {
        *self.0 == *key.0 && *self.1 == *key.1
    }
}

impl Raw {
    fn get(&self, at: RecordRef<'_>) -> Option<Arc<User>> {
        let key = RawRef(at.partition(), at.id());
        self.inner.read().points.get(&key).cloned()
    }

    fn create(&self, name: &Name, value: Arc<User>) -> bool {
        let key = RawKey(name.partition.as_str().into(), name.key.id().into());
        let mut maps = self.inner.write();
        if maps.points.contains_key(&key) {
            return false;
        }
        maps.ordered.insert(key.clone(), Arc::clone(&value));
        maps.points.insert(key, value);
        true
    }

    fn page(&self, partition: &Partition, after: &str) -> Vec<(RawKey, Arc<User>)> {
        let from = RawKey(partition.as_str().into(), after.into());
        self.inner
            .read()
            .ordered
            .range((Bound::Excluded(from), Bound::Unbounded))
            .take_while(|(key, _)| *key.0 == *partition.as_str())
            .take(PAGE)
            .map(|(key, value)| (key.clone(), Arc::clone(value)))
            .collect()
    }
}

/// A sequence that visits `0..n` in random order.
struct Shuffle {
    state: usize,
    n: usize,
}

impl Shuffle {
    fn new(n: usize) -> Self {
        Self { state: 0, n }
    }

    fn next(&mut self) -> usize {
        self.state = (self.state + 0x9e37_79b9_7f4a_7c15usize) & (usize::MAX >> 1);
        (self.state >> 20) % self.n
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
}

async fn create(store: &Store, name: &Name, value: User) {
    let mut batch = Batch::new(name.partition.clone(), store.now());
    let body = Body::json(value).unwrap();
    batch.put(name.key.clone(), Expect::Absent, body).unwrap();
    store.records().commit(&batch).await.unwrap();
}

fn point_reads(n: usize) {
    let names: Vec<Name> = (0..n).map(Name::new).collect();
    let store = Store::from(MemoryStore::builder().strict(false).build());
    let (bare, raw) = (Bare::new(), Raw::default());
    let moka = moka::sync::Cache::builder()
        .max_capacity(2 * n as u64)
        .build();
    runtime().block_on(async {
        for (i, name) in names.iter().enumerate() {
            create(&store, name, user(i)).await;
            bare.create(name, Arc::new(user(i)));
            raw.create(name, Arc::new(user(i)));
            moka.insert(
                format!("{}/{}", name.partition.as_str(), name.key.id()),
                Arc::new(user(i)),
            );
        }
    });
    moka.run_pending_tasks();
    let moka_keys: Vec<String> = names
        .iter()
        .map(|name| format!("{}/{}", name.partition.as_str(), name.key.id()))
        .collect();
    let records: &dyn RecordStore = &**store.records();
    let mut orders = [(); 4].map(|()| Shuffle::new(n));
    let [ours, theirs, bares, raws] = &mut orders;
    let measured = Comparison::new(format!("point read of a typed value, {n} records"))
        .contender("store-memory: get_now + decode", |times| {
            timed(|| {
                for _ in 0..times {
                    let found = records.get_now(names[ours.next()].at()).unwrap().unwrap();
                    black_box(found.unwrap().decode::<User>().unwrap());
                }
            })
        })
        .contender("moka 0.12 sync: get", |times| {
            timed(|| {
                for _ in 0..times {
                    black_box(moka.get(moka_keys[theirs.next()].as_str()).unwrap());
                }
            })
        })
        .goal(Goal::AtLeast(3.0))
        .contender("the same hash table, bare", |times| {
            timed(|| {
                for _ in 0..times {
                    black_box(bare.get(names[bares.next()].at()).unwrap());
                }
            })
        })
        .goal(Goal::AtMost(1.5))
        .contender("a hash map of values in a lock", |times| {
            timed(|| {
                for _ in 0..times {
                    black_box(raw.get(names[raws.next()].at()).unwrap());
                }
            })
        })
        .run();
    println!("{measured}");
}

/// Creates `n` records and measures only the last tenth, so that the table has about the
/// stated size.
fn creates(n: usize) {
    let names: Vec<Name> = (0..n).map(Name::new).collect();
    let timed_from = n - n / 10;
    let runtime = runtime();
    let measured = Comparison::new(format!("create one record among {n}"))
        .contender("store-memory: commit of one put", |_| {
            let store = Store::from(MemoryStore::builder().strict(false).build());
            runtime.block_on(async {
                let mut begin = Instant::now();
                for (i, name) in names.iter().enumerate() {
                    if i == timed_from {
                        begin = Instant::now();
                    }
                    create(&store, name, user(i)).await;
                }
                begin.elapsed()
            })
        })
        .contender("the same structures, bare", |_| {
            let bare = Bare::new();
            last_tenth(&names, |i| {
                assert!(bare.create(&names[i], Arc::new(user(i))))
            })
        })
        .goal(Goal::AtMost(1.5))
        .contender("a hash map and a BTreeMap in a lock", |_| {
            let raw = Raw::default();
            last_tenth(&names, |i| {
                assert!(raw.create(&names[i], Arc::new(user(i))))
            })
        })
        .batch((n / 10) as u64)
        .rounds(if n >= 1_000_000 { 5 } else { 15 })
        .run();
    println!("{measured}");
}

fn last_tenth(names: &[Name], mut create: impl FnMut(usize)) -> Duration {
    let timed_from = names.len() - names.len() / 10;
    (0..timed_from).for_each(&mut create);
    timed(|| (timed_from..names.len()).for_each(create))
}

fn scans(n: usize) {
    let names: Vec<Name> = (0..n).map(Name::new).collect();
    let store = Store::from(MemoryStore::builder().strict(false).build());
    let (bare, raw) = (Bare::new(), Raw::default());
    let runtime = runtime();
    for (i, name) in names.iter().enumerate() {
        runtime.block_on(create(&store, name, user(i)));
        bare.create(name, Arc::new(user(i)));
        raw.create(name, Arc::new(user(i)));
    }
    let mut orders = [(); 3].map(|()| Shuffle::new(n));
    let [ours, bares, raws] = &mut orders;
    let measured = Comparison::new(format!("a page of {PAGE} among {n} records"))
        .contender("store-memory: scan", |times| {
            timed(|| {
                runtime.block_on(async {
                    for _ in 0..times {
                        let name = &names[ours.next()];
                        let scan = Scan::partition(USERS, name.partition.clone());
                        let from = scan.cursor(name.key.id());
                        let scan = scan.limit(PAGE).unwrap().after(&from).unwrap();
                        black_box(store.records().scan(&scan).await.unwrap());
                    }
                });
            })
        })
        .contender("the same ordered set, bare", |times| {
            timed(|| {
                for _ in 0..times {
                    let name = &names[bares.next()];
                    black_box(bare.page(&name.partition, name.key.id()));
                }
            })
        })
        .goal(Goal::AtMost(1.5))
        .contender("a BTreeMap of values in a lock", |times| {
            timed(|| {
                for _ in 0..times {
                    let name = &names[raws.next()];
                    black_box(raw.page(&name.partition, name.key.id()));
                }
            })
        })
        .run();
    println!("{measured}");
}

fn main() {
    // `-- reads 1000` measures one part at one size; cargo adds `--bench`.
    let chosen: Vec<String> = std::env::args()
        .filter(|arg| arg != "--bench")
        .skip(1)
        .collect();
    let wanted = |what: &str| chosen.is_empty() || chosen.iter().any(|arg| arg == what);
    let sizes: Vec<usize> = chosen.iter().filter_map(|arg| arg.parse().ok()).collect();
    for n in [1_000, 100_000, 1_000_000] {
        if !sizes.is_empty() && !sizes.contains(&n) {
            continue;
        }
        for what in ["reads", "creates", "scans"] {
            if wanted(what) || chosen.len() == sizes.len() {
                match what {
                    "reads" => point_reads(n),
                    "creates" => creates(n),
                    _ => scans(n),
                }
            }
        }
    }
}
