//! Streamed objects in memory: `cargo xtask bench --name memory_blobs`.
//!
//! First checks a limit: while a 1 GiB object is streamed in and out, the process may use
//! at most 32 MiB beyond the stored bytes. Then compares times with those of hand-written
//! code.

#![allow(clippy::unwrap_used)] // A failed measurement may end the program.

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use store_conformance::bench::{Comparison, timed};
use store_core::blobs::{
    BlobMetadata, BlobRef, BlobStoreExt, OpenOptions, PutOptions, RecordBlobs,
};
use store_core::{BlobStore, Store};
use store_memory::MemoryStore;

const MIB: usize = 1 << 20;
const LARGE: usize = 1 << 30;
const MOST_BEYOND: usize = 32 * MIB;
/// The size of the pieces in which a body arrives from a socket.
const PIECE: usize = 64 * 1024;

fn at() -> BlobRef<'static> {
    BlobRef::new("bench", "object").unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
}

/// A field of `/proc/self/status` in bytes: `VmRSS`, the resident memory, or `VmHWM`, its
/// peak.
fn resident(field: &str) -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(field))?;
    let kib: usize = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

/// The generated piece that starts at `place`, which differs from its neighbours.
fn piece(place: usize) -> Vec<u8> {
    let mut piece = vec![(place / PIECE % 251) as u8; PIECE];
    piece[..8].copy_from_slice(&place.to_le_bytes());
    piece
}

fn mib_per_second(took: Duration) -> f64 {
    (LARGE / MIB) as f64 / took.as_secs_f64()
}

/// Streams the large object in and out. Returns false if it used too much memory.
async fn large() -> bool {
    let memory = MemoryStore::new();
    let store = Store::from(&memory);
    let before = resident("VmRSS");

    let begin = Instant::now();
    let mut sink = store
        .blobs()
        .begin(at(), PutOptions::default())
        .await
        .unwrap();
    for place in (0..LARGE).step_by(PIECE) {
        sink.write(piece(place).into()).await.unwrap();
    }
    sink.commit().await.unwrap().published().unwrap();
    let into = begin.elapsed();

    let begin = Instant::now();
    let mut blob = store
        .blobs()
        .open(at(), OpenOptions::default())
        .await
        .unwrap()
        .unwrap();
    let mut place = 0;
    while let Some(bytes) = blob.reader.next().await.unwrap() {
        for part in bytes.chunks(PIECE) {
            assert!(
                part == piece(place),
                "the content that is read equals the content that was written"
            );
            place += part.len();
        }
    }
    assert_eq!(place, LARGE);
    let out = begin.elapsed();

    let stored = memory.usage().bytes;
    println!("a 1 GiB object, streamed in and out in pieces of 64 KiB:");
    println!("  in   {:6.0} MiB/s, made on the fly", mib_per_second(into));
    println!(
        "  out  {:6.0} MiB/s, compared on the fly",
        mib_per_second(out)
    );
    let (Some(before), Some(most)) = (before, resident("VmHWM")) else {
        println!("  memory beyond the stored bytes: not measured, there is no /proc here");
        return true;
    };
    let beyond = (most - before).saturating_sub(stored);
    let reached = beyond <= MOST_BEYOND;
    println!(
        "  memory beyond the {} stored bytes: {:.1} MiB at its most; at most {} wanted: {}",
        stored,
        beyond as f64 / MIB as f64,
        MOST_BEYOND / MIB,
        if reached { "reached" } else { "MISSED" }
    );
    reached
}

/// Compares objects of `size` bytes with chunks in a `Vec`.
fn beside_a_vec(size: usize) {
    let runtime = runtime();
    let source: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
    // Without a grace for readers and with a sweep, so that each round frees the objects
    // that it replaced.
    let store = Store::from(MemoryStore::new());
    let blobs = RecordBlobs::new(Arc::clone(store.records())).grace(Duration::ZERO);
    let name = format!("{} KiB", size / 1024);

    let put = || {
        runtime.block_on(async {
            let put = blobs
                .put(at(), BlobMetadata::default(), source.clone())
                .await;
            put.unwrap().published().unwrap();
            blobs.sweep_all().await.unwrap();
        });
    };
    let by_hand = || -> Vec<Box<[u8]>> {
        let source = source.clone();
        source.chunks(256 * 1024).map(Box::from).collect()
    };
    let measured = Comparison::new(format!("an object of {name}, written"))
        .contender("put", |n| timed(|| (0..n).for_each(|_| put())))
        .contender("chunks copied into a Vec", |n| {
            timed(|| (0..n).for_each(|_| drop(black_box(by_hand()))))
        })
        .rounds(7)
        .run();
    println!("{measured}");

    put();
    let chunks: Vec<Vec<u8>> = by_hand().into_iter().map(Into::into).collect();
    let read = || {
        runtime.block_on(async {
            let opened = blobs.open(at(), OpenOptions::default()).await;
            let mut blob = opened.unwrap().unwrap();
            let mut sum = 0u64;
            while let Some(bytes) = blob.reader.next().await.unwrap() {
                sum += u64::from(bytes[0]) + bytes.len() as u64;
            }
            sum
        })
    };
    let measured = Comparison::new(format!(
        "an object of {name}, read, one byte of each chunk seen"
    ))
    .contender("open and read", |n| {
        timed(|| (0..n).for_each(|_| _ = black_box(read())))
    })
    .contender("its chunks copied out of a Vec", |n| {
        timed(|| (0..n).for_each(|_| drop(black_box(chunks.clone()))))
    })
    .rounds(7)
    .run();
    println!("{measured}");
}

fn main() -> ExitCode {
    let reached = runtime().block_on(large());
    println!();
    for size in [1024, 256 * 1024, 16 * MIB] {
        beside_a_vec(size);
    }
    if reached {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
