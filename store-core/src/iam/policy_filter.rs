//! Filters of lists of policies.

use crate::iam::Policy;

/// Which policies a list includes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PolicyFilter {
    /// Where they come from.
    pub scope: PolicyScope,
    /// Only those that are attached to a principal.
    pub only_attached: bool,
}

/// Where policies come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PolicyScope {
    /// Anywhere.
    #[default]
    All,
    /// Policies of the tenant alone: mapped to no provider.
    Local,
    /// Policies that are mapped to at least one provider.
    Provider,
}

impl PolicyFilter {
    pub(super) fn includes(&self, policy: &Policy) -> bool {
        let of_scope = match self.scope {
            PolicyScope::All => true,
            PolicyScope::Local => policy.providers.is_empty(),
            PolicyScope::Provider => !policy.providers.is_empty(),
        };
        of_scope && (!self.only_attached || policy.attachment_count > 0)
    }
}
