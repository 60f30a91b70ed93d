//! Rate limits: a take is one conditional update; an update by a closure is a read and a
//! compare-and-swap, which concurrent updates of one key share.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use store_core::backend::Attempts;
use store_core::backend::coalesce::{Buckets, Coalescer};
use store_core::limits::{
    Bucket, BucketUpdate, Decision, Decisions, LimitKey, QuotaSet, RateLimitStore, State, Take,
    take_by_update,
};
use store_core::{Clock, Ping, Result, Timestamp, Version};

use crate::bucket::{self, Condition, Mark, Stored};
use crate::error::{BACKEND, Effect, from_sdk};
use crate::hints::Hints;
use crate::refusal::{ALL_OLD, outcome};
use crate::shared::Shared;
use crate::spread;
use crate::take::{Guess, Update};
use crate::wire::Item;

/// Rate limits: an item for each key, with an attribute for each quota.
pub(crate) struct DynamoDbLimits {
    items: Arc<Items>,
    coalescer: Coalescer<Items>,
    /// The number of shards of each key that is spread.
    spread: HashMap<String, u32>,
}

/// The items of buckets, as the shared compare-and-swap code reads and writes them, by
/// partition key.
struct Items {
    shared: Arc<Shared>,
    hints: Hints,
}

#[async_trait]
impl Buckets for Items {
    type Version = Mark;

    fn now(&self) -> Timestamp {
        self.shared.now()
    }

    async fn read(&self, own: &str) -> Result<Stored> {
        let answer = self
            .shared
            .reading()?
            .get_item()
            .table_name(&self.shared.table)
            .set_key(Some(bucket::key(own)))
            .consistent_read(true)
            .send()
            .await
            .map_err(|e| from_sdk(e, Effect::Repeatable, "peek"))?;
        bucket::read(answer.item.unwrap_or_default(), &self.shared)
    }

    async fn swap(
        &self,
        own: &str,
        _: Timestamp,
        old: &Stored,
        new: Option<&Bucket>,
    ) -> Result<Result<Mark, Stored>> {
        let condition = bucket::unchanged(old);
        let swapped = match new {
            Some(new) => self.put(own, condition, new).await?,
            None => self.delete(own, condition).await?,
        };
        match swapped {
            Ok(mark) => Ok(Ok(mark)),
            Err(item) => Ok(Err(bucket::read(item, &self.shared)?)),
        }
    }
}

impl Items {
    /// Replaces the item by `new` if the condition holds; otherwise returns the stored
    /// item.
    async fn put(
        &self,
        own: &str,
        condition: Condition,
        new: &Bucket,
    ) -> Result<Result<Mark, Item>> {
        let expires_at = new.expires_at().unwrap_or(Timestamp::EPOCH);
        let (version, ttl) = (Version::unique(), self.shared.ttl(expires_at));
        let sent = self
            .shared
            .writing()?
            .put_item()
            .table_name(&self.shared.table)
            .set_item(Some(bucket::item(own, new, version, ttl)))
            .condition_expression(&condition.text)
            .set_expression_attribute_names(condition.names())
            .set_expression_attribute_values(condition.values())
            .return_values_on_condition_check_failure(ALL_OLD)
            .send()
            .await;
        let outcome = outcome(sent, "update")?;
        if outcome.is_ok() {
            self.note(own, new);
        }
        Ok(outcome.map(|_| Mark::new(version, ttl)))
    }

    /// Deletes the item, if the condition holds; otherwise returns it.
    async fn delete(&self, own: &str, condition: Condition) -> Result<Result<Mark, Item>> {
        let sent = self
            .shared
            .writing()?
            .delete_item()
            .table_name(&self.shared.table)
            .set_key(Some(bucket::key(own)))
            .condition_expression(&condition.text)
            .set_expression_attribute_names(condition.names())
            .set_expression_attribute_values(condition.values())
            .return_values_on_condition_check_failure(ALL_OLD)
            .send()
            .await;
        Ok(outcome(sent, "update")?.map(|_| Mark::default()))
    }

    /// Stores hints from the buckets that a closure wrote, for the next take.
    fn note(&self, own: &str, bucket: &Bucket) {
        for entry in bucket.entries() {
            if let State::Tat(tat) = entry.state {
                self.hints.set(own, &entry.quota, tat.as_nanos());
            }
        }
    }

    /// Sends a take once. Returns the reply, or the stored buckets if its condition
    /// failed.
    async fn take(&self, own: &str, update: &Update) -> Result<Result<Item, Stored>> {
        let sent = self
            .shared
            .writing()?
            .update_item()
            .table_name(&self.shared.table)
            .set_key(Some(bucket::key(own)))
            .update_expression(update.expression())
            .condition_expression(update.condition())
            .set_expression_attribute_names(update.names())
            .set_expression_attribute_values(Some(update.values.clone()))
            .set_return_values(update.returns())
            .return_values_on_condition_check_failure(ALL_OLD)
            .send()
            .await;
        match outcome(sent, "take")? {
            Ok(answer) => Ok(Ok(answer.attributes.unwrap_or_default())),
            Err(item) => Ok(Err(bucket::read(item, &self.shared)?)),
        }
    }

