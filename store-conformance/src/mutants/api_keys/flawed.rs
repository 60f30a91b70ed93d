//! A store of keys around a right one, wrong in one place.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::{Value, json};
use store_core::api_keys::{
    ApiKey, ApiKeyStore, ApiKeyStoreExt, ChangeKey, KeyData, KeyEntry, KeyId, KeyRef, ListKeys,
    Lookup, Permission, RecordApiKeys,
};
use store_core::{
    Clock, Collection, Cursor, Error, ErrorKind, ManualClock, Page, Partition, Result, Scan, Store,
    Version,
};

use super::Flaw;
use crate::cases::api_keys::{Fixture, ring};

/// The standard implementation over a store.
pub(super) fn standard(store: &Store) -> Result<Arc<dyn ApiKeyStore>> {
    let records = Arc::clone(store.records());
    Ok(Arc::new(RecordApiKeys::new(records, &ring()?)))
}

/// A fixture without `enabled` is loaded as disabled.
pub(super) fn say_disabled(fixture: Fixture) -> Fixture {
    fixture.restored(|stored| {
        stored.entry("enabled").or_insert(json!(false));
    })
}

/// Makes strong what is weak, so that the store below takes it.
fn padded(key: &ApiKey) -> Result<ApiKey> {
    match key.require_strong() {
        Ok(()) => Ok(key.clone()),
        Err(_) => ApiKey::parse(format!("{}-Zr2kq8FhV0a7LxT3mWn5", key.expose())),
    }
}

/// Lets other tasks run, as a round trip to a server does.
async fn linger() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

pub(super) struct Flawed {
    below: Arc<dyn ApiKeyStore>,
    clock: ManualClock,
    flaw: Flaw,
    cache: Mutex<HashMap<String, Lookup>>,
    tenants: Mutex<HashMap<KeyId, Option<String>>>,
}

impl Flawed {
    pub(super) fn new(below: Arc<dyn ApiKeyStore>, clock: ManualClock, flaw: Flaw) -> Self {
        Self {
            below,
            clock,
            flaw,
            cache: Mutex::default(),
            tenants: Mutex::default(),
        }
    }

    fn cached(&self, key: &ApiKey) -> Option<Lookup> {
        let cache = self.cache.lock().expect("nothing panics under this lock");
        cache.get(key.expose()).cloned()
    }

    fn keep(&self, key: &ApiKey, found: &Lookup) {
        let mut cache = self.cache.lock().expect("nothing panics under this lock");
        cache.insert(key.expose().into(), found.clone());
    }

    /// What a look-up says where the flaw is in the answer alone.
    fn misread(&self, key: &ApiKey, found: Lookup) -> Lookup {
        let now = self.clock.now();
        match (self.flaw, found) {
            (Flaw::TakesDisabledForUnknown, Lookup::Disabled(_))
            | (Flaw::TakesExpiredForUnknown, Lookup::Expired(_)) => Lookup::Unknown,
            (Flaw::LetsExpiryGoFirst, Lookup::Disabled(entry)) if entry.data().is_expired(now) => {
                Lookup::Expired(entry)
            }
            (Flaw::ExpiresLate, Lookup::Expired(entry)) if entry.data().expires_at == Some(now) => {
                Lookup::Active(entry)
            }
            (Flaw::KeepsUnknownKeys, Lookup::Disabled(entry))
                if entry.data().label.as_deref() == Some("unknown") =>
            {
                Lookup::Unknown
            }
            (_, Lookup::Unknown) => Lookup::Unknown,
            (_, found) => {
                let entry = found.entry().cloned().expect("all but unknown have one");
                let entry = self.mangle(Some(key), entry);
                match found {
                    Lookup::Disabled(_) => Lookup::Disabled(entry),
                    Lookup::Expired(_) => Lookup::Expired(entry),
                    _ => Lookup::Active(entry),
                }
            }
        }
    }

