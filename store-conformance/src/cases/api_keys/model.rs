//! Random calls, compared with a plain map of keys.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use store_core::api_keys::{
    ApiKey, ApiKeyStore, KeyData, KeyEntry, KeyId, KeyRef, ListKeys, Lookup,
};
use store_core::{Clock, Error, ErrorKind, Result, Timestamp, Version};

use super::{
    Given, KeyCase, needs_delete, needs_get_by_id, needs_insert, needs_list, needs_update,
};
use crate::case;
use crate::cases::model::{Model, Random, after_forged, all_pages, failure, for_each_seed, run};
use crate::harness::Opened;
use crate::suite::CaseResult;

pub(super) fn all() -> Vec<KeyCase> {
    vec![needs_insert(needs_update(needs_delete(needs_list(
        needs_get_by_id(case!(random_calls_are_answered_as_by_a_map_of_keys, "R2")),
    ))))]
}

async fn random_calls_are_answered_as_by_a_map_of_keys(given: Given) -> CaseResult {
    for_each_seed(|seed, calls| compare(&given, seed, calls)).await
}

/// Makes `calls` random calls that follow from `seed`.
pub(crate) async fn compare(given: &Given, seed: u64, calls: usize) -> CaseResult {
    let mut random = Random::new(!seed);
    let secret = random.secret();
    // Keys that differ in case, in one character, or in what looks like an escape.
    let texts = [
        secret.clone(),
        secret.to_uppercase(),
        format!("{secret}/"),
        random.secret(),
    ];
    let model = Keys {
        opened: given.open(super::Fixtures::default()).await?,
        keys: texts.iter().map(ApiKey::parse).collect::<Result<_>>()?,
        known: BTreeMap::new(),
        deleted: vec![KeyId::new("no id")?, KeyId::new("é/%2F.")?],
    };
    run(model, seed, calls).await
}

/// Tenants that a store which folds, cuts or escapes names would mix up.
const TENANTS: [&str; 4] = ["t", "t/", "t%2F", "T"];

struct Keys {
    opened: Opened<dyn ApiKeyStore>,
    keys: Vec<ApiKey>,
    /// By the place of the key among `keys`.
    known: BTreeMap<usize, KeyEntry>,
    /// Ids that no key has.
    deleted: Vec<KeyId>,
}

