//! Every contract, in PostgreSQL.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use store_conformance::servers::{Options, missing, postgres};
use store_conformance::{Harness, Opened, cases};
use store_core::{ManualClock, Result, Store};
use store_postgres::PostgresStore;

struct Postgres {
    url: String,
    /// Past a pooler, for the notices that it does not carry.
    listener: Option<String>,
    server: String,
    /// Makes schemas of two runs against one server differ.
    run: u32,
    next: AtomicU32,
}

#[async_trait::async_trait]
impl Harness<Store> for Postgres {
    fn backend(&self) -> String {
        "postgres".into()
    }

    fn server(&self) -> String {
        self.server.clone()
    }

    async fn open(&self, (): ()) -> Result<Opened<Store>> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let clock = ManualClock::default();
        let mut builder = PostgresStore::builder()
            .url(&self.url)
            .schema(format!("store_test_{}_{number}", self.run))
            .collections(cases::collections())
            .max_connections(8)
            .change_notice(true)
            .clock(clock.clone());
        if let Some(listener) = &self.listener {
            builder = builder.listener_url(listener);
        }
        let first = builder.clone().connect().await?;
        first.setup().await?;
        let second = builder.connect().await?;
        Ok(Opened::stores(first, second, clock))
    }
}

fn main() -> ExitCode {
    let server = match postgres::find(&Options::from_env()) {
        Ok(server) => server,
        Err(advice) => return missing(&advice),
    };
    let version = tokio::runtime::Runtime::new()
        .expect("a runtime can be started")
        .block_on(async {
            PostgresStore::connect(server.url())
                .await
                .map(|s| s.server_version().to_owned())
        });
    let version = match version {
        Ok(version) => version,
        Err(error) => {
            eprintln!("{error:?}");
            return ExitCode::FAILURE;
        }
    };
    println!("PostgreSQL {version}, {}", server.origin());
    // `15.18 (Debian 15.18-0+deb12u1)`
    let number = version.split(' ').next().unwrap_or_default();
    store_conformance::main(cases::all(Arc::new(Postgres {
        url: server.url().into(),
        listener: server.direct_url().map(Into::into),
        server: format!("PostgreSQL {number}, {}", server.way()),
        run: std::process::id(),
        next: AtomicU32::new(0),
    })))
}