    /// What becomes of a key on its way through the store's own columns.
    fn mangle(&self, key: Option<&ApiKey>, entry: KeyEntry) -> KeyEntry {
        let mut data = entry.data().clone();
        let mut id = entry.id().clone();
        let mut version = entry.version();
        match self.flaw {
            Flaw::SplitsScopes => {
                let split = |one: &Permission| {
                    let scopes = one.scopes.iter().flat_map(|scope| scope.split(':'));
                    Permission::new(&one.resource, scopes)
                };
                let permissions: Vec<_> = data.permissions.iter().map(split).collect();
                data.permissions = permissions.into();
            }
            Flaw::TurnsNumbersIntoScopes | Flaw::ReadsOneScopeWithoutItsList => {
                data.permissions = lenient(&data).into();
            }
            Flaw::ReadsPermissionsByPosition => {
                let stored = serde_json::to_value(&data.permissions);
                if let Ok(pairs) = stored.and_then(serde_json::from_value::<Pairs>) {
                    let pairs = pairs.into_iter();
                    let permissions: Vec<_> = pairs
                        .map(|(resource, scopes)| Permission::new(resource, scopes))
                        .collect();
                    data.permissions = permissions.into();
                }
            }
            Flaw::DropsNulls => data.extra.retain(|_, value| !value.is_null()),
            Flaw::TurnsNumbersIntoFloats => {
                for value in data.extra.values_mut() {
                    if let Some(number) = value.as_f64() {
                        *value = json!(number);
                    }
                }
            }
            Flaw::DerivesIdsFromSecrets => {
                if let Some(key) = key {
                    let short = &key.expose()[key.expose().len() - 6..];
                    id = KeyId::new(format!("key-{short}")).expect("short and visible");
                }
            }
            Flaw::MakesVersionsOfContent => version = Some(content_version(&data)),
            _ => return entry,
        }
        let mangled = KeyEntry::new(id, entry.created_at(), data);
        match version {
            Some(version) => mangled.with_version(version),
            None => mangled,
        }
    }

    async fn read(&self, key: KeyRef<'_>) -> Result<Lookup> {
        match key {
            KeyRef::Secret(key) => self.below.get_key(key).await,
            KeyRef::Id(id) => self.below.get_by_id(id).await,
        }
    }

    /// Reads, changes and only then writes; what it read may be old by then.
    async fn read_change(
        &self,
        key: KeyRef<'_>,
        change: ChangeKey<'_>,
    ) -> Result<Option<(KeyData, KeyData)>> {
        let found = self.read(key).await?;
        let Some(entry) = found.entry() else {
            return Ok(None);
        };
        let before = entry.data().clone();
        let mut after = before.clone();
        change(&mut after)?;
        linger().await;
        Ok(Some((before, after)))
    }

    async fn all(&self) -> Result<Vec<KeyEntry>> {
        let mut query = ListKeys::all();
        let mut entries = Vec::new();
        loop {
            let page = self.below.list(&query).await?;
            entries.extend(page.items);
            let Some(next) = page.next else {
                entries.sort_by(|a, b| a.id().cmp(b.id()));
                return Ok(entries);
            };
            query = query.after(next);
        }
    }

    /// One page of what `keep` accepts, continued by counting.
    async fn counted(
        &self,
        query: &ListKeys,
        keep: impl Fn(&KeyEntry) -> bool,
    ) -> Result<Page<KeyEntry>> {
        let all: Vec<_> = self.all().await?.into_iter().filter(keep).collect();
        let scan = Scan::partition(
            Collection::new("sabotage"),
            Partition::new(query.tenant().unwrap_or_default())?,
        )
        .page(query.page_request())?;
        let position = scan.position_text()?.unwrap_or_default();
        let from: usize = position.parse().unwrap_or_default();
        let to = all.len().min(from.saturating_add(scan.page_size()));
        let full = to - from.min(to) == scan.page_size();
        let more = to < all.len() || (full && self.flaw == Flaw::GivesACursorToAFullPage);
        let next = more.then(|| -> Cursor { scan.cursor(to.to_string()) });
        let items = all.get(from..to).unwrap_or_default().to_vec();
        Ok(Page::new(items, next))
    }
}

/// Permissions as a reader takes them that accepts a struct's fields in order.
type Pairs = Vec<(String, Vec<String>)>;

/// Permissions as a forgiving reader takes them.
fn lenient(data: &KeyData) -> Vec<Permission> {
    let Ok(Value::Array(stored)) = serde_json::to_value(&data.permissions) else {
        return Vec::new();
    };
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let one = |stored: &Value| {
        let scopes: Vec<_> = match &stored["scopes"] {
            Value::Array(scopes) => scopes.iter().filter_map(text).collect(),
            single => text(single).into_iter().collect(),
        };
        Some(Permission::new(text(&stored["resource"])?, scopes))
    };
    stored.iter().filter_map(one).collect()
}

