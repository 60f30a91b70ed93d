//! PostgreSQL behind a pgbouncer that pools by transactions. It must carry
//! prepared statements; if it does not, the error says so.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use store_conformance::servers::{Options, Server, missing, postgres};
use store_core::{
    Batch, Body, Collection, ErrorKind, Expect, Partition, RecordKey, Result, Retry, Store,
};
use store_postgres::sqlx::postgres::PgConnectOptions;
use store_postgres::sqlx::{Connection, PgConnection, raw_sql};
use store_postgres::{PostgresBuilder, PostgresStore};

type End = std::result::Result<(), Box<dyn std::error::Error + Send + Sync>>;

const THINGS: Collection = Collection::new("things");

fn main() -> ExitCode {
    // Checked first: without a pgbouncer there is nothing to test.
    let servers = [200, 0].map(|prepared| postgres::pooled(&Options::from_env(), prepared));
    let [with, without] = match servers {
        [Ok(with), Ok(without)] => [with, without],
        [Err(advice), _] | [_, Err(advice)] => return missing(&advice),
    };
    let urls = [&with, &without].map(|server: &Server| server.url().to_owned());
    let [with_url, without_url] = urls;
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be started");
    let handle = runtime.handle().clone();
    let run = move |test: std::pin::Pin<Box<dyn Future<Output = End> + Send>>| {
        handle
            .block_on(test)
            .map_err(|error| Failed::from(format!("{error:?}")))
    };
    let other = run.clone();
    let trials = vec![
        Trial::test(
            "a_store_keeps_its_statements_from_server_to_server",
            move || run(Box::pin(statements_are_carried(with_url))),
        ),
        Trial::test(
            "a_pooler_that_forgets_statements_is_named_as_the_cause",
            move || other(Box::pin(forgotten_statements_are_named(without_url))),
        ),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn builder(url: &str) -> PostgresBuilder {
    let schema = format!("store_pooled_{}", std::process::id());
    let builder = PostgresStore::builder().url(url).schema(schema);
    // One connection, so that the test knows which one is moved.
    builder.collection(THINGS).max_connections(1)
}

fn at() -> (Partition, RecordKey) {
    let partition = Partition::new("p").expect("a short name");
    let key = RecordKey::new(THINGS, "a").expect("a short name");
    (partition, key)
}

async fn write(store: &Store, number: u64) -> Result<()> {
    let (partition, key) = at();
    let mut batch = Batch::new(partition, store.now());
    batch.put(key, Expect::Any, Body::json(number)?)?;
    store.records().commit(&batch).await.map(drop)
}

/// pgbouncer does not know the parameter that is left out here, unless it is
/// configured to ignore it.
fn options(url: &str) -> std::result::Result<PgConnectOptions, store_postgres::sqlx::Error> {
    let options: PgConnectOptions = url.parse()?;
    Ok(options.extra_float_digits(None))
}

/// Takes the pooler's last used connection to the server, until it is dropped.
async fn occupy(url: &str) -> std::result::Result<PgConnection, store_postgres::sqlx::Error> {
    let mut connection = PgConnection::connect_with(&options(url)?).await?;
    raw_sql("BEGIN").execute(&mut connection).await?;
    Ok(connection)
}

async fn statements_are_carried(url: String) -> End {
    let postgres = builder(&url).connect().await?;
    postgres.setup().await?;
    let store = Store::from(postgres);
    let (partition, key) = at();
    let mut occupied = Vec::new();
    for number in 0..8 {
        write(&store, number).await?;
        let found = store.records().get(key.at(&partition)).await?;
        let found = found.ok_or("it was written")?.decode::<u64>()?;
        assert_eq!(*found, number);
        // The next round goes to another.
        occupied.push(occupy(&url).await?);
    }
    Ok(())
}

async fn forgotten_statements_are_named(url: String) -> End {
    let postgres = builder(&url).connect().await?;
    postgres.setup().await?;
    let store = Store::from(postgres);
    write(&store, 1).await?;
    // This pooler has one connection to the server, so this is the session that
    // has the store's statements.
    let mut other = PgConnection::connect_with(&options(&url)?).await?;
    raw_sql("DEALLOCATE ALL").execute(&mut other).await?;
    let error = write(&store, 2)
        .await
        .expect_err("its statement is not there");
    assert_eq!(
        (error.kind(), error.retry()),
        (ErrorKind::Config, Retry::Never)
    );
    assert!(
        error.to_string().contains("max_prepared_statements"),
        "{error}"
    );
    Ok(())
}
