//! Which bytes a reader gets.

use std::time::Duration;

use store_core::blobs::{BlobMetadata, ByteRange, OpenOptions, Publication};
use store_core::{BlobStore, Clock, ErrorKind, Result};

use super::tools::{
    CHUNK, Given, LONG, SEVERAL_CHUNKS, content, drain, holds, object, poll_once, put, read,
    seeded, sweep,
};
use crate::case;
use crate::suite::{Case, CaseResult};

pub(super) fn cases() -> Vec<Case<dyn BlobStore>> {
    vec![
        case!(every_range_of_a_small_object_is_exact),
        case!(ranges_are_exact_at_every_border_of_chunks),
        case!(a_dropped_read_loses_no_bytes, "R8"),
        case!(
            a_reader_outlived_by_its_content_never_gets_short_data,
            "43",
            "42"
        ),
        case!(a_publication_is_readable_long_after_it_was_made, "42", "50"),
        case!(new_metadata_leave_the_content_as_it_is, "42").needs("restamp", |given| {
            Box::pin(new_metadata_alone_are_refused(given))
        }),
    ]
}

/// Asserts that `range` of `whole`, which is published, reads as it should.
async fn reads_as(
    store: &std::sync::Arc<dyn BlobStore>,
    whole: &[u8],
    range: ByteRange,
) -> Result<()> {
    let options = OpenOptions::from(range);
    let mut blob = store.open(object(), options).await?.expect("it is there");
    let size = whole.len() as u64;
    let (from, to) = match range {
        ByteRange::Span(from, to) => (from.min(size), to.min(size)),
        ByteRange::Suffix(length) => (size - length.min(size), size),
    };
    let to = to.max(from);
    assert_eq!(blob.range, from..to, "{range:?} of {size} bytes");
    assert_eq!(blob.stat.size, size, "the size is the whole object's");
    let bytes = drain(&mut blob.reader).await?;
    assert!(
        bytes == whole[from as usize..to as usize],
        "{range:?} of {size} bytes"
    );
    Ok(())
}

async fn every_range_of_a_small_object_is_exact(harness: Given) -> CaseResult {
    let opened = harness.open(()).await?;
    for size in [0, 1, 7] {
        let whole = content(size, size as usize);
        put(&opened.first, object(), seeded(1), &whole).await?;
        for from in 0..=size + 1 {
            reads_as(&opened.second, &whole, ByteRange::from(from..)).await?;
            reads_as(&opened.second, &whole, ByteRange::Suffix(from)).await?;
            for to in 0..=size + 1 {
                reads_as(&opened.second, &whole, ByteRange::Span(from, to)).await?;
            }
        }
        for range in [
            ByteRange::default(),
            ByteRange::Suffix(u64::MAX),
            ByteRange::from(u64::MAX..),
        ] {
            reads_as(&opened.first, &whole, range).await?;
        }
    }
    Ok(())
}

async fn ranges_are_exact_at_every_border_of_chunks(harness: Given) -> CaseResult {
    let opened = harness.open(()).await?;
    let whole = content(1, SEVERAL_CHUNKS);
    put(&opened.first, object(), seeded(1), &whole).await?;
    let chunk = CHUNK as u64;
    let around = |border: u64| [border - 1, border, border + 1];
    let borders: Vec<u64> = [chunk, 2 * chunk, SEVERAL_CHUNKS as u64]
        .into_iter()
        .flat_map(around)
        .collect();
    for &from in [0, 1].iter().chain(&borders) {
        for length in [1, 2, chunk - 1, chunk, chunk + 1] {
            reads_as(&opened.second, &whole, ByteRange::Span(from, from + length)).await?;
        }
        reads_as(&opened.first, &whole, ByteRange::from(from..)).await?;
        reads_as(&opened.first, &whole, ByteRange::Suffix(from)).await?;
    }
    Ok(())
}

/// Content that would expire until it is published does not expire afterwards.
async fn a_publication_is_readable_long_after_it_was_made(harness: Given) -> CaseResult {
    const A_YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    let opened = harness.open(()).await?;
    let handles = [&opened.first, &opened.second];
    for length in [10, SEVERAL_CHUNKS, LONG] {
        let bytes = content(1, length);
        put(&opened.first, object(), seeded(1), &bytes).await?;
        opened.clock.advance(A_YEAR);
        holds(handles, object(), &bytes).await?;
        sweep(&opened.second).await?;
        holds(handles, object(), &bytes).await?;
    }
    Ok(())
}