fn content_version(data: &KeyData) -> Version {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    serde_json::to_string(data)
        .unwrap_or_default()
        .hash(&mut hasher);
    Version::from_bytes(u128::from(hasher.finish()).to_be_bytes())
}

#[async_trait]
impl ApiKeyStore for Flawed {
    async fn get_key(&self, key: &ApiKey) -> Result<Lookup> {
        match (self.flaw, self.cached(key)) {
            (Flaw::SkipsEnabledOnCacheHits, Some(found)) => {
                return Ok(found.entry().cloned().map_or(found, Lookup::Active));
            }
            (Flaw::KeepsHitsForEver | Flaw::KeepsMissesForEver, Some(found)) => return Ok(found),
            _ => {}
        }
        let looked_for = match self.flaw {
            Flaw::TakesWeakKeys => padded(key)?,
            _ => key.clone(),
        };
        let found = match self.below.get_key(&looked_for).await {
            Err(_) if self.flaw == Flaw::TakesAnOutageForUnknown => Lookup::Unknown,
            found => found?,
        };
        match (self.flaw, &found) {
            (Flaw::SkipsEnabledOnCacheHits, _)
            | (Flaw::KeepsHitsForEver, Lookup::Active(_))
            | (Flaw::KeepsMissesForEver, Lookup::Unknown) => self.keep(key, &found),
            (Flaw::IgnoresCase, Lookup::Unknown) => {
                // The last key of that spelling, whatever its case.
                let folded = ApiKey::parse(key.expose().to_ascii_lowercase())?;
                return Ok(self.cached(&folded).unwrap_or(found));
            }
            (Flaw::IgnoresCase, _) => {
                let folded = ApiKey::parse(key.expose().to_ascii_lowercase())?;
                self.keep(&folded, &found);
            }
            (Flaw::KeepsUnknownKeys, Lookup::Unknown) if key.require_strong().is_ok() => {
                let row = KeyData::new().with_label("unknown").disabled();
                self.below.insert(key, row).await?;
            }
            _ => {}
        }
        Ok(self.misread(key, found))
    }

    async fn get_by_id(&self, id: &KeyId) -> Result<Lookup> {
        if self.flaw == Flaw::IgnoresIds {
            return Ok(Lookup::Unknown);
        }
        self.below.get_by_id(id).await
    }

    async fn insert(&self, key: &ApiKey, data: KeyData) -> Result<KeyEntry> {
        let overwrite = async || {
            let put = |held: &mut KeyData| {
                *held = data.clone();
                Ok(())
            };
            self.below.update(key, put).await
        };
        let inserted = match self.flaw {
            Flaw::InsertsWhatItFoundUnknown => {
                if self.below.get_key(key).await?.entry().is_some() {
                    return self.below.insert(key, data).await;
                }
                linger().await;
                match self.below.insert(key, data.clone()).await {
                    Err(error) if error.is(ErrorKind::AlreadyExists) => overwrite().await,
                    inserted => inserted,
                }
            }
            Flaw::TakesWeakKeys => self.below.insert(&padded(key)?, data.clone()).await,
            _ => self.below.insert(key, data.clone()).await,
        };
        match inserted {
            Err(error) if self.flaw == Flaw::PrintsSecrets => Err(Error::new(
                error.kind(),
                format!("{} is there already", key.expose()),
            )),
            Err(error)
                if self.flaw == Flaw::InsertsOverHeldKeys && error.is(ErrorKind::AlreadyExists) =>
            {
                overwrite().await
            }
            inserted => Ok(self.mangle(Some(key), inserted?)),
        }
    }

