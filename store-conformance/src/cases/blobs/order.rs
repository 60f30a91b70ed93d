//! Concurrent writes, deletes and readers: which of them win.

use std::collections::HashMap;
use std::sync::Arc;

use store_core::blobs::{OpenOptions, Publication, PutMode, PutOptions};
use store_core::{BlobStore, ErrorKind};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::tools::{
    CHUNK, Given, SEVERAL_CHUNKS, content, create_only, drain, holds, holds_none, object, put,
    read, seeded, superseded, written,
};
use crate::case;
use crate::harness::Opened;
use crate::suite::{Case, CaseResult};

pub(super) fn cases() -> Vec<Case<dyn BlobStore>> {
    vec![
        case!(a_late_stale_commit_loses, "44"),
        case!(
            a_delete_does_not_wait_for_open_writes_and_they_lose,
            "45",
            "44"
        ),
        case!(a_write_begun_after_a_delete_wins, "44"),
        case!(
            two_first_writes_that_are_open_together_are_ordered,
            "44",
            "42"
        ),
        case!(deleting_twice_is_no_error),
        case!(first_writes_that_begin_at_once_are_all_ordered, "44", "42"),
        case!(racing_commits_end_with_the_one_begun_last, "44"),
        case!(one_of_many_racing_creates_wins),
        case!(one_of_many_racing_replacements_wins, "32"),
        case!(a_delete_racing_a_commit_leaves_nothing, "45"),
        case!(content_and_metadata_never_mix, "42"),
        case!(a_reader_survives_overwrite_and_delete, "43"),
        case!(a_resumed_read_never_reads_another_publication, "42"),
    ]
}

/// The handle of worker `number`: the handles alternate.
fn handle(opened: &Opened<dyn BlobStore>, number: usize) -> Arc<dyn BlobStore> {
    Arc::clone([&opened.first, &opened.second][number % 2])
}

async fn a_late_stale_commit_loses(harness: Given) -> CaseResult {
    let opened = harness.open(()).await?;
    let handles = [&opened.first, &opened.second];
    for length in [0, 10, SEVERAL_CHUNKS] {
        let (old, new) = (content(1, length), content(2, length));
        let stale = written(&opened.first, object(), seeded(1), &old).await?;
        let newer = written(&opened.second, object(), seeded(2), &new).await?;
        newer.commit().await?.published()?;
        let answer = stale.commit().await?;
        superseded(&answer);
        assert_eq!(
            answer.published().expect_err("nothing was").kind(),
            ErrorKind::Superseded
        );
        holds(handles, object(), &new).await?;
    }
    // In the order they began, both are published.
    let earlier = written(&opened.first, object(), seeded(3), b"earlier").await?;
    let later = written(&opened.second, object(), seeded(4), b"later").await?;
    earlier.commit().await?.published()?;
    holds(handles, object(), b"earlier").await?;
    later.commit().await?.published()?;
    holds(handles, object(), b"later").await?;
    Ok(())
}

async fn a_delete_does_not_wait_for_open_writes_and_they_lose(harness: Given) -> CaseResult {
    let opened = harness.open(()).await?;
    let handles = [&opened.first, &opened.second];
    // Before there is an object, and over one.
    for exists in [false, true] {
        if exists {
            put(&opened.first, object(), seeded(1), b"old").await?;
        }
        let writes = [PutOptions::from(seeded(2)), create_only()];
        let mut open = Vec::new();
        for options in writes {
            open.push(written(&opened.first, object(), options, b"late").await?);
        }
        assert_eq!(opened.second.delete(object()).await?, exists);
        holds_none(handles, object()).await?;
        for sink in open {
            superseded(&sink.commit().await?);
            holds_none(handles, object()).await?;
        }
    }
    Ok(())
}

