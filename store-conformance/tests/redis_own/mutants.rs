//! The suite notices small changes to the scripts.
//!
//! Beside the suite, the tests of what the server removes run over the mutants.
//!
//! A proxy replaces each script on its way to the server, so the store needs no change
//! for it. See [`crate::own::mutator`] for what is changed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use store_conformance::Over;
use store_conformance::proxy::{self, Proxy};
use store_conformance::servers::{Options, redis};
use store_redis::redis::{RedisResult, cmd};

use crate::harness::Redis;
use crate::own::mutator::{self, Language, Mutant};
use crate::own::survivors::{self, Order, Subject, Verdict};
use crate::{End, Failure, Place, expiry, tests};

tests![mutants_of_the_scripts_are_killed_or_explained];

macro_rules! scripts {
    ($($name:literal),*) => {
        [$((
            concat!("store-redis/scripts/", $name, ".lua"),
            include_str!(concat!("../../../store-redis/scripts/", $name, ".lua")),
        )),*]
    };
}

/// The first one precedes those that write records.
const PURGE: (&str, &str) = scripts!["purge"][0];
const WRITING: [(&str, &str); 3] = scripts!["commit", "index", "persist"];
const OTHERS: [(&str, &str); 3] = scripts!["scan", "swap", "take"];

/// What a script implements.
fn subject(file: &str) -> Subject {
    match file.rsplit('/').next() {
        Some("swap.lua" | "take.lua") => Subject::Limits,
        Some("commit.lua" | "scan.lua") => Subject::Records,
        Some("persist.lua") => Subject::Objects,
        _ => Subject::All,
    }
}

/// How long a call may take, in case a mutant never ends.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The mutants of the ordinary run, and the case that kills each.
const SAMPLE: &[(&str, &str)] = &[
    (
        "store-redis/scripts/take.lua: replace `~=` with `==` in `if fits and base ~= now then`",
        "limits::a_new_bucket_grants_its_burst_and_no_more",
    ),
    (
        "store-redis/scripts/take.lua: replace `and` with `or` in `if fits and base ~= now then`",
        "limits::closures_and_takes_lose_nothing_of_each_other",
    ),
    (
        "store-redis/scripts/take.lua: delete `fits = fits and base <= limits` in `fits = fits and base <= limits`",
        "limits::a_denied_take_writes_nothing",
    ),
    (
        "store-redis/scripts/take.lua: delete `base = tat` in `base = tat`",
        "limits::a_denied_take_consumes_nothing",
    ),
    (
        "store-redis/scripts/take.lua: replace `>=` with `>` in `if n >= 1000000000 then`",
        "limits::several_quotas_are_taken_from_all_or_nothing",
    ),
    (
        "store-redis/scripts/take.lua: replace `1` with `2` in `s, n = s + 1, n - 1000000000`",
        "limits::retry_after_is_honest_to_the_nanosecond",
    ),
    (
        "store-redis/scripts/take.lua: delete `base, fits = 'c', false` in `base, fits = 'c', false`",
        "limits::closures_and_takes_lose_nothing_of_each_other",
    ),
    (
        "store-redis/scripts/take.lua: delete `extend = extend or expires < args[at + 2]` in `extend = extend or expires < args[at + 2]`",
        "own::a_bucket_is_stored_longer_when_a_take_moves_its_expiry",
    ),
    (
        "store-redis/scripts/take.lua: delete `call('PEXPIRE', key, longest)` in `call('PEXPIRE', key, longest)`",
        "own::a_bucket_is_stored_longer_when_a_take_moves_its_expiry",
    ),
];