/// A change of a key's data.
#[derive(Clone, Debug)]
enum Edit {
    Nothing,
    Label(&'static str),
    Tenant(Option<&'static str>),
    Enabled(bool),
    Expiry(Option<Timestamp>),
    Extra(u64),
    Refused,
}

impl Edit {
    fn random(random: &mut Random, now: Timestamp) -> Self {
        match random.below(9) {
            0 => Self::Nothing,
            1 => Self::Label(random.pick(&["one", "two", "\u{10ffff}\"\\"])),
            2 => Self::Tenant(None),
            3 | 8 => Self::Tenant(Some(random.pick(&["", "a\0b", "t", "t/", "t%2F", "T"]))),
            4 => Self::Enabled(random.chance(50)),
            5 => Self::Expiry(expiry(random, now)),
            6 => Self::Extra(random.below(3) as u64),
            _ => Self::Refused,
        }
    }

    fn apply(&self, data: &mut KeyData) -> Result<()> {
        match *self {
            Self::Nothing => {}
            Self::Label(label) => data.label = Some(label.into()),
            Self::Tenant(tenant) => data.tenant = tenant.map(Into::into),
            Self::Enabled(enabled) => data.enabled = enabled,
            Self::Expiry(at) => data.expires_at = at,
            Self::Extra(number) => drop(data.extra.insert("n".into(), number.into())),
            Self::Refused => {
                data.label = Some("half done".into());
                return Err(Error::new(ErrorKind::PermissionDenied, "the edit refuses"));
            }
        }
        Ok(())
    }
}

fn expiry(random: &mut Random, now: Timestamp) -> Option<Timestamp> {
    let seconds = random.below(8) as u64;
    (seconds > 0).then(|| now + Duration::from_secs(seconds - 1))
}

#[async_trait]
impl Model for Keys {
    async fn call(&mut self, random: &mut Random) -> CaseResult {
        match random.below(20) {
            0..4 => self.insert(random).await,
            4..7 => self.look_up(random).await,
            7..11 => self.update(random).await,
            11 => self.disable(random).await,
            12..14 => self.delete(random).await,
            14..17 => self.list(random).await,
            17 => self.forge(random).await,
            _ => {
                random.advance(&self.opened.clock, Duration::from_secs(3));
                Ok(())
            }
        }
    }
}

impl Keys {
    fn now(&self) -> Timestamp {
        self.opened.clock.now()
    }

    async fn insert(&mut self, random: &mut Random) -> CaseResult {
        let place = random.below(self.keys.len());
        let mut data = KeyData::new().with_extra("place", place as u64);
        for _ in 0..2 {
            // An edit that refuses leaves the data as it is in part, which is legal.
            let _ = Edit::random(random, self.now()).apply(&mut data);
        }
        random.note(format!("insert key {place}: {data:?}"));
        let store = random.handle(&self.opened);
        let answer = store.insert(&self.keys[place], data.clone()).await;
        if data.check(None).is_err() {
            assert_eq!(failure(&answer), Some(ErrorKind::InvalidInput));
            return Ok(());
        }
        if self.known.contains_key(&place) {
            assert_eq!(failure(&answer), Some(ErrorKind::AlreadyExists));
            return Ok(());
        }
        let entry = answer?;
        assert_eq!((entry.data(), entry.created_at()), (&data, self.now()));
        let used = self.known.values().map(KeyEntry::id).chain(&self.deleted);
        assert!(!used.clone().any(|id| id == entry.id()), "an id is reused");
        self.known.insert(place, entry);
        Ok(())
    }

    /// A key by its secret or its id, and its place if it exists.
    fn pick(&self, random: &mut Random) -> (usize, Option<KeyId>) {
        let place = random.below(self.keys.len());
        let id = match self.known.get(&place) {
            Some(entry) => entry.id().clone(),
            None => random.pick(&self.deleted),
        };
        (place, random.chance(50).then_some(id))
    }

    fn key<'a>(&'a self, place: usize, id: Option<&'a KeyId>) -> KeyRef<'a> {
        id.map_or_else(|| KeyRef::Secret(&self.keys[place]), KeyRef::Id)
    }

    async fn look_up(&mut self, random: &mut Random) -> CaseResult {
        let (place, id) = self.pick(random);
        random.note(format!("look up key {place}, by id: {}", id.is_some()));
        let store = random.handle(&self.opened);
        let found = match &id {
            Some(id) => store.get_by_id(id).await?,
            None => store.get_key(&self.keys[place]).await?,
        };
        let entry = self.known.get(&place).cloned();
        let expected = entry.map_or(Lookup::Unknown, |entry| Lookup::of(entry, self.now()));
        assert_eq!(found, expected);
        Ok(())
    }

    async fn update(&mut self, random: &mut Random) -> CaseResult {
        let (place, id) = self.pick(random);
        let edit = Edit::random(random, self.now());
        let before = self.known.get(&place);
        let current = before.and_then(KeyEntry::version);
        let only_if = match random.below(4) {
            0 => Some(Version::unique()),
            1 => current,
            _ => None,
        };
        random.note(format!(
            "update key {place}, by id: {}, only if current: {:?}: {edit:?}",
            id.is_some(),
            only_if.map(|version| Some(version) == current)
        ));
        let store = random.handle(&self.opened);
        let key = self.key(place, id.as_ref());
        let answer = store
            .update_key(key, only_if, &|data| edit.apply(data))
            .await;
        let Some(before) = before else {
            assert_eq!(failure(&answer), Some(ErrorKind::NotFound));
            return Ok(());
        };
        if only_if.is_some_and(|version| Some(version) != current) {
            assert_eq!(failure(&answer), Some(ErrorKind::Conflict));
            return Ok(());
        }
        let mut data = before.data().clone();
        let wrong = edit
            .apply(&mut data)
            .and_then(|()| data.check(Some(before.data())));
        if let Err(wrong) = wrong {
            assert_eq!(failure(&answer), Some(wrong.kind()));
            return Ok(());
        }
        self.changed(place, answer?, &data);
        Ok(())
    }

    /// Compares a key that was changed, and takes it over.
    fn changed(&mut self, place: usize, after: KeyEntry, data: &KeyData) {
        let before = &self.known[&place];
        assert_eq!(after.data(), data);
        assert_eq!(
            (after.id(), after.created_at()),
            (before.id(), before.created_at())
        );
        if after.version().is_some() {
            let same = after.version() == before.version();
            assert_eq!(same, data == before.data(), "a version names one state");
        }
        self.known.insert(place, after);
    }

    async fn disable(&mut self, random: &mut Random) -> CaseResult {
        let (place, id) = self.pick(random);
        random.note(format!("disable key {place}, by id: {}", id.is_some()));
        let store = random.handle(&self.opened);
        let answer = store.disable_key(self.key(place, id.as_ref())).await;
        let Some(before) = self.known.get(&place) else {
            assert_eq!(failure(&answer), Some(ErrorKind::NotFound));
            return Ok(());
        };
        let data = before.data().clone().disabled();
        self.changed(place, answer?, &data);
        Ok(())
    }

    async fn delete(&mut self, random: &mut Random) -> CaseResult {
        let (place, id) = self.pick(random);
        random.note(format!("delete key {place}, by id: {}", id.is_some()));
        let store = random.handle(&self.opened);
        store.delete_key(self.key(place, id.as_ref())).await?;
        if let Some(entry) = self.known.remove(&place) {
            self.deleted.push(entry.id().clone());
        }
        Ok(())
    }

    /// A query of one tenant or of all, and the keys that it covers.
    fn query(&self, random: &mut Random) -> (ListKeys, Vec<KeyEntry>) {
        let tenant = random.chance(70).then(|| random.pick(&TENANTS));
        let of_tenant = |entry: &&KeyEntry| {
            tenant.is_none_or(|tenant| entry.data().tenant.as_deref() == Some(tenant))
        };
        let expected = self.known.values().filter(of_tenant).cloned().collect();
        let query = tenant.map_or_else(ListKeys::all, ListKeys::of_tenant);
        (query, expected)
    }

    async fn list(&mut self, random: &mut Random) -> CaseResult {
        let (query, mut expected) = self.query(random);
        let limit = 1 + random.below(4);
        random.note(format!("list {query:?}, {limit} a page"));
        let store = random.handle(&self.opened);
        let mut found = all_pages(limit, |page| {
            let (store, query) = (&store, query.clone().page(page));
            async move { store.list(&query).await }
        })
        .await?;
        found.sort_by(|a, b| a.id().cmp(b.id()));
        if query.tenant().is_none() {
            found.dedup();
        }
        expected.sort_by(|a, b| a.id().cmp(b.id()));
        assert_eq!(found, expected);
        Ok(())
    }

    async fn forge(&mut self, random: &mut Random) -> CaseResult {
        let (query, expected) = self.query(random);
        let store = random.handle(&self.opened);
        let Some(genuine) = store.list(&query.clone().limit(1)?).await?.next else {
            return Ok(());
        };
        let forged = random.forge(&genuine, &TENANTS)?;
        for entry in after_forged(store.list(&query.after(forged)).await)? {
            assert!(expected.contains(&entry), "a forged cursor shows {entry:?}");
        }
        Ok(())
    }
}
