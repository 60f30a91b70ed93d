//! What lives under a principal: attachments, inline policies, memberships.

use serde::{Deserialize, Serialize};

use crate::body::{Format, Unknown};
use crate::entity::{Dependant, Incarnation};
use crate::error::Result;
use crate::iam::layout::{dependant_key, entity_key, roster_key};
use crate::iam::{Policy, TenantTransaction};
use crate::key::Collection;

/// Managed policies attached to a principal.
pub const ATTACHED: Dependant = Dependant {
    kind: "attached_policies",
    collection: Collection::new("iam_attachments"),
    limit: Some(20),
    // Each rewrites a policy, which may be as large as a body can be.
    swept_at_once: 10,
    unlink: |tx, record| {
        let attachment = record.decode::<Attachment>()?;
        tx.count_attachment(&attachment.policy_name, -1)
    },
};

/// A principal's own policies.
pub const INLINE: Dependant = Dependant {
    kind: "inline_policies",
    collection: Collection::new("iam_inline_policies"),
    limit: Some(50),
    swept_at_once: 50,
    unlink: |_, _| Ok(()),
};

/// The groups that a user is in.
pub const JOINED: Dependant = Dependant {
    kind: "groups",
    collection: Collection::new("iam_memberships"),
    limit: Some(100),
    // Each touches both halves and the other's roster.
    swept_at_once: 30,
    unlink: |tx, record| {
        let membership = record.decode::<Membership>()?;
        unlink_membership(tx, &MEMBERS, membership.group, membership.user)
    },
};

/// The users that are in a group.
pub const MEMBERS: Dependant = Dependant {
    kind: "members",
    collection: Collection::new("iam_members"),
    limit: None,
    // Each touches both halves and the other's roster.
    swept_at_once: 30,
    unlink: |tx, record| {
        let membership = record.decode::<Membership>()?;
        unlink_membership(tx, &JOINED, membership.user, membership.group)
    },
};

/// All that this version knows to sweep.
pub(super) const ALL: &[Dependant] = &[ATTACHED, INLINE, JOINED, MEMBERS];

/// Removes the other half of a membership, which `other` counts as `kind`.
fn unlink_membership(
    tx: &mut TenantTransaction<'_>,
    kind: &Dependant,
    other: Incarnation,
    gone: Incarnation,
) -> Result<()> {
    let half = dependant_key(kind, other, &gone.to_string())?;
    let roster = roster_key(other)?;
    tx.raw().need([&half, &roster])?;
    if tx.raw().exists(&half)? {
        tx.raw().delete(&half)?;
        // The other may be gone too, with its own half yet to be swept.
        tx.count_dependant(&roster, kind, -1)?;
    }
    Ok(())
}

impl TenantTransaction<'_> {
    /// Counts one attachment more or less in the policy.
    pub(super) fn count_attachment(&mut self, policy_name: &str, by: i64) -> Result<()> {
        let key = entity_key::<Policy>(policy_name)?;
        let Some(policy) = self.raw().read::<Policy>(&key)? else {
            return Ok(());
        };
        let mut policy = (*policy).clone();
        policy.attachment_count = policy.attachment_count.saturating_add_signed(by);
        self.raw().put(&key, policy)
    }
}

/// A managed policy attached to a principal, as stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Attachment {
    #[serde(default)]
    pub(super) format: Format<1>,
    pub(super) policy_name: String,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

/// A user's being in a group, as stored under both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Membership {
    #[serde(default)]
    pub(super) format: Format<1>,
    pub(super) user: Incarnation,
    pub(super) group: Incarnation,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

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
    pub fn new(policy_name: impl Into<String>, policy_arn: impl Into<String>) -> Self {
        Self {
            policy_name: policy_name.into(),
            policy_arn: policy_arn.into(),
        }
    }
}

/// A policy that one principal alone has.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InlinePolicy {
    /// How this is written.
    #[serde(default)]
    pub format: Format<1>,
    /// Its name, unique with its principal.
    pub policy_name: String,
    /// The document. The store does not look into it.
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
}
