//! The suite notices small changes to the SQL: to the functions and tables that `setup`
//! creates, and to the statements that calls send.
//!
//! Beside the suite, the tests of what a limit's calls wait for run over the mutants.
//!
//! A proxy replaces the text on its way to the server, so the store needs no change for
//! it. See [`crate::own::mutator`] for what is changed.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use store_conformance::proxy::Proxy;
use store_conformance::servers::{Options, postgres};
use store_conformance::{Harness, Over};
use store_core::Store;

use crate::harness::Postgres;
use crate::own::mutator::{self, Language, Mutant};
use crate::own::survivors::{self, Order, Subject, Verdict};
use crate::{End, Failure, Place, locks, tests};

tests![mutants_of_the_sql_are_killed_or_explained];

macro_rules! migrations {
    ($($name:literal),*) => {
        [$((
            concat!("store-postgres/migrations/", $name, ".sql"),
            include_str!(concat!("../../../store-postgres/migrations/", $name, ".sql")),
        )),*]
    };
}

/// The migrations with functions and triggers. The constraints of the tables in the first
/// one are for rows that are written by hand.
const MIGRATIONS: [(&str, &str); 4] =
    migrations!["0003_buckets", "0002_commit", "0004_sweep", "0005_changes"];

/// The name under which a statement that a call sends is listed.
const STATEMENT: &str = "store-postgres statement";

/// How long a statement may take, in case a mutant never ends.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The mutants of the ordinary run, and the case that kills each.
const SAMPLE: &[(&str, &str)] = &[
    (
        "store-postgres/migrations/0003_buckets.sql: replace `<=` with `<` in `AND (b.expires_at <= p_now`",
        "limits::an_expired_bucket_is_absent_before_any_sweep",
    ),
    (
        "store-postgres/migrations/0003_buckets.sql: replace `greatest` with `least` in `+ CASE WHEN b.expires_at > p_now THEN greatest(b.tat, p_now) ELSE p_now END,`",
        "limits::a_new_bucket_grants_its_burst_and_no_more",
    ),
    (
        "store-postgres/migrations/0003_buckets.sql: replace `bool_or` with `bool_and` in `SELECT bool_or(greatest(b.tat, p_now) > w.latest OR b.tokens IS NOT NULL) INTO refused`",
        "limits::several_quotas_are_taken_from_all_or_nothing",
    ),
    (
        "store-postgres/migrations/0003_buckets.sql: replace `FULL JOIN` with `JOIN` in `) AS now FULL JOIN unnest(p_old_quotas, p_old_tats, p_old_tokens, p_old_refills, p_old_expires_at)`",
        "limits::concurrent_closures_reach_exactly_zero",
    ),
    (
        "store-postgres/migrations/0003_buckets.sql: replace `ALL` with `ANY` in `DELETE FROM {schema}.buckets AS b WHERE b.key = p_key AND b.quota <> ALL (p_quotas);`",
        "limits::closures_and_takes_agree_on_one_state",
    ),
    (
        "store-postgres/migrations/0003_buckets.sql: replace `IS DISTINCT FROM` with `IS NOT DISTINCT FROM` in `IS DISTINCT FROM (old.tat, old.tokens, old.last_refill, old.expires_at);`",
        "limits::closures_and_takes_lose_nothing_of_each_other",
    ),
    (
        "store-postgres/migrations/0003_buckets.sql: delete `FOR UPDATE` in `WHERE b.key = p_key AND b.quota = ANY (p_quotas) FOR UPDATE;`",
        "own::a_take_of_several_quotas_waits_for_a_take_that_changes_a_row",
    ),
    (
        "store-postgres/migrations/0003_buckets.sql: replace `pg_advisory_xact_lock` with `pg_advisory_xact_lock_shared` in `PERFORM pg_advisory_xact_lock({schema}.lock_of_bucket(p_key));`",
        "own::a_take_of_several_quotas_waits_for_a_take_that_creates_a_row",
    ),
    (
        "store-postgres/migrations/0003_buckets.sql: replace `pg_advisory_xact_lock` with `pg_advisory_xact_lock_shared` in `PERFORM pg_advisory_xact_lock({schema}.lock_of_bucket(p_key));` (2)",
        "own::a_closure_waits_for_a_take_that_creates_a_row",
    ),
    (
        "store-postgres/migrations/0003_buckets.sql: replace `pg_advisory_xact_lock` with `pg_advisory_xact_lock_shared` in `PERFORM pg_advisory_xact_lock({schema}.lock_of_bucket(p_key));` (3)",
        "own::a_delete_waits_for_a_take_that_creates_a_row",
    ),
    (
        "store-postgres/migrations/0003_buckets.sql: replace `pg_advisory_xact_lock_shared` with `hashint8` in `PERFORM pg_advisory_xact_lock_shared({schema}.lock_of_bucket(p_key));`",
        "own::a_take_that_creates_a_row_waits_for_a_change_of_the_whole_limit",
    ),
    (
        "store-postgres/migrations/0003_buckets.sql: delete `FOR UPDATE` in `PERFORM FROM {schema}.buckets AS b WHERE b.key = p_key FOR UPDATE;`",
        "own::a_closure_waits_for_a_take_that_changes_a_row",
    ),
];

