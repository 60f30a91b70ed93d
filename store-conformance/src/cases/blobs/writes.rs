//! What a write publishes, and when.

use std::collections::BTreeMap;
use std::time::Duration;

use sha2::{Digest, Sha256};
use store_core::blobs::{
    BlobMetadata, BlobStoreExt, MAX_METADATA, OpenOptions, Publication, PutMode, PutOptions,
};
use store_core::{BlobStore, Clock, ErrorKind};

use super::tools::{
    CHUNK, Given, SEVERAL_CHUNKS, content, create_only, drain, holds, holds_none, named, object,
    poll_once, put, read, seeded, written,
};
use crate::case;
use crate::suite::{Case, CaseResult};

pub(super) fn cases() -> Vec<Case<dyn BlobStore>> {
    vec![
        case!(what_is_committed_reads_back_whole, "46"),
        case!(a_zero_byte_object_is_an_object, "46"),
        case!(content_other_than_promised_publishes_nothing, "40", "42"),
        case!(a_put_of_content_in_memory_keeps_every_promise, "42", "44"),
        case!(a_small_object_becomes_large_and_small_again, "46", "43"),
        case!(metadata_is_published_with_the_content, "42", "46"),
        case!(metadata_that_is_too_large_is_refused_before_the_write),
        case!(byte_by_byte_and_all_at_once_give_the_same_object, "46"),
        case!(a_dropped_sink_publishes_nothing, "40"),
        case!(an_aborted_write_publishes_nothing, "40"),
        case!(the_old_value_is_readable_while_a_write_is_open, "41"),
        case!(a_dropped_write_publishes_no_part_of_its_bytes, "R8", "40"),
        case!(create_only_never_replaces_an_object),
        case!(if_unchanged_replaces_only_the_object_it_names, "32"),
        case!(every_publication_has_a_version_of_its_own, "32"),
    ]
}

async fn what_is_committed_reads_back_whole(harness: Given) -> CaseResult {
    let opened = harness.open(()).await?;
    let handles = [&opened.first, &opened.second];
    let lengths = [
        1,
        2,
        1000,
        CHUNK - 1,
        CHUNK,
        CHUNK + 1,
        2 * CHUNK,
        SEVERAL_CHUNKS,
    ];
    for length in lengths {
        let bytes = content(length as u64, length);
        let key = length.to_string();
        put(&opened.first, named(&key), PutOptions::default(), &bytes).await?;
        holds(handles, named(&key), &bytes).await?;
    }
    Ok(())
}

async fn content_other_than_promised_publishes_nothing(harness: Given) -> CaseResult {
    let opened = harness.open(()).await?;
    let store = &opened.first;
    for length in [0, 10, CHUNK + 1, SEVERAL_CHUNKS] {
        let bytes = content(1, length);
        let digest: [u8; 32] = Sha256::digest(&bytes).into();
        let size = length as u64;
        let whole = || {
            PutOptions::default()
                .expect_size(size)
                .expect_sha256(digest)
        };
        for good in [
            PutOptions::default().expect_size(size),
            PutOptions::default().expect_sha256(digest),
            whole(),
        ] {
            put(store, object(), good.clone(), &bytes).await?;
            holds([&opened.second], object(), &bytes).await?;
            store
                .put(object(), good, bytes.clone())
                .await?
                .published()?;
            holds([&opened.second], object(), &bytes).await?;
        }
        put(store, object(), seeded(1), b"old").await?;
        let mut wrong = vec![bytes.clone(), bytes.clone()];
        wrong[0].push(0);
        match wrong[1].last_mut() {
            Some(last) => *last ^= 1,
            None => wrong.truncate(1),
        }
        if length > 0 {
            wrong.push(bytes[..length - 1].to_vec());
        }
        for bytes in wrong {
            let sink = written(store, object(), whole(), &bytes).await?;
            let error = sink.commit().await.expect_err("not what was promised");
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:?}");
            let error = store.put(object(), whole(), bytes).await;
            let error = error.expect_err("not what was promised");
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:?}");
            holds([&opened.second], object(), b"old").await?;
        }
        let mut source = &bytes[..length / 2];
        let options = PutOptions::default().expect_size(size + 1);
        let cut = store.put_from(object(), options, &mut source).await;
        assert!(cut.is_err(), "the source was cut short");
        holds([&opened.second], object(), b"old").await?;
    }
    Ok(())
}

