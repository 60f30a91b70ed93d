//! The store in DynamoDB as the suite opens it.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use store_conformance::servers::{Server, dynamodb, missing};
use store_conformance::{Harness, Opened, cases};
use store_core::{ManualClock, Result, Store};
use store_dynamodb::{DynamoDbBuilder, DynamoDbStore};

pub(crate) struct DynamoDb {
    endpoint: String,
    server: String,
    /// Distinguishes the tables of two runs against one server.
    run: u32,
    next: AtomicU32,
}

impl DynamoDb {
    pub(crate) fn new(endpoint: &str, server: String) -> Self {
        Self {
            endpoint: endpoint.into(),
            server,
            run: std::process::id(),
            next: AtomicU32::new(0),
        }
    }
}

/// A store at a server that stands in for DynamoDB.
pub(crate) fn builder(endpoint: &str) -> DynamoDbBuilder {
    DynamoDbStore::builder()
        .endpoint(endpoint)
        .region(dynamodb::REGION)
        .credentials(dynamodb::KEY_ID, "secret")
}

#[async_trait::async_trait]
impl Harness<Store> for DynamoDb {
    fn backend(&self) -> String {
        "dynamodb".into()
    }

    fn server(&self) -> String {
        self.server.clone()
    }

    fn unsupported(&self) -> Vec<&'static str> {
        vec!["change notice"]
    }

    async fn open(&self, (): ()) -> Result<Opened<Store>> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let clock = ManualClock::default();
        let builder = builder(&self.endpoint)
            .table(format!("test-{}-{number}", self.run))
            .clock(clock.clone());
        let first = builder.clone().connect().await?;
        first.setup().await?;
        let second = builder.connect().await?;
        Ok(Opened::stores(first, second, clock))
    }
}

/// The cases in which MiniStack differs from DynamoDB.
const MINISTACK_FAILS: &[(&str, &str)] = &[(
    "records::a_commit_may_be_as_large_as_promised",
    "it counts the 4 MB of a transaction in the request's JSON, not in its items",
)];

/// Runs the whole suite over what was found.
#[allow(dead_code, reason = "not every program runs it")]
pub(crate) fn run(found: std::result::Result<Server, String>) -> ExitCode {
    let server = match found {
        Ok(server) => server,
        Err(advice) => return missing(&advice),
    };
    let name = dynamodb::name(&server);
    println!("{name}, {}", server.origin());
    let server_name = format!("{name}, {}", server.way());
    let suites = cases::all(Arc::new(DynamoDb::new(server.url(), server_name)));
    let known = match name.starts_with("MiniStack") {
        true => MINISTACK_FAILS,
        false => &[],
    };
    let suites = suites.into_iter().map(|suite| suite.known_to_fail(known));
    store_conformance::main(suites.collect())
}
