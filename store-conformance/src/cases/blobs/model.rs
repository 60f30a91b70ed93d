//! Random calls, compared with a plain map of objects and a list of open writes.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use store_core::blobs::{
    BlobList, BlobReader, BlobRef, BlobSink, BlobStat, OpenOptions, Publication, PutMode,
    PutOptions,
};
use store_core::{BlobStore, Clock, ErrorKind, Result, Version};

use super::names::needs_list;
use super::tools::{Given, content, drain, seeded};
use crate::case;
use crate::cases::model::{Model, Random, after_forged, all_pages, failure, for_each_seed, run};
use crate::harness::Opened;
use crate::suite::{Case, CaseResult};

pub(super) fn cases() -> Vec<Case<dyn BlobStore>> {
    vec![needs_list(case!(
        random_calls_are_answered_as_by_a_map_of_objects,
        "R1",
        "40"
    ))]
}

async fn random_calls_are_answered_as_by_a_map_of_objects(given: Given) -> CaseResult {
    for_each_seed(|seed, calls| compare(&given, seed, calls)).await
}

/// Makes `calls` random calls that follow from `seed`.
pub(crate) async fn compare(given: &Given, seed: u64, calls: usize) -> CaseResult {
    let model = Objects {
        opened: given.open(()).await?,
        objects: BTreeMap::new(),
        writes: Vec::new(),
        readers: Vec::new(),
        begun: 0,
        replaced: Version::unique(),
    };
    run(model, seed, calls).await
}

/// Bucket and key, in the order in which a bucket is listed.
type Name = (&'static str, &'static str);

/// Names that a store which splits, cleans, folds or matches them would mix up.
const BUCKETS: [&str; 2] = ["b", "b/c"];
const KEYS: [&str; 6] = ["a", "a/b", "a%2Fb", "A", "../a", "a\u{10ffff}"];
const PREFIXES: [&str; 4] = ["", "a", "a/", "x"];

/// Nothing, a little, more than is stored beside the metadata, and several chunks.
const SIZES: [usize; 6] = [0, 1, 40, 40, 70_000, 300_000];

struct Object {
    stat: BlobStat,
    bytes: Vec<u8>,
    /// When its write began.
    begun: u64,
}

/// A write that is open.
struct Write {
    sink: Box<dyn BlobSink>,
    name: Name,
    options: PutOptions,
    bytes: Vec<u8>,
    begun: u64,
    superseded: bool,
}

/// A reader that is open, and what it must deliver.
struct Reader {
    reader: Box<dyn BlobReader>,
    name: Name,
    version: Version,
    bytes: Vec<u8>,
}

struct Objects {
    opened: Opened<dyn BlobStore>,
    objects: BTreeMap<Name, Object>,
    writes: Vec<Write>,
    readers: Vec<Reader>,
    begun: u64,
    /// A version that no object has.
    replaced: Version,
}

fn at((bucket, key): Name) -> Result<BlobRef<'static>> {
    BlobRef::new(bucket, key)
}

#[async_trait]
impl Model for Objects {
    async fn call(&mut self, random: &mut Random) -> CaseResult {
        match random.below(24) {
            0..5 => self.put(random).await,
            5..8 => self.begin(random).await,
            8..10 => self.write(random).await,
            10..13 => self.finish(random).await,
            13..15 => self.read(random).await,
            15 => self.finish_reading(random).await,
            16..18 => self.delete(random).await,
            18 => self.restamp(random).await,
            19..21 => self.list(random).await,
            21 => self.forge(random).await,
            22 => {
                random.note("sweep");
                random.handle(&self.opened).sweep().await?;
                Ok(())
            }
            _ => {
                random.advance(&self.opened.clock, Duration::from_secs(1));
                Ok(())
            }
        }
    }
}

impl Objects {
    fn name(random: &mut Random) -> Name {
        (random.pick(&BUCKETS), random.pick(&KEYS))
    }

    fn options(&self, random: &mut Random, name: Name) -> PutOptions {
        let current = self.objects.get(&name).map(|object| object.stat.version);
        let mode = match random.below(6) {
            0 | 1 => PutMode::CreateOnly,
            2 => PutMode::IfUnchanged(current.unwrap_or(self.replaced)),
            3 => PutMode::IfUnchanged(self.replaced),
            _ => PutMode::Overwrite,
        };
        PutOptions::from(seeded(random.below(1000) as u64)).mode(mode)
    }

    fn content(random: &mut Random) -> Vec<u8> {
        content(random.below(1000) as u64, random.pick(&SIZES))
    }

