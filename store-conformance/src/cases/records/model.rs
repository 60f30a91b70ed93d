//! Random calls, compared with a sorted map.
//!
//! The names are odd, the expectations are right or wrong, and cursors are forged.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use store_core::{
    Batch, Body, Collection, Expect, Partition, Record, RecordKey, RecordStore, Result, Scan,
    Timestamp, Version,
};

use super::tools::{Given, OTHERS, Space, THINGS, conflict, pages};
use crate::case;
use crate::cases::model::{Model, Random, after_forged, for_each_seed, run};
use crate::suite::{Case, CaseResult};

pub(super) fn cases() -> Vec<Case<dyn RecordStore>> {
    vec![case!(
        random_calls_are_answered_as_by_a_sorted_map,
        "R1",
        "R2",
        "R3",
        "R4",
        "R5"
    )]
}

async fn random_calls_are_answered_as_by_a_sorted_map(harness: Given) -> CaseResult {
    for_each_seed(|seed, calls| compare(&harness, seed, calls)).await
}

/// Makes `calls` random calls that follow from `seed`.
pub(crate) async fn compare(harness: &Given, seed: u64, calls: usize) -> CaseResult {
    let model = Map {
        space: Space::open(harness).await?,
        map: BTreeMap::new(),
    };
    run(model, seed, calls).await
}

/// Partitions that begin alike, and ids that escapes and separators may confuse.
const PARTITIONS: [&str; 4] = ["p", "p/q", "p%2Fq", "é"];
const IDS: [&str; 10] = [
    "a",
    "a/b",
    "a%2Fb",
    "a\u{80}",
    "a\u{10ffff}",
    "ab",
    "B",
    "a b",
    "{a}",
    "*",
];
const PREFIXES: [&str; 5] = ["", "a", "a/", "a\u{80}", "x"];

/// Collection, partition and id, in the order in which scans deliver.
type Name = (&'static str, &'static str, &'static str);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stored {
    version: Version,
    expires_at: Option<Timestamp>,
    number: u64,
}

impl Stored {
    fn of(record: &Record) -> Result<Self> {
        Ok(Self {
            version: record.version(),
            expires_at: record.expires_at(),
            number: *record.decode::<u64>()?,
        })
    }
}

struct Map {
    space: Space,
    map: BTreeMap<Name, Stored>,
}

#[async_trait]
impl Model for Map {
    async fn call(&mut self, random: &mut Random) -> CaseResult {
        let store = self.space.handle(random.below(2));
        match random.below(20) {
            0..9 => self.commit(random, &*store).await,
            9..11 => self.get_many(random, &*store).await,
            11..14 => self.scan_partition(random, &*store).await,
            14..16 => self.scan_collection(random, &*store).await,
            16 => self.forge(random, &*store).await,
            17 => {
                random.note("sweep");
                store.sweep(Duration::ZERO).await?;
                Ok(())
            }
            _ => {
                random.advance(&self.space.clock, Duration::from_secs(3));
                Ok(())
            }
        }
    }
}

fn collection(random: &mut Random) -> Collection {
    random.pick(&[THINGS, OTHERS])
}

impl Map {
    /// What is stored under this name now.
    fn current(&self, name: Name) -> Option<Stored> {
        let now = self.space.now();
        let stored = self.map.get(&name).copied();
        stored.filter(|stored| stored.expires_at.is_none_or(|at| at > now))
    }

    fn expectation(random: &mut Random, current: Option<Stored>) -> (Expect, bool) {
        match (random.below(6), current) {
            (0, _) => (Expect::Any, true),
            (1, _) => (Expect::Absent, current.is_none()),
            (2, _) => (Expect::Present, current.is_some()),
            (3, _) => (Expect::Version(Version::unique()), false),
            (_, Some(stored)) => (Expect::Version(stored.version), true),
            (_, None) => (Expect::Absent, true),
        }
    }

    async fn commit(&mut self, random: &mut Random, store: &dyn RecordStore) -> CaseResult {
        let partition = random.pick(&PARTITIONS);
        let now = self.space.now();
        let mut batch = Batch::new(Partition::new(partition)?, now);
        let number = random.below(1_000_000) as u64;
        let (mut after, mut failing) = (self.map.clone(), Vec::new());
        for _ in 0..1 + random.below(3) {
            let (collection, id) = (collection(random), random.pick(&IDS));
            let name = (collection.name(), partition, id);
            let key = RecordKey::new(collection, id)?;
            if batch.items().iter().any(|item| *item.key() == key) {
                continue;
            }
            let current = self.current(name);
            let (expect, holds) = Self::expectation(random, current);
            if !holds {
                failing.push((batch.items().len(), current));
            }
            match random.below(6) {
                0 => drop(batch.check(key, expect)?),
                1 => {
                    batch.delete(key, expect)?;
                    after.remove(&name);
                }
                drawn => {
                    let life = Duration::from_secs(random.below(6) as u64);
                    let expires_at = (drawn == 2).then(|| now + life);
                    batch.put_until(key, expect, Body::json(number)?, expires_at)?;
                    let version = batch.version();
                    let stored = Stored {
                        version,
                        expires_at,
                        number,
                    };
                    after.insert(name, stored);
                }
            }
        }
        random.note(format!("commit to {partition:?}: {:?}", batch.items()));
        let answer = store.commit(&batch).await;
        if failing.is_empty() {
            answer?;
            self.map = after;
            return Ok(());
        }
        let error = conflict(answer);
        let found = error.conflict().ok_or("a conflict says what failed")?;
        for (place, expected) in failing {
            let item = found.item(place).ok_or("a failed item is not named")?;
            let current = item.current().map(Stored::of).transpose()?;
            assert_eq!(current, expected, "the current record of a conflict");
        }
        Ok(())
    }

