//! A store of objects that keeps every promise, and nothing more: whole contents
//! in a map under one lock. With a flaw, it breaks one.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use store_core::blobs::{
    Blob, BlobEntry, BlobList, BlobMetadata, BlobReader, BlobRef, BlobSink, BlobStat, ContentCheck,
    OpenOptions, Publication, PutMode, PutOptions,
};
use store_core::{
    BlobStore, Clock, Error, ErrorKind, ManualClock, Page, Result, Scope, Swept, Timestamp, Version,
};
use tokio::sync::Notify;

use super::Flaw;

const LEASE: Duration = Duration::from_secs(3600);
const GRACE: Duration = Duration::from_secs(300);
const PIECE: u64 = 64 * 1024;
const CHUNK: u64 = 256 * 1024;

type Name = (String, String);

/// What all handles share.
#[derive(Default)]
pub(super) struct State {
    next: u64,
    objects: BTreeMap<Name, Object>,
    /// Deletes: writes begun up to this number have lost.
    floors: BTreeMap<Name, u64>,
    uploads: BTreeMap<u64, Upload>,
    contents: BTreeMap<u64, Vec<u8>>,
    retired: Vec<(Timestamp, u64)>,
    closed: bool,
    /// How many contents the last sweep freed.
    swept: u64,
    /// Whether somebody was shown metadata and content that do not belong
    /// together: once is enough to be caught.
    torn: bool,
    /// Told of every object that is opened.
    opened: Arc<Notify>,
}

struct Object {
    key: String,
    content: u64,
    stat: BlobStat,
}

struct Upload {
    name: Name,
    lease_until: Timestamp,
}

#[derive(Clone)]
pub(super) struct Shelf {
    pub(super) state: Arc<Mutex<State>>,
    pub(super) clock: ManualClock,
    pub(super) flaw: Option<Flaw>,
}

impl Shelf {
    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    fn state(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.state.lock().expect("nothing panics under this lock");
        if state.closed {
            return Err(Error::closed());
        }
        Ok(state)
    }

    fn name(&self, at: BlobRef<'_>) -> Name {
        if self.has(Flaw::JoinsNamesWithAColon) {
            return (String::new(), format!("{}:{}", at.bucket(), at.key()));
        }
        (at.bucket().into(), at.key().into())
    }

    /// Ends a write and frees its content.
    fn discard(&self, number: u64) -> Result<()> {
        let mut state = self.state()?;
        state.uploads.remove(&number);
        state.contents.remove(&number);
        Ok(())
    }

    fn retire(&self, state: &mut State, content: u64) {
        let grace = if self.has(Flaw::FreesAtOnce) {
            Duration::ZERO
        } else {
            GRACE
        };
        state.retired.push((self.clock.now() + grace, content));
        if self.has(Flaw::FreesAtOnce) {
            state.contents.remove(&content);
        }
    }

    fn publish(&self, state: &mut State, sink: &Sink) -> Publication {
        let number = sink.number;
        let open = state
            .uploads
            .get(&number)
            .is_some_and(|u| u.lease_until > self.clock.now());
        if !self.has(Flaw::FreesWhatWasPublished) {
            state.uploads.remove(&number);
        }
        let floor = state.floors.get(&sink.name).copied().unwrap_or(0);
        let published = state.objects.get(&sink.name);
        let newer = published.is_some_and(|object| object.content > number);
        if !open && !self.has(Flaw::CommitsWhatWasReclaimed)
            || number <= floor && !self.has(Flaw::ForgetsDeletes)
            || newer && !self.has(Flaw::LetsTheLastCommitWin)
        {
            return Publication::Superseded;
        }
        let refused = match (sink.options.mode, published) {
            (PutMode::CreateOnly, Some(_)) if !self.has(Flaw::ChecksWhenItBegins) => {
                Some(Publication::AlreadyExists)
            }
            (PutMode::IfUnchanged(version), current) => {
                let unchanged = match current {
                    Some(_) if self.has(Flaw::ForgetsVersions) => true,
                    current => current.is_some_and(|object| object.stat.version == version),
                };
                (!unchanged).then_some(Publication::Changed)
            }
            _ => None,
        };
        if let Some(refused) = refused {
            state.contents.remove(&number);
            return refused;
        }
        let now = self.clock.now();
        let mut metadata = sink.options.metadata.clone();
        metadata.cached_at.get_or_insert(now);
        metadata.negative &= !self.has(Flaw::DropsTheNegativeFlag);
        let stat = BlobStat {
            size: state.contents.get(&number).map_or(0, Vec::len) as u64,
            version: Version::unique(),
            published_at: now,
            metadata,
        };
        let object = Object {
            key: sink.key.clone(),
            content: number,
            stat: stat.clone(),
        };
        if let Some(old) = state.objects.insert(sink.name.clone(), object) {
            self.retire(state, old.content);
        }
        Publication::Published(stat)
    }
}

