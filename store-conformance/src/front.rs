//! A whole test program, on libtest-mimic.

use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use libtest_mimic::{Arguments, Failed, Trial};

use crate::report::{Outcome, Report};
use crate::suite::Suite;

/// The environment variable with the file to which [`main`] writes its [`Report`] as
/// JSON.
pub const REPORT_FILE: &str = "STORE_CONFORMANCE_REPORT";

/// Runs `suites` as a test program (`harness = false`). Each case is a test, which the
/// usual arguments can list and filter.
///
/// ```no_run
/// # use std::sync::Arc;
/// # use store_conformance::{Harness, Opened, store_core::{Result, Store}};
/// # struct MyHarness;
/// # #[async_trait::async_trait]
/// # impl Harness<Store> for MyHarness {
/// #     fn backend(&self) -> String { "mine".into() }
/// #     async fn open(&self, (): ()) -> Result<Opened<Store>> { unreachable!() }
/// # }
/// fn main() -> std::process::ExitCode {
///     store_conformance::main(store_conformance::cases::all(Arc::new(MyHarness)))
/// }
/// ```
pub fn main(suites: Vec<Suite>) -> ExitCode {
    let arguments = Arguments::from_args();
    let runtime = Arc::new(
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(4)
            .enable_all()
            .build()
            .expect("a runtime can be started"),
    );
    let report = Arc::new(Mutex::new(Report::default()));
    let mut trials = Vec::new();
    for suite in suites {
        let suite = Arc::new(suite);
        for (index, (name, _)) in suite.cases().enumerate() {
            let (suite, runtime, report) = (suite.clone(), runtime.clone(), report.clone());
            let name = format!("{}::{}::{name}", suite.backend(), suite.contract());
            trials.push(Trial::test(name, move || {
                let case = runtime.block_on(suite.run_case(index));
                let verdict = match case.outcome {
                    Outcome::Failed => Err(Failed::from(case.message.clone().unwrap_or_default())),
                    Outcome::Passed | Outcome::Unsupported => Ok(()),
                };
                report.lock().expect("no test panics here").cases.push(case);
                verdict
            }));
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    if let Ok(file) = std::env::var(REPORT_FILE) {
        let json = serde_json::to_vec_pretty(&*report.lock().expect("no test panics here"))
            .expect("a report is plain data");
        if let Err(error) = std::fs::write(&file, json) {
            eprintln!("could not write the report to {file}: {error}");
            return ExitCode::FAILURE;
        }
    }
    conclusion.exit_code()
}