async fn a_dropped_read_loses_no_bytes(harness: Given) -> CaseResult {
    let opened = harness.open(()).await?;
    let whole = content(1, SEVERAL_CHUNKS);
    put(&opened.first, object(), seeded(1), &whole).await?;
    let options = OpenOptions::from(3..);
    let mut blob = opened
        .second
        .open(object(), options)
        .await?
        .expect("it is there");
    let mut bytes = Vec::new();
    loop {
        // Dropped before its answer, which the next call must give; or answered.
        let answer = match poll_once(blob.reader.next()).await {
            Some(answer) => answer,
            None => blob.reader.next().await,
        };
        match answer? {
            Some(piece) => bytes.extend_from_slice(&piece),
            None => break,
        }
    }
    assert!(bytes == whole[3..], "every byte once, in order");
    Ok(())
}

/// A day after an object was replaced or deleted its content may be freed. A reader
/// then gets an error; it never takes missing content for the end of the object.
async fn a_reader_outlived_by_its_content_never_gets_short_data(harness: Given) -> CaseResult {
    let opened = harness.open(()).await?;
    // More than any reader reads ahead, and a new one of the same length.
    let (old, new) = (content(1, 12 * CHUNK), content(2, 12 * CHUNK));
    for delete in [false, true] {
        put(&opened.first, object(), seeded(1), &old).await?;
        let mut blob = opened
            .first
            .open(object(), OpenOptions::default())
            .await?
            .expect("put");
        let mut bytes = blob.reader.next().await?.expect("it is not empty").to_vec();
        if delete {
            opened.second.delete(object()).await?;
        } else {
            put(&opened.second, object(), seeded(2), &new).await?;
        }
        opened.clock.advance(Duration::from_secs(24 * 3600));
        sweep(&opened.second).await?;
        loop {
            match blob.reader.next().await {
                Ok(Some(piece)) => bytes.extend_from_slice(&piece),
                Ok(None) => break assert!(bytes == old, "all of it, or an error"),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Superseded);
                    assert!(old.starts_with(&bytes), "what came before is right");
                    // And the reader does not come to another end after it.
                    assert!(blob.reader.next().await.is_err());
                    break;
                }
            }
        }
        if !delete {
            holds([&opened.first, &opened.second], object(), &new).await?;
        }
    }
    Ok(())
}

async fn new_metadata_leave_the_content_as_it_is(harness: Given) -> CaseResult {
    let opened = harness.open(()).await?;
    let bytes = content(1, SEVERAL_CHUNKS);
    let old = put(&opened.first, object(), seeded(1), &bytes).await?;
    let mut blob = opened
        .first
        .open(object(), OpenOptions::default())
        .await?
        .expect("put");
    opened.clock.advance(Duration::from_secs(5));
    let new = opened
        .second
        .restamp(object(), old.version, seeded(2))
        .await?
        .published()?;
    let expected = BlobMetadata {
        cached_at: Some(opened.clock.now()),
        ..seeded(2)
    };
    assert_eq!(new.metadata, expected);
    assert_eq!(new.size, old.size);
    assert_ne!(new.version, old.version, "it is another publication");
    assert_eq!(
        read(&opened.first, object()).await?,
        Some((new.clone(), bytes.clone()))
    );
    assert!(
        drain(&mut blob.reader).await? == bytes,
        "an open reader reads to the end"
    );

    // Of another publication, or of none, nothing is changed.
    let answer = opened
        .first
        .restamp(object(), old.version, seeded(3))
        .await?;
    assert!(matches!(answer, Publication::Changed), "{answer:?}");
    assert_eq!(opened.second.stat(object()).await?, Some(new.clone()));
    opened.first.delete(object()).await?;
    let answer = opened
        .second
        .restamp(object(), new.version, seeded(3))
        .await?;
    assert!(matches!(answer, Publication::Changed), "{answer:?}");
    assert!(opened.first.stat(object()).await?.is_none());
    Ok(())
}

async fn new_metadata_alone_are_refused(harness: Given) -> CaseResult {
    let opened = harness.open(()).await?;
    let old = put(&opened.first, object(), seeded(1), b"as it was").await?;
    let answer = opened.first.restamp(object(), old.version, seeded(2)).await;
    let error = answer.expect_err("changing metadata alone is declared unsupported");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(opened.second.stat(object()).await?, Some(old));
    Ok(())
}