    async fn get_many(&mut self, random: &mut Random, store: &dyn RecordStore) -> CaseResult {
        let mut names: Vec<Name> = Vec::new();
        for _ in 0..1 + random.below(4) {
            let collection = collection(random).name();
            names.push((collection, random.pick(&PARTITIONS), random.pick(&IDS)));
        }
        random.note(format!("get {names:?}"));
        let mut parts = Vec::new();
        for (collection, partition, id) in &names {
            let key = RecordKey::new(Collection::new(collection), id)?;
            parts.push((Partition::new(partition)?, key));
        }
        let at: Vec<_> = parts.iter().map(|(p, key)| key.at(p)).collect();
        let many = store.get_many(&at).await?;
        for ((name, at), found) in names.iter().zip(at).zip(many) {
            let expected = self.current(*name);
            assert_eq!(
                found.as_ref().map(Stored::of).transpose()?,
                expected,
                "{name:?}"
            );
            let one = store.get(at).await?;
            assert_eq!(
                one.as_ref().map(Stored::of).transpose()?,
                expected,
                "{name:?}"
            );
        }
        Ok(())
    }

    /// What the map has in `collection`, in partitions and ids that pass.
    fn expected(
        &self,
        collection: Collection,
        passes: impl Fn(&str, &str) -> bool,
    ) -> Vec<(Name, Stored)> {
        let names = self.map.keys().copied();
        let wanted = names.filter(|(c, p, id)| *c == collection.name() && passes(p, id));
        wanted
            .filter_map(|name| Some((name, self.current(name)?)))
            .collect()
    }

    async fn scan_partition(&mut self, random: &mut Random, store: &dyn RecordStore) -> CaseResult {
        let (collection, partition) = (collection(random), random.pick(&PARTITIONS));
        let (prefix, limit) = (random.pick(&PREFIXES), 1 + random.below(3));
        let scan = Scan::partition(collection, Partition::new(partition)?);
        let scan = scan.id_prefix(prefix).limit(limit)?;
        random.note(format!("{scan:?}"));
        let found = pages(store, scan).await?.concat();
        let found = found
            .iter()
            .map(|r| Ok((r.id().to_owned(), Stored::of(r)?)));
        let expected = self.expected(collection, |p, id| p == partition && id.starts_with(prefix));
        let expected = expected.into_iter().map(|((.., id), s)| (id.to_owned(), s));
        assert_eq!(
            found.collect::<Result<Vec<_>>>()?,
            expected.collect::<Vec<_>>(),
            "ids of {partition:?} that begin with {prefix:?}, {limit} a page"
        );
        Ok(())
    }

    async fn scan_collection(
        &mut self,
        random: &mut Random,
        store: &dyn RecordStore,
    ) -> CaseResult {
        let (collection, prefix) = (collection(random), random.pick(&["", "p", "p/", "é", "x"]));
        let limit = 1 + random.below(5);
        let scan = Scan::collection(collection, prefix).limit(limit)?;
        random.note(format!("{scan:?}"));
        // A record may be delivered more than once.
        let mut found = BTreeMap::new();
        for record in pages(store, scan).await?.concat() {
            let name = (
                record.partition().as_str().to_owned(),
                record.id().to_owned(),
            );
            found.insert(name, Stored::of(&record)?);
        }
        let expected = self.expected(collection, |partition, _| partition.starts_with(prefix));
        let expected = expected
            .into_iter()
            .map(|((_, p, id), stored)| ((p.to_owned(), id.to_owned()), stored));
        assert_eq!(
            found,
            expected.collect(),
            "partitions that begin with {prefix:?}"
        );
        Ok(())
    }

    /// A cursor with a position of the client's own is refused, or shows nothing
    /// outside of its query.
    async fn forge(&mut self, random: &mut Random, store: &dyn RecordStore) -> CaseResult {
        let prefix = random.pick(&["a", "a/", "é"]);
        let query = match random.below(2) {
            0 => Scan::partition(THINGS, self.space.partition.clone()).id_prefix(prefix),
            _ => Scan::collection(THINGS, prefix),
        };
        let genuine = query.cursor(random.pick(&IDS));
        let forged = random.forge(&genuine, &IDS)?;
        let answer = match query.clone().after(&forged) {
            Ok(scan) => store.scan(&scan).await,
            Err(error) => Err(error),
        };
        for record in after_forged(answer)? {
            let outside = match query.scope() {
                store_core::Scope::Partition(p) => {
                    record.partition() != p || !record.id().starts_with(prefix)
                }
                store_core::Scope::Partitions(p) => !record.partition().as_str().starts_with(p),
            };
            assert!(!outside, "a forged cursor shows {:?}", record.at());
        }
        Ok(())
    }
}
