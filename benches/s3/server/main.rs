//! Compares the store in S3 with hand-written code for the driver, interleaved on the
//! same server.
//!
//! `cargo xtask bench --name s3`.
//! A server is found or started as for the tests, see `store_conformance::servers`;
//! `STORE_TEST_S3_CEPH=1` selects Ceph. Arguments select parts: `get`, `commit`, `take`.

#![allow(clippy::unwrap_used)] // A failed measurement may end the program.

mod records;
mod takes;

use std::time::Duration;

use store_conformance::bench::{Comparison, is_wanted, undisturbed};
use store_conformance::servers::{Options, or_exit, s3};
use store_core::{Collection, Partition, RecordKey, Store};
use store_s3::S3Store;
use store_s3::object_store::ClientOptions;
use store_s3::object_store::aws::{AmazonS3, AmazonS3Builder};
use tokio::runtime::{self, Runtime};

const USERS: Collection = Collection::new("users");

/// The driver's client, and the store over an equal client.
struct Bench {
    runtime: Runtime,
    raw: AmazonS3,
    store: Store,
    /// A prefix that no other process uses.
    prefix: String,
    users: Partition,
}

type Part = fn(&Bench);

const PARTS: [(&str, Part); 3] = [
    ("get", Bench::get),
    ("commit", Bench::commit),
    ("take", Bench::take),
];

fn main() {
    let server = or_exit(s3::find(&Options::from_env()));
    println!("{}, {}\n", s3::name(&server), server.origin());
    let bench = Bench::open(server.url());
    for (name, part) in PARTS {
        if is_wanted(name) {
            part(&bench);
        }
    }
}

fn key(id: impl AsRef<str>) -> RecordKey {
    RecordKey::new(USERS, id).unwrap()
}

impl Bench {
    fn open(url: &str) -> Self {
        // One thread, so that the results include no switches between threads.
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.unwrap();
        let prefix = format!("bench-{}", std::process::id());
        let (bucket, region) = (s3::BUCKET, s3::REGION);
        let builder = S3Store::builder()
            .url(format!(
                "s3://{bucket}/{prefix}?endpoint={url}&region={region}"
            ))
            .credentials(s3::key_id(), s3::secret());
        // Opened first, because this installs the cryptography provider that the client
        // needs.
        let store = runtime.block_on(builder.connect()).unwrap();
        let raw = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_endpoint(url)
            .with_region(region)
            .with_access_key_id(s3::key_id())
            .with_secret_access_key(s3::secret())
            .with_client_options(ClientOptions::new().with_allow_http(true))
            .build();
        Self {
            raw: raw.unwrap(),
            store: store.into(),
            prefix,
            users: Partition::new("acme").unwrap(),
            runtime,
        }
    }

    /// The time of `times` runs of `work`; see [`undisturbed`].
    fn timed<F: Future<Output = ()>>(&self, times: u64, work: impl Fn(u64) -> F) -> Duration {
        self.runtime.block_on(undisturbed(times, work))
    }
}

/// Many short interleaved rounds, so that other load on the machine affects all
/// contenders equally.
fn comparison(title: &str) -> Comparison<'_> {
    Comparison::new(title).batch(40).rounds(41)
}
