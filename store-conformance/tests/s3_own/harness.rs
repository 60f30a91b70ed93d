//! The store in S3 as the suite opens it.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use store_conformance::servers::{Server, missing, s3};
use store_conformance::{Harness, Opened, cases};
use store_core::{ManualClock, Result, Store};
use store_s3::object_store::aws::AmazonS3Builder;
use store_s3::{S3Builder, S3Store};

/// `host:port` of a server's URL.
pub(crate) fn address(url: &str) -> &str {
    url.trim_start_matches("http://")
}

/// Options for a store in the tests' bucket.
pub(crate) fn builder(url: &str, prefix: &str) -> S3Builder {
    S3Store::builder()
        .url(format!(
            "s3://{}/{prefix}?endpoint={url}&region={}",
            s3::BUCKET,
            s3::REGION
        ))
        .credentials(s3::key_id(), s3::secret())
}

/// The driver's own client of the tests' bucket.
pub(crate) fn driver(url: &str) -> AmazonS3Builder {
    AmazonS3Builder::new()
        .with_bucket_name(s3::BUCKET)
        .with_endpoint(url)
        .with_allow_http(true)
        .with_region(s3::REGION)
        .with_access_key_id(s3::key_id())
        .with_secret_access_key(s3::secret())
}

pub(crate) struct S3 {
    url: String,
    server: String,
    /// Makes prefixes of two runs against one server differ.
    run: u32,
    next: AtomicU32,
}

#[async_trait::async_trait]
impl Harness<Store> for S3 {
    fn backend(&self) -> String {
        "s3".into()
    }

    fn server(&self) -> String {
        self.server.clone()
    }

    fn unsupported(&self) -> Vec<&'static str> {
        vec!["change notice"]
    }

    fn most_tasks(&self) -> usize {
        30
    }

    async fn open(&self, (): ()) -> Result<Opened<Store>> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let clock = ManualClock::default();
        let builder = builder(&self.url, &format!("test-{}-{number}", self.run))
            .collections(cases::collections())
            .clock(clock.clone());
        let first = builder.clone().connect().await?;
        let second = builder.connect().await?;
        Ok(Opened::stores(first, second, clock))
    }
}

/// Runs the whole suite over what was found.
#[allow(dead_code, reason = "not every program runs it")]
pub(crate) fn run(found: std::result::Result<Server, String>) -> ExitCode {
    let server = match found {
        Ok(server) => server,
        Err(advice) => return missing(&advice),
    };
    let version = s3::name(&server);
    // The verdict holds for the server; each case would ask again.
    let verdict = async {
        let store = builder(server.url(), "verdict").connect().await?;
        store.setup().await
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be started");
    if let Err(error) = runtime.block_on(verdict) {
        eprintln!("{error:?}");
        return ExitCode::FAILURE;
    }
    println!("{version}, {}", server.origin());
    let suite = S3 {
        url: server.url().into(),
        server: format!("{version}, {}", server.way()),
        run: std::process::id(),
        next: AtomicU32::new(0),
    };
    store_conformance::main(cases::all(Arc::new(suite)))
}