async fn a_write_begun_after_a_delete_wins(harness: Given) -> CaseResult {
    let opened = harness.open(()).await?;
    let before = written(&opened.first, object(), seeded(1), b"before").await?;
    opened.second.delete(object()).await?;
    let after = written(&opened.second, object(), seeded(2), b"after").await?;
    after.commit().await?.published()?;
    superseded(&before.commit().await?);
    holds([&opened.first, &opened.second], object(), b"after").await?;

    // Deleted again, after that write ended.
    assert!(opened.first.delete(object()).await?);
    put(&opened.first, object(), seeded(3), b"again").await?;
    holds([&opened.first, &opened.second], object(), b"again").await?;
    Ok(())
}

/// There is no object yet when either begins.
async fn two_first_writes_that_are_open_together_are_ordered(harness: Given) -> CaseResult {
    let opened = harness.open(()).await?;
    let handles = [&opened.first, &opened.second];
    for length in [10, SEVERAL_CHUNKS] {
        let (first, second) = (content(1, length), content(2, length));
        for in_order in [true, false] {
            let mut earlier = opened.first.begin(object(), seeded(1).into()).await?;
            let mut later = opened.second.begin(object(), seeded(2).into()).await?;
            later.write(second.clone().into()).await?;
            earlier.write(first.clone().into()).await?;
            if in_order {
                earlier.commit().await?.published()?;
                holds(handles, object(), &first).await?;
                later.commit().await?.published()?;
            } else {
                later.commit().await?.published()?;
                superseded(&earlier.commit().await?);
            }
            holds(handles, object(), &second).await?;
            assert!(opened.first.delete(object()).await?);
        }
    }
    Ok(())
}

/// Nothing is there yet when they begin, so that their first steps meet.
async fn first_writes_that_begin_at_once_are_all_ordered(harness: Given) -> CaseResult {
    const WRITERS: usize = 6;
    let opened = harness.open(()).await?;
    for round in 0..8u64 {
        let start = Arc::new(Barrier::new(WRITERS));
        let mut race = JoinSet::new();
        for number in 0..WRITERS {
            let (store, start) = (handle(&opened, number), Arc::clone(&start));
            race.spawn(async move {
                start.wait().await;
                let seed = round * 100 + number as u64;
                let bytes = content(seed, 100);
                let sink = written(&store, object(), seeded(seed), &bytes).await?;
                Ok::<_, store_core::Error>((seed, sink))
            });
        }
        let mut sinks = Vec::new();
        while let Some(begun) = race.join_next().await {
            sinks.push(begun??);
        }
        holds_none([&opened.first, &opened.second], object()).await?;
        // Each is open and has a place in the order: the last one published is
        // the one that is there.
        let mut last = None;
        for (seed, sink) in sinks {
            match sink.commit().await? {
                Publication::Published(_) => last = Some(seed),
                other => superseded(&other),
            }
        }
        let last = last.expect("one of them wins");
        holds(
            [&opened.first, &opened.second],
            object(),
            &content(last, 100),
        )
        .await?;
        assert!(opened.first.delete(object()).await?);
    }
    Ok(())
}

async fn deleting_twice_is_no_error(harness: Given) -> CaseResult {
    let opened = harness.open(()).await?;
    assert!(!opened.first.delete(object()).await?, "there was none");
    put(&opened.first, object(), seeded(1), b"x").await?;
    assert!(opened.second.delete(object()).await?);
    assert!(!opened.first.delete(object()).await?);
    holds_none([&opened.first, &opened.second], object()).await?;
    Ok(())
}

async fn racing_commits_end_with_the_one_begun_last(harness: Given) -> CaseResult {
    const WRITERS: usize = 8;
    let opened = harness.open(()).await?;
    for round in 0..6 {
        let mut sinks = Vec::new();
        for number in 0..WRITERS {
            let seed = (round * WRITERS + number) as u64;
            let store = handle(&opened, number);
            let bytes = content(seed, 100);
            sinks.push((
                number,
                written(&store, object(), seeded(seed), &bytes).await?,
            ));
        }
        let start = Arc::new(Barrier::new(WRITERS));
        let mut race = JoinSet::new();
        for (number, sink) in sinks {
            let start = Arc::clone(&start);
            race.spawn(async move {
                start.wait().await;
                (number, sink.commit().await)
            });
        }
        let mut published = [false; WRITERS];
        while let Some(ended) = race.join_next().await {
            let (number, answer) = ended?;
            match answer? {
                Publication::Published(_) => published[number] = true,
                other => superseded(&other),
            }
        }
        assert!(
            published[WRITERS - 1],
            "nothing began after it: {published:?}"
        );
        let last = (round * WRITERS + WRITERS - 1) as u64;
        holds(
            [&opened.first, &opened.second],
            object(),
            &content(last, 100),
        )
        .await?;
        let stat = opened.first.stat(object()).await?.expect("it is there");
        assert_eq!(stat.metadata.tag, seeded(last).tag);
    }
    Ok(())
}

