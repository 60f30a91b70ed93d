//! How the suite opens what it tests.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use store_core::{BlobStore, ManualClock, RateLimitStore, RecordStore, Result, Store};

/// Opens implementations of `S`, each in a namespace of its own.
///
/// For a backend, `S` is [`Store`], and that one implementation serves every
/// contract. For a contract alone, `S` is its trait (`dyn ApiKeyStore` …) and
/// `F` the fixtures to load before the test begins.
#[async_trait]
pub trait Harness<S: ?Sized, F = ()>: Send + Sync {
    /// What is tested, for the report: `postgres`, `cached(redis)` …
    fn backend(&self) -> String;

    /// The server and its version, for the report; empty if there is none.
    fn server(&self) -> String {
        String::new()
    }

    /// Opens a new namespace with `fixtures` in it, and a second handle on it.
    async fn open(&self, fixtures: F) -> Result<Opened<S>>;

    /// The needs (see [`Case::needs`](crate::Case::needs)) that this implementation
    /// declares it does not meet. Their cases then assert that such calls are refused.
    fn unsupported(&self) -> Vec<&'static str> {
        Vec::new()
    }

    /// How many tasks the largest races start. Their commits follow one another, and a
    /// case must end within its deadline on a busy machine too. So a store that needs
    /// many requests for a commit returns a smaller number.
    fn most_tasks(&self) -> usize {
        300
    }
}

/// A fresh namespace with two handles on it.
pub struct Opened<S: ?Sized> {
    /// One handle.
    pub first: Arc<S>,
    /// Another handle, as another process would have: no shared cache or queue.
    pub second: Arc<S>,
    /// The clock of both handles, which decides what has expired.
    pub clock: ManualClock,
    /// A value that must live as long as the handles.
    pub guard: Option<Box<dyn Any + Send + Sync>>,
    /// Makes another handle from the opened store that `first` was made from.
    converted: Option<Convert>,
}

type Convert = Box<dyn Fn() -> Store + Send + Sync>;

impl<S: ?Sized> Opened<S> {
    /// Two handles on one namespace.
    pub fn new(first: Arc<S>, second: Arc<S>, clock: ManualClock) -> Self {
        Self {
            first,
            second,
            clock,
            guard: None,
            converted: None,
        }
    }

    /// The same namespace seen through another trait.
    pub fn map<T: ?Sized>(self, f: impl Fn(&Arc<S>) -> Arc<T>) -> Opened<T> {
        Opened {
            first: f(&self.first),
            second: f(&self.second),
            clock: self.clock,
            guard: self.guard,
            converted: None,
        }
    }
}

impl Opened<Store> {
    /// Two opened stores of a backend on one namespace.
    pub fn stores<B>(first: B, second: B, clock: ManualClock) -> Self
    where
        B: Send + Sync + 'static,
        for<'b> Store: From<&'b B>,
    {
        let handle = |opened: &B| Arc::new(Store::from(opened));
        Self::new(handle(&first), handle(&second), clock).converted_by(move || Store::from(&first))
    }

    /// Sets how to make another handle from the opened store that `first` was made
    /// from. By default that handle is a clone of `first`.
    pub fn converted_by(mut self, convert: impl Fn() -> Store + Send + Sync + 'static) -> Self {
        self.converted = Some(Box::new(convert));
        self
    }

    /// Another handle from the opened store that `first` was made from.
    pub fn convert(&self) -> Store {
        match &self.converted {
            Some(convert) => convert(),
            None => (*self.first).clone(),
        }
    }
}

impl<S: ?Sized> fmt::Debug for Opened<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").finish_non_exhaustive()
    }
}

/// A backend's harness, seen as the harness of each contract over it.
pub struct Over(Arc<dyn Harness<Store>>);

impl Over {
    /// Over this backend.
    pub fn new(backend: Arc<dyn Harness<Store>>) -> Self {
        Self(backend)
    }

    /// The backend.
    pub fn backend_harness(&self) -> &Arc<dyn Harness<Store>> {
        &self.0
    }
}

impl fmt::Debug for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Over").field(&self.0.backend()).finish()
    }
}

/// Each part of a store is reached the same way.
macro_rules! part_of_a_store {
    ($($part:ident: $trait:ty),* $(,)?) => {$(
        #[async_trait]
        impl Harness<$trait> for Over {
            fn backend(&self) -> String {
                self.0.backend()
            }
            fn server(&self) -> String {
                self.0.server()
            }
            async fn open(&self, (): ()) -> Result<Opened<$trait>> {
                Ok(self.0.open(()).await?.map(|store| Arc::clone(store.$part())))
            }
            fn unsupported(&self) -> Vec<&'static str> {
                self.0.unsupported()
            }
        }
    )*};
}

part_of_a_store! {
    records: dyn RecordStore,
    blobs: dyn BlobStore,
    limits: dyn RateLimitStore,
}
