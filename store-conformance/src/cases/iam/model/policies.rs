//! Policies and memberships in the model.

use super::*;

impl Identities {
    pub(super) async fn create_policy(&mut self, random: &mut Random) -> CaseResult {
        let name = (Self::tenant(random), random.pick(&NAMES));
        random.note(format!("create the policy {name:?}"));
        let store = random.handle(&self.opened);
        let policy = Policy::sample(&path(name.0), name.1);
        let answer = EntityStore::<Policy>::create(&*store, policy).await;
        let taken = self.policies.contains_key(&name);
        assert_eq!(failure(&answer), taken.then_some(ErrorKind::AlreadyExists));
        if !taken {
            self.policies
                .insert(name, (answer?.arn().to_string(), true));
        }
        Ok(())
    }

    /// How many principals have the policy attached.
    fn attachments(&self, (tenant, policy): (&str, &str)) -> usize {
        let of = self.principals.iter().filter(|(name, _)| name.0 == tenant);
        of.filter(|(_, held)| held.policies.contains(policy))
            .count()
    }

    pub(super) async fn delete_policy(&mut self, random: &mut Random) -> CaseResult {
        let name = (Self::tenant(random), random.pick(&NAMES));
        random.note(format!("delete the policy {name:?}"));
        let (store, key) = (random.handle(&self.opened), Key::new(&path(name.0), name.1));
        let answer = EntityStore::<Policy>::delete(&*store, &key).await;
        let attached = (self.attachments(name) > 0).then_some(ErrorKind::InUse);
        let refusal = is_found(self.policies.contains_key(&name)).or(attached);
        assert_eq!(failure(&answer), refusal);
        if refusal.is_none() {
            self.policies.remove(&name);
        }
        Ok(())
    }

    pub(super) async fn set_attachable(&mut self, random: &mut Random) -> CaseResult {
        let name = (Self::tenant(random), random.pick(&NAMES));
        let attachable = random.chance(50);
        random.note(format!("make the policy {name:?} attachable: {attachable}"));
        let (store, key) = (random.handle(&self.opened), Key::new(&path(name.0), name.1));
        let edit = |policy: &mut Policy| {
            policy.is_attachable = attachable;
            policy.attachment_count = 77;
            Ok(())
        };
        let answer = EntityStore::<Policy>::update(&*store, &key, &edit).await;
        let count = self.attachments(name) as u64;
        let Some(policy) = self.policies.get_mut(&name) else {
            assert_eq!(failure(&answer), is_found(false));
            return Ok(());
        };
        let updated = answer?;
        assert_eq!(
            (updated.is_attachable, updated.attachment_count),
            (attachable, count)
        );
        policy.1 = attachable;
        let found = store.policy_by_arn(&path(name.0), &policy.0).await?;
        assert_eq!(found.map(|policy| json(&*policy)), Some(json(&*updated)));
        Ok(())
    }

    pub(super) async fn join_or_leave(&mut self, random: &mut Random) -> CaseResult {
        let tenant = Self::tenant(random);
        let (group, user) = (random.pick(&NAMES), random.pick(&NAMES));
        let joins = random.chance(70);
        random.note(format!(
            "user {user:?} joins ({joins}) or leaves {group:?} of {tenant}"
        ));
        let store = random.handle(&self.opened);
        let (in_group, of_user) = (
            Key::new(&path(tenant), group),
            Key::new(&path(tenant), user),
        );
        let answer = match joins {
            true => store.add_member(&in_group, &of_user).await,
            false => store.remove_member(&in_group, &of_user).await,
        };
        let found = self.principals.contains_key(&(tenant, "group", group));
        let held = self
            .principals
            .get_mut(&(tenant, "user", user))
            .filter(|_| found);
        assert_eq!(failure(&answer), is_found(held.is_some()));
        match held {
            Some(held) if joins => {
                held.groups.insert(group);
            }
            Some(held) => {
                held.groups.remove(group);
            }
            None => {}
        }
        Ok(())
    }

    pub(super) async fn read_memberships(&mut self, random: &mut Random) -> CaseResult {
        let (tenant, name) = (Self::tenant(random), random.pick(&NAMES));
        let limit = 1 + random.below(2);
        random.note(format!(
            "who is in the group, and where is the user {name:?} of {tenant}"
        ));
        let store = &random.handle(&self.opened);
        let (group, user) = (
            &Key::new(&path(tenant), name),
            &Key::new(&path(tenant), name),
        );
        let members = all_pages(
            limit,
            |page| async move { store.members_of(group, &page).await },
        )
        .await;
        let groups = all_pages(
            limit,
            |page| async move { store.groups_of(user, &page).await },
        )
        .await;
        let is_group = self.principals.contains_key(&(tenant, "group", name));
        assert_eq!(failure(&members), is_found(is_group));
        let held = self.principals.get(&(tenant, "user", name));
        assert_eq!(failure(&groups), is_found(held.is_some()));
        if let Ok(members) = members {
            let mut found: Vec<_> = members.iter().map(|user| user.name.clone()).collect();
            found.sort_unstable();
            let users = self.principals.iter();
            let users = users.filter(|(n, held)| n.0 == tenant && held.groups.contains(name));
            let expected: Vec<_> = users.map(|(n, _)| n.2.to_owned()).collect();
            assert_eq!(found, expected, "the members of {name:?}");
        }
        if let (Ok(groups), Some(held)) = (groups, held) {
            let mut found: Vec<_> = groups.iter().map(|group| group.name.clone()).collect();
            found.sort_unstable();
            assert!(
                found.iter().eq(held.groups.iter()),
                "the groups of {name:?}: {found:?}"
            );
        }
        Ok(())
    }
}
