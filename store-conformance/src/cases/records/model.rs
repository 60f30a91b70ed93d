//! Random calls, one after the other, compared with a plain map.
//!
//! Two handles take turns, the clock moves, names are odd, expectations are right
//! and wrong, and cursors are forged. Whatever the store answers must be what a
//! sorted map answers.

use std::collections::BTreeMap;
use std::time::Duration;

use store_core::{
    Batch, Body, Collection, Cursor, Expect, Partition, Record, RecordKey, RecordStore, Result,
    Scan, Timestamp, Version,
};

use super::tools::{Given, OTHERS, Space, THINGS, conflict, pages};
use crate::case;
use crate::history::Dice;
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
    for seed in 0..2 {
        compare(&harness, seed, 60).await?;
    }
    Ok(())
}

/// Makes `calls` random calls that follow from `seed`. For long runs.
///
/// # Errors
/// The store's own. Panics at the first answer that differs from the map's.
pub async fn compare(harness: &Given, seed: u64, calls: usize) -> CaseResult {
    let mut walk = Walk {
        space: Space::open(harness).await?,
        dice: Dice::new(seed),
        map: BTreeMap::new(),
    };
    for call in 0..calls {
        let answer = walk.call(call).await;
        answer.map_err(|error| format!("seed {seed}, call {call}: {error}"))?;
    }
    Ok(())
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

struct Walk {
    space: Space,
    dice: Dice,
    map: BTreeMap<Name, Stored>,
}

impl Walk {
    async fn call(&mut self, number: usize) -> CaseResult {
        let store = self.space.handle(self.dice.below(2));
        match self.dice.below(20) {
            0..9 => self.commit(&*store, number as u64).await,
            9..11 => self.get_many(&*store).await,
            11..14 => self.scan_partition(&*store).await,
            14..16 => self.scan_collection(&*store).await,
            16 => self.forge(&*store).await,
            17 => {
                store.sweep(Duration::ZERO).await?;
                Ok(())
            }
            _ => {
                let seconds = self.dice.below(4) as u64;
                self.space.clock.advance(Duration::from_secs(seconds));
                Ok(())
            }
        }
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.dice.below(of.len())]
    }

    fn collection(&mut self) -> Collection {
        self.pick(&[THINGS, OTHERS])
    }

    /// What is stored under this name now.
    fn current(&self, name: Name) -> Option<Stored> {
        let now = self.space.now();
        let stored = self.map.get(&name).copied();
        stored.filter(|stored| stored.expires_at.is_none_or(|at| at > now))
    }

    fn expectation(&mut self, current: Option<Stored>) -> (Expect, bool) {
        match (self.dice.below(6), current) {
            (0, _) => (Expect::Any, true),
            (1, _) => (Expect::Absent, current.is_none()),
            (2, _) => (Expect::Present, current.is_some()),
            (3, _) => (Expect::Version(Version::unique()), false),
            (_, Some(stored)) => (Expect::Version(stored.version), true),
            (_, None) => (Expect::Absent, true),
        }
    }

    async fn commit(&mut self, store: &dyn RecordStore, number: u64) -> CaseResult {
        let partition = self.pick(&PARTITIONS);
        let now = self.space.now();
        let mut batch = Batch::new(Partition::new(partition)?, now);
        let (mut after, mut failing) = (self.map.clone(), Vec::new());
        for _ in 0..1 + self.dice.below(3) {
            let (collection, id) = (self.collection(), self.pick(&IDS));
            let name = (collection.name(), partition, id);
            let key = RecordKey::new(collection, id)?;
            if batch.items().iter().any(|item| *item.key() == key) {
                continue;
            }
            let current = self.current(name);
            let (expect, holds) = self.expectation(current);
            if !holds {
                failing.push((batch.items().len(), current));
            }
            match self.dice.below(6) {
                0 => drop(batch.check(key, expect)?),
                1 => {
                    batch.delete(key, expect)?;
                    after.remove(&name);
                }
                drawn => {
                    let life = Duration::from_secs(self.dice.below(6) as u64);
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

    async fn get_many(&mut self, store: &dyn RecordStore) -> CaseResult {
        let mut names: Vec<Name> = Vec::new();
        for _ in 0..1 + self.dice.below(4) {
            let collection = self.collection().name();
            names.push((collection, self.pick(&PARTITIONS), self.pick(&IDS)));
        }
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

    async fn scan_partition(&mut self, store: &dyn RecordStore) -> CaseResult {
        let (collection, partition) = (self.collection(), self.pick(&PARTITIONS));
        let (prefix, limit) = (self.pick(&PREFIXES), 1 + self.dice.below(3));
        let scan = Scan::partition(collection, Partition::new(partition)?);
        let scan = scan.id_prefix(prefix).limit(limit)?;
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

    async fn scan_collection(&mut self, store: &dyn RecordStore) -> CaseResult {
        let (collection, prefix) = (self.collection(), self.pick(&["", "p", "p/", "é", "x"]));
        let limit = 1 + self.dice.below(5);
        let scan = Scan::collection(collection, prefix).limit(limit)?;
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
    async fn forge(&mut self, store: &dyn RecordStore) -> CaseResult {
        let prefix = self.pick(&["a", "a/", "é"]);
        let query = match self.dice.below(2) {
            0 => Scan::partition(THINGS, self.space.partition.clone()).id_prefix(prefix),
            _ => Scan::collection(THINGS, prefix),
        };
        let position: Vec<u8> = match self.dice.below(4) {
            0 => Vec::new(),
            1 => vec![0; self.dice.below(12)],
            2 => self.pick(&IDS).as_bytes().to_vec(),
            _ => (0..self.dice.below(40))
                .map(|_| self.dice.roll() as u8)
                .collect(),
        };
        let forged: Cursor = query.cursor(position).to_string().parse()?;
        let Ok(page) = async { store.scan(&query.clone().after(&forged)?).await }.await else {
            return Ok(());
        };
        for record in page.items {
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
