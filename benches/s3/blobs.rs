//! Compares streamed objects with hand-written code for `object_store` and with
//! `opendal`, interleaved on the same server, with parts of the same size and the same
//! number of parts in flight.
//!
//! `cargo xtask bench --name s3_blobs`. A server is found or started as for the tests;
//! see `store_conformance::servers`. Arguments select parts: `write`, `read`, `small`.

#![allow(clippy::unwrap_used)] // A failed measurement may end the program.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use opendal::{HttpTransporter, Operator};
use opendal_http_transport_reqwest::ReqwestTransport;
use store_conformance::bench::{Comparison, Goal, is_wanted};
use store_conformance::servers::{Options, or_exit, s3};
use store_core::Store;
use store_core::blobs::{BlobMetadata, BlobRef, BlobStoreExt, OpenOptions, PutOptions};
use store_s3::S3Store;
use store_s3::object_store::aws::{AmazonS3, AmazonS3Builder};
use store_s3::object_store::path::Path;
use store_s3::object_store::{self, MultipartUpload, ObjectStoreExt};
use tokio::runtime::{self, Runtime};
use tokio::task::JoinSet;

const MIB: usize = 1 << 20;
const LARGE: usize = 64 * MIB;
const SMALL: usize = 10 * 1024;

/// The store's defaults.
const PART: usize = 5 * MIB;
const IN_FLIGHT: usize = 4;

/// The size of the pieces in which a body arrives from a socket.
const PIECE: usize = 256 * 1024;

/// Where the contenders write.
const FOLDER: &str = "bench-blobs";

struct Bench {
    runtime: Runtime,
    store: Store,
    raw: AmazonS3,
    opendal: Operator,
    /// A part of incompressible bytes.
    part: Bytes,
}

fn main() {
    let server = or_exit(s3::find(&Options::from_env()));
    println!("{}, {}\n", s3::name(&server), server.origin());
    let bench = Bench::open(server.url());
    let parts: [(&str, &dyn Fn()); 3] = [
        ("write", &|| bench.writes()),
        ("read", &|| bench.reads()),
        ("small", &|| bench.small()),
    ];
    parts
        .iter()
        .filter(|(name, _)| is_wanted(name))
        .for_each(|(_, part)| part());
}

fn at(key: &str) -> BlobRef<'_> {
    BlobRef::new("bench", key).unwrap()
}

fn path(name: &str) -> Path {
    Path::from(format!("{FOLDER}/raw/{name}"))
}

/// `left` bytes from `part`, in pieces of at most `piece` bytes.
fn pieces(part: &Bytes, mut left: usize, piece: usize) -> impl Iterator<Item = Bytes> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let length = piece.min(left).min(part.len() - from);
        let next = part.slice(from..from + length);
        left -= length;
        from = (from + length) % part.len();
        (length > 0).then_some(next)
    })
}

