//! A simple record store: correct without a [`Flaw`], and with one wrong in one place.
//! Each flaw is in the place where an implementer would make the mistake.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use store_core::changes::{ChangeSender, Changes};
use store_core::error::FailedItem;
use store_core::{
    Batch, Capabilities, Change, Clock, Committed, Conflict, Error, Expect, ManualClock, Record,
    RecordKey, RecordRef, RecordStore, Records, Result, Scan, Scope, Support, Swept, Timestamp,
    Version,
};

use super::Flaw;
use super::bodies::{overwritten, same, stored};

/// What a record is found by: collection, partition, id.
type Name = (String, String, String);

/// What two handles share.
#[derive(Default)]
pub(super) struct Space {
    records: BTreeMap<Name, Record>,
    /// When to remove which record. A renewal must move the entry.
    deadlines: BTreeMap<Name, Timestamp>,
    /// One for each handle.
    listeners: Vec<Arc<ChangeSender>>,
    /// How many changes were announced.
    announced: usize,
}

/// One handle.
pub(super) struct Plain {
    space: Arc<Mutex<Space>>,
    clock: ManualClock,
    flaw: Option<Flaw>,
    closed: AtomicBool,
    /// Empty without a flaw.
    cache: Mutex<HashMap<Name, Option<Record>>>,
    changes: Arc<ChangeSender>,
}

impl Plain {
    pub(super) fn new(space: Arc<Mutex<Space>>, clock: ManualClock, flaw: Option<Flaw>) -> Self {
        let changes = Arc::new(ChangeSender::new());
        let mut shared = space.lock().expect("nothing panics under this lock");
        shared.listeners.push(Arc::clone(&changes));
        drop(shared);
        Self {
            space,
            clock,
            flaw,
            closed: AtomicBool::new(false),
            cache: Mutex::default(),
            changes,
        }
    }

