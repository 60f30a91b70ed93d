//! Identities: users, groups and policies of two companies.

use store_core::iam::{Group, Identity, Policy, User};
use store_core::secret::KeyRing;
use store_core::tenants::{Quotas, Tenant, TenantPath};
use store_core::{ErrorKind, PageRequest, Store};

use crate::screen::Screen;
use crate::{Tour, must, said};

pub async fn chapter(screen: &Screen, store: &Store) -> Tour {
    screen.chapter("A small company");
    let identity = Identity::new(store, &KeyRing::random());
    let (acme, rival) = (TenantPath::root(1), TenantPath::root(2));
    let mut quotas = Quotas::default();
    quotas.max_users = Some(3);
    let tenants = &identity.tenants;
    let created = tenants
        .create(Tenant::new(&acme, "Acme").with_quotas(quotas))
        .await;
    created.map_err(said)?;
    tenants
        .create(Tenant::new(&rival, "Rival"))
        .await
        .map_err(said)?;
    let (at_acme, at_rival) = (identity.iam.tenant(&acme), identity.iam.tenant(&rival));

    let group = Group::new("engineers");
    at_acme.groups().create(group).await.map_err(said)?;
    for name in ["ada", "grace", "linus"] {
        let user = User::new(name).with_path("/eng/");
        at_acme.users().create(user).await.map_err(said)?;
        at_acme
            .group("engineers")
            .add_member(name)
            .await
            .map_err(said)?;
    }
    screen.yes("hired ada, grace and linus", "as engineers of Acme");

    let fourth = at_acme.users().create(User::new("dennis")).await;
    let fourth = fourth
        .err()
        .ok_or("a promise was broken: a quota of three holds")?;
    must(
        fourth.is(ErrorKind::LimitExceeded),
        "a quota reports that it was reached",
    )?;
    screen.no("no fourth user", "Acme's quota is three");

    let policy = Policy::new("deploy", r#"{"Effect":"Allow","Action":"deploy"}"#);
    let policy = at_acme.policies().create(policy).await.map_err(said)?;
    at_acme
        .user("ada")
        .attach_policy(policy.arn())
        .await
        .map_err(said)?;
    screen.yes("ada may deploy", policy.arn().to_string());

    at_rival
        .users()
        .create(User::new("mallory"))
        .await
        .map_err(said)?;
    let across = at_rival.user("mallory").attach_policy(policy.arn()).await;
    let across = across
        .err()
        .ok_or("a promise was broken: a foreign policy is not attached")?;
    must(
        across.is(ErrorKind::NotFound),
        "a foreign policy and an absent one are one answer",
    )?;
    screen.no(
        "mallory of Rival may not attach it",
        "not found, as if it did not exist",
    );

    at_acme.users().delete("ada").await.map_err(said)?;
    at_acme
        .users()
        .create(User::new("ada"))
        .await
        .map_err(said)?;
    let inherited = at_acme
        .user("ada")
        .attached_policies(&PageRequest::new())
        .await
        .map_err(said)?;
    must(
        inherited.items.is_empty(),
        "a recreated user inherits nothing",
    )?;
    let policy = at_acme
        .policies()
        .by_arn(policy.arn())
        .await
        .map_err(said)?;
    let policy = policy.ok_or("a promise was broken: the policy is still there")?;
    must(
        policy.attachment_count == 0,
        "the count is the real number of attachments",
    )?;
    screen.yes(
        "a new ada inherits nothing",
        "the policy counts no attachment",
    );
    Ok(())
}
