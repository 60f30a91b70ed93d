//! Cases, and running them.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::harness::Harness;
use crate::report::{CaseReport, Outcome, Report};

/// The result of a case: `Ok` if the promise holds. A failed `assert!` counts as `Err`
/// too.
pub type CaseResult = Result<(), Box<dyn Error + Send + Sync>>;

type Run = Pin<Box<dyn Future<Output = CaseResult> + Send>>;

/// The function of a case.
type Test<S, F> = fn(Arc<dyn Harness<S, F>>) -> Run;

/// How many needs a case may have.
const MAX_NEEDS: usize = 5;

/// A case that takes longer than this has failed: something is stuck.
const DEADLINE: Duration = Duration::from_secs(300);

/// One promise, and the function that checks it.
pub struct Case<S: ?Sized + 'static, F: 'static = ()> {
    name: &'static str,
    promises: &'static [&'static str],
    run: Test<S, F>,
    refusals: [Option<(&'static str, Test<S, F>)>; MAX_NEEDS],
}

impl<S: ?Sized, F> Clone for Case<S, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S: ?Sized, F> Copy for Case<S, F> {}

impl<S: ?Sized, F> fmt::Debug for Case<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case")
            .field("name", &self.name)
            .field("promises", &self.promises)
            .finish_non_exhaustive()
    }
}

impl<S: ?Sized, F> Case<S, F> {
    /// A case; [`case!`](crate::case) is shorter.
    pub const fn new(
        name: &'static str,
        promises: &'static [&'static str],
        run: fn(Arc<dyn Harness<S, F>>) -> Run,
    ) -> Self {
        Self {
            name,
            promises,
            run,
            refusals: [None; MAX_NEEDS],
        }
    }

    /// Declares that the case needs something that a store may decline to offer. If it
    /// does, `refusal` runs instead and asserts that the call is refused. If a store does
    /// not meet several needs, the first one that was declared decides.
    ///
    /// # Panics
    /// With more than five needs.
    pub const fn needs(
        mut self,
        need: &'static str,
        refusal: fn(Arc<dyn Harness<S, F>>) -> Run,
    ) -> Self {
        let mut free = 0;
        while self.refusals[free].is_some() {
            free += 1;
        }
        self.refusals[free] = Some((need, refusal));
        self
    }

    /// The promise, as a sentence with underscores.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The ids of the promises it checks: `R3`, `47` …
    pub fn promises(&self) -> &'static [&'static str] {
        self.promises
    }
}

/// A case of the function's own name.
///
/// ```
/// use std::sync::Arc;
/// use store_conformance::{Case, CaseResult, Harness, case, store_core::Store};
///
/// async fn it_answers_a_ping(harness: Arc<dyn Harness<Store>>) -> CaseResult {
///     harness.open(()).await?.first.records().ping().await?;
///     Ok(())
/// }
///
/// let case: Case<Store> = case!(it_answers_a_ping, "R7");
/// assert_eq!(case.name(), "it_answers_a_ping");
/// ```
#[macro_export]
macro_rules! case {
    ($name:ident $(, $promise:literal)* $(,)?) => {
        $crate::Case::new(stringify!($name), &[$($promise),*], |harness| Box::pin($name(harness)))
    };
}

/// What [`Suite::run_case`] runs: a case bound to its harness.
struct Bound {
    name: &'static str,
    promises: &'static [&'static str],
    unsupported: bool,
    /// What a store may declare that it does not offer, so that the case asserts the
    /// refusal instead.
    needs: Vec<&'static str>,
    /// Why it must fail on this server, for a known failure.
    known_failure: Option<&'static str>,
    start: Box<dyn Fn() -> Run + Send + Sync>,
}

impl Bound {
    /// The failure, and what to declare if the store does not offer what the case needs.
    fn explained(&self, failure: String) -> String {
        if self.needs.is_empty() {
            return failure;
        }
        let needs: Vec<_> = self.needs.iter().map(|need| format!("{need:?}")).collect();
        let declared = match self.unsupported {
            true => "It is declared as unsupported, so the call must be refused with `Unsupported`",
            false => "If this store does not offer it, declare it in `Harness::unsupported`",
        };
        format!(
            "{failure}\nThis case needs {}. {declared}.",
            needs.join(" and ")
        )
    }
}

/// The cases of one contract against one implementation.
pub struct Suite {
    backend: String,
    server: String,
    contract: &'static str,
    cases: Vec<Bound>,
}

impl Suite {
    /// `cases` of `contract` against what `harness` opens.
    pub fn new<S: ?Sized + 'static, F: 'static>(
        contract: &'static str,
        harness: Arc<dyn Harness<S, F>>,
        cases: Vec<Case<S, F>>,
    ) -> Self {
        let unsupported = harness.unsupported();
        let bind = |case: Case<S, F>| {
            let harness = Arc::clone(&harness);
            let needs = case.refusals.iter().flatten().map(|(need, _)| *need);
            let needs = needs.collect();
            let mut refusals = case.refusals.into_iter().flatten();
            let refusal = refusals.find(|(need, _)| unsupported.contains(need));
            let run = refusal.map_or(case.run, |(_, refusal)| refusal);
            Bound {
                name: case.name,
                promises: case.promises,
                unsupported: refusal.is_some(),
                needs,
                known_failure: None,
                start: Box::new(move || run(Arc::clone(&harness))),
            }
        };
        Self {
            backend: harness.backend(),
            server: harness.server(),
            contract,
            cases: cases.into_iter().map(bind).collect(),
        }
    }

