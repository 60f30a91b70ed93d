//! PostgreSQL behind a pgbouncer that pools by transactions: it must carry
//! prepared statements, and one that does not is told from a broken store.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use store_conformance::servers::{Options, Server, missing, postgres};
use store_core::{
    Batch, Body, Collection, ErrorKind, Expect, Partition, RecordKey, Result, Retry, Store,
};
use store_postgres::sqlx::postgres::PgConnectOptions;
use store_postgres::sqlx::{Connection, PgConnection, raw_sql};
use store_postgres::{Builder, PostgresStore};

type End = std::result::Result<(), Box<dyn std::error::Error + Send + Sync>>;

const THINGS: Collection = Collection::new("things");

fn main() -> ExitCode {
    // Found before anything runs: without a pgbouncer nothing can be proven.
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

fn builder(url: &str) -> Builder {
    let schema = format!("store_pooled_{}", std::process::id());
    let builder = PostgresStore::builder().url(url).schema(schema);
    // Of one connection, so that it is known which one is moved.
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

/// Takes the pooler's last used connection to the server, until it is dropped.
async fn occupy(url: &str) -> std::result::Result<PgConnection, store_postgres::sqlx::Error> {
    let options: PgConnectOptions = url.parse()?;
    // pgbouncer knows no such parameter, unless it is told to overlook it.
    let options = options.extra_float_digits(None);
    let mut connection = PgConnection::connect_with(&options).await?;
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
    // Before it is moved, all goes well.
    postgres.setup().await?;
    let store = Store::from(postgres);
    write(&store, 1).await?;
    let _occupied = occupy(&url).await?;
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
