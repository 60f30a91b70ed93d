//! How the suite opens the implementation that it tests.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use store_core::{BlobStore, ManualClock, RateLimitStore, RecordStore, Result, Store};

/// Opens implementations of `S`, each in a separate namespace.
///
/// For a backend, `S` is [`Store`], and this one harness is enough for every contract.
/// For a contract alone, `S` is its trait (`dyn ApiKeyStore` …) and `F` the fixtures to
/// load before the test begins.
#[async_trait]
pub trait Harness<S: ?Sized, F = ()>: Send + Sync {
    /// The name of the tested implementation, for the report: `postgres`, `cached(redis)`
    /// …
    fn backend(&self) -> String;

    /// The server and its version, for the report; empty if there is none.
    fn server(&self) -> String {
        String::new()
    }

    /// Opens two handles on a new namespace that contains `fixtures`.
    async fn open(&self, fixtures: F) -> Result<Opened<S>>;

    /// The needs (see [`Case::needs`](crate::Case::needs)) that this implementation
    /// declares it does not meet. Their cases then assert that such calls are refused.
    fn unsupported(&self) -> Vec<&'static str> {
        Vec::new()
    }

    /// How many tasks the largest races start. Their commits are executed one after the
    /// other, and a case must end within its deadline even on a busy machine. So a store
    /// whose commit takes many requests returns a smaller number.
    fn most_tasks(&self) -> usize {
        300
    }
}

/// Two handles on a new namespace.
pub struct Opened<S: ?Sized> {
    /// One handle.
    pub first: Arc<S>,
    /// Another handle, which shares no cache or queue with the first, like one in another
    /// process.
    pub second: Arc<S>,
    /// The clock of both handles, which decides what has expired.
    pub clock: ManualClock,
    /// A value that must live as long as the handles.
    pub guard: Option<Box<dyn Any + Send + Sync>>,
    /// Creates another handle from the opened store of which `first` is a handle.
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

    /// Converts both handles, for example to another trait.
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

    /// Sets how another handle is created from the opened store of which `first` is a
    /// handle. By default it is a clone of `first`.
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

/// Adapts a backend's harness to the harness of each contract over it.
pub struct Over(Arc<dyn Harness<Store>>);

impl Over {
    /// Adapts the harness of a backend.
    pub fn new(backend: Arc<dyn Harness<Store>>) -> Self {
        Self(backend)
    }

    /// The harness of the backend.
    pub fn backend_harness(&self) -> &Arc<dyn Harness<Store>> {
        &self.0
    }
}

impl fmt::Debug for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Over").field(&self.0.backend()).finish()
    }
}

/// Implements the harness of one contract by opening the store and selecting a part of
/// it.
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
