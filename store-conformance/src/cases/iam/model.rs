//! Random calls on users, groups and policies, compared with plain maps.

mod policies;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use store_core::entity::{EntityStore, Key, Listing, Meta};
use store_core::iam::{
    Group, IamStore, InlinePolicy, Policy, Principal, PrincipalStore, TenantEntity, User,
};
use store_core::tenants::{Tenant, TenantPath};
use store_core::{Error, ErrorKind, Page, PageRequest};

use super::fixtures::{Everything, Sample, path};
use super::{Cases, Iam};
use crate::case;
use crate::cases::model::{Model, Random, after_forged, all_pages, failure, for_each_seed, run};
use crate::harness::Opened;
use crate::suite::CaseResult;

pub(super) fn cases() -> Cases {
    vec![case!(
        random_calls_are_answered_as_by_maps_of_identities,
        "12",
        "16",
        "23",
        "25"
    )]
}

async fn random_calls_are_answered_as_by_maps_of_identities(given: Iam) -> CaseResult {
    for_each_seed(|seed, calls| compare(&given, seed, calls)).await
}

/// Makes `calls` random calls that follow from `seed`.
pub(crate) async fn compare(given: &Iam, seed: u64, calls: usize) -> CaseResult {
    let tenants = TENANTS.map(|at| Tenant::new(&path(at), at)).to_vec();
    let fixtures = Everything {
        tenants,
        ..Everything::default()
    };
    let model = Identities {
        opened: given.open(fixtures).await?,
        principals: BTreeMap::new(),
        policies: BTreeMap::new(),
    };
    run(model, seed, calls).await
}

/// Two tenants, of which one begins as the other does.
const TENANTS: [&str; 2] = ["1", "12"];
/// Names that a store which folds, cuts or escapes them would mix up.
const NAMES: [&str; 3] = ["A", "a", "a/"];
const PATHS: [&str; 3] = ["/", "/x/", "/x/y/"];