    /// Announces a commit to the subscribers of all handles.
    fn announce(&self, batch: &Batch) -> Result<()> {
        let mut notice = Batch::new(batch.partition().clone(), batch.now());
        let mut space = self.space();
        for item in batch.items() {
            space.announced += 1;
            let deleted = matches!(item.change(), Change::Delete);
            let busy = (500..1500).contains(&space.announced);
            let large = match item.change() {
                Change::Put { body, .. } => body.size() > 64 * 1024,
                _ => false,
            };
            if deleted && self.has(Flaw::AnnouncesNoDelete)
                || large && self.has(Flaw::AnnouncesNoLargeRecords)
                || busy && self.has(Flaw::DropsNoticesSilently)
            {
                continue;
            }
            notice.item(item.key().clone(), Expect::Any, item.change().clone())?;
        }
        for listeners in &space.listeners {
            listeners.committed(&notice);
        }
        Ok(())
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    fn open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) && !self.has(Flaw::AnswersAfterClose) {
            return Err(Error::closed());
        }
        Ok(())
    }

    fn space(&self) -> MutexGuard<'_, Space> {
        self.space.lock().expect("nothing panics under this lock")
    }

    fn name(&self, at: RecordRef<'_>) -> Name {
        let (collection, partition, id) = (at.collection().name(), at.partition(), at.id());
        match self.flaw {
            Some(Flaw::MixesCollections) => ("".into(), partition.into(), id.into()),
            Some(Flaw::JoinsNamesWithAColon) => {
                (collection.into(), format!("{partition}:{id}"), "".into())
            }
            Some(Flaw::FoldsCase) => (collection.into(), partition.into(), id.to_lowercase()),
            // As if there were no bucket: nothing is found, and nothing fails.
            Some(Flaw::ReadsErrorsInNames) if id.contains("NoSuchBucket") => (
                collection.into(),
                String::new(),
                Version::unique().to_string(),
            ),
            Some(Flaw::TrimsTrailingSpaces) => {
                (collection.into(), partition.into(), id.trim_end().into())
            }
            _ => (collection.into(), partition.into(), id.into()),
        }
    }

    fn find(&self, at: RecordRef<'_>) -> Option<Record> {
        let name = self.name(at);
        if self.has(Flaw::CachesReads)
            && let Some(cached) = self.cache.lock().expect("no panics").get(&name)
        {
            return cached.clone();
        }
        let now = self.clock.now();
        let shown = |record: &&Record| self.has(Flaw::ReadsExpired) || !record.is_expired(now);
        let found = self.space().records.get(&name).filter(shown).cloned();
        if self.has(Flaw::CachesReads) {
            let mut cache = self.cache.lock().expect("no panics");
            cache.insert(name, found.clone());
        }
        found
    }

    /// The record as expectations see it.
    fn current(&self, space: &Space, batch: &Batch, index: usize) -> Option<Record> {
        let found = space.records.get(&self.name(batch.at(index)))?;
        let seen = self.has(Flaw::ExpectsExpired) || !found.is_expired(batch.now());
        seen.then(|| found.clone())
    }

    fn holds(&self, batch: &Batch, index: usize, current: Option<&Record>) -> bool {
        let item = &batch.items()[index];
        match (self.flaw, item.expect(), item.change()) {
            (Some(Flaw::IgnoresAbsent), Expect::Absent, _) => true,
            (Some(Flaw::SkipsChecks), _, Change::Check) => true,
            (Some(Flaw::DeletesAnyway), _, Change::Delete) => true,
            (Some(Flaw::ComparesHalfAVersion), Expect::Version(version), _) => {
                let half = |bytes: [u8; 16]| bytes[..8].to_vec();
                current.is_some_and(|r| half(r.version().to_bytes()) == half(version.to_bytes()))
            }
            (_, expect, _) => expect.holds(current),
        }
    }

    fn failed(&self, space: &Space, batch: &Batch) -> Vec<FailedItem> {
        let mut failed = Vec::new();
        for index in 0..batch.items().len() {
            let current = self.current(space, batch, index);
            if !self.holds(batch, index, current.as_ref()) {
                let current = current.filter(|_| !self.has(Flaw::HidesTheCurrentRecord));
                failed.push(FailedItem::new(index, batch.at(index), current));
                if self.has(Flaw::NamesOneFailure) {
                    break;
                }
            }
        }
        failed
    }

    fn apply(&self, space: &mut Space, batch: &Batch, index: usize) -> Result<()> {
        let name = self.name(batch.at(index));
        match batch.items()[index].change() {
            Change::Check => {}
            Change::Delete => {
                space.records.remove(&name);
                space.deadlines.remove(&name);
            }
            Change::Put { .. } => {
                let record = batch.record(index).expect("a put has a record");
                self.put(space, name, record)?;
            }
        }
        Ok(())
    }

    fn put(&self, space: &mut Space, name: Name, record: Record) -> Result<()> {
        let old = space.records.get(&name);
        let mut expires_at = record.expires_at();
        match self.flaw {
            Some(Flaw::SkipsUnchangedBodies)
                if old.is_some_and(|old| same(old.body(), record.body())) =>
            {
                return Ok(());
            }
            Some(Flaw::KeepsTheFirstExpiry) => {
                expires_at = old.map_or(expires_at, Record::expires_at);
            }
            Some(Flaw::RoundsExpiry) => {
                expires_at = expires_at.map(|at| Timestamp::from_millis(at.as_millis()));
            }
            _ => {}
        }
        match expires_at {
            Some(_) if self.has(Flaw::SweepsRenewed) && space.deadlines.contains_key(&name) => {}
            Some(at) => drop(space.deadlines.insert(name.clone(), at)),
            None => drop(space.deadlines.remove(&name)),
        }
        let stored = Record::new(
            record.partition().clone(),
            record.key().clone(),
            record.version(),
            expires_at,
            match space.records.get(&name) {
                Some(old) => overwritten(self.flaw, old.body(), record.body())?,
                None => stored(self.flaw, record.body())?,
            },
        );
        space.records.insert(name, stored);
        Ok(())
    }

    /// All that `scan` asks for, in order; without its limit.
    fn matching(&self, scan: &Scan) -> Vec<Record> {
        let now = self.clock.now();
        let space = self.space();
        let mut found: Vec<Record> = space
            .records
            .values()
            .filter(|record| {
                let in_scope = match scan.scope() {
                    Scope::Partition(partition) => record.partition() == partition,
                    Scope::Partitions(prefix) => record.partition().as_str().starts_with(prefix),
                };
                in_scope
                    && record.key().collection() == scan.in_collection()
                    && self.has_prefix(record.id(), scan.prefix())
                    && (!record.is_expired(now)
                        || self.has(Flaw::ScansExpired)
                        || self.has(Flaw::GivesEmptyPages))
            })
            .cloned()
            .collect();
        match self.flaw {
            Some(Flaw::ScansInUtf16Order) => {
                found.sort_by_cached_key(|r| r.id().encode_utf16().collect::<Vec<_>>());
            }
            Some(Flaw::ScansIgnoringCase) => found.sort_by_key(|r| r.id().to_lowercase()),
            _ => found.sort_by_key(place),
        }
        found
    }

    fn has_prefix(&self, id: &str, prefix: &str) -> bool {
        if self.has(Flaw::TakesPrefixesForPatterns) {
            let prefix: Vec<char> = prefix.trim_end_matches('%').chars().collect();
            let id: Vec<char> = id.chars().take(prefix.len()).collect();
            return id.len() == prefix.len()
                && prefix.iter().zip(&id).all(|(p, c)| *p == '_' || p == c);
        }
        id.starts_with(prefix)
    }
}

