//! The requests from which the protocol is built.
//!
//! The protocol uses this trait and not the driver, so that a simulation can replace the
//! server and execute each request as one step.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{
    GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
    UpdateVersion,
};
use store_core::backend::back_off;
use store_core::{Error, ErrorKind, Result, Retry, Timestamp};

use crate::error::{Effect, config, corrupt, from_driver, lacks_bucket, status};
use crate::removal::Remover;

/// The server's identifier of an object's state.
pub(crate) type ETag = Arc<str>;

/// An object as it was read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Found {
    pub(crate) etag: ETag,
    pub(crate) bytes: Bytes,
}

/// The precondition of a put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Precondition {
    /// There is no object of that name: `If-None-Match: *`.
    NotExists,
    /// The object is in this state: `If-Match`.
    Matches(ETag),
}

impl Precondition {
    /// The condition that the object is unchanged since it was read.
    pub(crate) fn as_found(etag: Option<&ETag>) -> Self {
        etag.map_or(Self::NotExists, |etag| Self::Matches(Arc::clone(etag)))
    }

    /// Whether the condition is true for an object as it was read.
    pub(crate) fn holds(&self, found: Option<&Found>) -> bool {
        match self {
            Self::NotExists => found.is_none(),
            Self::Matches(etag) => found.is_some_and(|found| found.etag == *etag),
        }
    }
}

/// The server's answer to a conditional put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PutResult {
    /// The put was executed, and the object is in this state now.
    Written(ETag),
    /// The server replied that the condition did not hold. It may also reply so when
    /// concurrent puts conflict.
    Refused,
    /// Another put was in progress (409). This one was not executed.
    Busy,
}

/// Each method is one request. After an `Ambiguous` error it is unknown whether the
/// request was or will be executed.
#[async_trait]
pub(crate) trait Objects: Send + Sync + fmt::Debug {
    async fn get(&self, name: &str) -> Result<Option<Found>>;

    async fn put(&self, name: &str, when: &Precondition, bytes: Bytes) -> Result<PutResult>;

    /// Removes the object if it exists. Only for names that are never used again.
    async fn delete(&self, name: &str) -> Result<()>;

    /// Removes the object if it is in this state; otherwise returns false. Only for
    /// tombstones that are older than every call in progress, see I14 of the protocol.
    async fn remove(&self, name: &str, etag: &ETag) -> Result<bool>;

    /// The names in `folder` after `after` that one request returns, in bytewise order,
    /// and whether there are more.
    async fn list(&self, folder: &str, after: Option<&str>) -> Result<(Vec<String>, bool)>;

    /// A pause before attempt `attempt + 1` under contention.
    async fn pause(&self, attempt: u32);

    /// Pauses while waiting for a transaction of another process with `items` items.
    /// Returns true once the wait has lasted as long as such a transaction may take.
    async fn outwaited(&self, polls: u32, items: usize) -> bool;
}

/// An object in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) name: String,
    pub(crate) size: u64,
    pub(crate) etag: Option<ETag>,
    /// When the server received it, by the server's clock.
    pub(crate) modified: Timestamp,
}

/// How often a read is tried while the server is unavailable.
const READS: u32 = 4;

/// The maximum number of names in one page of S3's lists.
const PAGE: usize = 1000;

/// A bucket, accessed through the driver.
pub(crate) struct Bucket {
    store: Arc<dyn ObjectStore>,
    /// `None` for a client that the application owns.
    remover: Option<Remover>,
    /// How long a transaction may make no progress before it counts as abandoned.
    lease: Duration,
}

impl Bucket {
    pub(crate) fn new(
        store: Arc<dyn ObjectStore>,
        remover: Option<Remover>,
        lease: Duration,
    ) -> Self {
        Self {
            store,
            remover,
            lease,
        }
    }

    /// Repeats a request a few times while the server is unavailable. It is for reads and
    /// for other idempotent requests. The driver's own retries are off, because they
    /// would repeat conditional puts, too.
    pub(crate) async fn read<T, F>(&self, mut ask: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        let mut attempt = 1;
        loop {
            let error = match ask().await {
                Ok(answer) => return Ok(answer),
                Err(e) => from_driver(e, Effect::Repeatable),
            };
            // Ceph replies 409 also to a read during a write.
            let for_now = [ErrorKind::Unavailable, ErrorKind::Contended].contains(&error.kind());
            let passing = for_now && error.retry() == Retry::Safe;
            if !passing || attempt == READS {
                return Err(error);
            }
            back_off(attempt + 4).await;
            attempt += 1;
        }
    }

    /// Puts an object under a name that no other put ever uses, so that the put may be
    /// repeated.
    pub(crate) async fn put_once(&self, name: &str, bytes: Bytes) -> Result<()> {
        let (path, payload) = (path(name)?, PutPayload::from(bytes));
        let put = || async {
            let done = self.store.put(&path, payload.clone()).await;
            done.map(drop)
        };
        self.read(put).await
    }

    /// The size of an object in bytes; `None` if it does not exist.
    pub(crate) async fn size(&self, name: &str) -> Result<Option<u64>> {
        let path = path(name)?;
        let ask = || async {
            match self.store.head(&path).await {
                Ok(found) => Ok(Some(found.size)),
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                Err(e) => Err(e),
            }
        };
        self.read(ask).await
    }

