//! What the cases share.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use store_core::blobs::{
    Blob, BlobMetadata, BlobReader, BlobRef, BlobSink, BlobStat, OpenOptions, Publication, PutMode,
    PutOptions,
};
use store_core::{BlobStore, Error, Result};

use crate::harness::Harness;

pub(super) type Given = Arc<dyn Harness<dyn BlobStore>>;

/// Several chunks and a part of one, whatever the chunk size: three times 256 KiB and
/// more.
pub(super) const SEVERAL_CHUNKS: usize = 3 * CHUNK + 1000;

/// More than any implementation stores with the object's metadata.
pub(super) const LARGE: usize = 4 * CHUNK + 1000;

/// More than any implementation holds in its writer's memory.
pub(super) const LONG: usize = 20 * CHUNK + 1000;

/// The chunk size of the standard implementation.
pub(crate) const CHUNK: usize = 256 * 1024;

/// The object most cases are about.
pub(crate) fn object() -> BlobRef<'static> {
    named("object")
}

/// Another object of the same bucket.
pub(super) fn named(key: &str) -> BlobRef<'_> {
    BlobRef::new("bucket", key).expect("a good key")
}

/// `length` bytes that depend on `seed` and on their place: no part of them
/// can be taken for another part, or for another seed's.
pub(crate) fn content(seed: u64, length: usize) -> Vec<u8> {
    let word = |n: u64| {
        let mut x =
            (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ seed.wrapping_mul(0xd6e8_feb8_6659_fd93);
        x = (x ^ (x >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        (x ^ (x >> 32)).to_le_bytes()
    };
    let mut bytes: Vec<u8> = (0..length.div_ceil(8) as u64).flat_map(word).collect();
    bytes.truncate(length);
    bytes
}

/// Begins to write `bytes` and writes them, but does not commit.
pub(super) async fn written(
    store: &Arc<dyn BlobStore>,
    at: BlobRef<'_>,
    options: impl Into<PutOptions>,
    bytes: &[u8],
) -> Result<Box<dyn BlobSink>> {
    let mut sink = store.begin(at, options.into()).await?;
    sink.write(bytes.to_vec().into()).await?;
    Ok(sink)
}

/// Publishes `bytes`, which nothing must prevent.
pub(super) async fn put(
    store: &Arc<dyn BlobStore>,
    at: BlobRef<'_>,
    options: impl Into<PutOptions>,
    bytes: &[u8],
) -> Result<BlobStat> {
    written(store, at, options, bytes)
        .await?
        .commit()
        .await?
        .published()
}

/// Metadata that contain `seed`.
pub(super) fn seeded(seed: u64) -> BlobMetadata {
    BlobMetadata::tagged(format!("\"{seed}\"")).attribute("seed", seed.to_string())
}

pub(super) fn create_only() -> PutOptions {
    PutOptions::default().mode(PutMode::CreateOnly)
}

/// All that is left in `reader`, piece by piece.
pub(super) async fn drain(reader: &mut Box<dyn BlobReader>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(piece) = reader.next().await? {
        assert!(!piece.is_empty(), "a piece is never empty");
        bytes.extend_from_slice(&piece);
    }
    assert!(reader.next().await?.is_none(), "the end is the end");
    Ok(bytes)
}

/// The object as it is now; `None` if there is none.
pub(super) async fn read(
    store: &Arc<dyn BlobStore>,
    at: BlobRef<'_>,
) -> Result<Option<(BlobStat, Vec<u8>)>> {
    let Some(Blob {
        stat,
        range,
        mut reader,
    }) = store.open(at, OpenOptions::default()).await?
    else {
        return Ok(None);
    };
    let bytes = drain(&mut reader).await?;
    assert_eq!(range, 0..stat.size, "all of it was asked for");
    assert_eq!(bytes.len() as u64, stat.size, "the size is the content's");
    Ok(Some((stat, bytes)))
}

/// Asserts that `handles` all read `bytes`, and stat what they open.
pub(super) async fn holds<'a>(
    handles: impl IntoIterator<Item = &'a Arc<dyn BlobStore>>,
    at: BlobRef<'_>,
    bytes: &[u8],
) -> Result<()> {
    for store in handles {
        let (stat, found) = read(store, at).await?.expect("the object is there");
        assert!(found == bytes, "the content is what was written");
        assert_eq!(store.stat(at).await?, Some(stat));
    }
    Ok(())
}

/// Asserts that there is no object, as every call sees it.
pub(super) async fn holds_none<'a>(
    handles: impl IntoIterator<Item = &'a Arc<dyn BlobStore>>,
    at: BlobRef<'_>,
) -> Result<()> {
    for store in handles {
        assert!(store.open(at, OpenOptions::default()).await?.is_none());
        assert!(store.stat(at).await?.is_none());
    }
    Ok(())
}

/// Asserts that nothing was published because something came first.
pub(super) fn superseded(answer: &Publication) {
    assert!(matches!(answer, Publication::Superseded), "{answer:?}");
}

/// Polls `future` once and drops it: what a caller's timeout does.
pub(super) async fn poll_once<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        Poll::Ready(match future.as_mut().poll(cx) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}

/// Sweeps until nothing more is due; returns how much was freed.
pub(super) async fn sweep(store: &Arc<dyn BlobStore>) -> Result<u64, Error> {
    let mut removed = 0;
    loop {
        let swept = store.sweep().await?;
        removed += swept.removed;
        if !swept.more {
            return Ok(removed);
        }
    }
}