    /// Lists cases that fail because of the server and not because of the store, as
    /// `contract::case`, each with the reason. They run. One that fails counts as
    /// unsupported for that reason. One that passes counts as failed, so that the list
    /// stays true.
    pub fn known_to_fail(mut self, list: &[(&'static str, &'static str)]) -> Self {
        for case in &mut self.cases {
            let is_it = |name: &str| name.split_once("::") == Some((self.contract, case.name));
            let listed = list.iter().find(|(name, _)| is_it(name));
            case.known_failure = listed.map(|(_, reason)| *reason);
        }
        self
    }

    /// The contract: `records`, or the name of its folder in core.
    pub fn contract(&self) -> &'static str {
        self.contract
    }

    /// What is tested.
    pub fn backend(&self) -> &str {
        &self.backend
    }

    /// The names of its cases, with the ids of their promises.
    pub fn cases(&self) -> impl Iterator<Item = (&'static str, &'static [&'static str])> + '_ {
        self.cases.iter().map(|case| (case.name, case.promises))
    }

    /// Runs the case at `index`.
    ///
    /// # Panics
    /// If there is none. A panic of the case itself becomes a failure.
    pub async fn run_case(&self, index: usize) -> CaseReport {
        let case = &self.cases[index];
        let begin = Instant::now();
        let task = tokio::spawn((case.start)());
        let stop = task.abort_handle();
        let failure = match tokio::time::timeout(DEADLINE, task).await {
            Ok(Ok(Ok(()))) => None,
            Ok(Ok(Err(error))) => Some(chain(&*error)),
            Ok(Err(join)) => Some(match join.try_into_panic() {
                Ok(panic) => panic_text(&*panic),
                Err(_) => "the case was cancelled".into(),
            }),
            Err(_) => {
                stop.abort();
                Some(overdue(case.name, DEADLINE))
            }
        };
        let (outcome, message) = match (failure, case.known_failure) {
            (Some(_), Some(reason)) => (
                Outcome::Unsupported,
                Some(format!("known failure: {reason}")),
            ),
            (None, Some(_)) => {
                let message = "it passes: remove it from the list of known failures";
                (Outcome::Failed, Some(message.into()))
            }
            (Some(failure), None) => (Outcome::Failed, Some(case.explained(failure))),
            (None, None) if case.unsupported => (Outcome::Unsupported, None),
            (None, None) => (Outcome::Passed, None),
        };
        CaseReport {
            backend: self.backend.clone(),
            server: self.server.clone(),
            contract: self.contract.into(),
            case: case.name.into(),
            outcome,
            millis: u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX),
            message,
        }
    }

    /// Runs every case, one after the other.
    pub async fn run(&self) -> Report {
        let mut report = Report::default();
        for index in 0..self.cases.len() {
            report.cases.push(self.run_case(index).await);
        }
        report
    }
}

impl fmt::Debug for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suite")
            .field("backend", &self.backend)
            .field("contract", &self.contract)
            .field("cases", &self.cases.len())
            .finish_non_exhaustive()
    }
}

/// The message for a case or a test that did not end in time.
pub fn overdue(name: &str, deadline: Duration) -> String {
    format!(
        "{name} did not end within {} s: it waits for something that never happens",
        deadline.as_secs()
    )
}

fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).into()))
        .unwrap_or_else(|| "the case panicked".into())
}

#[cfg(test)]
mod tests {
    use store_core::{Result, Store};

    use super::*;
    use crate::harness::Opened;

    struct Nothing;

    #[async_trait::async_trait]
    impl Harness<Store> for Nothing {
        fn backend(&self) -> String {
            "nothing".into()
        }

        async fn open(&self, (): ()) -> Result<Opened<Store>> {
            Err(store_core::Error::unsupported("there is nothing"))
        }
    }

    type Given = Arc<dyn Harness<Store>>;

    async fn it_fails(harness: Given) -> CaseResult {
        harness.open(()).await?;
        Ok(())
    }

    async fn it_passes(_: Given) -> CaseResult {
        Ok(())
    }

    #[tokio::test]
    async fn a_known_failure_must_fail_and_no_other_may() {
        let cases = vec![crate::case!(it_fails), crate::case!(it_passes)];
        let suite = |list| Suite::new("c", Arc::new(Nothing), cases.clone()).known_to_fail(list);
        for (list, expected) in [
            (&[][..], [Outcome::Failed, Outcome::Passed]),
            (
                &[("c::it_fails", "why")],
                [Outcome::Unsupported, Outcome::Passed],
            ),
            (
                &[("c::it_passes", "why")],
                [Outcome::Failed, Outcome::Failed],
            ),
            (
                &[("d::it_fails", "why")],
                [Outcome::Failed, Outcome::Passed],
            ),
        ] {
            let report = suite(list).run().await;
            let outcomes: Vec<_> = report.cases.iter().map(|case| case.outcome).collect();
            assert_eq!(outcomes, expected, "{list:?}");
        }
    }

    async fn it_needs_more(_: Given) -> CaseResult {
        Err("refused".into())
    }

    #[tokio::test]
    async fn a_failure_names_what_may_be_declared() {
        let case: Case<Store> = crate::case!(it_needs_more);
        let case = case.needs("close", |_| Box::pin(async { Ok(()) }));
        let report = Suite::new("c", Arc::new(Nothing), vec![case]).run().await;
        let message = report.cases[0].message.clone().unwrap_or_default();
        assert!(message.contains("needs \"close\""), "{message}");
        assert!(message.contains("Harness::unsupported"), "{message}");
    }
}