    /// Compares the answer of a commit, and publishes what it published.
    fn published(
        &mut self,
        answer: Result<Publication>,
        name: Name,
        options: &PutOptions,
        bytes: Vec<u8>,
        (begun, superseded): (u64, bool),
    ) -> CaseResult {
        let current = self.objects.get(&name).map(|object| object.stat.version);
        let size = options.expected_size;
        if size.is_some_and(|size| size != bytes.len() as u64) {
            assert_eq!(failure(&answer), Some(ErrorKind::InvalidInput));
            return Ok(());
        }
        let answer = answer?;
        let refused = match options.mode {
            _ if superseded => Some(Publication::Superseded),
            PutMode::CreateOnly if current.is_some() => Some(Publication::AlreadyExists),
            PutMode::IfUnchanged(version) if current != Some(version) => Some(Publication::Changed),
            _ => None,
        };
        if let Some(refused) = refused {
            assert_eq!(answer, refused);
            return Ok(());
        }
        let stat = answer.published()?;
        assert_ne!(Some(stat.version), current, "a version is reused");
        let mut metadata = options.metadata.clone();
        metadata.cached_at = Some(self.opened.clock.now());
        let expected = BlobStat {
            size: bytes.len() as u64,
            version: stat.version,
            published_at: self.opened.clock.now(),
            metadata,
        };
        assert_eq!(stat, expected);
        self.replaced = current.unwrap_or(self.replaced);
        self.objects.insert(name, Object { stat, bytes, begun });
        let older = |write: &&mut Write| write.name == name && write.begun < begun;
        for write in self.writes.iter_mut().filter(older) {
            write.superseded = true;
        }
        Ok(())
    }

    async fn put(&mut self, random: &mut Random) -> CaseResult {
        let name = Self::name(random);
        let (options, bytes) = (self.options(random, name), Self::content(random));
        random.note(format!(
            "put {} bytes to {name:?}, {:?}",
            bytes.len(),
            options.mode
        ));
        self.begun += 1;
        let store = random.handle(&self.opened);
        let answer = store.put_bytes(at(name)?, options.clone(), bytes.clone().into());
        let answer = answer.await;
        self.published(answer, name, &options, bytes, (self.begun, false))
    }

    async fn begin(&mut self, random: &mut Random) -> CaseResult {
        if self.writes.len() == 4 {
            return self.finish(random).await;
        }
        let name = Self::name(random);
        let mut options = self.options(random, name);
        if random.chance(20) {
            options = options.expect_size(random.pick(&[1, 40]));
        }
        random.note(format!("begin {name:?}, {:?}", options.mode));
        let store = random.handle(&self.opened);
        let sink = store.begin(at(name)?, options.clone()).await?;
        self.begun += 1;
        self.writes.push(Write {
            sink,
            name,
            options,
            bytes: Vec::new(),
            begun: self.begun,
            superseded: false,
        });
        Ok(())
    }

    async fn write(&mut self, random: &mut Random) -> CaseResult {
        let open = self.writes.len();
        let Some(write) = self.writes.get_mut(random.below(open)) else {
            return Ok(());
        };
        let bytes = Self::content(random);
        random.note(format!("write {} bytes of {:?}", bytes.len(), write.name));
        write.bytes.extend_from_slice(&bytes);
        match write.sink.write(bytes.into()).await {
            // A write that lost its race may fail early.
            Err(error) if write.superseded && error.is(ErrorKind::Superseded) => {
                let write = write.begun;
                self.writes.retain(|open| open.begun != write);
                Ok(())
            }
            other => Ok(other?),
        }
    }

    /// Commits, aborts or drops an open write.
    async fn finish(&mut self, random: &mut Random) -> CaseResult {
        if self.writes.is_empty() {
            return Ok(());
        }
        let index = random.below(self.writes.len());
        let write = self.writes.swap_remove(index);
        match random.below(6) {
            0 => {
                random.note(format!("abort {:?}", write.name));
                Ok(write.sink.abort().await?)
            }
            1 => {
                random.note(format!("drop {:?}", write.name));
                Ok(())
            }
            _ => {
                random.note(format!("commit {:?}", write.name));
                let answer = write.sink.commit().await;
                let order = (write.begun, write.superseded);
                self.published(answer, write.name, &write.options, write.bytes, order)
            }
        }
    }

    /// A part of an object, and how to ask for it.
    fn part(random: &mut Random, size: usize) -> (OpenOptions, Range<usize>) {
        let (start, end) = (random.below(size + 2), random.below(size + 2));
        let clipped = start.min(size)..end.clamp(start.min(size), size.max(start.min(size)));
        match random.below(3) {
            0 => (OpenOptions::default(), 0..size),
            1 => (OpenOptions::from(start as u64..end as u64), clipped),
            _ => (OpenOptions::from(start as u64..), start.min(size)..size),
        }
    }

    async fn read(&mut self, random: &mut Random) -> CaseResult {
        let name = Self::name(random);
        let object = self.objects.get(&name);
        let size = object.map_or(0, |object| object.bytes.len());
        let (mut options, part) = Self::part(random, size);
        let wrong = random.chance(10);
        if wrong {
            options = options.version(self.replaced);
        }
        random.note(format!(
            "read {part:?} of {name:?}, another version: {wrong}"
        ));
        let store = random.handle(&self.opened);
        let stat = object.map(|object| object.stat.clone());
        assert_eq!(store.stat(at(name)?).await?, stat);
        let opened = store.open(at(name)?, options).await;
        let Some(object) = object else {
            // Another version of an object that does not exist may be reported either way.
            let superseded = failure(&opened) == Some(ErrorKind::Superseded);
            assert!(wrong && superseded || opened?.is_none());
            return Ok(());
        };
        if wrong {
            assert_eq!(failure(&opened), Some(ErrorKind::Superseded));
            return Ok(());
        }
        let mut blob = opened?.ok_or("a published object is not found")?;
        assert_eq!(
            (blob.stat, blob.range),
            (object.stat.clone(), part.start as u64..part.end as u64)
        );
        let bytes = object.bytes[part].to_vec();
        if self.readers.len() < 3 && random.chance(50) {
            self.readers.push(Reader {
                reader: blob.reader,
                name,
                version: object.stat.version,
                bytes,
            });
            return Ok(());
        }
        assert!(
            drain(&mut blob.reader).await? == bytes,
            "other bytes are read"
        );
        Ok(())
    }