/// Begins one write per worker, all with `options`, and commits them concurrently, in the
/// order in which they began or, in odd rounds, in the reverse order. Returns the answers
/// by worker.
async fn race(
    opened: &Opened<dyn BlobStore>,
    round: usize,
    options: PutOptions,
) -> Result<HashMap<usize, Publication>, Box<dyn std::error::Error + Send + Sync>> {
    const WORKERS: usize = 8;
    let mut sinks = Vec::new();
    for number in 0..WORKERS {
        let bytes = content(number as u64, 50);
        let store = handle(opened, number);
        sinks.push((
            number,
            written(&store, object(), options.clone(), &bytes).await?,
        ));
    }
    if !round.is_multiple_of(2) {
        sinks.reverse();
    }
    let mut race = JoinSet::new();
    for (number, sink) in sinks {
        race.spawn(async move { Ok::<_, store_core::Error>((number, sink.commit().await?)) });
    }
    let mut answers = HashMap::new();
    while let Some(ended) = race.join_next().await {
        let (number, answer) = ended??;
        answers.insert(number, answer);
    }
    Ok(answers)
}

/// The one worker that published; the others may only have `refused`.
fn winner(answers: &HashMap<usize, Publication>, refused: &Publication) -> usize {
    let mut winner = None;
    for (&number, answer) in answers {
        match answer {
            Publication::Published(_) => {
                assert!(winner.replace(number).is_none(), "one wins: {answers:?}");
            }
            Publication::Superseded => {}
            other => assert_eq!(other, refused),
        }
    }
    winner.expect("one wins")
}

async fn one_of_many_racing_creates_wins(harness: Given) -> CaseResult {
    let opened = harness.open(()).await?;
    for round in 0..6 {
        let answers = race(&opened, round, create_only()).await?;
        let winner = winner(&answers, &Publication::AlreadyExists);
        let bytes = content(winner as u64, 50);
        holds([&opened.first, &opened.second], object(), &bytes).await?;
        opened.first.delete(object()).await?;
    }
    Ok(())
}

async fn one_of_many_racing_replacements_wins(harness: Given) -> CaseResult {
    let opened = harness.open(()).await?;
    let mut stat = put(&opened.first, object(), seeded(0), b"x").await?;
    for round in 0..6 {
        let options = PutOptions::default().mode(PutMode::IfUnchanged(stat.version));
        let answers = race(&opened, round, options).await?;
        let winner = winner(&answers, &Publication::Changed);
        let bytes = content(winner as u64, 50);
        holds([&opened.first, &opened.second], object(), &bytes).await?;
        stat = opened.first.stat(object()).await?.expect("it is there");
    }
    Ok(())
}

async fn a_delete_racing_a_commit_leaves_nothing(harness: Given) -> CaseResult {
    let opened = harness.open(()).await?;
    for round in 0..24 {
        let sink = written(&opened.first, object(), seeded(round), b"x").await?;
        let start = Arc::new(Barrier::new(2));
        let commit = tokio::spawn({
            let start = Arc::clone(&start);
            async move {
                start.wait().await;
                sink.commit().await
            }
        });
        let delete = tokio::spawn({
            let store = Arc::clone(&opened.second);
            async move {
                start.wait().await;
                store.delete(object()).await
            }
        });
        // Whichever was first: the delete removed the object, or superseded the write.
        let (answer, there_was_one) = (commit.await??, delete.await??);
        match (&answer, there_was_one) {
            (Publication::Published(_), true) | (Publication::Superseded, false) => {}
            other => panic!("no order of the two explains {other:?}"),
        }
        holds_none([&opened.first, &opened.second], object()).await?;
    }
    Ok(())
}

