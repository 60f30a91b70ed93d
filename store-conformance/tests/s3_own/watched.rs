//! A client of a bucket in memory whose every request is written down, and can
//! be made to fail or to wait.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use async_trait::async_trait;
use store_s3::object_store::memory::InMemory;
use store_s3::object_store::path::Path;
use store_s3::object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};
use tokio::sync::{Notify, Semaphore};

type Stream<T> = Pin<Box<dyn futures_util::Stream<Item = Result<T>> + Send>>;

/// Which requests fail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Outage {
    #[default]
    None,
    /// The one of this number, and nothing came of it.
    Before(usize),
    /// The one of this number, but it was done.
    After(usize),
    /// That one and all later ones.
    From(usize),
}

/// What every clone shares.
#[derive(Default)]
struct State {
    log: Mutex<Vec<String>>,
    outage: Mutex<Outage>,
    pause: Mutex<Option<(usize, Arc<Pause>)>>,
}

/// A request that stands still before it is sent.
#[derive(Default)]
pub(crate) struct Pause {
    arrived: Notify,
    go: Notify,
}

impl Pause {
    /// Waits until it stands still.
    pub(crate) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// Lets it go on.
    pub(crate) fn end(&self) {
        self.go.notify_one();
    }
}

/// A client of a bucket in memory.
#[derive(Clone)]
pub(crate) struct Watched {
    bucket: Arc<InMemory>,
    state: Arc<State>,
    /// Parts of uploads take one each, and give none back.
    parts: Arc<Semaphore>,
}

/// As the driver says it.
fn broken() -> Error {
    Error::Generic {
        store: "S3",
        source: "Server returned non-2xx status code: 500 Broken: ".into(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// Notes a request; an error if it fails before it was done, true if after.
    fn request(&self, what: String) -> Result<bool> {
        let mut log = lock(&self.log);
        let number = log.len();
        log.push(what);
        match *lock(&self.outage) {
            Outage::Before(n) if n == number => Err(broken()),
            Outage::From(n) if n <= number => Err(broken()),
            Outage::After(n) => Ok(n == number),
            _ => Ok(false),
        }
    }

    async fn run<T>(&self, what: String, done: impl Future<Output = Result<T>>) -> Result<T> {
        let pause = lock(&self.pause).take_if(|(at, _)| *at == lock(&self.log).len());
        if let Some((_, pause)) = pause {
            pause.arrived.notify_one();
            pause.go.notified().await;
        }
        let is_lost = self.request(what)?;
        let answer = done.await;
        if is_lost { Err(broken()) } else { answer }
    }
}

impl Watched {
    pub(crate) fn new() -> Self {
        Self {
            bucket: Arc::default(),
            state: Arc::default(),
            parts: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
        }
    }

    /// The same bucket by a line of its own.
    pub(crate) fn another(&self) -> Self {
        Self {
            state: Arc::default(),
            ..self.clone()
        }
    }

    /// The same, where so many parts get through.
    pub(crate) fn with_parts(self, parts: usize) -> Self {
        let parts = Arc::new(Semaphore::new(parts));
        Self { parts, ..self }
    }

    /// Lets more parts through.
    pub(crate) fn let_through(&self, parts: usize) {
        self.parts.add_permits(parts);
    }

    /// What the requests were since it was last asked; they count from here.
    pub(crate) fn log(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.state.log))
    }

    /// The request of that number stands still until it is let go; one to delete
    /// or to list does not.
    pub(crate) fn pause_at(&self, number: usize) -> Arc<Pause> {
        let pause = Arc::new(Pause::default());
        *lock(&self.state.pause) = Some((number, Arc::clone(&pause)));
        pause
    }

    pub(crate) fn set(&self, outage: Outage) {
        *lock(&self.state.outage) = outage;
    }

    pub(crate) fn bucket(&self) -> &Arc<InMemory> {
        &self.bucket
    }
}

/// A stream of one error.
struct Failing(Option<Error>);

impl Failing {
    fn stream<T: Send + 'static>(error: Error) -> Stream<T> {
        struct Of<T>(Failing, std::marker::PhantomData<fn() -> T>);
        impl<T> futures_util::Stream for Of<T> {
            type Item = Result<T>;
            fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<T>>> {
                Poll::Ready(self.0.0.take().map(Err))
            }
        }
        Box::pin(Of(Self(Some(error)), std::marker::PhantomData))
    }
}

/// An upload under way.
#[derive(Debug)]
struct Watching {
    upload: Box<dyn MultipartUpload>,
    watched: Watched,
}

#[async_trait]
impl MultipartUpload for Watching {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (put, watched) = (self.upload.put_part(data), self.watched.clone());
        Box::pin(async move {
            if let Ok(permit) = watched.parts.acquire().await {
                permit.forget();
            }
            watched.state.run("PART".into(), put).await
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let done = self.upload.complete();
        self.watched.state.run("COMPLETE".into(), done).await
    }

    async fn abort(&mut self) -> Result<()> {
        let done = self.upload.abort();
        self.watched.state.run("ABORT".into(), done).await
    }
}

#[async_trait]
impl ObjectStore for Watched {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let done = self.bucket.put_opts(location, payload, options);
        self.state.run(format!("PUT {location}"), done).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let begun = self.bucket.put_multipart_opts(location, options);
        let upload = self.state.run(format!("UPLOAD {location}"), begun).await?;
        let watched = self.clone();
        Ok(Box::new(Watching { upload, watched }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let what = match (&options.range, options.head) {
            (Some(range), _) => format!("GET {location} {range}"),
            (None, true) => format!("HEAD {location}"),
            (None, false) => format!("GET {location}"),
        };
        let done = self.bucket.get_opts(location, options);
        self.state.run(what, done).await
    }

    fn delete_stream(&self, locations: Stream<Path>) -> Stream<Path> {
        match self.state.request("DELETE".into()) {
            Ok(_) => self.bucket.delete_stream(locations),
            Err(error) => Failing::stream(error),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> Stream<ObjectMeta> {
        match self.state.request("LIST".into()) {
            Ok(_) => self.bucket.list(prefix),
            Err(error) => Failing::stream(error),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.bucket.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.bucket.copy_opts(from, to, options).await
    }
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a bucket in memory")
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