/// What a scan over many partitions sorts by, and its cursor names.
fn place(record: &Record) -> (String, String) {
    (record.partition().as_str().into(), record.id().into())
}

#[async_trait]
impl RecordStore for Plain {
    async fn get(&self, at: RecordRef<'_>) -> Result<Option<Record>> {
        self.open()?;
        Ok(self.find(at))
    }

    async fn get_many(&self, at: &[RecordRef<'_>]) -> Result<Vec<Option<Record>>> {
        self.open()?;
        let mut found: Vec<_> = at.iter().map(|&at| self.find(at)).collect();
        if self.has(Flaw::DropsTheMissing) {
            found.retain(Option::is_some);
            found.resize(at.len(), None);
        }
        Ok(found)
    }

    async fn scan(&self, scan: &Scan) -> Result<Records> {
        self.open()?;
        let all = match scan.position() {
            Some(_) if self.has(Flaw::TrustsCursors) => self.matching(&without_prefix(scan)),
            _ => self.matching(scan),
        };
        let from = match scan.position_text()? {
            None => 0,
            Some(position) if self.has(Flaw::CountsInCursors) => {
                position.parse().expect("our own cursor")
            }
            Some(position) => {
                let (partition, id) = position
                    .split_once('\0')
                    .ok_or_else(|| Error::invalid("a forged cursor"))?;
                let last = Bound::Excluded((partition.to_owned(), id.to_owned()));
                let index = all.iter().position(|record| {
                    let place = place(record);
                    match &last {
                        Bound::Excluded(last) if self.has(Flaw::RepeatsTheCursor) => place >= *last,
                        Bound::Excluded(last) => place > *last,
                        _ => true,
                    }
                });
                index.unwrap_or(all.len())
            }
        };
        let mut items: Vec<Record> = all[from.min(all.len())..].to_vec();
        let full = match self.flaw {
            Some(Flaw::GivesACursorToAFullPage) => items.len() >= scan.page_size(),
            _ => items.len() > scan.page_size(),
        };
        items.truncate(scan.page_size());
        let next = items.last().filter(|_| full).map(|last| {
            let (partition, id) = place(last);
            match self.flaw {
                Some(Flaw::CountsInCursors) => scan.cursor((from + items.len()).to_string()),
                _ => scan.cursor(format!("{partition}\0{id}")),
            }
        });
        if self.has(Flaw::GivesEmptyPages) {
            items.retain(|record| !record.is_expired(self.clock.now()));
        }
        Ok(Records::new(items, next))
    }

    async fn commit(&self, batch: &Batch) -> Result<Committed> {
        self.open()?;
        self.cache.lock().expect("no panics").clear();
        if self.has(Flaw::AnnouncesBeforeItWrites) {
            self.announce(batch)?;
            tokio::task::yield_now().await;
        }
        if self.has(Flaw::AppliesItemByItem) {
            let mut space = self.space();
            for index in 0..batch.items().len() {
                let current = self.current(&space, batch, index);
                if !self.holds(batch, index, current.as_ref()) {
                    let failed = FailedItem::new(index, batch.at(index), current);
                    return Err(Error::from_conflict(Conflict::new(vec![failed])));
                }
                self.apply(&mut space, batch, index)?;
            }
            return Ok(Committed::new());
        }
        let failed = self.failed(&self.space(), batch);
        if self.has(Flaw::ChecksBeforeItLocks) {
            tokio::task::yield_now().await;
        }
        {
            let mut space = self.space();
            let failed = match self.flaw {
                Some(Flaw::ChecksBeforeItLocks) => failed,
                _ => self.failed(&space, batch),
            };
            if !failed.is_empty() {
                if self.has(Flaw::AnnouncesFailures) {
                    drop(space);
                    self.announce(batch)?;
                }
                return Err(Error::from_conflict(Conflict::new(failed)));
            }
            if !self.has(Flaw::AwaitsBetweenItems) {
                for index in 0..batch.items().len() {
                    self.apply(&mut space, batch, index)?;
                }
            }
        }
        if self.has(Flaw::AwaitsBetweenItems) {
            for index in 0..batch.items().len() {
                self.apply(&mut self.space(), batch, index)?;
                tokio::task::yield_now().await;
            }
        }
        if !self.has(Flaw::AnnouncesBeforeItWrites) {
            self.announce(batch)?;
        }
        Ok(Committed::new())
    }

    fn clock(&self) -> &dyn Clock {
        &self.clock
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::new("plain");
        capabilities.change_notice = Support::Native;
        capabilities
    }

    async fn changes(&self) -> Result<Changes> {
        self.open()?;
        Ok(self.changes.subscribe())
    }

    async fn sweep(&self, grace: Duration) -> Result<Swept> {
        self.open()?;
        let until = self.clock.now() - grace;
        let mut space = self.space();
        let due: Vec<Name> = space
            .deadlines
            .iter()
            .filter(|(_, at)| **at <= until)
            .map(|(name, _)| name.clone())
            .collect();
        for name in &due {
            space.deadlines.remove(name);
            space.records.remove(name);
            if self.has(Flaw::SweepsByIdAlone) {
                let same = |other: &Name| (&other.0, &other.2) == (&name.0, &name.2);
                space.records.retain(|other, _| !same(other));
            }
        }
        Ok(Swept {
            removed: due.len() as u64,
            ..Swept::default()
        })
    }

    async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        self.changes.end();
        Ok(())
    }
}

impl fmt::Debug for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Plain");
        if self.has(Flaw::PrintsIds) {
            let ids: Vec<String> = self
                .space()
                .records
                .values()
                .map(|record| RecordKey::id(record.key()).to_owned())
                .collect();
            shown.field("ids", &ids);
        }
        shown.finish_non_exhaustive()
    }
}

/// The same query without its prefixes.
fn without_prefix(scan: &Scan) -> Scan {
    match scan.scope() {
        Scope::Partition(of) => Scan::partition(scan.in_collection(), of.clone()),
        Scope::Partitions(_) => Scan::collection(scan.in_collection(), ""),
    }
}