/// As a write that begins and ends at one moment.
async fn a_put_of_content_in_memory_keeps_every_promise(harness: Given) -> CaseResult {
    let opened = harness.open(()).await?;
    let (first, second) = (&opened.first, &opened.second);
    for length in [0, 10, 64 * 1024, 64 * 1024 + 1, SEVERAL_CHUNKS] {
        let bytes = content(length as u64, length);
        let earlier = written(first, object(), seeded(1), b"earlier").await?;
        let stat = second
            .put(object(), seeded(2), bytes.clone())
            .await?
            .published()?;
        assert_eq!(
            (stat.size, &stat.metadata.tag),
            (length as u64, &seeded(2).tag)
        );
        let answer = earlier.commit().await?;
        assert!(matches!(answer, Publication::Superseded), "{answer:?}");
        holds([first, second], object(), &bytes).await?;

        let only = first.put(object(), create_only(), "only").await?;
        assert!(matches!(only, Publication::AlreadyExists), "{only:?}");
        let unchanged = |version| PutOptions::default().mode(PutMode::IfUnchanged(version));
        let next = second
            .put(object(), unchanged(stat.version), "next")
            .await?;
        let next = next.published()?;
        let stale = first
            .put(object(), unchanged(stat.version), "stale")
            .await?;
        assert!(matches!(stale, Publication::Changed), "{stale:?}");
        holds([first, second], object(), b"next").await?;

        let later = written(first, object(), seeded(3), b"later").await?;
        assert!(second.delete(object()).await?);
        let missing = second
            .put(object(), unchanged(next.version), "stale")
            .await?;
        assert!(matches!(missing, Publication::Changed), "{missing:?}");
        first
            .put(object(), create_only(), bytes.clone())
            .await?
            .published()?;
        let answer = later.commit().await?;
        assert!(matches!(answer, Publication::Superseded), "{answer:?}");
        holds([first, second], object(), &bytes).await?;
        second.delete(object()).await?;
    }
    Ok(())
}

/// Wherever content of either size is stored, its readers and its metadata stay
/// what they are, and ranges are exact.
async fn a_small_object_becomes_large_and_small_again(harness: Given) -> CaseResult {
    let opened = harness.open(()).await?;
    let lengths = [
        64 * 1024,
        SEVERAL_CHUNKS,
        64 * 1024 + 1,
        100,
        0,
        SEVERAL_CHUNKS,
        7,
    ];
    let mut readers = Vec::new();
    for (seed, length) in lengths.into_iter().enumerate() {
        let bytes = content(seed as u64, length);
        let stat = put(&opened.first, object(), seeded(seed as u64), &bytes).await?;
        holds([&opened.first, &opened.second], object(), &bytes).await?;
        let range = length / 3..length - length / 4;
        let options = OpenOptions::from(range.start as u64..range.end as u64);
        let blob = opened.second.open(object(), options).await?;
        readers.push((bytes[range].to_vec(), blob.expect("just put")));
        let changed = seeded(100 + seed as u64);
        let restamped = opened
            .second
            .restamp(object(), stat.version, changed.clone())
            .await?;
        assert_eq!(restamped.published()?.metadata.tag, changed.tag);
        holds([&opened.first, &opened.second], object(), &bytes).await?;
    }
    for (expected, mut blob) in readers {
        assert!(drain(&mut blob.reader).await? == expected);
    }
    Ok(())
}

async fn a_zero_byte_object_is_an_object(harness: Given) -> CaseResult {
    let opened = harness.open(()).await?;
    let handles = [&opened.first, &opened.second];
    let sink = opened.first.begin(object(), seeded(1).into()).await?;
    let stat = sink.commit().await?.published()?;
    assert_eq!(stat.size, 0);
    holds(handles, object(), b"").await?;
    put(&opened.first, named("other"), seeded(2), b"").await?;
    holds(handles, named("other"), b"").await?;
    assert!(opened.second.delete(object()).await?, "there was one");
    holds_none(handles, object()).await?;
    Ok(())
}

async fn metadata_is_published_with_the_content(harness: Given) -> CaseResult {
    let opened = harness.open(()).await?;
    let now = opened.clock.now();
    let whole = BlobMetadata {
        tag: Some("W/\"äß\"\u{1f600}".into()),
        negative: true,
        cached_at: Some(now - Duration::from_nanos(1)),
        attributes: BTreeMap::from([
            ("content-type".into(), "text/plain".into()),
            (String::new(), "\"\\\n".into()),
        ]),
        ..BlobMetadata::default()
    };
    let stat = put(&opened.first, object(), whole.clone(), b"").await?;
    assert_eq!(stat.metadata, whole);
    assert_eq!(stat.published_at, now);
    assert_eq!(opened.second.stat(object()).await?, Some(stat));

    // What the writer leaves out.
    opened.clock.advance(Duration::from_secs(1));
    put(&opened.second, object(), PutOptions::default(), b"x").await?;
    let stat = opened.first.stat(object()).await?.expect("just put");
    let now = opened.clock.now();
    let expected = BlobMetadata {
        cached_at: Some(now),
        ..BlobMetadata::default()
    };
    assert_eq!(
        stat.metadata, expected,
        "nothing of the replaced object's is left"
    );
    Ok(())
}

