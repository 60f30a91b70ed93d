//! What is checked before an entity is written, and after one is read.

use std::sync::Arc;

use crate::entity::{
    Arn, Incarnation, TenantPath, check_name, check_path, check_tags, name_in_cloud_arn,
};
use crate::error::{Error, Result};
use crate::iam::{Policy, TenantEntity};

/// How an ARN names a policy.
pub(super) enum PolicyName {
    Id(String),
    Name(String),
}

/// How `arn` names a policy of `tenant`; `None` if it does not.
pub(super) fn policy_named_by(arn: &str, tenant: &TenantPath) -> Option<PolicyName> {
    let kind = Policy::FAMILY.kind;
    match arn.parse::<Arn>() {
        Ok(arn) => (arn.kind == kind && arn.tenant == *tenant).then_some(PolicyName::Id(arn.id)),
        Err(_) => name_in_cloud_arn(arn, kind).map(PolicyName::Name),
    }
}

/// Whether two entities would be stored alike.
pub(super) fn equal<E: TenantEntity>(a: &E, b: &E) -> bool {
    match (serde_json::to_value(a), serde_json::to_value(b)) {
        (Ok(a), Ok(b)) => a == b,
        // A new secret that is not sealed yet.
        _ => false,
    }
}

/// Whether the caller chose the id, so that a record leads from it.
pub(super) fn has_chosen_id<E: TenantEntity>(entity: &E) -> bool {
    Incarnation::from_id(E::FAMILY.id_prefix, entity.id()) != Some(entity.incarnation())
}

/// The entity, if it has the name that was asked for: long names are stored as
/// their digest.
pub(super) fn verified<E: TenantEntity>(entity: Arc<E>, name: &str) -> Result<Arc<E>> {
    if entity.name() != name {
        return Err(Error::corrupt(
            "an entity is stored under the name of another; was it written by another program?",
        ));
    }
    Ok(entity)
}

/// Rejects what could never be stored.
pub(super) fn check<E: TenantEntity>(entity: &E) -> Result<()> {
    let meta = entity.meta();
    check_name(&meta.name)?;
    check_path(&meta.path)?;
    if meta.id.len() > 255 || meta.id.contains(char::is_control) {
        return Err(Error::invalid(
            "an id is at most 255 bytes long and contains no control character",
        ));
    }
    check_tags(&meta.tags)?;
    entity.check()
}

/// Refuses a policy or a role without a document. The store does not read it.
pub(super) fn check_document(document: &str) -> Result<()> {
    if document.is_empty() {
        return Err(Error::invalid(
            "the document of a policy is empty; give it one",
        ));
    }
    Ok(())
}

/// `NotFound`, for an entity that does not exist or was deleted.
pub(super) fn absent<E: TenantEntity>() -> Error {
    Error::not_found(format!(
        "there is no such {} in this tenant; check its name",
        E::FAMILY.kind
    ))
}

/// The same answer for a policy that does not exist and one of another tenant.
pub(super) fn no_policy() -> Error {
    Error::not_found("there is no such policy in this tenant; check its ARN")
}
