//! Sends several requests at a time, up to a bound.

use futures_util::future::BoxFuture;
use futures_util::{StreamExt, TryStreamExt, stream};
use store_core::Result;

/// How many requests are in flight at a time.
const PARALLEL: usize = 16;

/// The results in the order of the requests, or the first error.
pub(crate) async fn parallel<T: Send>(all: Vec<BoxFuture<'_, Result<T>>>) -> Result<Vec<T>> {
    stream::iter(all).buffered(PARALLEL).try_collect().await
}
