//! What a store can do, as data.

use std::fmt;

/// How a store offers something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Support {
    /// The server does it in one operation.
    Native,
    /// It is built from other operations, with the same promises.
    Emulated,
    /// It is refused with `Unsupported`.
    #[default]
    No,
}

impl Support {
    /// `Native` if the backend was compiled with its own implementation, and otherwise
    /// `Emulated`: store-core then builds the contract from records.
    pub const fn native_if(compiled: bool) -> Self {
        if compiled {
            Self::Native
        } else {
            Self::Emulated
        }
    }
}

/// What an acknowledged write survives, as the store is configured.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Durability {
    /// The store does not know.
    #[default]
    Unknown,
    /// Nothing: it is lost with the process.
    Process,
    /// A restart of the server, but perhaps not its crash.
    Restart,
    /// A crash of the server.
    Crash,
    /// The loss of a machine.
    Replicated,
}

/// What a store can do, how, and how durably.
///
/// Every store follows rules R1 to R10, whatever this says. It says what those
/// promises cost on this store, and which optional properties the store has.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// The backend's name: `memory`, `postgres` …; a layer adds its own, as in `cached(redis)`.
    pub backend: String,
    /// Commits of more than one record.
    pub transactions: Support,
    /// Scans in order within a partition.
    pub ordered_scans: Support,
    /// Scans over all partitions of a collection.
    pub collection_scans: Support,
    /// Expired records removed without a sweep.
    pub native_expiry: Support,
    /// Notifications of other clients' changes to cacheable collections.
    pub change_notice: Support,
    /// Streamed objects.
    pub blobs: Support,
    /// `take` on a bucket.
    pub rate_limits: Support,
    /// Answers without a future where they are in memory.
    pub immediate_answers: Support,
    /// What an acknowledged write survives.
    pub durability: Durability,
    /// What survives less than that, because it was asked to: the name of a
    /// collection or of another part of the store, and what it survives.
    pub exceptions: Vec<(&'static str, Durability)>,
}

impl Capabilities {
    /// A store of this name about which nothing else is known.
    pub fn new(backend: impl Into<String>) -> Self {
        Self {
            backend: backend.into(),
            ..Self::default()
        }
    }

    /// These capabilities without those whose Cargo feature is off, for a backend to
    /// return.
    #[must_use]
    pub fn compiled(mut self) -> Self {
        if !cfg!(feature = "blobs") {
            self.blobs = Support::No;
        }
        if !cfg!(feature = "limits") {
            self.rate_limits = Support::No;
        }
        self
    }

    /// Each capability by a name for people, and how it is offered: for a table.
    ///
    /// ```
    /// # use store_core::{Capabilities, Support};
    /// let mut mine = Capabilities::new("mine");
    /// mine.transactions = Support::Native;
    /// assert_eq!(mine.rows()[0], ("transactions", "native".to_string()));
    /// ```
    pub fn rows(&self) -> Vec<(&'static str, String)> {
        // Without `..`: a new capability must be shown too.
        let Self {
            backend: _,
            transactions,
            ordered_scans,
            collection_scans,
            native_expiry,
            change_notice,
            blobs,
            rate_limits,
            immediate_answers,
            durability,
            exceptions,
        } = self;
        let mut survived = durability.to_string();
        for (part, durability) in exceptions {
            survived.push_str(&format!("; {part}: {durability}"));
        }
        vec![
            ("transactions", transactions.to_string()),
            ("ordered scans", ordered_scans.to_string()),
            ("collection scans", collection_scans.to_string()),
            ("native expiry", native_expiry.to_string()),
            ("change notice", change_notice.to_string()),
            ("blobs", blobs.to_string()),
            ("rate limits", rate_limits.to_string()),
            ("answers without I/O", immediate_answers.to_string()),
            ("writes survive", survived),
        ]
    }
}

impl fmt::Display for Support {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Native => "native",
            Self::Emulated => "emulated",
            Self::No => "no",
        })
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unknown => "unknown",
            Self::Process => "nothing",
            Self::Restart => "a restart",
            Self::Crash => "a crash",
            Self::Replicated => "the loss of a machine",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contract_that_is_not_compiled_is_not_claimed() {
        let mut claimed = Capabilities::new("mine");
        claimed.blobs = Support::Native;
        claimed.rate_limits = Support::Native;
        let compiled = claimed.compiled();
        assert_eq!(compiled.blobs != Support::No, cfg!(feature = "blobs"));
        assert_eq!(
            compiled.rate_limits != Support::No,
            cfg!(feature = "limits")
        );
    }
}