    /// Reads what was opened before, even if it was replaced or deleted since.
    async fn finish_reading(&mut self, random: &mut Random) -> CaseResult {
        let Some(mut reader) = self.readers.pop() else {
            return Ok(());
        };
        random.note(format!("finish reading {:?}", reader.name));
        let current = self
            .objects
            .get(&reader.name)
            .map(|object| object.stat.version);
        match drain(&mut reader.reader).await {
            // The grace for readers may be short.
            Err(error) if error.is(ErrorKind::Superseded) && current != Some(reader.version) => {}
            read => assert!(
                read? == reader.bytes,
                "bytes of another publication are read"
            ),
        }
        Ok(())
    }

    async fn delete(&mut self, random: &mut Random) -> CaseResult {
        let name = Self::name(random);
        random.note(format!("delete {name:?}"));
        let deleted = random.handle(&self.opened).delete(at(name)?).await?;
        let object = self.objects.remove(&name);
        assert_eq!(deleted, object.is_some());
        if let Some(object) = object {
            self.replaced = object.stat.version;
        }
        for write in self.writes.iter_mut().filter(|write| write.name == name) {
            write.superseded = true;
        }
        Ok(())
    }

    async fn restamp(&mut self, random: &mut Random) -> CaseResult {
        let name = Self::name(random);
        let metadata = seeded(random.below(1000) as u64);
        let object = self.objects.get_mut(&name);
        let current = object.as_ref().map(|object| object.stat.version);
        let version = match random.chance(30) {
            true => self.replaced,
            false => current.unwrap_or(self.replaced),
        };
        random.note(format!(
            "restamp {name:?}, current: {}",
            Some(version) == current
        ));
        let store = random.handle(&self.opened);
        let answer = store.restamp(at(name)?, version, metadata.clone()).await;
        if failure(&answer) == Some(ErrorKind::Unsupported) {
            return Ok(());
        }
        let Some(object) = object.filter(|object| object.stat.version == version) else {
            assert_eq!(answer?, Publication::Changed);
            return Ok(());
        };
        let stat = answer?.published()?;
        let mut expected = object.stat.clone();
        expected.version = stat.version;
        expected.published_at = self.opened.clock.now();
        expected.metadata = metadata;
        expected.metadata.cached_at = Some(self.opened.clock.now());
        assert_eq!(stat, expected);
        assert_ne!(stat.version, version, "a version is reused");
        // The content is as old as before: a write begun since then still wins.
        debug_assert!(object.begun <= self.begun);
        object.stat = stat;
        self.replaced = version;
        Ok(())
    }

    /// A list of a bucket, and what it must show.
    fn query(&self, random: &mut Random) -> Result<(BlobList, Vec<(String, BlobStat)>)> {
        let (bucket, prefix) = (random.pick(&BUCKETS), random.pick(&PREFIXES));
        let shown = |name: &Name| name.0 == bucket && name.1.starts_with(prefix);
        let objects = self.objects.iter().filter(|(name, _)| shown(name));
        let expected = objects.map(|(name, object)| (name.1.to_owned(), object.stat.clone()));
        Ok((BlobList::new(bucket)?.prefix(prefix), expected.collect()))
    }

    async fn list(&mut self, random: &mut Random) -> CaseResult {
        let (list, expected) = self.query(random)?;
        let limit = 1 + random.below(3);
        random.note(format!("list {list:?}, {limit} a page"));
        let store = random.handle(&self.opened);
        let found = all_pages(limit, |page| {
            let (store, list) = (&store, list.clone().page(page));
            async move { store.list(&list).await }
        })
        .await?;
        let found: Vec<_> = found
            .into_iter()
            .map(|entry| (entry.key, entry.stat))
            .collect();
        assert_eq!(found, expected);
        Ok(())
    }

    async fn forge(&mut self, random: &mut Random) -> CaseResult {
        let (list, expected) = self.query(random)?;
        let store = random.handle(&self.opened);
        let Some(genuine) = store.list(&list.clone().limit(1)?).await?.next else {
            return Ok(());
        };
        let forged = random.forge(&genuine, &KEYS)?;
        let answer = store.list(&list.after(forged)).await;
        for entry in after_forged(answer)? {
            let shown = expected.contains(&(entry.key.clone(), entry.stat.clone()));
            assert!(shown, "a forged cursor shows {entry:?}");
        }
        Ok(())
    }
}
