//! What the PostgreSQL store promises beyond the suite: its schema, its round trips,
//! and what happens to a call when the server fails or the caller drops it.

mod calls;
mod changes;
mod commits;
mod crash;
mod faults;
mod golden;
mod harness;
mod locks;
mod mutants;
mod relaxed;
mod sessions;
mod setup;
mod tls;
mod trips;
mod views;

#[path = "../own/mod.rs"]
mod own;

use std::process::ExitCode;

pub(crate) use own::{
    End, Failure, OTHERS, THINGS, key, number, other, partition, put, tests, write,
};
use store_conformance::proxy::{self, Proxy};
use store_conformance::servers::{Options, missing, postgres};
use store_core::{ManualClock, Result};
use store_postgres::sqlx::postgres::PgConnectOptions;
use store_postgres::sqlx::{Connection, PgConnection, PgPool, Row};
use store_postgres::{PostgresBuilder, PostgresStore, sqlx};

/// An unused schema on the server.
#[derive(Clone)]
struct Place {
    url: String,
    schema: String,
}

impl Place {
    fn new(url: &str) -> Self {
        Self {
            url: url.into(),
            schema: own::fresh("store_own", '_'),
        }
    }

    fn builder(&self) -> PostgresBuilder {
        PostgresStore::builder()
            .url(&self.url)
            .schema(&self.schema)
            .collections([THINGS, OTHERS])
            .clock(ManualClock::default())
    }

    /// A store after `setup`.
    async fn open(&self) -> Result<PostgresStore> {
        let store = self.builder().connect().await?;
        store.setup().await?;
        Ok(store)
    }

    /// A proxy to the server, whose connections can be observed and cut, and its URL.
    /// `seed` seeds its random choices.
    async fn proxy(&self, seed: u64) -> std::io::Result<(Proxy, String)> {
        let server = self.url.split(['@', '/']).nth(3);
        let server = server.expect("postgres://user@host/");
        let proxy = Proxy::start(server, Some(proxy::postgres), seed).await?;
        let url = self.url.replace(server, &proxy.address().to_string());
        Ok((proxy, url + "?sslmode=disable"))
    }

    async fn pool(&self) -> std::result::Result<PgPool, sqlx::Error> {
        PgPool::connect(&self.url).await
    }

    /// A separate connection, with options that a pooler accepts too.
    async fn connection(&self) -> std::result::Result<PgConnection, sqlx::Error> {
        let options: PgConnectOptions = self.url.parse()?;
        PgConnection::connect_with(&options.extra_float_digits(None)).await
    }

    /// The first column of the only row that `query` returns, with `{schema}` replaced.
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

    /// Executes statements, with `{schema}` replaced.
    async fn run(&self, text: &str) -> std::result::Result<(), sqlx::Error> {
        let mut connection = self.connection().await?;
        let text = text.replace("{schema}", &self.schema);
        sqlx::raw_sql(sqlx::AssertSqlSafe(text))
            .execute(&mut connection)
            .await
            .map(drop)
    }
}

fn main() -> ExitCode {
    let server = match postgres::find(&Options::from_env()) {
        Ok(server) => server,
        Err(advice) => return missing(&advice),
    };
    let tests = [
        setup::all(),
        calls::all(),
        changes::all(),
        commits::all(),
        faults::all(),
        golden::all(),
        locks::all(),
        mutants::all(),
        relaxed::all(),
        sessions::all(),
        tls::all(),
        trips::all(),
        views::all(),
        crash::all(),
    ]
    .concat();
    own::run(tests, || Place::new(server.url()))
}
