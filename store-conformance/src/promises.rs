//! The promises by id, and the page that lists their cases and mutants.
//!
//! `R1` to `R10` are the rules of the record store. The numbers are promises of the
//! contracts that are easy to break. A case names the promises that it checks, and a
//! mutant names the case that kills it. [`table`] writes the page from the lists that run.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::mutants;
use crate::{Suite, cases};

/// One promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promise {
    /// `R1` to `R10`, or a number.
    pub id: &'static str,
    /// The promise in one line.
    pub text: &'static str,
    /// What must be built before there can be a case, if it is missing.
    pub waits_for: Option<&'static str>,
}

const fn promise(id: &'static str, text: &'static str) -> Promise {
    Promise {
        id,
        text,
        waits_for: None,
    }
}

const fn waits(id: &'static str, text: &'static str, waits_for: &'static str) -> Promise {
    Promise {
        id,
        text,
        waits_for: Some(waits_for),
    }
}

/// All of them.
pub const PROMISES: &[Promise] = &[
    promise(
        "R1",
        "No partition, id or prefix reaches another's record; names keep bytewise order",
    ),
    promise(
        "R2",
        "A record that was never written, was deleted or has expired is absent for every caller",
    ),
    promise(
        "R3",
        "A commit is all or nothing and serializable in its partition, and later reads see it",
    ),
    promise(
        "R4",
        "A failed expectation writes nothing, and the conflict has the current records",
    ),
    promise(
        "R5",
        "A scan is in bytewise order and neither skips nor repeats what exists throughout",
    ),
    promise("R6", "Limits and values are the same on every backend"),
    promise(
        "R7",
        "An outage is an error, never an absence, and says whether the write may have happened",
    ),
    promise(
        "R8",
        "A dropped future leaves the write done or not done, and the client usable",
    ),
    promise("R9", "No secret is printed, and none is stored in clear"),
    promise(
        "R10",
        "Close is idempotent and final, and leaves a borrowed client open",
    ),
    promise(
        "1",
        "Disabled, unknown and unavailable are three different answers",
    ),
    promise(
        "2",
        "A missing `enabled` means enabled; an explicit false survives",
    ),
    promise(
        "3",
        "A permission check of malformed data is false, never a panic",
    ),
    promise("4", "Scopes are returned with their type"),
    promise("5", "Extra fields are returned"),
    promise(
        "6",
        "A partial update is a shallow merge and does not change the identity",
    ),
    promise("7", "Concurrent partial updates lose nothing"),
    promise(
        "8",
        "Disabling and deleting show through caches within the promised bound",
    ),
    waits("9", "A refresh removes deleted keys", "caches"),
    promise("10", "Two namespaces never see each other"),
    promise(
        "11",
        "Keys that an attacker chooses do not grow anything without bound",
    ),
    promise(
        "12",
        "Creating what exists and updating what does not are refused",
    ),
    promise("13", "Of concurrent creates one wins"),
    promise("14", "Pages have neither gaps nor repetitions"),
    promise("15", "A page of zero is refused and a huge one is capped"),
    promise("16", "An exactly full last page is the last"),
    promise("17", "A cursor outlives its record"),
    promise("18", "Prefixes are literal, whatever their characters"),
    promise("19", "The order is bytewise on every backend"),
    promise("20", "One name in two tenants is two things"),
    promise("21", "Ancestry of tenants is decided by whole segments"),
    promise(
        "22",
        "u64::MAX is a valid tenant number; `+5` and `007` are not",
    ),
    promise("23", "A recreated principal inherits nothing"),
    promise("24", "A rename moves everything and leaves nothing behind"),
    promise("25", "Tagging, attaching and joining are idempotent"),
    waits("26", "Expired sessions are hidden everywhere", "sessions"),
    waits(
        "27",
        "An assignment is found by its id once created",
        "single sign-on",
    ),
    promise("28", "Quotas resolve up the tree and hold under a race"),
    promise("29", "A tenant with children is not deleted"),
    promise("30", "An atomic update loses nothing under many writers"),
    promise("31", "An update never resurrects what was deleted"),
    promise("32", "Deleted and recreated is not unchanged"),
    promise(
        "33",
        "An update that changes nothing writes nothing and returns the current state",
    ),
    promise(
        "34",
        "Contention that outlasts the attempts is an error of its own",
    ),
    promise(
        "35",
        "What has expired is absent before it is swept, and can be created over",
    ),
    promise("36", "A bucket lives at least until it is full again"),
    promise(
        "37",
        "Nanoseconds and tokens are stored without loss of precision",
    ),
    promise("38", "A clock that goes backwards mints nothing"),
    promise(
        "39",
        "A cancelled call leaves no partial write and a usable client",
    ),
    promise("40", "A dropped sink publishes nothing"),
    promise("41", "The old value is readable while a new one is written"),
    promise("42", "Data and metadata of two versions never mix"),
    promise("43", "A reader survives overwrite and delete"),
    promise("44", "A sink that closes late loses"),
    promise("45", "A delete waits for no open sink"),
    promise(
        "46",
        "Empty objects, negative entries and objects of many chunks are stored alike",
    ),
    promise("47", "Names with odd characters never collide"),
    promise("48", "An outage is an error, never a miss"),
    promise("49", "Abandoned uploads are reclaimed"),
    promise("50", "Everything stored belongs to an object or is freed"),
    promise("51", "Of many calls that use one nonce, one succeeds"),
    promise(
        "52",
        "A used nonce and an unknown nonce are different answers",
    ),
    promise("53", "An expired nonce is refused before it is cleaned up"),
    promise("54", "A nonce is bound to its issuer"),
    promise(
        "55",
        "A lookup by issuer alone is deterministic where there are several clients",
    ),
    promise(
        "56",
        "A deployment is scoped to its registration and case-sensitive",
    ),
    promise("57", "Concurrent upserts leave one row"),
    promise(
        "58",
        "Close may be repeated, and borrowed clients stay open",
    ),
    promise(
        "59",
        "Handles made from one opened store coalesce their work and close together",
    ),
];

