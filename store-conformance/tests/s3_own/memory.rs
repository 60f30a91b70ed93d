//! How much memory a large object passes through: measured in a process of its
//! own, which is this program with [`CHILD`] in the environment.

use std::process::{Command, ExitCode};

use store_core::blobs::{BlobMetadata, BlobStoreExt, OpenOptions, PutOptions};
use store_core::{Result, Store};
use tokio::task::block_in_place;

use crate::blobs::{at, content};
use crate::{End, Place, harness, tests};

tests![a_large_object_passes_through_32_mib];

/// Where a child works: URL and prefix.
const CHILD: &str = "STORE_TEST_S3_STREAM";

const MIB: u64 = 1 << 20;
const LARGE: u64 = 256 * MIB;
const PIECE: usize = 64 * 1024;

async fn a_large_object_passes_through_32_mib(place: Place) -> End {
    if resident("VmHWM").is_none() {
        println!("this system does not say how much memory a process takes");
        return Ok(());
    }
    let output = block_in_place(|| {
        Command::new(std::env::current_exe()?)
            .env(CHILD, format!("{} {}", place.url, place.prefix))
            .output()
    })?;
    let said = String::from_utf8(output.stdout)?;
    println!("{said}");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let mut figures = said.split_whitespace().map(str::parse::<u64>);
    for what in ["writing", "reading"] {
        let most = figures.next().ok_or("it said nothing")??;
        assert!(most <= 32, "{what} took {most} MiB");
        assert!(most >= 4, "{what} took {most} MiB, which cannot be");
    }
    Ok(())
}

/// What this process does if it is the child: streams an object in and out, and
/// prints how many MiB more it held than before, each time.
pub(crate) fn child() -> Option<ExitCode> {
    let place = std::env::var(CHILD).ok()?;
    let (url, prefix) = place.split_once(' ')?;
    // One thread, so that memory is not counted once for each of them.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be started");
    match runtime.block_on(stream(url, prefix)) {
        Ok([write, read]) => {
            println!("{write} {read}");
            Some(ExitCode::SUCCESS)
        }
        Err(error) => {
            eprintln!("{error:?}");
            Some(ExitCode::FAILURE)
        }
    }
}

async fn stream(url: &str, prefix: &str) -> Result<[u64; 2]> {
    let store = Store::from(harness::builder(url, prefix).connect().await?);
    let blobs = store.blobs();
    // Connections, and what else is made once.
    let put = blobs.put(at(), BlobMetadata::default(), "x");
    put.await?.published()?;
    let piece = content(1, PIECE);

    let before = begin();
    let mut sink = blobs.begin(at(), PutOptions::default()).await?;
    for _ in 0..LARGE / PIECE as u64 {
        sink.write(piece.clone().into()).await?;
    }
    sink.commit().await?.published()?;
    let write = most_since(before);

    let before = begin();
    let mut blob = blobs
        .open(at(), OpenOptions::default())
        .await?
        .expect("just put");
    let mut size = 0;
    while let Some(bytes) = blob.reader.next().await? {
        assert!(bytes.starts_with(&piece[..PIECE.min(bytes.len())]));
        size += bytes.len() as u64;
    }
    assert_eq!(size, LARGE);
    Ok([write, most_since(before)])
}

/// What is resident now; the maximum is counted from here on.
fn begin() -> u64 {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    resident("VmRSS").unwrap_or_default()
}

/// By how many MiB the resident memory grew at most since then, rounded up.
fn most_since(before: u64) -> u64 {
    let most = resident("VmHWM").unwrap_or(u64::MAX);
    most.saturating_sub(before).div_ceil(MIB)
}

/// A field of `/proc/self/status`, in bytes.
fn resident(field: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(field))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}