    /// Whether the stored buckets deny the take, or how it continues.
    fn judge(&self, own: &str, take: &Take<'_>, stored: &Stored) -> Judged {
        let mut decisions = Decisions::new(take);
        let mut tats = Vec::new();
        for quota in take.quotas().iter() {
            let state = stored.bucket.as_ref().and_then(|b| b.state(quota.name()));
            let tat = match state {
                Some(State::Tokens(_)) => return Judged::Tokens,
                Some(State::Tat(tat)) => Some(tat),
                None => None,
            };
            decisions.add(quota, tat);
            // Zero means no arrival time.
            tats.push(tat.map_or(0, |tat| tat.as_nanos().max(1)));
        }
        let ttl = stored.version.ttl;
        let guess = Guess { tats, ttl };
        guess.note(&self.hints, own, take);
        match decisions.allows() {
            true => Judged::Again(guess),
            false => Judged::Denied(decisions.finish()),
        }
    }
}

/// How a take continues after its condition failed.
enum Judged {
    Denied(Decision),
    /// It is sent again with this guess, and is allowed if the buckets do not change.
    Again(Guess),
    /// A closure wrote one of the buckets.
    Tokens,
}

impl DynamoDbLimits {
    pub(crate) fn new(shared: Arc<Shared>, spread: HashMap<String, u32>) -> Self {
        let items = Arc::new(Items {
            shared,
            hints: Hints::new(),
        });
        Self {
            coalescer: Coalescer::new(Arc::clone(&items)),
            items,
            spread,
        }
    }

    fn shared(&self) -> &Shared {
        &self.items.shared
    }

    /// The number of shards of a key; `None` if it is not spread.
    fn shards(&self, key: LimitKey<'_>) -> Option<u32> {
        self.spread.get(key.as_str()).copied()
    }

    /// Changes the buckets of the item `own`.
    pub(crate) async fn update_at(
        &self,
        own: &str,
        change: BucketUpdate<'_>,
    ) -> Result<Option<Bucket>> {
        let updated = self.coalescer.update(own, change).await;
        updated.map_err(|error| error.with_backend(BACKEND))
    }

    /// Takes from the item `own`. A take is sent again only if the server certainly
    /// refused it.
    pub(crate) async fn take_from(&self, own: &str, take: &Take<'_>) -> Result<Decision> {
        // Beyond this time the new arrival time would exceed the latest timestamp.
        let mut quotas = take.quotas().iter();
        if quotas.any(|quota| take.terms(quota).latest < take.now()) {
            return take_by_update(self, take).await;
        }
        let items = &self.items;
        let mut guess = Guess::from(&items.hints, own, take);
        let mut attempts = Attempts::new();
        loop {
            let update = Update::new(&items.shared, take, &guess);
            match items.take(own, &update).await? {
                Ok(attributes) => {
                    let (after, before) = update.taken(take, &attributes)?;
                    after.note(&items.hints, own, take);
                    let mut decisions = Decisions::new(take);
                    for (quota, before) in take.quotas().iter().zip(before) {
                        decisions.add(quota, before.map(Timestamp::from_nanos));
                    }
                    return Ok(decisions.finish());
                }
                Err(stored) => match items.judge(own, take, &stored) {
                    Judged::Denied(decision) => return Ok(decision),
                    Judged::Again(seen) => guess = seen,
                    Judged::Tokens => return take_by_update(self, take).await,
                },
            }
            let failed = attempts.failed().await;
            failed.map_err(|e| e.with_backend(BACKEND).with_operation("take"))?;
        }
    }

    pub(crate) async fn peek_at(&self, own: &str) -> Result<Option<Bucket>> {
        Ok(self.items.read(own).await?.unexpired(self.shared().now()))
    }

    pub(crate) async fn delete_at(&self, own: &str) -> Result<()> {
        self.shared()
            .writing()?
            .delete_item()
            .table_name(&self.shared().table)
            .set_key(Some(bucket::key(own)))
            .send()
            .await
            .map(drop)
            // Not repeated, because it would also remove takes that came after the first
            // delete.
            .map_err(|e| from_sdk(e, Effect::Write, "delete"))
    }
}

#[async_trait]
impl RateLimitStore for DynamoDbLimits {
    async fn update(&self, key: LimitKey<'_>, change: BucketUpdate<'_>) -> Result<Option<Bucket>> {
        self.shared().clients()?;
        match self.shards(key) {
            None => self.update_at(&spread::whole(key), change).await,
            Some(_) => Err(spread::no_closures()),
        }
    }

    async fn take(&self, take: &Take<'_>) -> Result<Decision> {
        match self.shards(take.key()) {
            None => self.take_from(&spread::whole(take.key()), take).await,
            Some(shards) => spread::take(self, take, shards).await,
        }
    }

    /// One call.
    async fn peek(&self, key: LimitKey<'_>) -> Result<Option<Bucket>> {
        match self.shards(key) {
            None => self.peek_at(&spread::whole(key)).await,
            Some(shards) => spread::peek(self, key, shards).await,
        }
    }

    async fn reset(&self, key: LimitKey<'_>, quotas: &QuotaSet) -> Result<()> {
        let shards = self.shards(key);
        spread::reset(self, key, quotas, shards).await
    }

    /// One call.
    async fn delete(&self, key: LimitKey<'_>) -> Result<()> {
        match self.shards(key) {
            None => self.delete_at(&spread::whole(key)).await,
            Some(shards) => spread::delete(self, key, shards).await,
        }
    }

    fn clock(&self) -> &dyn Clock {
        &*self.shared().clock
    }

    async fn ping(&self) -> Result<Ping> {
        self.shared().ping("ping").await
    }

    async fn close(&self) -> Result<()> {
        self.shared().close();
        Ok(())
    }
}

impl fmt::Debug for DynamoDbLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamoDbLimits")
            .field("shared", self.shared())
            .finish_non_exhaustive()
    }
}
