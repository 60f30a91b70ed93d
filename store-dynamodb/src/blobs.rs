//! Streamed objects over records. Chunks are removed with `BatchWriteItem` instead of
//! transactions.
//!
//! Chunks that no object refers to need not be removed atomically. In a transaction each
//! would cost twice its size, and a hundred of them more capacity than a partition has in
//! a minute.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::types::{DeleteRequest, ReturnValuesOnConditionCheckFailure, WriteRequest};
use store_core::backend::Attempts;
use store_core::batch::Item as BatchItem;
use store_core::blobs::{BLOB_CHUNKS, ProvisionalChunks, RecordBlobs};
use store_core::layers::RecordLayer;
use store_core::{
    Batch, Change, Committed, Error, ErrorKind, Expect, Partition, RecordKey, RecordRef,
    RecordStore, Result, Retry, Timestamp,
};

use crate::commit::unbuilt;
use crate::error::{BACKEND, Effect, from_sdk, is_for_now};
use crate::refusal::outcome;
use crate::shared::Shared;
use crate::wire::{self, ALIVE};

/// The maximum number of deletes in one BatchWriteItem.
const MOST_DELETES: usize = 25;

/// How often deletes that the server did not process are sent again without progress.
const ATTEMPTS: u32 = 12;

/// Objects over `records`. With `orphans`, chunks expire after that time unless their
/// object is published.
pub(crate) fn over(
    shared: Arc<Shared>,
    records: Arc<dyn RecordStore>,
    orphans: Option<Duration>,
) -> RecordBlobs {
    let blobs = RecordBlobs::new(Arc::new(Chunked {
        shared: Arc::clone(&shared),
        inner: records,
    }));
    match orphans {
        Some(life) => blobs.provisional(Arc::new(Expiring { shared, life })),
        None => blobs,
    }
}

/// Chunks that expire until they are published.
#[derive(Debug)]
struct Expiring {
    shared: Arc<Shared>,
    life: Duration,
}

#[async_trait]
impl ProvisionalChunks for Expiring {
    fn end(&self, now: Timestamp) -> Timestamp {
        now + self.life
    }

    async fn keep(&self, partition: &Partition, chunks: &[RecordKey]) -> Result<()> {
        // Sequential, because core already calls this for several partitions
        // concurrently.
        for key in chunks {
            self.keep_one(key.at(partition)).await?;
        }
        Ok(())
    }
}

impl Expiring {
    async fn keep_one(&self, at: RecordRef<'_>) -> Result<()> {
        let now = wire::time(self.shared.now());
        let sent = self
            .shared
            .writing()?
            .update_item()
            .table_name(&self.shared.table)
            .set_key(Some(wire::key(at)))
            .update_expression("REMOVE expires_at, remove_at")
            .condition_expression(format!("attribute_exists(pk) AND {ALIVE}"))
            .expression_attribute_values(":now", now)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::None)
            .send()
            .await;
        match outcome(sent, "keep")? {
            Ok(_) => Ok(()),
            Err(_) => {
                let advice = "the write took longer than unpublished chunks are stored, so nothing was \
                              published; see DynamoDbBuilder::orphans_expire";
                Err(Error::new(ErrorKind::Superseded, advice)
                    .with_backend(BACKEND)
                    .with_operation("keep"))
            }
        }
    }
}

/// The records, with chunks removed by `BatchWriteItem`.
#[derive(Debug)]
struct Chunked {
    shared: Arc<Shared>,
    inner: Arc<dyn RecordStore>,
}

/// Whether `batch` only removes chunks, whatever their state.
fn removes_chunks(batch: &Batch) -> bool {
    let is_removal = |item: &BatchItem| {
        item.key().collection() == BLOB_CHUNKS
            && item.expect() == Expect::Any
            && matches!(item.change(), Change::Delete)
    };
    batch.items().iter().all(is_removal)
}

impl Chunked {
    async fn remove(&self, batch: &Batch) -> Result<()> {
        let delete = |index| {
            let key = wire::key(batch.at(index));
            let delete = DeleteRequest::builder().set_key(Some(key)).build();
            let delete = delete.map_err(unbuilt)?;
            Ok(WriteRequest::builder().delete_request(delete).build())
        };
        let all: Vec<_> = (0..batch.items().len())
            .map(delete)
            .collect::<Result<_>>()?;
        for some in all.chunks(MOST_DELETES) {
            self.remove_together(some.to_vec()).await?;
        }
        Ok(())
    }

    async fn remove_together(&self, mut left: Vec<WriteRequest>) -> Result<()> {
        let shared = &self.shared;
        let mut attempts = Attempts::at_most(ATTEMPTS);
        loop {
            let asked = left.len();
            let sent = shared
                .writing()?
                .batch_write_item()
                .request_items(&shared.table, left.clone())
                .send()
                .await;
            // Deletes are idempotent, so they may be sent again.
            match sent.map_err(|e| from_sdk(e, Effect::Repeatable, "remove")) {
                Ok(answer) => {
                    let unprocessed = answer.unprocessed_items.unwrap_or_default();
                    left = unprocessed.into_values().flatten().collect();
                }
                Err(error) if is_for_now(&error) => {}
                Err(error) => return Err(error),
            }
            if left.is_empty() {
                return Ok(());
            }
            if left.len() < asked {
                attempts = Attempts::at_most(ATTEMPTS);
            } else if !attempts.again().await {
                let advice = "DynamoDB throttles these deletes; sweep again later";
                return Err(Error::new(ErrorKind::Unavailable, advice)
                    .with_retry(Retry::Safe)
                    .with_backend(BACKEND)
                    .with_operation("remove"));
            }
        }
    }
}

#[async_trait]
impl RecordLayer for Chunked {
    fn inner(&self) -> &dyn RecordStore {
        &*self.inner
    }

    async fn commit(&self, batch: &Batch) -> Result<Committed> {
        if batch.items().len() > 1 && removes_chunks(batch) {
            return self.remove(batch).await.map(|()| Committed::new());
        }
        self.inner.commit(batch).await
    }
}
