//! `AsyncRead` and `AsyncWrite`, and the conveniences.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use store_core::blobs::{AsyncBlobWriter, BlobStoreExt, OpenOptions, PutMode, PutOptions};
use store_core::{BlobStore, ErrorKind, Retry};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};

use super::tools::{
    CHUNK, Given, SEVERAL_CHUNKS, content, holds, holds_none, named, object, put, seeded,
};
use crate::case;
use crate::suite::{Case, CaseResult};

pub(super) fn cases() -> Vec<Case<dyn BlobStore>> {
    vec![
        case!(
            what_goes_in_through_async_write_comes_out_through_async_read,
            "46"
        ),
        case!(shutting_a_writer_down_publishes_nothing, "40"),
        case!(a_source_that_fails_half_way_publishes_nothing, "40"),
        case!(an_object_over_the_cap_is_refused_before_it_is_read),
        case!(a_copy_carries_content_and_metadata),
    ]
}

async fn what_goes_in_through_async_write_comes_out_through_async_read(
    harness: Given,
) -> CaseResult {
    let opened = harness.open(()).await?;
    let bytes = content(1, SEVERAL_CHUNKS);
    let mut writer = AsyncBlobWriter::new(opened.first.begin(object(), seeded(1).into()).await?);
    writer.write_all(&bytes[..1]).await?;
    writer.flush().await?;
    writer.write_all(&bytes[1..]).await?;
    let stat = writer.commit().await?.published()?;
    assert_eq!(
        stat.size,
        bytes.len() as u64,
        "what was not flushed is in it"
    );

    let blob = opened
        .second
        .open(object(), OpenOptions::default())
        .await?
        .expect("put");
    let mut reader = blob.into_async_read();
    let mut found = vec![0; 10];
    reader.read_exact(&mut found).await?;
    let buffered = reader.fill_buf().await?;
    assert!(!buffered.is_empty(), "there is more");
    found.push(buffered[0]);
    reader.consume(1);
    reader.read_to_end(&mut found).await?;
    assert!(found == bytes, "every byte once, in order");
    assert_eq!(reader.read(&mut [0]).await?, 0, "the end is the end");
    Ok(())
}

async fn shutting_a_writer_down_publishes_nothing(harness: Given) -> CaseResult {
    let opened = harness.open(()).await?;
    let handles = [&opened.first, &opened.second];
    let mut writer = AsyncBlobWriter::new(opened.first.begin(object(), seeded(1).into()).await?);
    writer.write_all(&content(1, 2 * CHUNK)).await?;
    writer.shutdown().await?;
    holds_none(handles, object()).await?;
    assert!(writer.write_all(b"more").await.is_err(), "it was shut down");
    drop(writer);
    holds_none(handles, object()).await?;

    let mut writer = AsyncBlobWriter::new(opened.first.begin(object(), seeded(1).into()).await?);
    writer.write_all(b"whole").await?;
    writer.shutdown().await?;
    writer.commit().await?.published()?;
    holds(handles, object(), b"whole").await?;

    let mut writer = AsyncBlobWriter::new(opened.first.begin(object(), seeded(1).into()).await?);
    writer.write_all(b"unwanted").await?;
    writer.abort().await?;
    holds(handles, object(), b"whole").await?;
    Ok(())
}

/// Gives `left` bytes and then an error, as a connection that breaks does.
struct Broken {
    left: usize,
}

impl AsyncRead for Broken {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == 0 {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let length = self.left.min(buffer.remaining()).min(1000);
        buffer.put_slice(&vec![7; length]);
        self.left -= length;
        Poll::Ready(Ok(()))
    }
}

async fn a_source_that_fails_half_way_publishes_nothing(harness: Given) -> CaseResult {
    let opened = harness.open(()).await?;
    let handles = [&opened.first, &opened.second];
    put(&opened.first, object(), seeded(1), b"old").await?;
    for left in [0, 10, 2 * CHUNK] {
        let answer = opened
            .second
            .put_from(object(), seeded(2), &mut Broken { left })
            .await;
        let error = answer.expect_err("the source failed");
        assert_eq!(error.retry(), Retry::Safe);
        holds(handles, object(), b"old").await?;
    }
    let bytes = content(3, SEVERAL_CHUNKS);
    opened
        .first
        .put_from(object(), seeded(3), &mut &bytes[..])
        .await?
        .published()?;
    holds(handles, object(), &bytes).await?;
    Ok(())
}

async fn an_object_over_the_cap_is_refused_before_it_is_read(harness: Given) -> CaseResult {
    let opened = harness.open(()).await?;
    assert!(opened.first.read(object(), 10).await?.is_none());
    for size in [0, 10, SEVERAL_CHUNKS] {
        let bytes = content(1, size);
        opened
            .first
            .put(object(), seeded(1), bytes.clone())
            .await?
            .published()?;
        let cap = size as u64;
        let (stat, found) = opened
            .second
            .read(object(), cap)
            .await?
            .expect("it is there");
        assert_eq!((stat.size, found[..] == bytes), (cap, true));
        if let Some(less) = cap.checked_sub(1) {
            let error = opened
                .second
                .read(object(), less)
                .await
                .expect_err("too large");
            assert_eq!(error.kind(), ErrorKind::LimitExceeded);
        }
    }
    Ok(())
}

async fn a_copy_carries_content_and_metadata(harness: Given) -> CaseResult {
    let opened = harness.open(()).await?;
    let (from, to) = (named("from"), named("to"));
    assert!(
        opened
            .first
            .copy(from, to, PutMode::Overwrite)
            .await?
            .is_none()
    );
    let bytes = content(1, SEVERAL_CHUNKS);
    let stat = put(&opened.first, from, seeded(1), &bytes).await?;
    let answer = opened
        .second
        .copy(from, to, PutMode::CreateOnly)
        .await?
        .expect("it is there");
    assert_eq!(answer.published()?.metadata, stat.metadata);
    opened.first.delete(from).await?;
    holds([&opened.first, &opened.second], to, &bytes).await?;
    put(&opened.first, from, PutOptions::default(), b"other").await?;
    let answer = opened
        .second
        .copy(from, to, PutMode::CreateOnly)
        .await?
        .expect("it is there");
    assert_eq!(
        answer.published().expect_err("it exists").kind(),
        ErrorKind::AlreadyExists
    );
    Ok(())
}
