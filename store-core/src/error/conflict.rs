//! Failed expectations of a commit.

use super::RedactedKey;
use crate::key::RecordRef;
use crate::record::Record;

/// Which expectations of a commit did not hold, and what was found instead.
#[derive(Clone, Debug)]
pub struct Conflict {
    failed: Vec<FailedItem>,
}

impl Conflict {
    /// A conflict over these items. At least one is expected.
    pub fn new(failed: Vec<FailedItem>) -> Self {
        Self { failed }
    }

    /// The items whose expectation failed, in the batch's order.
    pub fn failed(&self) -> &[FailedItem] {
        &self.failed
    }

    /// The failed item at this position of the batch.
    pub fn item(&self, index: usize) -> Option<&FailedItem> {
        self.failed.iter().find(|failed| failed.index == index)
    }
}

/// One expectation that did not hold.
#[derive(Clone, Debug)]
pub struct FailedItem {
    index: usize,
    key: RedactedKey,
    current: Option<Record>,
}

impl FailedItem {
    /// The item at `index` of the batch, named by `at`, found as `current`
    /// (`None` for absent).
    pub fn new(index: usize, at: RecordRef<'_>, current: Option<Record>) -> Self {
        Self {
            index,
            key: at.redacted(),
            current,
        }
    }

    /// The item's position in the batch.
    pub fn index(&self) -> usize {
        self.index
    }

    /// The record's name, redacted.
    pub fn key(&self) -> &RedactedKey {
        &self.key
    }

    /// The record as it was when the commit was refused; `None` if absent.
    pub fn current(&self) -> Option<&Record> {
        self.current.as_ref()
    }
}