async fn metadata_that_is_too_large_is_refused_before_the_write(harness: Given) -> CaseResult {
    let opened = harness.open(()).await?;
    let large = BlobMetadata::tagged("x".repeat(MAX_METADATA));
    put(&opened.first, object(), large.clone(), b"x").await?;
    assert_eq!(
        read(&opened.second, object())
            .await?
            .map(|(stat, _)| stat.metadata.tag),
        Some(large.tag.clone())
    );
    for refused in [large.attribute("", "x"), BlobMetadata::tagged("\0")] {
        let error = opened
            .first
            .begin(object(), refused.into())
            .await
            .expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
    Ok(())
}

async fn byte_by_byte_and_all_at_once_give_the_same_object(harness: Given) -> CaseResult {
    let opened = harness.open(()).await?;
    let bytes = content(1, SEVERAL_CHUNKS);
    for size in [CHUNK / 3, CHUNK - 1, CHUNK, CHUNK + 1, bytes.len()] {
        let mut sink = opened.first.begin(object(), PutOptions::default()).await?;
        for piece in bytes.chunks(size) {
            sink.write(piece.to_vec().into()).await?;
            sink.write(Vec::new().into()).await?;
        }
        let stat = sink.commit().await?.published()?;
        assert_eq!(stat.size, bytes.len() as u64, "in pieces of {size}");
        holds([&opened.second], object(), &bytes).await?;
    }
    let bytes = &bytes[..3000];
    let mut sink = opened.first.begin(object(), PutOptions::default()).await?;
    for &byte in bytes {
        sink.write(vec![byte].into()).await?;
    }
    assert_eq!(sink.commit().await?.published()?.size, 3000);
    holds([&opened.second], object(), bytes).await?;
    Ok(())
}

async fn a_dropped_sink_publishes_nothing(harness: Given) -> CaseResult {
    let opened = harness.open(()).await?;
    let handles = [&opened.first, &opened.second];
    for length in [0, 10, SEVERAL_CHUNKS] {
        drop(written(&opened.first, object(), seeded(1), &content(1, length)).await?);
        holds_none(handles, object()).await?;
    }
    put(&opened.first, object(), seeded(2), b"old").await?;
    for length in [0, 10, SEVERAL_CHUNKS] {
        drop(written(&opened.second, object(), seeded(3), &content(3, length)).await?);
        holds(handles, object(), b"old").await?;
    }
    Ok(())
}

async fn an_aborted_write_publishes_nothing(harness: Given) -> CaseResult {
    let opened = harness.open(()).await?;
    let handles = [&opened.first, &opened.second];
    for length in [0, 10, SEVERAL_CHUNKS] {
        let sink = written(&opened.first, object(), seeded(1), &content(1, length)).await?;
        sink.abort().await?;
        holds_none(handles, object()).await?;
    }
    put(&opened.first, object(), seeded(2), b"old").await?;
    let sink = written(
        &opened.second,
        object(),
        seeded(3),
        &content(3, SEVERAL_CHUNKS),
    )
    .await?;
    sink.abort().await?;
    holds(handles, object(), b"old").await?;

    // And blocks no other write.
    let earlier = written(&opened.first, object(), seeded(4), b"earlier").await?;
    let later = written(&opened.second, object(), seeded(5), b"later").await?;
    later.abort().await?;
    earlier.commit().await?.published()?;
    holds(handles, object(), b"earlier").await?;
    Ok(())
}

async fn the_old_value_is_readable_while_a_write_is_open(harness: Given) -> CaseResult {
    let opened = harness.open(()).await?;
    let handles = [&opened.first, &opened.second];
    let (old, new) = (content(1, SEVERAL_CHUNKS), content(2, SEVERAL_CHUNKS + 1));
    let before = put(&opened.first, object(), seeded(1), &old).await?;
    let mut sink = opened.first.begin(object(), seeded(2).into()).await?;
    for piece in new.chunks(CHUNK / 2) {
        sink.write(piece.to_vec().into()).await?;
        assert_eq!(opened.second.stat(object()).await?, Some(before.clone()));
    }
    holds(handles, object(), &old).await?;
    sink.commit().await?.published()?;
    holds(handles, object(), &new).await?;
    Ok(())
}

/// Whatever the sink makes of a write whose future was dropped: its bytes are
/// in the object as a whole, or not at all, or nothing is published.
async fn a_dropped_write_publishes_no_part_of_its_bytes(harness: Given) -> CaseResult {
    let opened = harness.open(()).await?;
    let (head, rest) = (content(1, 1000), content(2, 8 * SEVERAL_CHUNKS));
    let mut sink = written(&opened.first, object(), seeded(1), &head).await?;
    let answered = poll_once(sink.write(rest.clone().into())).await;
    let committed = sink.commit().await;
    match (answered, committed) {
        (None, Err(_)) => holds_none([&opened.second], object()).await?,
        (None, Ok(Publication::Published(stat))) if stat.size == 1000 => {
            holds([&opened.second], object(), &head).await?;
        }
        (answered, committed) => {
            answered.unwrap_or(Ok(()))?;
            committed?.published()?;
            holds([&opened.second], object(), &[head, rest].concat()).await?;
        }
    }
    Ok(())
}

async fn create_only_never_replaces_an_object(harness: Given) -> CaseResult {
    let opened = harness.open(()).await?;
    let handles = [&opened.first, &opened.second];
    put(&opened.first, object(), create_only(), b"first").await?;
    let answer = written(&opened.second, object(), create_only(), b"second")
        .await?
        .commit()
        .await?;
    assert!(matches!(answer, Publication::AlreadyExists), "{answer:?}");
    let kind = answer.published().expect_err("nothing was").kind();
    assert_eq!(kind, ErrorKind::AlreadyExists);
    holds(handles, object(), b"first").await?;
    opened.first.delete(object()).await?;
    put(&opened.second, object(), create_only(), b"third").await?;
    holds(handles, object(), b"third").await?;

    // What counts is the object there at commit, not when the write began.
    opened.first.delete(object()).await?;
    let earlier = written(&opened.first, object(), create_only(), b"earlier").await?;
    let later = written(&opened.second, object(), create_only(), b"later").await?;
    earlier.commit().await?.published()?;
    let answer = later.commit().await?;
    assert!(matches!(answer, Publication::AlreadyExists), "{answer:?}");
    holds(handles, object(), b"earlier").await?;
    Ok(())
}

async fn if_unchanged_replaces_only_the_object_it_names(harness: Given) -> CaseResult {
    let opened = harness.open(()).await?;
    let unchanged = |version| PutOptions::default().mode(PutMode::IfUnchanged(version));
    let handles = [&opened.first, &opened.second];
    let first = put(&opened.first, object(), seeded(1), b"same").await?;
    let second = put(&opened.first, object(), unchanged(first.version), b"same").await?;
    for stale in [
        first.version,
        put(&opened.first, named("other"), seeded(1), b"same")
            .await?
            .version,
    ] {
        let sink = written(&opened.second, object(), unchanged(stale), b"stale").await?;
        let answer = sink.commit().await?;
        assert!(matches!(answer, Publication::Changed), "{answer:?}");
        let kind = answer.published().expect_err("nothing was").kind();
        assert_eq!(kind, ErrorKind::Conflict);
    }
    holds(handles, object(), b"same").await?;

    // Deleted and put again is not unchanged, and neither is deleted.
    opened.first.delete(object()).await?;
    let sink = written(
        &opened.second,
        object(),
        unchanged(second.version),
        b"stale",
    )
    .await?;
    let answer = sink.commit().await?;
    assert!(matches!(answer, Publication::Changed), "{answer:?}");
    holds_none(handles, object()).await?;
    put(&opened.first, object(), seeded(1), b"same").await?;
    let sink = written(
        &opened.second,
        object(),
        unchanged(second.version),
        b"stale",
    )
    .await?;
    let answer = sink.commit().await?;
    assert!(matches!(answer, Publication::Changed), "{answer:?}");
    holds(handles, object(), b"same").await?;
    Ok(())
}

async fn every_publication_has_a_version_of_its_own(harness: Given) -> CaseResult {
    let opened = harness.open(()).await?;
    let mut versions = std::collections::HashSet::new();
    for round in 0..8 {
        let store = [&opened.first, &opened.second][round % 2];
        let stat = put(store, object(), seeded(1), b"same").await?;
        assert!(versions.insert(stat.version));
        assert_eq!(
            opened.first.stat(object()).await?.map(|stat| stat.version),
            Some(stat.version)
        );
        if round % 3 == 0 {
            opened.second.delete(object()).await?;
        }
    }
    Ok(())
}
