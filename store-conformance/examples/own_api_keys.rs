//! API keys in an application's own table: an implementation with one method, and the
//! suite that tests it.
//!
//! [`Table`] stands for an SQL table. To use it, `impl ApiKeyStore` is enough; to test
//! it, `impl Harness` and `main`.

use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::{Map, Value};
use store_conformance::cases::api_keys::{Fixtures, cases};
use store_conformance::{Harness, Opened, Suite};
use store_core::api_keys::{ApiKey, ApiKeyStore, KeyData, KeyEntry, KeyId, Lookup};
use store_core::secret::{Digester, KeyRing};
use store_core::{Clock, Error, ErrorKind, ManualClock, Result, Retry, Timestamp};

/// One row: some columns, and one for all other data.
#[derive(Clone)]
struct Row {
    number: u64,
    added: Timestamp,
    valid_until: Option<Timestamp>,
    details: Map<String, Value>,
}

/// The table. Rows are found by the digest of the key.
#[derive(Default)]
struct Table {
    rows: Mutex<HashMap<String, Row>>,
    unreachable: bool,
}

impl Table {
    /// `SELECT … WHERE key_digest = ?`
    fn select(&self, digest: &str) -> Result<Option<Row>> {
        if self.unreachable {
            let error = Error::new(ErrorKind::Unavailable, "no connection; try again later");
            return Err(error.with_retry(Retry::Safe));
        }
        let rows = self.rows.lock().expect("nothing panics under this lock");
        Ok(rows.get(digest).cloned())
    }
}

struct MyKeys {
    table: Arc<Table>,
    digester: Digester,
    clock: ManualClock,
}

#[async_trait]
impl ApiKeyStore for MyKeys {
    async fn get_key(&self, key: &ApiKey) -> Result<Lookup> {
        let digest = self.digester.current(key.expose().as_bytes());
        let Some(row) = self.table.select(digest.as_str())? else {
            return Ok(Lookup::Unknown);
        };
        let mut data: KeyData = serde_json::from_value(Value::Object(row.details))
            .map_err(|_| Error::corrupt(format!("row {} is not a key; repair it", row.number)))?;
        data.expires_at = row.valid_until;
        let id = KeyId::new(row.number.to_string())?;
        Ok(Lookup::of(
            KeyEntry::new(id, row.added, data),
            self.clock.now(),
        ))
    }
}

struct MyHarness;

#[async_trait]
impl Harness<dyn ApiKeyStore, Fixtures> for MyHarness {
    fn backend(&self) -> String {
        "my table".into()
    }

    async fn open(&self, fixtures: Fixtures) -> Result<Opened<dyn ApiKeyStore>> {
        let clock = ManualClock::default();
        let ring = KeyRing::new("mine", *b"from the vault, thirty-two bytes")?;
        let digester = Digester::new(&ring, "my keys");
        let mut rows = HashMap::new();
        for (number, fixture) in fixtures.keys.iter().enumerate() {
            let digest = digester.current(fixture.key().expose().as_bytes());
            let row = Row {
                number: number as u64,
                added: clock.now(),
                valid_until: fixture.data(clock.now()).expires_at,
                details: fixture.stored().clone(),
            };
            rows.insert(digest.as_str().to_owned(), row);
        }
        let table = Arc::new(Table {
            rows: Mutex::new(rows),
            unreachable: fixtures.outage,
        });
        let handle = || {
            Arc::new(MyKeys {
                table: table.clone(),
                digester: digester.clone(),
                clock: clock.clone(),
            })
        };
        Ok(Opened::new(handle(), handle(), clock.clone()))
    }

    fn unsupported(&self) -> Vec<&'static str> {
        vec!["get_by_id", "insert", "update_key", "delete_key", "list"]
    }
}

fn main() -> ExitCode {
    let suite = Suite::new("api_keys", Arc::new(MyHarness), cases());
    store_conformance::main(vec![suite])
}
