//! Writing to a shelf, and publishing what was written.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use store_core::blobs::{BlobSink, BlobStat, ContentCheck, Publication, PutMode, PutOptions};
use store_core::{Clock, Result, Version};

use super::{Flaw, LEASE, Name, Object, Shelf, State, superseded};

#[derive(Debug)]
pub(super) struct Sink {
    pub(super) shelf: Shelf,
    pub(super) name: Name,
    pub(super) key: String,
    pub(super) number: u64,
    pub(super) options: PutOptions,
    pub(super) check: ContentCheck,
    pub(super) done: bool,
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
        // Two records, one after the other, and a reader between them.
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

impl Shelf {
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