async fn mutants_of_the_sql_are_killed_or_explained(_: Place) -> End {
    let server = tokio::task::block_in_place(|| postgres::killable(&Options::from_env()))?;
    let place = Place::new(server.url());
    let mut mutants = Vec::new();
    let mut originals = Vec::new();
    for (file, text) in MIGRATIONS {
        mutator::add(&mut mutants, file, text, Language::Sql);
        originals.resize(mutants.len(), text.to_owned());
    }
    // Finding the statements takes a run of the suite, so the sample has none of them.
    let found = match survivors::takes(STATEMENT) {
        true => statements(&place)?,
        false => BTreeSet::new(),
    };
    for statement in found {
        mutator::add(&mut mutants, STATEMENT, &statement, Language::Sql);
        originals.resize(mutants.len(), statement);
    }
    let original = |mutant: &Mutant| {
        let index = mutants.iter().position(|other| other.name == mutant.name);
        originals[index.unwrap_or_default()].clone()
    };
    survivors::settle(&mutants, SAMPLE, |mutant, order| {
        survivors::apart(verdict(&place, original(mutant), mutant, order))?
    })
}

/// What a text implements.
fn subject(mutant: &Mutant) -> Subject {
    match &*mutant.file {
        STATEMENT if mutant.text.contains(".buckets") => Subject::Limits,
        STATEMENT if mutant.text.contains(".chunks") => Subject::Objects,
        "store-postgres/migrations/0003_buckets.sql" => Subject::Limits,
        "store-postgres/migrations/0004_sweep.sql" | STATEMENT => Subject::All,
        _ => Subject::Records,
    }
}

/// The statements that the suite sends to the server, each with `{schema}` for the
/// schema. Of those that differ only in the table, there is one.
fn statements(place: &Place) -> Result<BTreeSet<String>, Failure> {
    let sent = Arc::new(Mutex::new(BTreeSet::new()));
    let recorder = Arc::clone(&sent);
    let record = move |message: &[u8]| {
        if let Some(statement) = prepared(message) {
            let mut sent = recorder.lock().unwrap_or_else(PoisonError::into_inner);
            sent.insert(statement);
        }
        None
    };
    let killer = survivors::apart(async {
        let over = through(place, "recorded", record).await?;
        let suites = survivors::suites(&over.suites(), Subject::All);
        Ok::<_, Failure>(survivors::killer(suites, &Order::default()).await)
    })??;
    if let Some(case) = killer {
        return Err(format!("{case} fails on the unchanged SQL").into());
    }
    let sent = sent.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let is_first = |statement: &String| {
        let on_records = statement
            .replace(".chunks", ".records")
            .replace(".transient", ".records")
            .replace("to_chunks", "to_records")
            .replace("to_transient", "to_records");
        on_records == *statement || !sent.contains(&on_records)
    };
    Ok(sent.iter().filter(|one| is_first(one)).cloned().collect())
}