/// A tenant, a kind (`user` or `group`) and a name.
type Name = (&'static str, &'static str, &'static str);

/// A principal, and what belongs to it.
#[derive(Clone, Default)]
struct Held {
    entity: Value,
    policies: BTreeSet<&'static str>,
    inline: BTreeMap<&'static str, String>,
    /// The groups of a user, by name.
    groups: BTreeSet<&'static str>,
}

struct Identities {
    opened: Opened<dyn IamStore>,
    principals: BTreeMap<Name, Held>,
    /// By tenant and name: its ARN, and whether it is attachable.
    policies: BTreeMap<(&'static str, &'static str), (String, bool)>,
}

fn json<E: TenantEntity>(entity: &E) -> Value {
    serde_json::to_value(entity).expect("an entity is JSON")
}

fn is_found(found: bool) -> Option<ErrorKind> {
    (!found).then_some(ErrorKind::NotFound)
}

#[async_trait]
impl Model for Identities {
    async fn call(&mut self, random: &mut Random) -> CaseResult {
        match random.below(3) {
            0 => self.call_on::<User>(random).await,
            1 => self.call_on::<Group>(random).await,
            _ => match random.below(10) {
                0..2 => self.create_policy(random).await,
                2 => self.delete_policy(random).await,
                3 => self.set_attachable(random).await,
                4..8 => self.join_or_leave(random).await,
                _ => self.read_memberships(random).await,
            },
        }
    }
}

impl Identities {
    fn tenant(random: &mut Random) -> &'static str {
        // Most calls meet in one tenant.
        TENANTS[usize::from(random.chance(15))]
    }

    async fn call_on<P>(&mut self, random: &mut Random) -> CaseResult
    where
        P: Principal + Sample,
        dyn IamStore: PrincipalStore<P>,
    {
        let name = (Self::tenant(random), P::FAMILY.kind(), random.pick(&NAMES));
        let key = Key::<P>::new(&path(name.0), name.2);
        let store = random.handle(&self.opened);
        match random.below(20) {
            0..4 => self.create::<P>(random, &store, name).await,
            4 => self.update(random, &store, name, &key).await,
            5 | 6 => self.rename(random, &store, name, &key).await,
            7 => self.delete(random, &store, name, &key).await,
            8..10 => self.attach(random, &store, name, &key).await,
            10 | 11 => self.detach(random, &store, name, &key).await,
            12 | 13 => self.put_inline(random, &store, name, &key).await,
            14..18 => self.read(random, &store, name, &key).await,
            _ => self.list::<P>(random, &store, name).await,
        }
    }

    async fn create<P>(
        &mut self,
        random: &mut Random,
        store: &Arc<dyn IamStore>,
        name: Name,
    ) -> CaseResult
    where
        P: Principal + Sample,
        dyn IamStore: EntityStore<P>,
    {
        let mut entity = P::sample(&path(name.0), name.2);
        entity.meta_mut().path = random.pick(&PATHS).into();
        random.note(format!("create {name:?}"));
        let answer = EntityStore::<P>::create(&**store, entity.clone()).await;
        let taken = self.principals.contains_key(&name);
        assert_eq!(failure(&answer), taken.then_some(ErrorKind::AlreadyExists));
        if !taken {
            let created = answer?;
            let meta: &Meta = created.meta();
            assert_eq!((&*meta.name, &meta.path), (name.2, &entity.meta().path));
            let held = Held {
                entity: json(&*created),
                ..Held::default()
            };
            self.principals.insert(name, held);
        }
        Ok(())
    }

    async fn update<P: Principal>(
        &mut self,
        random: &mut Random,
        store: &Arc<dyn IamStore>,
        name: Name,
        key: &Key<P>,
    ) -> CaseResult
    where
        dyn IamStore: EntityStore<P>,
    {
        let (to, refuses) = (random.pick(&PATHS), random.chance(20));
        random.note(format!(
            "set the path of {name:?} to {to:?}, refused: {refuses}"
        ));
        let edit = |entity: &mut P| {
            entity.meta_mut().path = to.into();
            match refuses {
                true => Err(Error::new(ErrorKind::PermissionDenied, "the edit refuses")),
                false => Ok(()),
            }
        };
        let answer = EntityStore::<P>::update(&**store, key, &edit).await;
        let Some(held) = self.principals.get_mut(&name) else {
            assert_eq!(failure(&answer), is_found(false));
            return Ok(());
        };
        if refuses {
            assert_eq!(failure(&answer), Some(ErrorKind::PermissionDenied));
            return Ok(());
        }
        let updated = answer?;
        assert_eq!(updated.meta().path, to);
        let (before, after) = (&held.entity, json(&*updated));
        assert_eq!(
            (&before["id"], &before["incarnation"]),
            (&after["id"], &after["incarnation"])
        );
        held.entity = after;
        Ok(())
    }

    async fn rename<P: Principal>(
        &mut self,
        random: &mut Random,
        store: &Arc<dyn IamStore>,
        name: Name,
        key: &Key<P>,
    ) -> CaseResult
    where
        dyn IamStore: PrincipalStore<P>,
    {
        let to = (name.0, name.1, random.pick(&NAMES));
        random.note(format!("rename {name:?} to {:?}", to.2));
        let answer = store.rename(key, to.2).await;
        let refusal = match self.principals.contains_key(&name) {
            false => Some(ErrorKind::NotFound),
            true => {
                let taken = name != to && self.principals.contains_key(&to);
                taken.then_some(ErrorKind::AlreadyExists)
            }
        };
        assert_eq!(failure(&answer), refusal);
        if refusal.is_none()
            && let Some(mut held) = self.principals.remove(&name)
        {
            held.entity["name"] = to.2.into();
            assert_eq!(json(&*answer?), held.entity);
            self.principals.insert(to, held);
            if P::FAMILY.kind() == "group" {
                self.each_user(name.0, |held| {
                    if held.groups.remove(name.2) {
                        held.groups.insert(to.2);
                    }
                });
            }
        }
        Ok(())
    }

    fn each_user(&mut self, tenant: &str, change: impl Fn(&mut Held)) {
        let users = self.principals.iter_mut();
        let users = users.filter(|(name, _)| name.0 == tenant && name.1 == "user");
        users.for_each(|(_, held)| change(held));
    }

    async fn delete<P: Principal>(
        &mut self,
        random: &mut Random,
        store: &Arc<dyn IamStore>,
        name: Name,
        key: &Key<P>,
    ) -> CaseResult
    where
        dyn IamStore: EntityStore<P>,
    {
        random.note(format!("delete {name:?}"));
        let answer = EntityStore::<P>::delete(&**store, key).await;
        let found = self.principals.remove(&name).is_some();
        assert_eq!(failure(&answer), is_found(found));
        if P::FAMILY.kind() == "group" {
            self.each_user(name.0, |held| {
                held.groups.remove(name.2);
            });
        }
        Ok(())
    }

    /// A policy of any tenant: where it is, and its ARN.
    fn policy(&self, random: &mut Random) -> ((&'static str, &'static str), String) {
        let stored = self
            .policies
            .iter()
            .map(|(name, policy)| (*name, policy.0.clone()));
        let absent = "arn:wami:iam:1:wami:main:policy/none".to_owned();
        match random.chance(90) {
            true => random.pick_any(stored).unwrap_or((("", ""), absent)),
            false => (("", ""), absent),
        }
    }

    async fn attach<P: Principal>(
        &mut self,
        random: &mut Random,
        store: &Arc<dyn IamStore>,
        name: Name,
        key: &Key<P>,
    ) -> CaseResult
    where
        dyn IamStore: PrincipalStore<P>,
    {
        let (policy, arn) = self.policy(random);
        random.note(format!("attach {policy:?} to {name:?}"));
        let answer = PrincipalStore::<P>::attach_policy(&**store, key, &arn).await;
        let attachable = self.policies.get(&policy).map(|policy| policy.1);
        let held = self.principals.get_mut(&name);
        let (Some(held), Some(attachable)) = (held, attachable.filter(|_| policy.0 == name.0))
        else {
            assert_eq!(failure(&answer), is_found(false));
            return Ok(());
        };
        if !attachable {
            // Attached already: either answer is right.
            let idempotent = answer.is_ok() && held.policies.contains(policy.1);
            assert!(idempotent || failure(&answer) == Some(ErrorKind::PermissionDenied));
            return Ok(());
        }
        answer?;
        held.policies.insert(policy.1);
        Ok(())
    }

    async fn detach<P: Principal>(
        &mut self,
        random: &mut Random,
        store: &Arc<dyn IamStore>,
        name: Name,
        key: &Key<P>,
    ) -> CaseResult
    where
        dyn IamStore: PrincipalStore<P>,
    {
        let (policy, arn) = self.policy(random);
        random.note(format!("detach {policy:?} from {name:?}"));
        let answer = PrincipalStore::<P>::detach_policy(&**store, key, &arn).await;
        let held = self
            .principals
            .get_mut(&name)
            .filter(|_| policy.0 == name.0);
        assert_eq!(failure(&answer), is_found(held.is_some()));
        if let Some(held) = held {
            held.policies.remove(policy.1);
        }
        Ok(())
    }

    async fn put_inline<P: Principal>(
        &mut self,
        random: &mut Random,
        store: &Arc<dyn IamStore>,
        name: Name,
        key: &Key<P>,
    ) -> CaseResult
    where
        dyn IamStore: PrincipalStore<P>,
    {
        let (policy, delete) = (random.pick(&NAMES), random.chance(30));
        let document = format!("{{\"n\":{}}}", random.below(100));
        random.note(format!(
            "put or delete ({delete}) the inline policy {policy:?} of {name:?}"
        ));
        let answer = match delete {
            true => PrincipalStore::<P>::delete_inline_policy(&**store, key, policy).await,
            false => {
                let policy = InlinePolicy::new(policy, &*document);
                PrincipalStore::<P>::put_inline_policy(&**store, key, policy).await
            }
        };
        let held = self.principals.get_mut(&name);
        assert_eq!(failure(&answer), is_found(held.is_some()));
        match held {
            Some(held) if delete => drop(held.inline.remove(policy)),
            Some(held) => drop(held.inline.insert(policy, document)),
            None => {}
        }
        Ok(())
    }

    async fn read<P: Principal>(
        &mut self,
        random: &mut Random,
        store: &Arc<dyn IamStore>,
        name: Name,
        key: &Key<P>,
    ) -> CaseResult
    where
        dyn IamStore: PrincipalStore<P>,
    {
        random.note(format!("read {name:?} and what belongs to it"));
        let limit = 1 + random.below(3);
        let found = EntityStore::<P>::get(&**store, key).await?;
        let held = self.principals.get(&name);
        assert_eq!(
            found.map(|entity| json(&*entity)),
            held.map(|held| held.entity.clone())
        );
        let policies = all_pages(limit, |page| async move {
            PrincipalStore::<P>::attached_policies(&**store, key, &page).await
        })
        .await;
        let inline = all_pages(limit, |page| async move {
            PrincipalStore::<P>::inline_policies(&**store, key, &page).await
        })
        .await;
        let Some(held) = held else {
            assert_eq!(failure(&policies), is_found(false));
            assert_eq!(failure(&inline), is_found(false));
            return Ok(());
        };
        let policies = policies?;
        let names = policies.iter().map(|policy| &*policy.policy_name);
        assert!(names.eq(held.policies.iter().copied()), "{policies:?}");
        assert_eq!(inline?, held.inline.keys().copied().collect::<Vec<_>>());
        let one = random.pick(&NAMES);
        let found = PrincipalStore::<P>::inline_policy(&**store, key, one).await?;
        let document = found.map(|policy| policy.policy_document.clone());
        assert_eq!(document.as_ref(), held.inline.get(one));
        Ok(())
    }

    async fn list<P>(
        &mut self,
        random: &mut Random,
        store: &Arc<dyn IamStore>,
        (tenant, kind, _): Name,
    ) -> CaseResult
    where
        P: Principal + Sample,
        dyn IamStore: EntityStore<P>,
    {
        let (prefix, limit) = (random.pick(&["", "/", "/x/", "/x/y"]), 1 + random.below(3));
        random.note(format!(
            "list each {kind} of {tenant} below {prefix:?}, {limit} a page"
        ));
        let listing = Listing::<P>::new().path_prefix(prefix);
        let tenant_path: &TenantPath = &path(tenant);
        let page = |page: PageRequest| {
            let listing = listing.clone().page(page);
            async move { store.list(tenant_path, &listing).await }
        };
        let found: Vec<Arc<P>> = all_pages(limit, page).await?;
        let found: Vec<Value> = found.iter().map(|entity| json(&**entity)).collect();
        let below = |held: &&Held| {
            let path = held.entity["path"].as_str().unwrap_or("/");
            path.starts_with(prefix)
        };
        let of = self.principals.iter();
        let of = of.filter(|(name, _)| (name.0, name.1) == (tenant, kind));
        let expected: Vec<_> = of.map(|(_, held)| held).filter(below).collect();
        assert!(
            found.iter().eq(expected.iter().map(|held| &held.entity)),
            "{found:?}"
        );
        let first: Page<Arc<P>> = page(PageRequest::new().limit(1)?).await?;
        let Some(genuine) = first.next else {
            return Ok(());
        };
        let forged = random.forge(&genuine, &NAMES)?;
        for entity in after_forged(page(PageRequest::new().after(forged)).await)? {
            let known = expected.iter().any(|held| held.entity == json(&*entity));
            assert!(known, "a forged cursor shows {entity:?}");
        }
        Ok(())
    }
}
