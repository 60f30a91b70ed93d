//! What DynamoDB's store promises beyond the suite: its requests, what it leaves
//! behind, what becomes of a call when the server refuses, fails or goes away.

mod blobs;
mod calls;
mod clocks;
mod faults;
mod harness;
mod inject;
mod limits;
mod pages;
mod refusals;
mod restart;
mod setup;
mod trips;

use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use libtest_mimic::{Arguments, Failed, Trial};
use store_conformance::core::{
    Batch, Body, Collection, Expect, Expectation, ManualClock, Partition, RecordKey, Result, Store,
};
use store_conformance::servers::{Options, dynamodb, missing};
use store_dynamodb::Builder;
use store_dynamodb::sdk::Client;
use store_dynamodb::sdk::config::{BehaviorVersion, Config, Credentials, Region};

use inject::Inject;

type Failure = Box<dyn std::error::Error + Send + Sync>;
type End = std::result::Result<(), Failure>;
type Test = (
    &'static str,
    fn(Place) -> Pin<Box<dyn Future<Output = End> + Send>>,
);

/// The test functions of a module, as data.
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        pub(crate) fn all() -> Vec<crate::Test> {
            vec![$((stringify!($name), |place| Box::pin($name(place)))),*]
        }
    };
}
pub(crate) use tests;

const THINGS: Collection = Collection::new("things");
const OTHERS: Collection = Collection::new("others");

/// A table that nobody used, at a server.
#[derive(Clone)]
struct Place {
    endpoint: String,
    table: String,
}

impl Place {
    fn new(endpoint: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self {
            endpoint: endpoint.into(),
            table: format!("own-{}-{number}", std::process::id()),
        }
    }

    fn builder(&self) -> Builder {
        harness::builder(&self.endpoint)
            .table(&self.table)
            .clock(ManualClock::default())
    }

    /// The store, its table made.
    async fn open(&self) -> Result<Store> {
        let store = self.builder().connect().await?;
        store.setup().await?;
        Ok(store.into())
    }

    /// `host:port`.
    fn address(&self) -> &str {
        self.endpoint.trim_start_matches("http://")
    }

    /// What the SDK's own client is made of.
    fn config(&self) -> store_dynamodb::sdk::config::Builder {
        let credentials = Credentials::new(dynamodb::KEY_ID, "secret", None, None, "test");
        Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(dynamodb::REGION))
            .endpoint_url(&self.endpoint)
            .credentials_provider(credentials)
            .http_client(aws_smithy_http_client::Builder::new().build_http())
    }

    /// The SDK's own client.
    fn client(&self) -> Client {
        Client::from_conf(self.config().build())
    }

    /// The store, its table made, whose requests are counted and can be answered
    /// otherwise.
    async fn watched(&self) -> Result<(Store, Inject)> {
        let inject = Inject::default();
        let config = self.config().interceptor(inject.clone()).build();
        let builder = self.builder().client(Client::from_conf(config));
        let store = builder.connect().await?;
        store.setup().await?;
        inject.requests();
        Ok((store.into(), inject))
    }
}

fn key(id: &str) -> RecordKey {
    RecordKey::new(THINGS, id).expect("a short name")
}

fn other(id: &str) -> RecordKey {
    RecordKey::new(OTHERS, id).expect("a short name")
}

fn partition() -> Partition {
    Partition::new("p").expect("a short name")
}

/// A put of a number, alone in its batch.
fn put(store: &Store, id: &str, expect: impl Into<Expectation>, number: u64) -> Result<Batch> {
    let mut batch = Batch::new(partition(), store.now());
    batch.put(key(id), expect, Body::json(number)?)?;
    Ok(batch)
}

/// The number in a record.
async fn number(store: &Store, id: &str) -> Result<Option<u64>> {
    let found = store.records().get(key(id).at(&partition())).await?;
    found
        .map(|record| record.decode::<u64>().map(|n| *n))
        .transpose()
}

/// Puts whatever is there.
async fn write(store: &Store, id: &str, number: u64) -> Result<()> {
    store
        .records()
        .commit(&put(store, id, Expect::Any, number)?)
        .await
        .map(drop)
}

fn main() -> ExitCode {
    dynamodb::serve_if_asked();
    let server = match dynamodb::find(&Options::from_env()) {
        Ok(server) => server,
        Err(advice) => return missing(&advice),
    };
    let runtime = Arc::new(
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(4)
            .enable_all()
            .build()
            .expect("a runtime can be started"),
    );
    let tests = [
        blobs::all(),
        calls::all(),
        clocks::all(),
        faults::all(),
        limits::all(),
        pages::all(),
        refusals::all(),
        restart::all(),
        setup::all(),
        trips::all(),
    ]
    .concat();
    let trials = tests.into_iter().map(|(name, test)| {
        let (runtime, place) = (Arc::clone(&runtime), Place::new(server.url()));
        Trial::test(name, move || {
            runtime
                .block_on(test(place))
                .map_err(|error| Failed::from(format!("{error:?}")))
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}