#[async_trait]
impl BlobStore for Shelf {
    async fn begin(&self, at: BlobRef<'_>, options: PutOptions) -> Result<Box<dyn BlobSink>> {
        options.metadata.check()?;
        let name = self.name(at);
        let mut state = self.state()?;
        if self.has(Flaw::WritesInPlace) {
            state.objects.remove(&name);
        }
        state.next += 1;
        let number = state.next;
        let lease_until = self.clock.now() + LEASE;
        state.contents.insert(number, Vec::new());
        state.uploads.insert(
            number,
            Upload {
                name: name.clone(),
                lease_until,
            },
        );
        let (shelf, key) = (self.clone(), at.key().to_owned());
        let check = options.content_check();
        Ok(Box::new(Sink {
            check,
            shelf,
            name,
            key,
            number,
            options,
            done: false,
        }))
    }

    async fn open(&self, at: BlobRef<'_>, options: OpenOptions) -> Result<Option<Blob>> {
        let name = self.name(at);
        let state = self.state()?;
        let Some(object) = state.objects.get(&name) else {
            return Ok(None);
        };
        state.opened.notify_waiters();
        let stat = object.stat.clone();
        if options
            .version
            .is_some_and(|version| version != stat.version)
        {
            return Err(superseded());
        }
        if stat.size == 0 && self.has(Flaw::TakesEmptyForMissing) {
            return Ok(None);
        }
        let range = options.range.within(stat.size);
        let mut left = range.clone();
        if self.has(Flaw::CutsOneByteAtABorder) && left.end.is_multiple_of(CHUNK) && left.start > 0
        {
            left.end = left.end.saturating_sub(1).max(left.start);
        }
        let (shelf, content) = (self.clone(), object.content);
        let reader = Box::new(Reader {
            shelf,
            name,
            content,
            left,
        });
        Ok(Some(Blob {
            stat,
            range,
            reader,
        }))
    }

    async fn stat(&self, at: BlobRef<'_>) -> Result<Option<BlobStat>> {
        let name = self.name(at);
        let state = match self.state() {
            Err(_) if self.has(Flaw::TakesAnOutageForAMiss) => return Ok(None),
            state => state?,
        };
        Ok(state.objects.get(&name).map(|object| object.stat.clone()))
    }

    async fn delete(&self, at: BlobRef<'_>) -> Result<bool> {
        let name = self.name(at);
        let mut state = self.state()?;
        let number = state.next;
        state.floors.insert(name.clone(), number);
        let removed = state.objects.remove(&name);
        if let Some(object) = &removed {
            self.retire(&mut state, object.content);
        }
        Ok(removed.is_some())
    }

    async fn restamp(
        &self,
        at: BlobRef<'_>,
        version: Version,
        metadata: BlobMetadata,
    ) -> Result<Publication> {
        metadata.check()?;
        let (name, now) = (self.name(at), self.clock.now());
        let mut state = self.state()?;
        let Some(object) = state.objects.get_mut(&name) else {
            return Ok(Publication::Changed);
        };
        if object.stat.version != version && !self.has(Flaw::ForgetsVersions) {
            return Ok(Publication::Changed);
        }
        object.stat.version = Version::unique();
        object.stat.metadata = metadata;
        object.stat.metadata.cached_at.get_or_insert(now);
        Ok(Publication::Published(object.stat.clone()))
    }

    async fn list(&self, list: &BlobList) -> Result<Page<BlobEntry>> {
        let scan = list.to_scan()?;
        let Scope::Partition(bucket) = scan.scope() else {
            return Err(Error::unsupported("one bucket at a time"));
        };
        let state = self.state()?;
        let after = scan.position_text()?;
        let counts = self.has(Flaw::CountsInCursors);
        let skip = after
            .filter(|_| counts)
            .map_or(0, |text| text.parse().unwrap_or(0));
        let mut items: Vec<BlobEntry> = state
            .objects
            .iter()
            .filter(|((held, _), _)| held == bucket.as_str())
            .filter(|(_, object)| object.key.starts_with(scan.prefix()))
            .filter(|(_, object)| counts || after.is_none_or(|after| *object.key > *after))
            .skip(skip)
            .take(scan.page_size() + 1)
            .map(|(_, object)| BlobEntry {
                key: object.key.clone(),
                stat: object.stat.clone(),
            })
            .collect();
        let more = items.len() > scan.page_size();
        items.truncate(scan.page_size());
        if self.has(Flaw::ListsOpenWrites) {
            let stat = items.first().map(|entry| entry.stat.clone());
            let open = state.uploads.values().map(|upload| upload.name.1.clone());
            items.extend(open.zip(stat).map(|(key, stat)| BlobEntry { key, stat }));
        }
        let next = match items.last() {
            Some(_) if more && counts => Some(scan.cursor((skip + items.len()).to_string())),
            Some(last) if more => Some(scan.cursor(&last.key)),
            _ => None,
        };
        Ok(Page::new(items, next))
    }

