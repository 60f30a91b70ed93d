//! What DynamoDB's store promises beyond the suite: its requests, what it stores, and the
//! outcome of a call when the server refuses, fails or is unreachable.

mod blobs;
mod calls;
mod clocks;
mod faults;
mod harness;
mod inject;
mod limits;
mod pages;
mod partial;
mod refusals;
mod restart;
mod setup;
mod tls;
mod trips;
mod unprocessed;

#[path = "../own/mod.rs"]
mod own;

use std::process::ExitCode;

pub(crate) use own::{End, Failure, THINGS, key, number, other, partition, put, tests, write};
use store_conformance::servers::{Options, dynamodb, missing};
use store_core::{ManualClock, Result, Store};
use store_dynamodb::DynamoDbBuilder;
use store_dynamodb::sdk::Client;
use store_dynamodb::sdk::config::{BehaviorVersion, Config, Credentials, Region};

use inject::Inject;

/// A new table at a server.
#[derive(Clone)]
struct Place {
    endpoint: String,
    table: String,
}

impl Place {
    fn new(endpoint: &str) -> Self {
        Self {
            endpoint: endpoint.into(),
            table: own::fresh("own", '-'),
        }
    }

    fn builder(&self) -> DynamoDbBuilder {
        harness::builder(&self.endpoint)
            .table(&self.table)
            .clock(ManualClock::default())
    }

    /// The store; its table exists.
    async fn open(&self) -> Result<Store> {
        let store = self.builder().connect().await?;
        store.setup().await?;
        Ok(store.into())
    }

    /// `host:port`.
    fn address(&self) -> &str {
        self.endpoint.trim_start_matches("http://")
    }

    /// The configuration of the SDK's own client.
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

    /// The store, whose requests are counted and whose answers can be replaced; its table
    /// exists.
    async fn watched(&self) -> Result<(Store, Inject)> {
        let inject = Inject::default();
        let config = self.config().interceptor(inject.clone()).build();
        let builder = self.builder().client(Client::from_conf(config));
        let store = builder.connect().await?;
        store.setup().await?;
        inject.reset();
        Ok((store.into(), inject))
    }
}

fn main() -> ExitCode {
    dynamodb::serve_if_asked();
    let server = match dynamodb::find(&Options::from_env()) {
        Ok(server) => server,
        Err(advice) => return missing(&advice),
    };
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
        tls::all(),
        trips::all(),
        unprocessed::all(),
    ]
    .concat();
    own::run(tests, || Place::new(server.url()))
}
