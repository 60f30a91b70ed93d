//! The traits of layers, and what makes each layer a store.
//!
//! The signatures are those that `async_trait` makes of an `async fn`, written
//! out: a default method that is an `async fn` would put the boxed future of the
//! store under it into a second box.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;

use crate::batch::{Batch, Committed};
#[cfg(feature = "blobs")]
use crate::blobs::{
    Blob, BlobEntry, BlobList, BlobMetadata, BlobRef, BlobSink, BlobStat, BlobStore, OpenOptions,
    Publication, PutOptions,
};
use crate::capability::Capabilities;
use crate::changes::Changes;
use crate::clock::Clock;
use crate::error::Result;
use crate::key::RecordRef;
#[cfg(feature = "limits")]
use crate::limits::{Bucket, BucketUpdate, Decision, LimitKey, QuotaSet, RateLimitStore, Take};
use crate::page::Page;
use crate::record::{Record, Version};
use crate::record_store::{Ping, RecordStore, Swept};
use crate::scan::{Records, Scan};

/// The future of a forwarded call: the one that the store under the layer returned.
pub type Forwarded<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Declares the trait of a store's layers, and implements the store for them.
macro_rules! layer {
    (
        $(#[$doc:meta])*
        [$($generic:ident: $bound:ident),*] $layer:ident over $store:ident;
        $(async fn $call:ident[$($life:lifetime),*]($($arg:ident: $type:ty),*) -> $answer:ty;)*
        $(fn $now:ident($($now_arg:ident: $now_type:ty),*) -> $now_answer:ty;)*
    ) => {
        $(#[$doc])*
        pub trait $layer: Send + Sync + std::fmt::Debug {
            $(
                /// The application's own type.
                type $generic: $bound;
            )*

            /// The store under this layer.
            fn inner(&self) -> &dyn $store<$(Self::$generic),*>;

            $(
                #[doc = concat!("As [`", stringify!($store), "::", stringify!($call), "`].")]
                fn $call<'life0, $($life,)* 'async_trait>(
                    &'life0 self,
                    $($arg: $type),*
                ) -> $crate::layers::Forwarded<'async_trait, $answer>
                where
                    'life0: 'async_trait,
                    $($life: 'async_trait,)*
                    Self: 'async_trait,
                {
                    self.inner().$call($($arg),*)
                }
            )*

            $(
                #[doc = concat!("As [`", stringify!($store), "::", stringify!($now), "`].")]
                fn $now(&self, $($now_arg: $now_type),*) -> $now_answer {
                    self.inner().$now($($now_arg),*)
                }
            )*
        }

        #[deny(clippy::missing_trait_methods)]
        impl<L: $layer> $store<$(L::$generic),*> for L {
            $(
                fn $call<'life0, $($life,)* 'async_trait>(
                    &'life0 self,
                    $($arg: $type),*
                ) -> $crate::layers::Forwarded<'async_trait, $answer>
                where
                    'life0: 'async_trait,
                    $($life: 'async_trait,)*
                    Self: 'async_trait,
                {
                    <L as $layer>::$call(self, $($arg),*)
                }
            )*

            $(
                fn $now(&self, $($now_arg: $now_type),*) -> $now_answer {
                    <L as $layer>::$now(self, $($now_arg),*)
                }
            )*
        }
    };
}

layer! {
    /// A layer over a [`RecordStore`], and by that a `RecordStore` itself. See the
    /// [module](crate::layers).
    [] RecordLayer over RecordStore;
    async fn get['life1](at: RecordRef<'life1>) -> Result<Option<Record>>;
    async fn get_many['life1, 'life2](
        at: &'life1 [RecordRef<'life2>]
    ) -> Result<Vec<Option<Record>>>;
    async fn scan['life1](scan: &'life1 Scan) -> Result<Records>;
    async fn commit['life1](batch: &'life1 Batch) -> Result<Committed>;
    async fn ping[]() -> Result<Ping>;
    async fn changes[]() -> Result<Changes>;
    async fn sweep[](grace: Duration) -> Result<Swept>;
    async fn close[]() -> Result<()>;
    fn get_now(at: RecordRef<'_>) -> Option<Result<Option<Record>>>;
    fn clock() -> &dyn Clock;
    fn capabilities() -> Capabilities;
}

#[cfg(feature = "blobs")]
layer! {
    /// A layer over a [`BlobStore`], and by that a `BlobStore` itself. See the
    /// [module](crate::layers).
    [] BlobLayer over BlobStore;
    async fn begin['life1](at: BlobRef<'life1>, options: PutOptions) -> Result<Box<dyn BlobSink>>;
    async fn put_bytes['life1](
        at: BlobRef<'life1>,
        options: PutOptions,
        bytes: Bytes
    ) -> Result<Publication>;
    async fn open['life1](at: BlobRef<'life1>, options: OpenOptions) -> Result<Option<Blob>>;
    async fn stat['life1](at: BlobRef<'life1>) -> Result<Option<BlobStat>>;
    async fn delete['life1](at: BlobRef<'life1>) -> Result<bool>;
    async fn restamp['life1](
        at: BlobRef<'life1>,
        version: Version,
        metadata: BlobMetadata
    ) -> Result<Publication>;
    async fn list['life1](list: &'life1 BlobList) -> Result<Page<BlobEntry>>;
    async fn sweep[]() -> Result<Swept>;
    async fn close[]() -> Result<()>;
}

#[cfg(feature = "limits")]
layer! {
    /// A layer over a [`RateLimitStore`], and by that a `RateLimitStore` itself.
    /// See the [module](crate::layers).
    [] RateLimitLayer over RateLimitStore;
    async fn update['life1, 'life2](
        key: LimitKey<'life1>,
        change: BucketUpdate<'life2>
    ) -> Result<Option<Bucket>>;
    async fn take['life1, 'life2](take: &'life1 Take<'life2>) -> Result<Decision>;
    async fn peek['life1](key: LimitKey<'life1>) -> Result<Option<Bucket>>;
    async fn reset['life1, 'life2](key: LimitKey<'life1>, quotas: &'life2 QuotaSet) -> Result<()>;
    async fn delete['life1](key: LimitKey<'life1>) -> Result<()>;
    async fn ping[]() -> Result<Ping>;
    async fn close[]() -> Result<()>;
    fn take_now(take: &Take<'_>) -> Option<Result<Decision>>;
    fn clock() -> &dyn Clock;
}

pub(crate) use layer;