/// The statement of a `Parse` message.
fn prepared(message: &[u8]) -> Option<String> {
    let parts = message.strip_prefix(b"P")?.get(4..)?;
    let text = parts.split(|byte| *byte == 0).nth(1)?;
    let text = String::from_utf8(text.to_vec()).ok()?;
    Some(text.replace(&schema(message)?, "{schema}"))
}

/// The schema that a message names, in quotes.
fn schema(message: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(message);
    let from = text.find("\"store_")?;
    let end = text[from + 1..].find('"')?;
    Some(text[from..from + end + 2].to_owned())
}

/// A proxy and what opens stores through it.
struct Through {
    harness: Arc<dyn Harness<Store>>,
    url: String,
    /// Ends when it is dropped.
    _proxy: Proxy,
}

impl Through {
    fn suites(&self) -> Arc<Over> {
        Arc::new(Over::new(Arc::clone(&self.harness)))
    }
}

/// Opens stores in a new database, through a proxy.
async fn through(
    place: &Place,
    database: &str,
    rewrite: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + Sync + 'static,
) -> Result<Through, Failure> {
    // The schemas of one database would slow down its catalogs.
    place
        .run(&format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)"))
        .await?;
    place.run(&format!("CREATE DATABASE {database}")).await?;
    let (proxy, url) = place.proxy(0).await?;
    proxy.rewrite(rewrite);
    let (server, options) = url.rsplit_once('?').unwrap_or((&url, ""));
    let (server, _) = server.rsplit_once('/').unwrap_or((server, ""));
    let url = format!("{server}/{database}?{options}");
    Ok(Through {
        harness: Arc::new(Postgres::new(&url, None, String::new()).impatient(TIMEOUT)),
        url,
        _proxy: proxy,
    })
}

async fn verdict(
    place: &Place,
    original: String,
    mutant: &Mutant,
    order: &Order,
) -> Result<Verdict, Failure> {
    let used = Arc::new(AtomicBool::new(false));
    let (uses, mutated) = (Arc::clone(&used), mutant.text.clone());
    let rewrite = move |message: &[u8]| {
        let other = rewritten(message, &original, &mutated)?;
        uses.store(true, Ordering::Relaxed);
        Some(other)
    };
    let through = through(place, "mutated", rewrite).await?;
    if let Err(error) = through.harness.open(()).await {
        return Ok(match format!("{error:?}").contains("syntax error") {
            true => Verdict::Invalid,
            false => Verdict::Killed("setup".into()),
        });
    }
    let killer =
        survivors::killer(survivors::suites(&through.suites(), subject(mutant)), order).await;
    let killer = match (killer, subject(mutant)) {
        (None, Subject::Limits) => {
            survivors::first_to_fail(locks::all(), || Place::new(&through.url), order).await
        }
        (killer, _) => killer,
    };
    Ok(match killer {
        Some(case) => Verdict::Killed(case),
        None if used.load(Ordering::Relaxed) => Verdict::Survived,
        None => Verdict::Unused,
    })
}

/// A query or a statement to be prepared, with the text replaced.
fn rewritten(message: &[u8], original: &str, mutated: &str) -> Option<Vec<u8>> {
    if !matches!(message.first(), Some(b'Q' | b'P')) {
        return None;
    }
    let schema = schema(message)?;
    let [old, new] = [original, mutated].map(|text| text.replace("{schema}", &schema));
    let at = message
        .windows(old.len())
        .position(|part| part == old.as_bytes())?;
    let mut other = message[..at].to_vec();
    other.extend_from_slice(new.as_bytes());
    other.extend_from_slice(&message[at + old.len()..]);
    let length = u32::try_from(other.len() - 1).ok()?;
    other[1..5].copy_from_slice(&length.to_be_bytes());
    Some(other)
}
