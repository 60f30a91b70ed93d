//! Deleting what owns more than one commit can remove.
//!
//! Records that a deletion left behind belong to nothing, so no call of the
//! contract shows them. These cases look at the records of the standard
//! implementation.

use std::sync::Arc;

use store_core::collections;
use store_core::entity::Listing;
use store_core::iam::{Group, Identity, InlinePolicy, Policy, User};
use store_core::tenants::Tenant;
use store_core::{PageRequest, Partition, Result, Scan, Store};

use super::fixtures::{path, ring};
use crate::case;
use crate::harness::{Harness, Opened};
use crate::suite::{Case, CaseResult};

type Backend = Arc<dyn Harness<Store>>;

pub(super) fn cases() -> Vec<Case<Store>> {
    vec![case!(
        a_user_that_owns_more_than_a_hundred_things_is_deleted,
        "23"
    )]
}

/// How many records of a tenant's identities there are in a collection.
async fn records(store: &Store, collection: &str) -> Result<usize> {
    let all = collections::all();
    let collection = all.into_iter().find(|one| one.name() == collection);
    let collection = collection.expect("a collection of identities");
    let scan = Scan::partition(collection, Partition::new("iam/1")?).limit(1000)?;
    Ok(store.records().scan(&scan).await?.items.len())
}

async fn a_user_that_owns_more_than_a_hundred_things_is_deleted(harness: Backend) -> CaseResult {
    let Opened { first, second, .. } = harness.open(()).await?;
    let identity = Identity::new(&*first, &ring());
    let tenant = Tenant::new(&path("1"), "one");
    identity.tenants.create(tenant).await?;
    let one = identity.iam.tenant(&path("1"));
    one.users().create(User::new("ada")).await?;
    let policy = one.policies().create(Policy::new("read", "{}")).await?;
    one.user("ada").attach_policy(policy.arn()).await?;
    let groups: Vec<String> = (0..60).map(|i| format!("group {i}")).collect();
    // As many as one commit can hold with the groups that it reads.
    for groups in groups.chunks(30) {
        one.transaction(|tx| {
            let create = |name| tx.create(Group::new(name)).map(drop);
            groups.iter().try_for_each(create)
        })
        .await?;
        one.transaction(|tx| {
            let join = |group: &String| tx.add_member(group, "ada");
            let joined: Vec<Result<()>> = groups.iter().map(join).collect();
            joined.into_iter().collect::<Result<()>>()
        })
        .await?;
    }
    one.transaction(|tx| {
        let put = |i| tx.put_inline_policy::<User>("ada", InlinePolicy::new(format!("{i}"), "{}"));
        let put: Vec<Result<()>> = (0..45).map(put).collect();
        put.into_iter().collect::<Result<()>>()
    })
    .await?;
    assert_eq!(records(&first, "iam_members").await?, 60);
    assert_eq!(records(&first, "iam_inline_policies").await?, 45);

    let one = Identity::new(&*second, &ring()).iam.tenant(&path("1"));
    one.user("ada").delete().await?;
    for collection in ["iam_members", "iam_inline_policies", "iam_leftovers"] {
        assert_eq!(records(&first, collection).await?, 0, "{collection}");
    }
    one.users().create(User::new("ada")).await?;
    let all = PageRequest::new();
    assert!(one.user("ada").groups(&all).await?.items.is_empty());
    assert_eq!(one.groups().list(&Listing::new()).await?.items.len(), 60);
    one.policy("read").delete().await?;
    Ok(())
}