    /// Like [`Objects::list`], with sizes.
    pub(crate) async fn list_sizes(
        &self,
        folder: &str,
        after: Option<&str>,
    ) -> Result<(Vec<Listed>, bool)> {
        let folder = path(folder)?;
        let after = after.map(path).transpose()?;
        self.read(|| async {
            let mut entries = match &after {
                Some(after) => self.store.list_with_offset(Some(&folder), after),
                None => self.store.list(Some(&folder)),
            };
            let mut names = Vec::new();
            while let Some(entry) = entries.try_next().await? {
                let nanos = entry.last_modified.timestamp_nanos_opt();
                names.push(Listed {
                    name: String::from(entry.location),
                    size: entry.size,
                    etag: entry.e_tag.map(ETag::from),
                    modified: nanos
                        .and_then(|nanos| u64::try_from(nanos).ok())
                        .map_or(Timestamp::MAX, Timestamp::from_nanos),
                });
                // Reading another name could cost another request.
                if names.len() == PAGE {
                    return Ok((names, true));
                }
            }
            Ok((names, false))
        })
        .await
    }

    /// A range of an object's bytes, and its total size; `None` if it does not exist.
    pub(crate) async fn get_range(
        &self,
        name: &str,
        range: Option<GetRange>,
    ) -> Result<Option<(Found, u64)>> {
        let path = path(name)?;
        let ask = || async {
            let mut options = GetOptions::new();
            options.range.clone_from(&range);
            let answer = match self.store.get_opts(&path, options).await {
                Ok(answer) => answer,
                // A missing bucket is an error, unlike a missing object.
                Err(e @ object_store::Error::NotFound { .. }) if !lacks_bucket(&e) => {
                    return Ok(None);
                }
                Err(e) => return Err(e),
            };
            let (etag, size) = (answer.meta.e_tag.clone(), answer.meta.size);
            Ok(Some((etag, size, answer.bytes().await?)))
        };
        let Some((etag, size, bytes)) = self.read(ask).await? else {
            return Ok(None);
        };
        let etag = etag.ok_or_else(no_etag)?.into();
        Ok(Some((Found { etag, bytes }, size)))
    }
}

fn no_etag() -> store_core::Error {
    config("the server sends no ETag, which conditional writes need")
}

pub(crate) fn path(name: &str) -> Result<Path> {
    Path::parse(name).map_err(|_| corrupt("the driver does not accept a name of the store"))
}

/// Whether an error that the driver calls `AlreadyExists` is a 409: another write is in
/// progress.
fn is_busy(e: &object_store::Error) -> bool {
    status(e) == Some(409)
}

#[async_trait]
impl Objects for Bucket {
    async fn get(&self, name: &str) -> Result<Option<Found>> {
        Ok(self.get_range(name, None).await?.map(|(found, _)| found))
    }

    async fn put(&self, name: &str, when: &Precondition, bytes: Bytes) -> Result<PutResult> {
        let mode = match when {
            Precondition::NotExists => PutMode::Create,
            Precondition::Matches(etag) => PutMode::Update(UpdateVersion {
                e_tag: Some(etag.to_string()),
                version: None,
            }),
        };
        let options = PutOptions::from(mode);
        let answer = self
            .store
            .put_opts(&path(name)?, bytes.into(), options)
            .await;
        match answer {
            Ok(done) => Ok(PutResult::Written(done.e_tag.ok_or_else(no_etag)?.into())),
            Err(e) if is_busy(&e) => Ok(PutResult::Busy),
            Err(e) if lacks_bucket(&e) => Err(from_driver(e, Effect::Write)),
            // S3 replies 404 to a put with If-Match if the object is missing.
            Err(object_store::Error::NotFound { .. }) if *when != Precondition::NotExists => {
                Ok(PutResult::Refused)
            }
            Err(
                object_store::Error::AlreadyExists { .. }
                | object_store::Error::Precondition { .. }
                | object_store::Error::NotModified { .. },
            ) => Ok(PutResult::Refused),
            Err(e) => Err(from_driver(e, Effect::Write)),
        }
    }

    async fn delete(&self, name: &str) -> Result<()> {
        match self.store.delete(&path(name)?).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(from_driver(e, Effect::Write)),
        }
    }

    async fn remove(&self, name: &str, etag: &ETag) -> Result<bool> {
        match &self.remover {
            Some(remover) => remover.remove(name, etag).await,
            None => Err(Error::unsupported(
                "the driver offers no DELETE with If-Match",
            )),
        }
    }

    async fn list(&self, folder: &str, after: Option<&str>) -> Result<(Vec<String>, bool)> {
        let (listed, more) = self.list_sizes(folder, after).await?;
        Ok((listed.into_iter().map(|one| one.name).collect(), more))
    }

    async fn pause(&self, attempt: u32) {
        back_off(attempt).await;
    }

    async fn outwaited(&self, polls: u32, items: usize) -> bool {
        // Counts only the pauses, so the wait is at least this long.
        let pause = |poll: u32| Duration::from_millis(5 << poll.min(5));
        let slept: Duration = (0..polls).map(pause).sum();
        let items = u32::try_from(items).unwrap_or(u32::MAX);
        if slept >= self.lease + self.lease * items / 10 {
            return true;
        }
        tokio::time::sleep(pause(polls)).await;
        false
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket")
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl<O: Objects + ?Sized> Objects for Arc<O> {
    async fn get(&self, name: &str) -> Result<Option<Found>> {
        (**self).get(name).await
    }

    async fn put(&self, name: &str, when: &Precondition, bytes: Bytes) -> Result<PutResult> {
        (**self).put(name, when, bytes).await
    }

    async fn delete(&self, name: &str) -> Result<()> {
        (**self).delete(name).await
    }

    async fn remove(&self, name: &str, etag: &ETag) -> Result<bool> {
        (**self).remove(name, etag).await
    }

    async fn list(&self, folder: &str, after: Option<&str>) -> Result<(Vec<String>, bool)> {
        (**self).list(folder, after).await
    }

    async fn pause(&self, attempt: u32) {
        (**self).pause(attempt).await;
    }

    async fn outwaited(&self, polls: u32, items: usize) -> bool {
        (**self).outwaited(polls, items).await
    }
}
