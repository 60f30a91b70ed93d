//! Sends a batch as one call: a conditional write, or a transaction.

use std::collections::HashMap;

use aws_sdk_dynamodb::error::{BuildError, ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{
    AttributeValue, CancellationReason, ConditionCheck, Delete, Put, TransactWriteItem,
};
use store_core::backend::Attempts;
use store_core::error::FailedItem;
use store_core::{Batch, Change, Conflict, Error, Expect, Record, Result, Timestamp};

use crate::error::{BACKEND, Effect, config, from_code, from_sdk, is_for_now};
use crate::records::get;
use crate::refusal::{ALL_OLD, outcome};
use crate::shared::Shared;
use crate::wire::{self, ALIVE, Item, malformed};

/// How often a batch is sent, with growing delays, while the server refuses it
/// temporarily.
const ATTEMPTS: u32 = 12;

/// Sends `batch`, and sends it again only if the server certainly did not execute it.
pub(crate) async fn send(shared: &Shared, batch: &Batch) -> Result<()> {
    let mut attempts = Attempts::at_most(ATTEMPTS);
    loop {
        match once(shared, batch).await {
            Err(error) if is_for_now(&error) && attempts.again().await => {}
            answer => return answer.map_err(|e| e.with_operation("commit")),
        }
    }
}

/// Whether the batch is sent as a transaction, of which the server recognizes a second
/// copy.
pub(crate) fn is_transaction(batch: &Batch) -> bool {
    relevant(batch).len() > 1
}

/// The items that can fail or change something.
fn relevant(batch: &Batch) -> Vec<usize> {
    let items = batch.items();
    let is_relevant = |index: &usize| {
        items[*index].expect() != Expect::Any || !matches!(items[*index].change(), Change::Check)
    };
    (0..items.len()).filter(is_relevant).collect()
}

async fn once(shared: &Shared, batch: &Batch) -> Result<()> {
    match relevant(batch)[..] {
        [] => shared.clients().map(drop),
        [index] => match batch.items()[index].change() {
            Change::Check => check(shared, batch, index).await,
            Change::Put { .. } => put(shared, batch, index).await,
            Change::Delete => delete(shared, batch, index).await,
        },
        ref indexes => transaction(shared, batch, indexes).await,
    }
}

/// An expectation as a condition expression.
#[derive(Default)]
struct Condition {
    expression: Option<String>,
    values: Option<HashMap<String, AttributeValue>>,
}

impl Condition {
    fn new(expect: Expect, now: Timestamp) -> Self {
        let expression = match expect {
            Expect::Any => return Self::default(),
            Expect::Absent => "attribute_not_exists(pk) OR expires_at <= :now".into(),
            Expect::Present => format!("attribute_exists(pk) AND {ALIVE}"),
            Expect::Version(_) => format!("version = :version AND {ALIVE}"),
        };
        let mut values = HashMap::from([(":now".into(), wire::time(now))]);
        if let Expect::Version(version) = expect {
            values.insert(":version".into(), wire::text(version.to_string()));
        }
        Self {
            expression: Some(expression),
            values: Some(values),
        }
    }

    fn of(batch: &Batch, index: usize) -> Self {
        Self::new(batch.items()[index].expect(), batch.now())
    }
}

fn new_item(shared: &Shared, batch: &Batch, index: usize) -> Result<Item> {
    let Change::Put { body, expires_at } = batch.items()[index].change() else {
        return Err(malformed());
    };
    let ttl = expires_at.map(|at| shared.ttl(at));
    wire::item(batch.at(index), batch.version(), *expires_at, ttl, body)
}

/// A consistent read, which costs less than a condition.
async fn check(shared: &Shared, batch: &Batch, index: usize) -> Result<()> {
    let current = get(shared, batch.at(index), "commit").await?;
    let current = current.filter(|record| !record.is_expired(batch.now()));
    match batch.items()[index].expect().holds(current.as_ref()) {
        true => Ok(()),
        false => Err(conflict(vec![failed(batch, index, current)])),
    }
}

async fn put(shared: &Shared, batch: &Batch, index: usize) -> Result<()> {
    let condition = Condition::of(batch, index);
    let sent = shared
        .writing()?
        .put_item()
        .table_name(&shared.table)
        .set_item(Some(new_item(shared, batch, index)?))
        .set_condition_expression(condition.expression)
        .set_expression_attribute_values(condition.values)
        .return_values_on_condition_check_failure(ALL_OLD)
        .send()
        .await;
    match outcome(sent, "commit")? {
        Ok(_) => Ok(()),
        Err(item) => refused(batch, index, item),
    }
}

async fn delete(shared: &Shared, batch: &Batch, index: usize) -> Result<()> {
    let condition = Condition::of(batch, index);
    let sent = shared
        .writing()?
        .delete_item()
        .table_name(&shared.table)
        .set_key(Some(wire::key(batch.at(index))))
        .set_condition_expression(condition.expression)
        .set_expression_attribute_values(condition.values)
        .return_values_on_condition_check_failure(ALL_OLD)
        .send()
        .await;
    match outcome(sent, "commit")? {
        Ok(_) => Ok(()),
        Err(item) => refused(batch, index, item),
    }
}

fn refused(batch: &Batch, index: usize, item: Item) -> Result<()> {
    Err(conflict(vec![failed(
        batch,
        index,
        current(batch, index, item)?,
    )]))
}

/// The record for which a condition failed; `None` if it has expired.
fn current(batch: &Batch, index: usize, item: Item) -> Result<Option<Record>> {
    if item.is_empty() {
        return Ok(None);
    }
    let record = wire::record(item, batch.partition(), batch.items()[index].key())?;
    Ok(Some(record).filter(|record| !record.is_expired(batch.now())))
}

fn failed(batch: &Batch, index: usize, current: Option<Record>) -> FailedItem {
    FailedItem::new(index, batch.at(index), current)
}

fn conflict(failed: Vec<FailedItem>) -> Error {
    Error::from_conflict(Conflict::new(failed)).with_backend(BACKEND)
}

async fn transaction(shared: &Shared, batch: &Batch, indexes: &[usize]) -> Result<()> {
    let items = indexes
        .iter()
        .map(|index| transact_item(shared, batch, *index))
        .collect::<Result<Vec<_>>>()?;
    let sent = shared
        .writing()?
        .transact_write_items()
        // For ten minutes the server answers a second copy like the first:
        // https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html
        .client_request_token(batch.version().to_string())
        .set_transact_items(Some(items))
        .send()
        .await;
    match sent {
        Ok(_) => Ok(()),
        Err(SdkError::ServiceError(e)) => match e.into_err() {
            TransactWriteItemsError::TransactionCanceledException(e) => Err(cancelled(
                batch,
                indexes,
                e.cancellation_reasons.unwrap_or_default(),
            )?),
            e => Err(from_code(e.code().unwrap_or("nothing"), Effect::Write)),
        },
        Err(e) => Err(from_sdk(e, Effect::Write, "commit")),
    }
}

fn transact_item(shared: &Shared, batch: &Batch, index: usize) -> Result<TransactWriteItem> {
    let Condition { expression, values } = Condition::of(batch, index);
    let key = || Some(wire::key(batch.at(index)));
    let item = TransactWriteItem::builder();
    let item = match batch.items()[index].change() {
        Change::Put { .. } => item.put(
            Put::builder()
                .table_name(&shared.table)
                .set_item(Some(new_item(shared, batch, index)?))
                .set_condition_expression(expression)
                .set_expression_attribute_values(values)
                .return_values_on_condition_check_failure(ALL_OLD)
                .build()
                .map_err(unbuilt)?,
        ),
        Change::Delete => item.delete(
            Delete::builder()
                .table_name(&shared.table)
                .set_key(key())
                .set_condition_expression(expression)
                .set_expression_attribute_values(values)
                .return_values_on_condition_check_failure(ALL_OLD)
                .build()
                .map_err(unbuilt)?,
        ),
        Change::Check => item.condition_check(
            ConditionCheck::builder()
                .table_name(&shared.table)
                .set_key(key())
                .set_condition_expression(expression)
                .set_expression_attribute_values(values)
                .return_values_on_condition_check_failure(ALL_OLD)
                .build()
                .map_err(unbuilt)?,
        ),
    };
    Ok(item.build())
}

pub(crate) fn unbuilt(_: BuildError) -> Error {
    config("a request could not be built; please report this")
}

/// Why a transaction was cancelled. It wrote nothing.
///
/// If the server also cancelled it for another reason, it may not have evaluated every
/// condition, so the list of failed items may be incomplete.
fn cancelled(batch: &Batch, indexes: &[usize], reasons: Vec<CancellationReason>) -> Result<Error> {
    const FAILED: &str = "ConditionalCheckFailed";
    let other = reasons
        .iter()
        .filter_map(CancellationReason::code)
        .find(|code| !["None", FAILED].contains(code));
    if let Some(code) = other {
        return Ok(from_code(code, Effect::Repeatable));
    }
    let mut items = Vec::new();
    for (index, reason) in indexes.iter().zip(reasons) {
        if reason.code() == Some(FAILED) {
            items.push(failed(
                batch,
                *index,
                current(batch, *index, reason.item.unwrap_or_default())?,
            ));
        }
    }
    match items.is_empty() {
        true => Ok(from_code(
            "TransactionCanceledException",
            Effect::Repeatable,
        )),
        false => Ok(conflict(items)),
    }
}
