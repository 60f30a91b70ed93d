//! Every contract, in PostgreSQL.

use std::process::ExitCode;
use std::sync::Arc;

use store_conformance::cases;
use store_conformance::servers::{Options, missing, postgres};
use store_postgres::PostgresStore;

#[path = "postgres_own/harness.rs"]
mod harness;

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
    let name = format!("PostgreSQL {number}, {}", server.way());
    let harness = harness::Postgres::new(server.url(), server.direct_url(), name);
    store_conformance::main(cases::all(Arc::new(harness)))
}
