//! Compares the store in PostgreSQL with hand-written sqlx code, interleaved on the same
//! server and through an equal pool.
//!
//! `cargo xtask bench --backend postgres`. A server is found or started as for the tests;
//! see `store_conformance::servers`. It acknowledges writes before they are on disk,
//! because waiting for the disk would hide the differences. Writes are measured again on
//! a server that waits. Arguments select parts: `get`, `take`, `commit`, `blob`,
//! `memory`, `durable`.

#![allow(clippy::unwrap_used)] // A failed measurement may end the program.

mod blobs;
mod limits;
mod memory;
mod records;

use std::process::Command;
use std::time::Duration;

use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, PgPool};
use store_conformance::bench::{Comparison, is_wanted, undisturbed};
use store_conformance::servers::{Options, Server, or_exit, postgres};
use store_core::{Collection, Durability, Store};
use store_postgres::PostgresStore;
use tokio::runtime::{self, Runtime};

const FEW: Collection = Collection::new("few");
const MANY: Collection = Collection::new("many");
const SCHEMA: &str = "store_bench";
const CONNECTIONS: u32 = 10;

/// The store, and the pool with which it is compared.
struct Bench {
    runtime: Runtime,
    store: Store,
    pool: PgPool,
    peer: String,
}

fn main() {
    if let Some(url) = memory::is_asked() {
        return memory::measure(&url);
    }
    let server = find(false);
    let bench = Bench::open(&server);
    let parts: [(&str, &dyn Fn()); 5] = [
        ("get", &|| bench.gets()),
        ("take", &|| bench.takes()),
        ("commit", &|| bench.commits()),
        ("blob", &|| bench.blobs()),
        ("memory", &|| memory::report(server.url())),
    ];
    parts
        .iter()
        .filter(|(name, _)| is_wanted(name))
        .for_each(|(_, part)| part());
    bench.close();
    drop(server);
    if is_wanted("durable") {
        durable();
    }
}

/// Measures writes on a server that waits for its disk.
fn durable() {
    let server = find(true);
    let bench = Bench::open(&server);
    if bench.store.records().capabilities().durability == Durability::Restart {
        println!("Not measured: writes that wait for the disk. This server does not wait.");
    } else {
        bench.takes();
        bench.commits();
    }
    bench.close();
}

fn find(durable: bool) -> Server {
    or_exit(postgres::find(&Options::from_env().durable(durable)))
}

impl Bench {
    fn open(server: &Server) -> Self {
        // One thread, so that the results include no switches between threads.
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.unwrap();
        let url = server.url();
        let (postgres, pool) = runtime.block_on(async {
            let pool = PgPoolOptions::new()
                .max_connections(CONNECTIONS)
                .test_before_acquire(false)
                .connect(url)
                .await
                .unwrap();
            run(&pool, format!("DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")).await;
            let store = PostgresStore::builder()
                .url(url)
                .schema(SCHEMA)
                .collections([FEW, MANY])
                .max_connections(CONNECTIONS)
                .connect()
                .await
                .unwrap();
            store.setup().await.unwrap();
            (store, pool)
        });
        let store = Store::from(&postgres);
        println!(
            "PostgreSQL {}, {}; durability: {:?}\n",
            postgres.server_version(),
            server.origin(),
            store.records().capabilities().durability
        );
        Self {
            runtime,
            store,
            pool,
            peer: sqlx_version(),
        }
    }

    fn close(self) {
        let drop = format!("DROP SCHEMA {SCHEMA} CASCADE");
        self.runtime.block_on(run(&self.pool, drop));
    }

    /// The time of `times` runs of `work`; see [`undisturbed`].
    fn timed<F: Future<Output = ()>>(&self, times: u64, work: impl Fn(u64) -> F) -> Duration {
        self.runtime.block_on(undisturbed(times, work))
    }

    /// Executes hand-written statements that return nothing.
    fn execute(&self, text: String) {
        self.runtime.block_on(run(&self.pool, text));
    }
}

async fn run(pool: &PgPool, text: String) {
    let done = sqlx::raw_sql(AssertSqlSafe(text)).execute(pool).await;
    done.unwrap();
}

/// Many short interleaved rounds, so that other load on the machine affects all
/// contenders equally. Each round has so many calls that the first ones, with cold
/// processor caches, do not matter.
fn comparison(title: &str) -> Comparison<'_> {
    Comparison::new(title).batch(300).rounds(51)
}

/// The version of sqlx that cargo resolved, such as `sqlx 0.9.0`.
fn sqlx_version() -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let asked = Command::new(cargo)
        .args(["pkgid", "--offline", "--package", "sqlx"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    let id = asked.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let version = id
        .ok()
        .and_then(|id| Some(id.rsplit_once('@')?.1.to_owned()));
    version.map_or_else(|| "sqlx".into(), |version| format!("sqlx {version}"))
}
