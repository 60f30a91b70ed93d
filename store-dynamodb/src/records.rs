//! Records: each primitive is one request.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::types::KeysAndAttributes;
use futures_util::future::try_join_all;
use store_core::backend::Attempts;
use store_core::{
    Batch, Capabilities, Clock, Committed, Error, ErrorKind, Partition, Ping, Record, RecordKey,
    RecordRef, RecordStore, Records, Result, Retry, Scan, Swept,
};

use crate::commit::{self, unbuilt};
use crate::config::DynamoDbBuilder;
use crate::error::{BACKEND, Effect, from_sdk};
use crate::scan;
use crate::shared::Shared;
use crate::wire::{self, Item, PK, SK, malformed};

/// The maximum number of keys in one BatchGetItem.
const MOST_KEYS: usize = 100;

/// How often keys that the server left unprocessed are requested again without progress.
const ATTEMPTS: u32 = 12;

/// The records. Each commit is attempted once; a lost reply is left to
/// [`Resolving`](store_core::layers::Resolving).
#[derive(Debug)]
pub(crate) struct DynamoDbRecords {
    shared: Arc<Shared>,
    capabilities: Capabilities,
}

impl DynamoDbRecords {
    pub(crate) async fn open(builder: &DynamoDbBuilder) -> Result<Self> {
        Ok(Self {
            shared: Arc::new(Shared::open(builder).await?),
            capabilities: builder.capabilities(),
        })
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

/// The record at `at`, whether expired or not.
pub(crate) async fn get(
    shared: &Shared,
    at: RecordRef<'_>,
    operation: &'static str,
) -> Result<Option<Record>> {
    let answer = shared
        .reading()?
        .get_item()
        .table_name(&shared.table)
        .set_key(Some(wire::key(at)))
        .consistent_read(true)
        .send()
        .await
        .map_err(|e| from_sdk(e, Effect::Repeatable, operation).with_key(at))?;
    let partition = Partition::new(at.partition())?;
    let key = RecordKey::new(at.collection(), at.id())?;
    let record = answer.item.map(|item| wire::record(item, &partition, &key));
    record.transpose()
}

/// The items of at most [`MOST_KEYS`] keys, all different.
async fn get_together(shared: &Shared, keys: Vec<Item>) -> Result<Vec<Item>> {
    let (mut left, mut found) = (keys, Vec::new());
    let mut attempts = Attempts::at_most(ATTEMPTS);
    while !left.is_empty() {
        let asked = left.len();
        let keys = KeysAndAttributes::builder()
            .set_keys(Some(left))
            .consistent_read(true)
            .build()
            .map_err(unbuilt)?;
        let answer = shared
            .reading()?
            .batch_get_item()
            .request_items(&shared.table, keys)
            .send()
            .await
            .map_err(|e| from_sdk(e, Effect::Repeatable, "get_many"))?;
        found.extend(answer.responses.unwrap_or_default().into_values().flatten());
        let unprocessed = answer.unprocessed_keys.unwrap_or_default().into_values();
        left = unprocessed.flat_map(|keys| keys.keys).collect();
        // The server leaves keys out if their items exceed 16 MB, or if it throttles.
        if left.len() < asked {
            attempts = Attempts::at_most(ATTEMPTS);
        } else if !attempts.again().await {
            let advice = "DynamoDB throttles these reads; try again later";
            return Err(Error::new(ErrorKind::Unavailable, advice)
                .with_retry(Retry::Safe)
                .with_backend(BACKEND)
                .with_operation("get_many"));
        }
    }
    Ok(found)
}

#[async_trait]
impl RecordStore for DynamoDbRecords {
    async fn get(&self, at: RecordRef<'_>) -> Result<Option<Record>> {
        let record = get(&self.shared, at, "get").await?;
        Ok(record.filter(|record| !record.is_expired(self.shared.now())))
    }

    async fn get_many(&self, at: &[RecordRef<'_>]) -> Result<Vec<Option<Record>>> {
        self.shared.clients()?;
        // The server refuses a request that names one key twice.
        let names: BTreeSet<RecordRef<'_>> = at.iter().copied().collect();
        let names: Vec<_> = names.into_iter().collect();
        let asked = names.chunks(MOST_KEYS).map(|some| {
            let keys = some.iter().map(|at| wire::key(*at)).collect();
            get_together(&self.shared, keys)
        });
        let mut items: HashMap<_, Item> = HashMap::new();
        for item in try_join_all(asked).await?.into_iter().flatten() {
            let part = |name| item.get(name).and_then(|value| value.as_s().ok()).cloned();
            items.insert(part(PK).zip(part(SK)).ok_or_else(malformed)?, item);
        }
        let now = self.shared.now();
        let mut found = HashMap::new();
        for at in names {
            if let Some(item) = items.remove(&wire::names(at)) {
                let partition = Partition::new(at.partition())?;
                let key = RecordKey::new(at.collection(), at.id())?;
                let record = wire::record(item, &partition, &key)?;
                found.insert(at, Some(record).filter(|record| !record.is_expired(now)));
            }
        }
        Ok(at
            .iter()
            .map(|at| found.get(at).cloned().flatten())
            .collect())
    }

    async fn scan(&self, scan: &Scan) -> Result<Records> {
        scan::scan(&self.shared, scan).await
    }

    async fn commit(&self, batch: &Batch) -> Result<Committed> {
        commit::send(&self.shared, batch).await?;
        Ok(Committed::new())
    }

    fn clock(&self) -> &dyn Clock {
        &*self.shared.clock
    }

    async fn ping(&self) -> Result<Ping> {
        self.shared.ping("ping").await
    }

    /// Does nothing, because the server removes expired items.
    async fn sweep(&self, _: Duration) -> Result<Swept> {
        self.shared.clients()?;
        Ok(Swept::default())
    }

    async fn close(&self) -> Result<()> {
        self.shared.close();
        Ok(())
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities.clone()
    }
}
