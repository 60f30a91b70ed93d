//! A store of objects that fulfils every promise, and does nothing more: whole
//! contents in a map under one lock. With a flaw, it breaks one.

mod reader;
mod sink;
mod sweep;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use store_core::blobs::{
    Blob, BlobEntry, BlobList, BlobMetadata, BlobRef, BlobSink, BlobStat, OpenOptions, Publication,
    PutOptions,
};
use store_core::{
    BlobStore, Clock, Error, ErrorKind, ManualClock, Page, Result, Scope, Swept, Timestamp, Version,
};
use tokio::sync::Notify;

use self::reader::Reader;
use self::sink::Sink;
use super::Flaw;

const LEASE: Duration = Duration::from_secs(3600);
const GRACE: Duration = Duration::from_secs(300);
const CHUNK: u64 = 256 * 1024;
/// How long content lives that expires until it is published.
const ORPHANS_LIVE: Duration = Duration::from_secs(7 * 24 * 3600);

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
    /// Whether a reader was given metadata and content that do not belong together:
    /// once is enough to be killed.
    torn: bool,
    /// Notified of every object that is opened.
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
        if self.has(Flaw::ForgetsOtherFirstWrites) && !state.objects.contains_key(&name) {
            state.uploads.retain(|_, upload| upload.name != name);
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
        let age = self.clock.now().since(object.stat.published_at);
        if self.has(Flaw::ExpiresPublications) && age > ORPHANS_LIVE {
            return Err(superseded());
        }
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
        object.stat.published_at = now;
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
        self.sweep_now()
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