async fn content_and_metadata_never_mix(harness: Given) -> CaseResult {
    const ROUNDS: u64 = 12;
    let opened = harness.open(()).await?;
    // Each content has its own length, below and above the border of a chunk.
    let of = |seed: u64| {
        content(
            seed,
            if seed.is_multiple_of(2) { 1000 } else { CHUNK } + seed as usize,
        )
    };
    let zeroth = put(&opened.first, object(), seeded(0), &of(0)).await?;
    let (done, finished) = tokio::sync::watch::channel(false);
    let mut readers = JoinSet::new();
    for number in 0..3 {
        let (store, finished) = (handle(&opened, number), finished.clone());
        readers.spawn(async move {
            let mut last = 0;
            let mut reads = 0;
            while !*finished.borrow() || reads == 0 {
                let (stat, bytes) = read(&store, object()).await?.expect("never deleted");
                let seed: u64 = stat.metadata.attributes["seed"].parse().expect("a number");
                let tag = seeded(seed).tag;
                assert_eq!(stat.metadata.tag, tag, "the metadata are one publication's");
                assert!(bytes == of(seed), "the content is the metadata's");
                assert!(seed >= last, "publications are seen in order");
                last = seed;
                reads += 1;
                tokio::task::yield_now().await;
            }
            Ok::<_, store_core::Error>(())
        });
    }
    let mut versions = vec![zeroth.version];
    for seed in 1..=ROUNDS {
        let store = handle(&opened, seed as usize);
        versions.push(
            put(&store, object(), seeded(seed), &of(seed))
                .await?
                .version,
        );
    }
    done.send_replace(true);
    while let Some(ended) = readers.join_next().await {
        ended??;
    }
    holds([&opened.first, &opened.second], object(), &of(ROUNDS)).await?;
    Ok(())
}

async fn a_reader_survives_overwrite_and_delete(harness: Given) -> CaseResult {
    let opened = harness.open(()).await?;
    // More than any reader reads ahead.
    let old = content(1, 12 * CHUNK + 77);
    put(&opened.first, object(), seeded(1), &old).await?;
    let mut readers = Vec::new();
    for store in [&opened.first, &opened.second] {
        let mut blob = store
            .open(object(), OpenOptions::default())
            .await?
            .expect("it is there");
        let piece = blob.reader.next().await?.expect("it is not empty");
        readers.push((piece.to_vec(), blob));
    }
    put(&opened.second, object(), seeded(2), b"new").await?;
    for (head, blob) in &mut readers {
        // Unless the first read returned all of it.
        head.extend(blob.reader.next().await?.unwrap_or_default());
    }
    opened.first.delete(object()).await?;
    opened.first.sweep().await?;
    for (mut head, mut blob) in readers {
        head.extend(drain(&mut blob.reader).await?);
        assert!(head == old, "to the last byte");
        assert_eq!(blob.stat.metadata.tag, seeded(1).tag);
    }
    holds_none([&opened.first, &opened.second], object()).await?;
    Ok(())
}

async fn a_resumed_read_never_reads_another_publication(harness: Given) -> CaseResult {
    let opened = harness.open(()).await?;
    let old = put(&opened.first, object(), seeded(1), b"0123456789").await?;
    let rest = || OpenOptions::from(4..).version(old.version);
    let mut blob = opened
        .second
        .open(object(), rest())
        .await?
        .expect("it is there");
    assert_eq!(drain(&mut blob.reader).await?, b"456789");
    put(&opened.first, object(), seeded(2), b"abcdefghij").await?;
    let error = opened
        .second
        .open(object(), rest())
        .await
        .expect_err("it was replaced");
    assert_eq!(error.kind(), ErrorKind::Superseded);
    opened.first.delete(object()).await?;
    assert!(opened.second.open(object(), rest()).await?.is_none());
    Ok(())
}
