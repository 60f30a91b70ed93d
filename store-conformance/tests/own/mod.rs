//! What the tests of single backends share: tests as data, a few records, a certificate
//! authority, and the function that runs them. Each program has a `Place`, in which one of
//! its tests works.

#![allow(dead_code, reason = "not every program needs all of it")]

pub(crate) mod calls;
pub(crate) mod closures;
pub(crate) mod faults;
pub(crate) mod mutator;
pub(crate) mod survivors;
pub(crate) mod tls;

use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use store_conformance::crash::Plan;
use store_conformance::suite::overdue;
use store_core::{
    Batch, Body, Collection, ErrorKind, Expect, Expectation, Partition, RecordKey, Result, Retry,
    Store,
};

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type End = std::result::Result<(), Failure>;
pub(crate) type Test<P> = (
    &'static str,
    fn(P) -> Pin<Box<dyn Future<Output = End> + Send>>,
);

/// The test functions of a module, as data; each takes the program's `Place`.
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        pub(crate) fn all() -> Vec<crate::own::Test<crate::Place>> {
            vec![$((stringify!($name), |place| Box::pin($name(place)))),*]
        }
    };
}
pub(crate) use tests;

pub(crate) const THINGS: Collection = Collection::new("things");
pub(crate) const OTHERS: Collection = Collection::new("others");

/// How often a server is killed, and the number of storms: a sample, or the number that
/// `cargo xtask soak` sets.
const CYCLES: &str = "STORE_SOAK_CYCLES";
const SEEDS: &str = "STORE_SOAK_SEEDS";

/// Runs the tests, each in its own place.
pub(crate) fn run<P: Send + 'static>(tests: Vec<Test<P>>, place: impl Fn() -> P) -> ExitCode {
    let runtime = Arc::new(
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(4)
            .enable_all()
            .build()
            .expect("a runtime can be started"),
    );
    let trials = tests.into_iter().map(|(name, test)| {
        let (runtime, place) = (Arc::clone(&runtime), place());
        Trial::test(name, move || {
            let test = test(place);
            let ended = runtime.block_on(async { tokio::time::timeout(deadline(), test).await });
            ended
                .map_err(|_| Failed::from(overdue(name, deadline())))?
                .map_err(|error| Failed::from(format!("{error:?}")))
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}

/// How long one test may take: minutes, or a day for one that repeats its work for
/// `cargo xtask soak`.
fn deadline() -> Duration {
    let soaks = [CYCLES, SEEDS, survivors::TABLE].map(|name| std::env::var_os(name).is_some());
    Duration::from_secs(if soaks.contains(&true) { 86_400 } else { 600 })
}

/// A number for a new name, which neither this process nor another running one has used.
pub(crate) fn fresh(before: &str, between: char) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{before}{between}{}{between}{number}", std::process::id())
}

/// How a server is to be killed.
pub(crate) fn crash_plan() -> std::result::Result<Plan, Failure> {
    let mut plan = Plan::default();
    if let Ok(cycles) = std::env::var(CYCLES) {
        plan.cycles = cycles.parse()?;
    }
    Ok(plan)
}

/// The seeds of the storms.
pub(crate) fn storm_seeds() -> std::result::Result<std::ops::Range<u64>, Failure> {
    Ok(0..std::env::var(SEEDS).map_or(Ok(4), |seeds| seeds.parse())?)
}

pub(crate) fn key(id: &str) -> RecordKey {
    RecordKey::new(THINGS, id).expect("a short name")
}

pub(crate) fn other(id: &str) -> RecordKey {
    RecordKey::new(OTHERS, id).expect("a short name")
}

pub(crate) fn partition() -> Partition {
    Partition::new("p").expect("a short name")
}

/// A put of a number, alone in its batch.
pub(crate) fn put<'r>(
    store: &Store,
    id: &str,
    expect: impl Into<Expectation<'r>>,
    number: u64,
) -> Result<Batch> {
    let mut batch = Batch::new(partition(), store.now());
    batch.put(key(id), expect, Body::json(number)?)?;
    Ok(batch)
}

/// The number in a record.
pub(crate) async fn number(store: &Store, id: &str) -> Result<Option<u64>> {
    let found = store.records().get(key(id).at(&partition())).await?;
    found
        .map(|record| record.decode::<u64>().map(|n| *n))
        .transpose()
}

/// Puts unconditionally.
pub(crate) async fn write(store: &Store, id: &str, number: u64) -> Result<()> {
    store
        .records()
        .commit(&put(store, id, Expect::Any, number)?)
        .await
        .map(drop)
}

/// Asserts that what another program stored under `id` is `Corrupt` when it is read alone
/// and when it is read together with the record `a`, which is not affected.
pub(crate) async fn is_corrupt_in_every_read(store: &Store, id: &str) -> End {
    let p = partition();
    let [a, foreign, absent] = ["a", id, "absent"].map(key);
    let alone = store.get(foreign.at(&p)).await;
    let among = store
        .get_many(&[a.at(&p), foreign.at(&p), absent.at(&p)])
        .await;
    for error in [alone.map(drop), among.map(drop)] {
        let error = error.expect_err("it is no record");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    }
    let others = store.get_many(&[a.at(&p), absent.at(&p)]).await?;
    assert!(others[0].is_some() && others[1].is_none());
    Ok(())
}

/// Asserts that connecting to `127.0.0.1:1` (tcpmux, RFC 1078), where nothing listens, is
/// reported without waiting, and that the message says so.
pub(crate) async fn is_reported_as_not_there<T>(
    connecting: impl Future<Output = Result<T>>,
) -> End {
    let opened = tokio::time::timeout(Duration::from_secs(8), connecting).await?;
    let error = opened.map(drop).expect_err("nothing listens there");
    let class = (error.kind(), error.retry());
    assert_eq!(class, (ErrorKind::Unavailable, Retry::Safe), "{error:?}");
    assert!(error.message().contains("no server listens"), "{error:?}");
    Ok(())
}