    async fn update_key(
        &self,
        key: KeyRef<'_>,
        only_if: Option<Version>,
        change: ChangeKey<'_>,
    ) -> Result<KeyEntry> {
        match self.flaw {
            Flaw::LosesChanges => {
                let changed = self.read_change(key, change).await?;
                if let Some((_, after)) = changed {
                    let put = |data: &mut KeyData| {
                        *data = after.clone();
                        Ok(())
                    };
                    return self.below.update_key(key, only_if, &put).await;
                }
            }
            Flaw::LeavesDisabledKeysAlone if !self.read(key).await?.is_active() => {
                return Err(Error::not_found("no such enabled key"));
            }
            Flaw::InsertsWhatItCannotChange => {
                let changed = self.below.update_key(key, only_if, change).await;
                return match (changed, key) {
                    (Err(error), KeyRef::Secret(key)) if error.is(ErrorKind::NotFound) => {
                        let mut data = KeyData::new();
                        change(&mut data)?;
                        self.below.insert(key, data).await
                    }
                    (changed, _) => changed,
                };
            }
            Flaw::SavesWhatItRead => {
                let read = self.read_change(key, change).await?;
                let changed = self.below.update_key(key, only_if, change).await;
                return match (changed, key, read) {
                    (Err(error), KeyRef::Secret(key), Some((_, after)))
                        if error.is(ErrorKind::NotFound) =>
                    {
                        self.below.insert(key, after).await
                    }
                    (changed, ..) => changed,
                };
            }
            Flaw::ChangesByInsertingAnew => {
                let changed = self.read_change(key, change).await?;
                if let (Some((_, after)), KeyRef::Secret(key)) = (changed, key) {
                    self.below.delete_key(key.into()).await?;
                    return self.below.insert(key, after).await;
                }
            }
            Flaw::IgnoresVersions => return self.below.update_key(key, None, change).await,
            Flaw::MakesVersionsOfContent => {
                let found = self.read(key).await?;
                let version = found.entry().map(|entry| content_version(entry.data()));
                if only_if.is_some() && version.is_some() && only_if != version {
                    return Err(Error::new(ErrorKind::Conflict, "it was changed"));
                }
                let changed = self.below.update_key(key, None, change).await?;
                return Ok(self.mangle(None, changed));
            }
            Flaw::MovesKeysWithoutTheirFields => {
                let moving = |data: &mut KeyData| {
                    let from = data.tenant.clone();
                    change(data)?;
                    if data.tenant != from {
                        data.extra.clear();
                    }
                    Ok(())
                };
                return self.below.update_key(key, only_if, &moving).await;
            }
            Flaw::WritesRefusedChanges => {
                let found = self.read(key).await?;
                let mut data = found.entry().map(|entry| entry.data().clone());
                if let Some(Err(error)) = data.as_mut().map(change) {
                    let put = |held: &mut KeyData| {
                        *held = data.clone().unwrap_or_default();
                        Ok(())
                    };
                    self.below.update_key(key, only_if, &put).await?;
                    return Err(error);
                }
            }
            _ => {}
        }
        self.below.update_key(key, only_if, change).await
    }

    async fn delete_key(&self, key: KeyRef<'_>) -> Result<()> {
        match self.flaw {
            Flaw::DeletesByDisabling => match self.below.disable(key).await {
                Err(error) if error.is(ErrorKind::NotFound) => Ok(()),
                disabled => disabled.map(|_| ()),
            },
            Flaw::RefusesToDeleteTwice => {
                if self.read(key).await? == Lookup::Unknown {
                    return Err(Error::not_found("no such key"));
                }
                self.below.delete_key(key).await
            }
            _ => self.below.delete_key(key).await,
        }
    }

    async fn list(&self, query: &ListKeys) -> Result<Page<KeyEntry>> {
        let tenant = query.tenant().unwrap_or_default();
        match self.flaw {
            Flaw::ListsByPrefix => {
                let begins = |entry: &KeyEntry| match &entry.data().tenant {
                    Some(held) => held.starts_with(tenant),
                    None => query.tenant().is_none(),
                };
                self.counted(query, begins).await
            }
            Flaw::CountsInCursors | Flaw::GivesACursorToAFullPage => {
                let holds = |entry: &KeyEntry| entry.data().tenant.as_deref() == query.tenant();
                self.counted(query, holds).await
            }
            Flaw::ListsTheEnabled => {
                let mut page = self.below.list(query).await?;
                page.items.retain(|entry| entry.data().enabled);
                Ok(page)
            }
            Flaw::NamesTheFirstTenantForEver => {
                let all = self.all().await?;
                let mut tenants = self.tenants.lock().expect("nothing panics under this lock");
                for entry in &all {
                    let tenant = entry.data().tenant.clone();
                    tenants.entry(entry.id().clone()).or_insert(tenant);
                }
                let first = |entry: &KeyEntry| tenants[entry.id()].as_deref() == query.tenant();
                Ok(Page::last(
                    all.iter().filter(|e| first(e)).cloned().collect(),
                ))
            }
            _ => self.below.list(query).await,
        }
    }
}
