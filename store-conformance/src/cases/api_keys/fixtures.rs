//! Keys that are there before a case begins.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value};
use store_core::api_keys::{
    API_KEYS, ApiKey, ApiKeyStore, KeyData, KeyEntry, KeyFormat, KeyId, Lookup, RecordApiKeys,
};
use store_core::secret::KeyRing;
use store_core::{Batch, Body, Error, ManualClock, Record, Result, Scan, Store, Timestamp};

use super::Given;
use crate::faults::Outage;
use crate::harness::{Harness, Opened, Over};

/// What a harness for API keys loads.
#[derive(Clone, Debug, Default)]
pub struct Fixtures {
    /// The keys that must be there.
    pub keys: Vec<Fixture>,
    /// If set, open handles whose store cannot be reached once the keys are
    /// loaded: their pool closed, their address wrong. A harness that cannot
    /// stage this refuses to open with `Unsupported` and declares the need
    /// `outage` unsupported.
    pub outage: bool,
}

/// A key that must be there.
#[derive(Clone, Debug)]
pub struct Fixture {
    key: ApiKey,
    stored: Map<String, Value>,
    expires_after: Option<Duration>,
}

impl Fixture {
    /// A new key with this data.
    pub(super) fn new(data: KeyData) -> Self {
        let stored = serde_json::to_value(data).expect("a key's data is plain JSON");
        Self::stored_as(stored)
    }

    /// A new key whose stored data is this object, whatever its form.
    pub(super) fn stored_as(stored: Value) -> Self {
        let Value::Object(stored) = stored else {
            panic!("a key's data is a JSON object");
        };
        Self {
            key: key(),
            stored,
            expires_after: None,
        }
    }

    /// This, expired once `after` has passed since it was loaded.
    pub(super) fn expiring_after(mut self, after: Duration) -> Self {
        self.expires_after = Some(after);
        self
    }

    /// The secret by which it must be found.
    pub fn key(&self) -> &ApiKey {
        &self.key
    }

    /// Its data, loaded at `now`.
    pub fn data(&self, now: Timestamp) -> KeyData {
        let stored = Value::Object(self.stored.clone());
        let mut data: KeyData = serde_json::from_value(stored).expect("fixtures are a key's data");
        data.expires_at = self.expires_after.map(|after| now + after);
        data
    }

    /// This fixture with other stored fields: for mutants.
    #[cfg(feature = "internals")]
    pub(crate) fn restored(mut self, store: impl FnOnce(&mut Map<String, Value>)) -> Self {
        store(&mut self.stored);
        self
    }

    /// Its data as JSON, without the expiry: a field that is missing here must
    /// be missing in your table too, if it can be.
    pub fn stored(&self) -> &Map<String, Value> {
        &self.stored
    }
}

/// A key that is not stored.
pub(super) fn key() -> ApiKey {
    KeyFormat::default().generate()
}

/// A fresh namespace with some keys in it.
pub(super) struct Space {
    pub(super) first: Arc<dyn ApiKeyStore>,
    pub(super) second: Arc<dyn ApiKeyStore>,
    pub(super) clock: ManualClock,
    _guard: Option<Box<dyn Any + Send + Sync>>,
}