/// Every suite, over a backend without a mutant; only their lists are used.
pub fn suites() -> Vec<Suite> {
    let sound = mutants::sound();
    cases::all(sound.backend_harness().clone())
}

/// The page as Markdown: each promise with its cases, then each case with its mutants.
pub fn table() -> String {
    let suites = suites();
    let mutants = mutants::all();
    let count: usize = suites.iter().map(|suite| suite.cases().count()).sum();
    let mut text = format!(
        "# Promises, and the cases that check them\n\n\
         Written by `cargo xtask promises` from the lists that run; do not edit.\n\n\
         {} promises, {count} cases on each backend, {} mutants. A case fails if its promise is\n\
         broken. A mutant is a store with one bug, which its case must kill.\n\n\
         ## Cases of each promise\n",
        PROMISES.len(),
        mutants.len(),
    );
    for promise in PROMISES {
        let _ = writeln!(text, "\n### {}. {}\n", promise.id, promise.text);
        let cases = listed(&suites, |promises| promises.contains(&promise.id));
        match promise.waits_for {
            Some(waits_for) if cases.is_empty() => {
                let _ = writeln!(text, "Not yet: it needs {waits_for}.");
            }
            _ => text.push_str(&cases),
        }
    }
    let others = listed(&suites, |promises| promises.is_empty());
    if !others.is_empty() {
        let _ = writeln!(text, "\n### Of one contract only\n\n{}", others.trim_end());
    }
    text.push_str("\n## Mutants of each case\n\n");
    let mut killed: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for mutant in &mutants {
        let case = (mutant.contract, mutant.killed_by);
        killed.entry(case).or_default().push(words(mutant.name));
    }
    for ((contract, case), bugs) in killed {
        let _ = writeln!(text, "- {contract}: `{case}`");
        for bug in bugs {
            let _ = writeln!(text, "  - {bug}");
        }
    }
    text
}

/// The cases whose promises are `wanted`, a line each.
fn listed(suites: &[Suite], wanted: impl Fn(&[&str]) -> bool) -> String {
    let mut text = String::new();
    for suite in suites {
        for (name, _) in suite.cases().filter(|(_, promises)| wanted(promises)) {
            let _ = writeln!(text, "- {}: `{name}`", suite.contract());
        }
    }
    text
}

/// The name of a mutant as words: some are sentences, some are names of variants.
fn words(name: &str) -> String {
    if name.contains(' ') {
        return name.into();
    }
    let mut words = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(c.to_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_promise_that_a_case_names_exists() {
        let known: BTreeSet<_> = PROMISES.iter().map(|promise| promise.id).collect();
        assert_eq!(known.len(), PROMISES.len(), "two promises have one id");
        for suite in suites() {
            for (name, promises) in suite.cases() {
                for id in promises {
                    assert!(
                        known.contains(id),
                        "{}::{name} names {id:?}",
                        suite.contract()
                    );
                }
            }
        }
    }

    #[test]
    fn every_promise_has_a_case_or_a_reason() {
        let suites = suites();
        let named: BTreeSet<_> = suites
            .iter()
            .flat_map(|suite| suite.cases().flat_map(|(_, promises)| promises))
            .collect();
        for promise in PROMISES {
            let watched = named.contains(&promise.id);
            assert_eq!(
                watched,
                promise.waits_for.is_none(),
                "a promise needs a case, or must say what is built first: {promise:?}"
            );
        }
    }

    #[test]
    fn every_case_has_a_name_of_its_own() {
        for suite in suites() {
            let mut names = BTreeSet::new();
            for (name, _) in suite.cases() {
                assert!(names.insert(name), "{}::{name} twice", suite.contract());
            }
        }
    }

    #[test]
    fn every_mutant_is_killed_by_a_case_that_exists() {
        let mutants = mutants::all();
        assert!(mutants.len() >= 20, "only {} mutants", mutants.len());
        let mut names = BTreeSet::new();
        for mutant in &mutants {
            // In its own suite, because some families' cases do not run on every backend.
            let suite = (mutant.suite)();
            let exists = suite.cases().any(|(name, _)| name == mutant.killed_by);
            assert!(exists, "{mutant:?}");
            assert!(
                names.insert((mutant.contract, mutant.name)),
                "{mutant:?} twice"
            );
        }
    }
}
