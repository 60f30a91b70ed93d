//! The capabilities of a store, depending on the options with which it was opened.

use store_core::{Capabilities, Durability, Support};

use crate::error::BACKEND;

/// The optional properties of a store.
#[derive(Clone, Debug)]
pub(crate) struct Extras {
    /// The transient collections that were declared.
    pub(crate) transient: Vec<&'static str>,
    pub(crate) change_notice: bool,
    pub(crate) relaxed_limits: bool,
    pub(crate) unlogged_transient: bool,
}

impl Extras {
    pub(crate) fn capabilities(&self, durability: Durability) -> Capabilities {
        let mut capabilities = Capabilities::new(BACKEND);
        capabilities.transactions = Support::Native;
        capabilities.ordered_scans = Support::Native;
        capabilities.collection_scans = Support::Native;
        capabilities.blobs = Support::Emulated;
        capabilities.rate_limits = Support::native_if(cfg!(feature = "limits"));
        if self.change_notice {
            capabilities.change_notice = Support::Native;
        }
        capabilities.durability = durability;
        // The exceptions matter only if the server's other data survives a crash.
        if matches!(durability, Durability::Crash | Durability::Replicated) {
            let limits = self.relaxed_limits.then_some("rate limits");
            let transient = self.transient.iter().copied();
            let transient = transient.filter(|_| self.unlogged_transient);
            capabilities.exceptions = limits
                .into_iter()
                .chain(transient)
                .map(|part| (part, Durability::Restart))
                .collect();
        }
        capabilities.compiled()
    }
}
