//! The results of a run.

use serde::{Deserialize, Serialize};

/// How one case ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The promise holds.
    Passed,
    /// The promise does not hold.
    Failed,
    /// The store declares that it does not support this, and refused the call as
    /// required.
    Unsupported,
}

/// The result of one case on one backend.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CaseReport {
    /// The name of the tested implementation.
    pub backend: String,
    /// The server and its version; empty if there is none.
    pub server: String,
    /// `records`, or the name of the contract's module in `store-core`.
    pub contract: String,
    /// The promise.
    pub case: String,
    /// The result.
    pub outcome: Outcome,
    /// How long it took, in milliseconds.
    pub millis: u64,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// The results of all cases of a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Report {
    /// The results, in the order in which the cases ended.
    pub cases: Vec<CaseReport>,
}

impl Report {
    /// The cases that failed.
    pub fn failed(&self) -> impl Iterator<Item = &CaseReport> {
        self.cases
            .iter()
            .filter(|case| case.outcome == Outcome::Failed)
    }
}
