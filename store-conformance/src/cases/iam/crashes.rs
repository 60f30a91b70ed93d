//! Interrupted deletions, and how they are completed.
//!
//! These are about the standard implementation over a backend: the first
//! commit of a deletion succeeds, and then the network fails.

use std::sync::Arc;

use store_core::entity::{EntityStore, Key};
use store_core::iam::{Group, Identity, Policy, RecordEntities, User};
use store_core::tenants::Tenant;
use store_core::{ErrorKind, PageRequest, Result, Store};

use super::fixtures::{path, ring};
use crate::case;
use crate::faults::{Fault, Lossy};
use crate::harness::{Harness, Opened};
use crate::suite::{Case, CaseResult};

type Backend = Arc<dyn Harness<Store>>;

pub(super) fn cases() -> Vec<Case<Store>> {
    vec![
        case!(an_interrupted_deletion_hands_nothing_on, "23", "39"),
        case!(an_interrupted_deletion_is_finished_by_anyone, "39"),
        case!(an_interrupted_deletion_does_not_keep_its_policies, "39"),
    ]
}

const POLICIES: [&str; 9] = ["read", "p1", "p2", "p3", "p4", "p5", "p6", "p7", "p8"];

/// A company whose user `ada`, in a group and with a policy, was just deleted
/// by a process whose network failed after the first commit.
async fn interrupted(opened: &Opened<Store>) -> Result<Identity> {
    let identity = Identity::new(&*opened.first, &ring());
    identity
        .tenants
        .create(Tenant::new(&path("1"), "one"))
        .await?;
    let one = identity.iam.tenant(&path("1"));
    one.users().create(User::new("ada")).await?;
    one.groups().create(Group::new("devs")).await?;
    // More policies than one commit detaches.
    for name in POLICIES {
        let policy = one.policies().create(Policy::new(name, "{}")).await?;
        one.user("ada").attach_policy(policy.arn()).await?;
    }
    one.group("devs").add_member("ada").await?;

    let records = Arc::clone(opened.second.records());
    let lost = std::iter::once(Fault::None).chain(std::iter::repeat_n(Fault::LoseRequest, 20));
    let failing = RecordEntities::new(
        Store::new(Arc::new(Lossy::scripted(records, lost))),
        &ring(),
    );
    EntityStore::<User>::delete(&failing, &Key::new(&path("1"), "ada")).await?;
    Ok(identity)
}

async fn an_interrupted_deletion_hands_nothing_on(harness: Backend) -> CaseResult {
    let opened = harness.open(()).await?;
    let one = interrupted(&opened).await?.iam.tenant(&path("1"));
    assert!(one.users().get("ada").await?.is_none());
    let members = one.group("devs").members(&PageRequest::new()).await?;
    assert!(members.items.is_empty());
    one.users().create(User::new("ada")).await?;
    let all = PageRequest::new();
    assert!(
        one.user("ada")
            .attached_policies(&all)
            .await?
            .items
            .is_empty()
    );
    assert!(one.user("ada").groups(&all).await?.items.is_empty());
    assert!(one.group("devs").members(&all).await?.items.is_empty());
    Ok(())
}

async fn an_interrupted_deletion_is_finished_by_anyone(harness: Backend) -> CaseResult {
    let opened = harness.open(()).await?;
    interrupted(&opened).await?;
    let one = Identity::new(&*opened.second, &ring())
        .iam
        .tenant(&path("1"));
    assert!(one.sweep().await?, "there was something to sweep");
    assert!(!one.sweep().await?, "and now there is not");
    let read = one.policies().get("read").await?.expect("still there");
    assert_eq!(read.attachment_count, 0);
    Ok(())
}

async fn an_interrupted_deletion_does_not_keep_its_policies(harness: Backend) -> CaseResult {
    let opened = harness.open(()).await?;
    let identity = interrupted(&opened).await?;
    let one = identity.iam.tenant(&path("1"));
    for name in POLICIES {
        one.policies().delete(name).await?;
    }
    one.groups().delete("devs").await?;
    identity.tenants.delete(&path("1")).await?;
    let late = one.users().create(User::new("ada")).await;
    assert_eq!(
        late.expect_err("the tenant is deleted").kind(),
        ErrorKind::NotFound
    );
    Ok(())
}
