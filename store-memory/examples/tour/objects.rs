//! A large object, streamed in and out.

use std::io::Read;
use std::path::Path;
use std::time::Instant;

use sha2::{Digest, Sha256};
use store_core::Store;
use store_core::blobs::{BlobMetadata, BlobRef, OpenOptions};

use crate::options::Options;
use crate::screen::{Screen, bytes, duration};
use crate::{Tour, must, said};

const MADE_UP: u64 = 256 << 20;
const PIECE: usize = 1 << 20;

pub async fn chapter(screen: &Screen, store: &Store, mut source: Source) -> Tour {
    screen.chapter("Streamed objects");
    let at = BlobRef::new("tour", "object").map_err(said)?;
    let (blobs, mut memory) = (store.blobs(), Memory::watch());

    let begin = Instant::now();
    let (mut sum, mut size) = (Sha256::new(), 0u64);
    let put = BlobMetadata::tagged("\"v1\"").into();
    let mut sink = blobs.begin(at, put).await.map_err(said)?;
    let mut looked = false;
    while let Some(piece) = source.next()? {
        sum.update(&piece);
        size += piece.len() as u64;
        sink.write(piece.into()).await.map_err(said)?;
        memory.look();
        if !looked {
            looked = true;
            let visible = blobs.stat(at).await.map_err(said)?;
            must(visible.is_none(), "a half-written object is invisible")?;
            screen.no(
                "half-written: not visible yet",
                format!("after {}", bytes(size)),
            );
        }
    }
    sink.commit()
        .await
        .and_then(|done| done.published())
        .map_err(said)?;
    let rate = |took: f64| {
        format!(
            "{:.0} MiB/s with its checksum",
            size as f64 / 1_048_576.0 / took
        )
    };
    let took = begin.elapsed();
    screen.yes(
        &format!("streamed in {}", bytes(size)),
        format!("{}, {}", duration(took), rate(took.as_secs_f64())),
    );

    let begin = Instant::now();
    let opened = blobs.open(at, OpenOptions::default()).await.map_err(said)?;
    let mut blob = opened.ok_or("a promise was broken: a committed object is there")?;
    let mut back = Sha256::new();
    while let Some(piece) = blob.reader.next().await.map_err(said)? {
        back.update(&piece);
        memory.look();
    }
    let took = begin.elapsed();
    let (sum, back) = (sum.finalize(), back.finalize());
    must(
        sum == back,
        "the content that is read equals the content that was written",
    )?;
    screen.yes(
        "streamed out again",
        format!("{}, {}", duration(took), rate(took.as_secs_f64())),
    );
    let hex: String = sum
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    screen.yes("the checksums agree", format!("sha-256 {hex}…"));
    match memory.grown() {
        Some(grown) => screen.yes(
            "memory beyond the stored bytes",
            bytes(grown.saturating_sub(size)),
        ),
        None => screen.yes("memory beyond the stored bytes", "not known on this system"),
    }
    Ok(())
}

/// The source of the object's bytes.
pub enum Source {
    File(std::fs::File, String),
    MadeUp { left: u64, state: u64 },
}

impl Source {
    /// The named file, opened before the tour begins.
    pub fn new(options: &Options) -> Result<Self, String> {
        match &options.object {
            Some(file) => Self::file(file),
            None => Ok(Self::made_up(MADE_UP)),
        }
    }

    fn file(path: &Path) -> Result<Self, String> {
        let name = path.display().to_string();
        let fail = |error| format!("cannot read {name}: {error}");
        let file = std::fs::File::open(path).map_err(fail)?;
        if file.metadata().map_err(fail)?.is_dir() {
            return Err(format!("cannot read {name}: it is a folder; name a file"));
        }
        Ok(Self::File(file, name))
    }

    fn made_up(size: u64) -> Self {
        Self::MadeUp {
            left: size,
            state: 0x9e37_79b9_7f4a_7c15,
        }
    }

    /// The next piece; `None` at the end.
    fn next(&mut self) -> Result<Option<Vec<u8>>, String> {
        match self {
            Self::File(file, name) => {
                let mut piece = Vec::with_capacity(PIECE);
                let read = file.take(PIECE as u64).read_to_end(&mut piece);
                read.map_err(|error| format!("cannot read {name}: {error}"))?;
                Ok((!piece.is_empty()).then_some(piece))
            }
            Self::MadeUp { left: 0, .. } => Ok(None),
            Self::MadeUp { left, state } => {
                let size = PIECE.min(usize::try_from(*left).unwrap_or(PIECE));
                *left -= size as u64;
                let mut piece = Vec::with_capacity(size + 8);
                while piece.len() < size {
                    // xorshift: incompressible bytes.
                    *state ^= *state << 13;
                    *state ^= *state >> 7;
                    *state ^= *state << 17;
                    piece.extend_from_slice(&state.to_le_bytes());
                }
                piece.truncate(size);
                Ok(Some(piece))
            }
        }
    }
}

/// The growth of this process's memory since [`Memory::watch`].
struct Memory {
    before: Option<u64>,
    most: u64,
}

impl Memory {
    fn watch() -> Self {
        let before = resident();
        Self {
            before,
            most: before.unwrap_or(0),
        }
    }

    fn look(&mut self) {
        self.most = self.most.max(resident().unwrap_or(0));
    }

    fn grown(&self) -> Option<u64> {
        self.before.map(|before| self.most - before)
    }
}

/// The process's resident memory, on systems that report it (Linux).
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}