impl Bench {
    fn open(endpoint: &str) -> Self {
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let url = format!(
            "s3://{}/{FOLDER}/store?endpoint={endpoint}&region={}",
            s3::BUCKET,
            s3::REGION
        );
        let store = runtime.block_on(async {
            let builder = S3Store::builder().url(url);
            let store = builder.credentials(s3::key_id(), s3::secret());
            Store::from(store.connect().await.unwrap())
        });
        let raw = AmazonS3Builder::new()
            .with_bucket_name(s3::BUCKET)
            .with_endpoint(endpoint)
            .with_allow_http(true)
            .with_region(s3::REGION)
            .with_access_key_id(s3::key_id())
            .with_secret_access_key(s3::secret())
            .build()
            .unwrap();
        let service = opendal::services::S3::default()
            .root(&format!("{FOLDER}/opendal"))
            .bucket(s3::BUCKET)
            .endpoint(endpoint)
            .region(s3::REGION)
            .access_key_id(&s3::key_id())
            .secret_access_key(&s3::secret())
            .disable_config_load()
            .disable_ec2_metadata();
        // Uses the cryptography provider that the store installed.
        HttpTransporter::install_default(ReqwestTransport::new(reqwest::Client::new()));
        let opendal = Operator::new(service).unwrap();
        let mut state = 1u64;
        let word = |_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        };
        let part: Vec<u8> = (0..PART / 8).flat_map(word).collect();
        Self {
            runtime,
            store,
            raw,
            opendal,
            part: part.into(),
        }
    }

    /// The time of `times` runs of `work`.
    fn timed<F: Future<Output = ()>>(&self, times: u64, work: impl Fn() -> F) -> Duration {
        self.runtime.block_on(async {
            let begin = Instant::now();
            for _ in 0..times {
                work().await;
            }
            begin.elapsed()
        })
    }

    async fn store_write(&self) {
        let sink = self.store.blobs().begin(at("large"), PutOptions::default());
        let mut sink = sink.await.unwrap();
        for piece in pieces(&self.part, LARGE, PIECE) {
            sink.write(piece).await.unwrap();
        }
        sink.commit().await.unwrap().published().unwrap();
    }

    async fn raw_write(&self) {
        let mut upload = self.raw.put_multipart(&path("large")).await.unwrap();
        let mut parts = JoinSet::<object_store::Result<()>>::new();
        for part in pieces(&self.part, LARGE, PART) {
            while parts.len() >= IN_FLIGHT {
                parts.join_next().await.unwrap().unwrap().unwrap();
            }
            parts.spawn(upload.put_part(part.into()));
        }
        while let Some(done) = parts.join_next().await {
            done.unwrap().unwrap();
        }
        upload.complete().await.unwrap();
    }

    async fn opendal_write(&self) {
        let writer = self.opendal.writer_with("large");
        let mut writer = writer.chunk(PART).concurrent(IN_FLIGHT).await.unwrap();
        for piece in pieces(&self.part, LARGE, PIECE) {
            writer.write(piece).await.unwrap();
        }
        writer.close().await.unwrap();
    }

    fn writes(&self) {
        let measured = Comparison::new("writing 64 MiB in pieces of 256 KiB")
            .contender("the store", |n| self.timed(n, || self.store_write()))
            .contender("object_store's parts", |n| {
                self.timed(n, || self.raw_write())
            })
            .goal(Goal::AtLeast(0.9))
            .contender("opendal's writer", |n| {
                self.timed(n, || self.opendal_write())
            })
            .batch(1)
            .rounds(15)
            .run();
        println!("{measured}");
    }

    async fn store_read(&self) {
        let opened = self.store.blobs().open(at("large"), OpenOptions::default());
        let mut reader = opened.await.unwrap().unwrap().reader;
        let mut size = 0;
        while let Some(piece) = reader.next().await.unwrap() {
            size += piece.len();
        }
        assert_eq!(size, LARGE);
    }

    async fn raw_read(&self) {
        let path = path("large");
        let ranges = (0..LARGE).step_by(PART);
        let range = |from: usize| from as u64..LARGE.min(from + PART) as u64;
        let mut all = stream::iter(ranges.map(|from| self.raw.get_range(&path, range(from))))
            .buffered(IN_FLIGHT);
        let mut size = 0;
        while let Some(piece) = all.next().await {
            size += piece.unwrap().len();
        }
        assert_eq!(size, LARGE);
    }

    async fn opendal_read(&self) {
        let reader = self.opendal.reader_with("large");
        let reader = reader.chunk(PART).concurrent(IN_FLIGHT).await.unwrap();
        let all = reader.into_bytes_stream(0..LARGE as u64).await.unwrap();
        let size = all.try_fold(0, async |size, piece| Ok(size + piece.len()));
        assert_eq!(size.await.unwrap(), LARGE);
    }

    fn reads(&self) {
        self.runtime.block_on(async {
            self.store_write().await;
            self.raw_write().await;
            self.opendal_write().await;
        });
        let measured = Comparison::new("reading 64 MiB")
            .contender("the store", |n| self.timed(n, || self.store_read()))
            .contender("object_store's ranges", |n| {
                self.timed(n, || self.raw_read())
            })
            .goal(Goal::AtLeast(0.9))
            .contender("opendal's reader", |n| {
                self.timed(n, || self.opendal_read())
            })
            .batch(1)
            .rounds(15)
            .run();
        println!("{measured}");
    }

    /// A small put is three requests, so that writers are ordered; a get is one.
    fn small(&self) {
        let bytes = self.part.slice(..SMALL);
        let put = || async {
            let put = self.store.blobs();
            let put = put.put(at("small"), BlobMetadata::default(), bytes.clone());
            put.await.unwrap().published().unwrap();
        };
        let raw_put = || async {
            let path = path("small");
            let put = self.raw.put(&path, bytes.clone().into());
            put.await.unwrap();
        };
        let opendal_put = || async {
            self.opendal.write("small", bytes.clone()).await.unwrap();
        };
        let measured = Comparison::new("putting 10 KiB")
            .contender("the store", |n| self.timed(n, put))
            .contender("object_store's put", |n| self.timed(n, raw_put))
            .contender("opendal's write", |n| self.timed(n, opendal_put))
            .batch(20)
            .rounds(15)
            .run();
        println!("{measured}");
        let read = || async {
            let read = self.store.blobs().read(at("small"), SMALL as u64);
            assert_eq!(read.await.unwrap().unwrap().1.len(), SMALL);
        };
        let raw_read = || async {
            let read = self.raw.get(&path("small")).await.unwrap();
            assert_eq!(read.bytes().await.unwrap().len(), SMALL);
        };
        let opendal_read = || async {
            assert_eq!(self.opendal.read("small").await.unwrap().len(), SMALL);
        };
        let measured = Comparison::new("reading 10 KiB with its metadata")
            .contender("the store", |n| self.timed(n, read))
            .contender("object_store's get", |n| self.timed(n, raw_read))
            .goal(Goal::AtLeast(0.9))
            .contender("opendal's read", |n| self.timed(n, opendal_read))
            .batch(40)
            .rounds(15)
            .run();
        println!("{measured}");
    }
}