impl Space {
    pub(super) async fn open<'a>(
        given: &Given,
        keys: impl IntoIterator<Item = &'a Fixture>,
    ) -> Result<Self> {
        let keys = keys.into_iter().cloned().collect();
        Self::open_with(
            given,
            Fixtures {
                keys,
                outage: false,
            },
        )
        .await
    }

    pub(super) async fn open_with(given: &Given, fixtures: Fixtures) -> Result<Self> {
        let Opened {
            first,
            second,
            clock,
            guard,
            ..
        } = given.open(fixtures).await?;
        Ok(Self {
            first,
            second,
            clock,
            _guard: guard,
        })
    }

    /// The handle of worker `number`: they take turns.
    pub(super) fn handle(&self, number: usize) -> Arc<dyn ApiKeyStore> {
        Arc::clone(if number.is_multiple_of(2) {
            &self.first
        } else {
            &self.second
        })
    }

    /// The key, seen alike by both handles; it must be known.
    pub(super) async fn entry(&self, key: &ApiKey) -> Result<KeyEntry> {
        let found = self.first.get_key(key).await?;
        assert_eq!(
            found,
            self.second.get_key(key).await?,
            "both handles see one key"
        );
        let entry = found.entry().cloned();
        entry.ok_or_else(|| Error::not_found("a key that must be there is unknown"))
    }

    /// That both handles know nothing of the key.
    pub(super) async fn assert_unknown(&self, key: &ApiKey) -> Result<()> {
        assert_eq!(self.first.get_key(key).await?, Lookup::Unknown);
        assert_eq!(self.second.get_key(key).await?, Lookup::Unknown);
        Ok(())
    }
}

/// The ring under which the standard implementation is tested.
pub(crate) fn ring() -> Result<KeyRing> {
    KeyRing::new("suite", *b"thirty-two bytes for the suite..")
}

#[async_trait]
impl Harness<dyn ApiKeyStore, Fixtures> for Over {
    fn backend(&self) -> String {
        self.backend_harness().backend()
    }

    fn server(&self) -> String {
        self.backend_harness().server()
    }

    async fn open(&self, fixtures: Fixtures) -> Result<Opened<dyn ApiKeyStore>> {
        let ring = ring()?;
        let opened = self.backend_harness().open(()).await?;
        for fixture in &fixtures.keys {
            load(&opened.first, &ring, fixture).await?;
        }
        Ok(opened.map(|store| {
            let mut records = Arc::clone(store.records());
            if fixtures.outage {
                let outage = Outage::new(records);
                outage.set_down(true);
                records = Arc::new(outage);
            }
            Arc::new(RecordApiKeys::new(records, &ring)) as Arc<dyn ApiKeyStore>
        }))
    }

    fn unsupported(&self) -> Vec<&'static str> {
        self.backend_harness().unsupported()
    }
}

/// Inserts the key, then makes what is stored exactly what the fixture says, as
/// a person with the database's own tools might have.
async fn load(store: &Store, ring: &KeyRing, fixture: &Fixture) -> Result<()> {
    let keys = RecordApiKeys::new(Arc::clone(store.records()), ring);
    let mut data = fixture.data(store.now());
    if data.permissions.is_malformed() {
        data.permissions = Vec::new().into();
    }
    let entry = keys.insert(fixture.key(), data).await?;
    edit_stored(store, entry.id(), |body| {
        if !fixture.stored.contains_key("enabled") {
            body.remove("enabled");
        }
        let permissions = fixture.stored.get("permissions");
        body.insert(
            "permissions".into(),
            permissions.cloned().unwrap_or_default(),
        );
    })
    .await
}

/// The record of the key with this id.
pub(super) async fn stored_key(store: &Store, id: &KeyId) -> Result<Record> {
    let mut scan = Scan::collection(API_KEYS, "");
    loop {
        let page = store.records().scan(&scan).await?;
        for record in page.items {
            if record.decode::<Value>()?["id"] == id.as_str() {
                return Ok(record);
            }
        }
        let Some(next) = page.next else {
            return Err(Error::not_found("no record holds this id"));
        };
        scan = Scan::collection(API_KEYS, "").after(&next)?;
    }
}

/// Rewrites a key's record by hand.
pub(super) async fn edit_stored(
    store: &Store,
    id: &KeyId,
    edit: impl FnOnce(&mut Map<String, Value>),
) -> Result<()> {
    let record = stored_key(store, id).await?;
    let mut body = (*record.decode::<Map<String, Value>>()?).clone();
    edit(&mut body);
    let mut batch = Batch::new(record.partition().clone(), store.now());
    batch.put_until(
        record.key().clone(),
        &record,
        Body::json(body)?,
        record.expires_at(),
    )?;
    store.records().commit(&batch).await.map(|_| ())
}