async fn mutants_of_the_scripts_are_killed_or_explained(_: Place) -> End {
    let mut server = tokio::task::block_in_place(|| redis::killable(&Options::from_env()))?;
    let mut mutants = vec![Mutant {
        name: survivors::UNCHANGED.into(),
        file: String::new(),
        text: String::new(),
    }];
    for (file, text) in OTHERS.iter().chain(&WRITING).chain(&[PURGE]) {
        mutator::add(&mut mutants, file, text, Language::Lua);
    }
    survivors::settle(&mutants, SAMPLE, |mutant, order| {
        let place = Place::new(server.url());
        let verdict = survivors::apart(verdict(&place, mutant, order))?;
        if survivors::apart(clear(&place))?.is_err() {
            tokio::task::block_in_place(|| {
                server.kill();
                server.restart()
            })?;
        }
        verdict
    })
}

/// The scripts that contain the mutant, as they are and as they are mutated.
fn sent(mutant: &Mutant) -> Vec<(String, String)> {
    let changed = |(file, text): (&str, &str)| match file == mutant.file {
        true => mutant.text.clone(),
        false => text.to_owned(),
    };
    let writing = WRITING.map(|script| {
        let whole = format!("{}{}", PURGE.1, script.1);
        (whole, changed(PURGE) + &changed(script))
    });
    let others = OTHERS.map(|script| (script.1.to_owned(), changed(script)));
    let all = writing.into_iter().chain(others);
    all.filter(|(old, new)| old != new).collect()
}

async fn verdict(place: &Place, mutant: &Mutant, order: &Order) -> Result<Verdict, Failure> {
    let mut pairs = Vec::new();
    for (old, new) in sent(mutant) {
        let load = |text: &str| cmd("SCRIPT").arg("LOAD").arg(text).to_owned();
        let digest: String = place.ask(&load(&old)).await?;
        let Ok(other) = place.ask::<String>(&load(&new)).await else {
            return Ok(Verdict::Invalid);
        };
        pairs.push([digest, other]);
        pairs.push([old, new].map(|text| format!("${}\r\n{text}\r\n", text.len())));
    }
    let used = Arc::new(AtomicBool::new(false));
    let uses = Arc::clone(&used);
    let proxy = Proxy::start(place.address(), Some(proxy::redis), 0).await?;
    proxy.rewrite(move |message| {
        let other = rewritten(message, &pairs)?;
        uses.store(true, Ordering::Relaxed);
        Some(other)
    });
    let url = format!("redis://{}", proxy.address());
    let harness = Redis::new(&url, String::new()).patient(TIMEOUT);
    let over = Arc::new(Over::new(Arc::new(harness)));
    let killer = survivors::killer(survivors::suites(&over, subject(&mutant.file)), order).await;
    let killer = match killer {
        None => survivors::first_to_fail(expiry::all(), || Place::new(&url), order).await,
        killer => killer,
    };
    Ok(match killer {
        Some(case) => Verdict::Killed(case),
        None if used.load(Ordering::Relaxed) => Verdict::Survived,
        None => Verdict::Unused,
    })
}

/// The message with the first text of a pair replaced by the second. It is a script's
/// digest at the beginning, or its text after what a transaction writes.
fn rewritten(message: &[u8], pairs: &[[String; 2]]) -> Option<Vec<u8>> {
    let head = String::from_utf8_lossy(&message[..message.len().min(32)]);
    let has_text = ["EVAL", "SCRIPT", "MULTI"]
        .iter()
        .any(|name| head.contains(name));
    let searched = match head.contains("EVALSHA") {
        true => message.len().min(128),
        false if has_text => message.len(),
        false => return None,
    };
    pairs.iter().find_map(|[old, new]| {
        let mut parts = message[..searched].windows(old.len());
        let at = parts.rposition(|part| part == old.as_bytes())?;
        Some([&message[..at], new.as_bytes(), &message[at + old.len()..]].concat())
    })
}

/// Ends a script that would run for ever, and deletes everything. The server refuses both
/// if the script has written something.
async fn clear(place: &Place) -> RedisResult<()> {
    // It fails if no script runs.
    let _: RedisResult<()> = place.ask(cmd("SCRIPT").arg("KILL")).await;
    place.ask(cmd("FLUSHALL").arg("SYNC")).await
}
