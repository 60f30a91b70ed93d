//! Policies of principals, as lists and documents show them.

use serde::{Deserialize, Serialize};

use crate::body::{Format, Unknown};
use crate::entity::check_name;
use crate::error::Result;
use crate::iam::checks::check_document;

/// A managed policy that is attached to a principal.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachedPolicy {
    /// Its name.
    pub policy_name: String,
    /// Its ARN.
    pub policy_arn: String,
}

impl AttachedPolicy {
    /// A policy of this name and ARN.
    pub fn new(policy_name: impl Into<String>, policy_arn: impl ToString) -> Self {
        Self {
            policy_name: policy_name.into(),
            policy_arn: policy_arn.to_string(),
        }
    }
}

/// A policy that belongs to one principal alone.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InlinePolicy {
    /// The format that the record is written in.
    #[serde(default)]
    pub format: Format<1>,
    /// Its name, unique within its principal.
    pub policy_name: String,
    /// The document. The store does not interpret it.
    pub policy_document: String,
    /// Fields that this version does not know.
    #[serde(flatten)]
    pub unknown: Unknown,
}

impl InlinePolicy {
    /// A policy of this name and document.
    pub fn new(policy_name: impl Into<String>, policy_document: impl Into<String>) -> Self {
        Self {
            format: Format,
            policy_name: policy_name.into(),
            policy_document: policy_document.into(),
            unknown: Unknown::new(),
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        check_name(&self.policy_name)?;
        check_document(&self.policy_document)
    }
}
