//! Clients of buckets in memory that count, fail, or do not keep their word.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use store_conformance::history::Dice;
use store_s3::object_store::memory::InMemory;
use store_s3::object_store::path::Path;
use store_s3::object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    Result,
};

type Stream<T> = BoxStream<'static, Result<T>>;

/// How reliable a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    Sound,
    /// Puts whatever is there, asked to create.
    IgnoresCreate,
    /// Puts whatever is there, asked to replace.
    IgnoresReplace,
    /// Looks first, and puts later.
    Races,
    /// Lists in another order than that of the names.
    ListsInNoOrder,
    /// Answers one request in ten with 503, and half of those after doing it.
    Overloaded,
    /// Refuses one conditional put in ten although its condition holds.
    Conflicts,
}

/// A client of a bucket in memory.
pub(crate) struct Client {
    bucket: Arc<InMemory>,
    manner: Manner,
    requests: Arc<AtomicU64>,
    dice: Mutex<Dice>,
}

impl Client {
    pub(crate) fn new(bucket: &Arc<InMemory>, manner: Manner, seed: u64) -> Self {
        Self {
            bucket: Arc::clone(bucket),
            manner,
            requests: Arc::default(),
            dice: Mutex::new(Dice::new(seed)),
        }
    }

    /// How many requests there were since it was last asked.
    pub(crate) fn counter(&self) -> impl Fn() -> u64 + Send + Sync + 'static {
        let requests = Arc::clone(&self.requests);
        move || requests.swap(0, Ordering::SeqCst)
    }

    /// Counts; whether the request fails, and then whether it is done all the same.
    fn fate(&self) -> Option<bool> {
        self.requests.fetch_add(1, Ordering::SeqCst);
        let mut dice = self.dice.lock().unwrap_or_else(PoisonError::into_inner);
        let fails = match self.manner {
            Manner::Overloaded | Manner::Conflicts => dice.chance(10),
            _ => false,
        };
        fails.then(|| dice.chance(50))
    }
}

/// As the driver says it.
fn slow_down() -> Error {
    Error::Generic {
        store: "S3",
        source: "Server returned non-2xx status code: 503 Slow Down: ".into(),
    }
}

/// A conditional put that a server refused.
fn conflict(location: &Path) -> Error {
    Error::Precondition {
        path: location.to_string(),
        source: "Server returned non-2xx status code: 412 Precondition Failed: ".into(),
    }
}

#[async_trait]
impl ObjectStore for Client {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        mut options: PutOptions,
    ) -> Result<PutResult> {
        let fate = self.fate();
        if self.manner == Manner::Conflicts {
            return match (&options.mode, fate) {
                (PutMode::Create | PutMode::Update(_), Some(_)) => Err(conflict(location)),
                _ => self.bucket.put_opts(location, payload, options).await,
            };
        }
        if fate == Some(false) {
            return Err(slow_down());
        }
        match (&options.mode, self.manner) {
            (PutMode::Create, Manner::IgnoresCreate)
            | (PutMode::Update(_), Manner::IgnoresReplace) => options.mode = PutMode::Overwrite,
            (_, Manner::Races) => {
                let now = self.bucket.head(location).await.ok();
                let holds = match &options.mode {
                    PutMode::Create => now.is_none(),
                    PutMode::Update(version) => now.is_some_and(|now| now.e_tag == version.e_tag),
                    PutMode::Overwrite => true,
                };
                tokio::task::yield_now().await;
                if holds {
                    options.mode = PutMode::Overwrite;
                }
            }
            _ => {}
        }
        let done = self.bucket.put_opts(location, payload, options).await;
        match fate {
            Some(_) => Err(slow_down()),
            None => done,
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.bucket.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        match self.fate() {
            Some(_) if self.manner == Manner::Overloaded => Err(slow_down()),
            _ => self.bucket.get_opts(location, options).await,
        }
    }

    fn delete_stream(&self, locations: Stream<Path>) -> Stream<Path> {
        self.fate();
        self.bucket.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> Stream<ObjectMeta> {
        self.fate();
        let all = self.bucket.list(prefix);
        match self.manner {
            Manner::ListsInNoOrder => {
                let backwards = all.collect::<Vec<_>>().map(|mut all| {
                    all.reverse();
                    stream::iter(all)
                });
                backwards.flatten_stream().boxed()
            }
            _ => all,
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.bucket.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.bucket.copy_opts(from, to, options).await
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} in memory", self.manner)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
