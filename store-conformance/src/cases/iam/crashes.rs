//! Deletions that are cut short, and who goes on with them.
//!
//! These are about the standard implementation over a backend: the first
//! commit of a deletion gets through, and then the network is gone.

use std::sync::Arc;

use store_core::entity::{EntityStore, Key};
use store_core::iam::{Group, Identity, Paging, Policy, RecordEntities, User};
use store_core::tenants::Tenant;
use store_core::{ErrorKind, Result, Store};

use super::fixtures::path;
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

/// A company whose user `ada`, in a group and with a policy, was just deleted
/// by someone whose network was gone after the first commit.
async fn interrupted(opened: &Opened<Store>) -> Result<Identity> {
    let identity = Identity::new(&*opened.first);
    identity
        .tenants
        .create(Tenant::new(&path("1"), "one"))
        .await?;
    let one = identity.iam.tenant(&path("1"));
    one.users().create(User::new(&path("1"), "ada")).await?;
    one.groups().create(Group::new(&path("1"), "devs")).await?;
    let read = one
        .policies()
        .create(Policy::new(&path("1"), "read", "{}"))
        .await?;
    one.users().attach("ada", &read.arn).await?;
    one.groups().add_member("devs", "ada").await?;

    let records = Arc::clone(opened.second.records());
    let lost = std::iter::once(Fault::None).chain(std::iter::repeat_n(Fault::LoseRequest, 20));
    let failing = RecordEntities::new(Arc::new(Lossy::scripted(records, lost)));
    EntityStore::<User>::delete(&failing, &Key::new(&path("1"), "ada")).await?;
    Ok(identity)
}

async fn an_interrupted_deletion_hands_nothing_on(harness: Backend) -> CaseResult {
    let opened = harness.open(()).await?;
    let one = interrupted(&opened).await?.iam.tenant(&path("1"));
    assert!(one.users().get("ada").await?.is_none());
    let members = one.groups().members("devs", &Paging::new()).await?;
    assert!(members.items.is_empty());
    one.users().create(User::new(&path("1"), "ada")).await?;
    let all = Paging::new();
    assert!(one.users().attached("ada", &all).await?.items.is_empty());
    assert!(one.users().groups("ada", &all).await?.items.is_empty());
    assert!(one.groups().members("devs", &all).await?.items.is_empty());
    Ok(())
}

async fn an_interrupted_deletion_is_finished_by_anyone(harness: Backend) -> CaseResult {
    let opened = harness.open(()).await?;
    interrupted(&opened).await?;
    let one = Identity::new(&*opened.second).iam.tenant(&path("1"));
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
    one.policies().delete("read").await?;
    one.groups().delete("devs").await?;
    identity.tenants.delete(&path("1")).await?;
    let gone = one.users().create(User::new(&path("1"), "ada")).await;
    assert_eq!(
        gone.expect_err("the tenant is gone").kind(),
        ErrorKind::NotFound
    );
    Ok(())
}
