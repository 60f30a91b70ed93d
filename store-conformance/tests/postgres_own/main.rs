//! What PostgreSQL's store promises beyond the suite: its schema, its round
//! trips, what becomes of a call when the server or the caller goes away.

mod calls;
mod changes;
mod commits;
mod crash;
mod faults;
mod proxy;
mod relaxed;
mod setup;
mod tls;
mod trips;
mod views;

use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use libtest_mimic::{Arguments, Failed, Trial};
use store_conformance::core::{
    Batch, Body, Collection, Expect, Expectation, ManualClock, Partition, RecordKey, Result, Store,
};
use store_conformance::servers::{Options, missing, postgres};
use store_postgres::sqlx::postgres::PgConnectOptions;
use store_postgres::sqlx::{Connection, PgConnection, PgPool, Row};
use store_postgres::{Builder, PostgresStore, sqlx};

type End = std::result::Result<(), Box<dyn std::error::Error + Send + Sync>>;
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

/// A schema that nobody used, on the server.
#[derive(Clone)]
struct Place {
    url: String,
    schema: String,
}

impl Place {
    fn new(url: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self {
            url: url.into(),
            schema: format!("store_own_{}_{number}", std::process::id()),
        }
    }

    fn builder(&self) -> Builder {
        PostgresStore::builder()
            .url(&self.url)
            .schema(&self.schema)
            .collections([THINGS, OTHERS])
            .clock(ManualClock::default())
    }

    /// A store that was set up.
    async fn open(&self) -> Result<PostgresStore> {
        let store = self.builder().connect().await?;
        store.setup().await?;
        Ok(store)
    }

    async fn pool(&self) -> std::result::Result<PgPool, sqlx::Error> {
        PgPool::connect(&self.url).await
    }

    /// A connection of one's own, such as a pooler takes too.
    async fn connection(&self) -> std::result::Result<PgConnection, sqlx::Error> {
        let options: PgConnectOptions = self.url.parse()?;
        PgConnection::connect_with(&options.extra_float_digits(None)).await
    }

    /// The first column of the only row, `{schema}` replaced.
    async fn ask<T>(&self, query: &str) -> std::result::Result<T, sqlx::Error>
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
    {
        let mut connection = self.connection().await?;
        let text = query.replace("{schema}", &self.schema);
        sqlx::query(sqlx::AssertSqlSafe(text))
            .fetch_one(&mut connection)
            .await?
            .try_get(0)
    }

    /// Statements without an answer, `{schema}` replaced.
    async fn run(&self, text: &str) -> std::result::Result<(), sqlx::Error> {
        let mut connection = self.connection().await?;
        let text = text.replace("{schema}", &self.schema);
        sqlx::raw_sql(sqlx::AssertSqlSafe(text))
            .execute(&mut connection)
            .await
            .map(drop)
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
    let server = match postgres::find(&Options::from_env()) {
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
        setup::all(),
        calls::all(),
        changes::all(),
        commits::all(),
        faults::all(),
        relaxed::all(),
        tls::all(),
        trips::all(),
        views::all(),
        crash::all(),
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