    async fn sweep(&self) -> Result<Swept> {
        let now = self.clock.now();
        let mut state = self.state()?;
        let state = &mut *state;
        let mut due = Vec::new();
        state.retired.retain(|&(at, content)| {
            due.extend((at <= now).then_some(content));
            at > now
        });
        if !self.has(Flaw::NeverReclaims) {
            state.uploads.retain(|&number, upload| {
                due.extend((upload.lease_until <= now).then_some(number));
                upload.lease_until > now
            });
        }
        let waits = state.retired.iter().map(|(at, _)| *at);
        let open = state.uploads.iter();
        let open = open.filter(|(number, _)| state.contents.contains_key(number));
        let next_due = waits
            .chain(open.map(|(_, upload)| upload.lease_until))
            .min();
        let freed = due
            .iter()
            .filter(|content| state.contents.remove(content).is_some());
        let mut removed = freed.count() as u64;
        if self.has(Flaw::CountsTwice) {
            // What another handle's sweep freed counts as freed by this one, too.
            removed += std::mem::replace(&mut state.swept, removed);
        }
        Ok(Swept {
            removed,
            more: false,
            next_due: next_due.filter(|_| !self.has(Flaw::HidesWhatWaits)),
        })
    }

    async fn close(&self) -> Result<()> {
        self.state
            .lock()
            .expect("nothing panics under this lock")
            .closed = true;
        Ok(())
    }
}

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shelf").finish_non_exhaustive()
    }
}

fn superseded() -> Error {
    Error::new(
        ErrorKind::Superseded,
        "it was replaced; begin or open again",
    )
}

#[derive(Debug)]
struct Sink {
    shelf: Shelf,
    name: Name,
    key: String,
    number: u64,
    options: PutOptions,
    check: ContentCheck,
    done: bool,
}

#[async_trait]
impl BlobSink for Sink {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let mut state = self.shelf.state()?;
        let now = self.shelf.clock.now();
        let State {
            uploads, contents, ..
        } = &mut *state;
        let (Some(upload), Some(content)) = (
            uploads.get_mut(&self.number),
            contents.get_mut(&self.number),
        ) else {
            return Err(superseded());
        };
        if !self.shelf.has(Flaw::NeverRenews) {
            upload.lease_until = now + LEASE;
        }
        self.check.update(&bytes);
        content.extend_from_slice(&bytes);
        Ok(())
    }

    async fn commit(mut self: Box<Self>) -> Result<Publication> {
        self.done = true;
        let shelf = self.shelf.clone();
        if !shelf.has(Flaw::TrustsTheSource)
            && let Err(error) = self.check.finish()
        {
            shelf.discard(self.number)?;
            return Err(error);
        }
        if !shelf.has(Flaw::TearsMetadataFromContent) {
            return Ok(shelf.publish(&mut *shelf.state()?, &self));
        }
        // Two records, one after the other, and somebody who reads between.
        let opened = Arc::clone(&shelf.state()?.opened);
        let read = opened.notified();
        tokio::pin!(read);
        let shown = {
            let mut state = shelf.state()?;
            let size = state.contents.get(&self.number).map_or(0, Vec::len);
            let State { objects, torn, .. } = &mut *state;
            match objects.get_mut(&self.name) {
                Some(object) if !*torn => {
                    object.stat.metadata = self.options.metadata.clone();
                    object.stat.size = size as u64;
                    *torn = true;
                    read.as_mut().enable();
                    true
                }
                _ => false,
            }
        };
        if shown {
            read.await;
        }
        Ok(shelf.publish(&mut *shelf.state()?, &self))
    }

    async fn abort(mut self: Box<Self>) -> Result<()> {
        self.done = true;
        let shelf = self.shelf.clone();
        let mut state = shelf.state()?;
        if shelf.has(Flaw::PublishesWhatIsAborted) {
            drop(shelf.publish(&mut state, &self).published());
            return Ok(());
        }
        drop(state);
        shelf.discard(self.number)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if !self.done
            && !self.shelf.has(Flaw::LeavesDroppedWrites)
            && !self.shelf.has(Flaw::PublishesOnDrop)
        {
            let (shelf, number) = (self.shelf.clone(), self.number);
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                // Of a closed shelf nothing is left to free.
                runtime.spawn(async move { drop(shelf.discard(number)) });
            }
        }
        if !self.done && self.shelf.has(Flaw::PublishesOnDrop) {
            let shelf = self.shelf.clone();
            if let Ok(mut state) = shelf.state() {
                drop(shelf.publish(&mut state, self).published());
            }
        }
    }
}

#[derive(Debug)]
struct Reader {
    shelf: Shelf,
    name: Name,
    content: u64,
    left: Range<u64>,
}

#[async_trait]
impl BlobReader for Reader {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        let state = self.shelf.state()?;
        if self.left.is_empty() {
            return Ok(None);
        }
        let mut content = self.content;
        if self.shelf.has(Flaw::FollowsTheNewest)
            && let Some(object) = state.objects.get(&self.name)
        {
            content = object.content;
        }
        let to = self.left.end.min(self.left.start + PIECE);
        let piece = state
            .contents
            .get(&content)
            .and_then(|bytes| bytes.get(self.left.start as usize..to as usize));
        match piece {
            Some(piece) => {
                self.left.start = to;
                Ok(Some(Bytes::copy_from_slice(piece)))
            }
            None if self.shelf.has(Flaw::EndsWhereContentIsGone) => Ok(None),
            None => Err(superseded()),
        }
    }
}
