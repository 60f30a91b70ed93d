//! Rate limits: a take is one conditional update; a closure's change is a read
//! and a swap.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use store_core::backend::{MAX_ATTEMPTS, back_off, contended};
use store_core::limits::{
    Bucket, BucketUpdate, Decision, Decisions, LimitKey, QuotaSet, RateLimitStore, State, Take,
    take_by_update,
};
use store_core::{Clock, Ping, Result, Timestamp, Version};

use crate::bucket::{self, Kept};
use crate::error::{BACKEND, Effect, from_sdk};
use crate::hints::Hints;
use crate::refusal::{ALL_OLD, outcome};
use crate::shared::Shared;
use crate::spread;
use crate::take::{Guess, Update};
use crate::wire::Item;

/// Buckets, an item for each key with attributes for each quota.
pub(crate) struct DynamoDbLimits {
    shared: Arc<Shared>,
    hints: Hints,
    /// Over how many shards, of the keys that are spread.
    spread: HashMap<String, u32>,
}

impl DynamoDbLimits {
    pub(crate) fn new(shared: Arc<Shared>, spread: HashMap<String, u32>) -> Self {
        Self {
            shared,
            hints: Hints::new(),
            spread,
        }
    }

    /// Over how many shards a key is spread; `None` if it is not.
    fn shards(&self, key: LimitKey<'_>) -> Option<u32> {
        self.spread.get(key.as_str()).copied()
    }

    /// The item of partition key `own`.
    async fn read(&self, own: &str) -> Result<Kept> {
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
        Kept::read(answer.item.unwrap_or_default(), &self.shared)
    }

    /// Writes `new` if nobody wrote since `old` was read; else gives what there is.
    async fn swap(&self, own: &str, old: &Kept, new: Option<&Bucket>) -> Result<Result<(), Kept>> {
        let client = self.shared.writing()?;
        let condition = old.unchanged();
        let outcome = match new {
            Some(new) => {
                let ttl = self
                    .shared
                    .ttl(new.expires_at().unwrap_or(Timestamp::EPOCH));
                let sent = client
                    .put_item()
                    .table_name(&self.shared.table)
                    .set_item(Some(bucket::item(own, new, Version::unique(), ttl)))
                    .condition_expression(&condition.text)
                    .set_expression_attribute_names(condition.names())
                    .set_expression_attribute_values(condition.values())
                    .return_values_on_condition_check_failure(ALL_OLD)
                    .send()
                    .await;
                let outcome = outcome(sent, "update")?.map(drop);
                if outcome.is_ok() {
                    self.note(own, new);
                }
                outcome
            }
            None => {
                let sent = client
                    .delete_item()
                    .table_name(&self.shared.table)
                    .set_key(Some(bucket::key(own)))
                    .condition_expression(&condition.text)
                    .set_expression_attribute_names(condition.names())
                    .set_expression_attribute_values(condition.values())
                    .return_values_on_condition_check_failure(ALL_OLD)
                    .send()
                    .await;
                outcome(sent, "update")?.map(drop)
            }
        };
        match outcome {
            Ok(()) => Ok(Ok(())),
            Err(item) => Ok(Err(Kept::read(item, &self.shared)?)),
        }
    }

    /// Remembers what a closure wrote, for the next take.
    fn note(&self, own: &str, bucket: &Bucket) {
        for entry in bucket.entries() {
            if let State::Tat(tat) = entry.state {
                self.hints.set(own, &entry.quota, tat.as_nanos());
            }
        }
    }

    /// Sends a take once: what it answers, or what there is instead.
    async fn send(&self, own: &str, update: &Update) -> Result<Result<Item, Kept>> {
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
            Err(item) => Ok(Err(Kept::read(item, &self.shared)?)),
        }
    }

    /// What the buckets that there are say to a take: denied, or how to go on.
    fn judge(&self, own: &str, take: &Take<'_>, kept: &Kept) -> Judged {
        let mut decisions = Decisions::new(take);
        let mut tats = Vec::new();
        for quota in take.quotas().iter() {
            let tat = match kept.bucket.state(quota.name()) {
                Some(State::Tokens(_)) => return Judged::Tokens,
                Some(State::Tat(tat)) => Some(tat),
                None => None,
            };
            decisions.add(quota, tat);
            // Zero is for none.
            tats.push(tat.map_or(0, |tat| tat.as_nanos().max(1)));
        }
        let guess = Guess {
            tats,
            ttl: kept.ttl,
        };
        guess.note(&self.hints, own, take);
        match decisions.allows() {
            true => Judged::Again(guess),
            false => Judged::Denied(decisions.finish()),
        }
    }

    /// Changes the buckets of the item `own`.
    pub(crate) async fn update_at(
        &self,
        own: &str,
        change: BucketUpdate<'_>,
    ) -> Result<Option<Bucket>> {
        let mut kept = self.read(own).await?;
        for attempt in 0..MAX_ATTEMPTS {
            let current = kept.alive(self.shared.now());
            let Some(new) = change(current.as_ref()) else {
                return Ok(current);
            };
            let new = (!new.is_empty()).then_some(new);
            match self.swap(own, &kept, new.as_ref()).await? {
                Ok(()) => return Ok(new),
                Err(found) => kept = found,
            }
            back_off(attempt).await;
        }
        Err(contended().with_backend(BACKEND).with_operation("update"))
    }

    /// Takes from the item `own`; sent again only after it was surely refused.
    pub(crate) async fn take_from(&self, own: &str, take: &Take<'_>) -> Result<Decision> {
        // At the end of time not even a full bucket has room.
        let mut quotas = take.quotas().iter();
        if quotas.any(|quota| take.terms(quota).latest < take.now()) {
            return take_by_update(self, take).await;
        }
        let mut guess = Guess::from(&self.hints, own, take);
        for attempt in 0..MAX_ATTEMPTS {
            let update = Update::new(&self.shared, take, &guess);
            match self.send(own, &update).await? {
                Ok(attributes) => {
                    let (after, before) = update.taken(take, &attributes)?;
                    after.note(&self.hints, own, take);
                    let mut decisions = Decisions::new(take);
                    for (quota, before) in take.quotas().iter().zip(before) {
                        decisions.add(quota, before.map(Timestamp::from_nanos));
                    }
                    return Ok(decisions.finish());
                }
                Err(kept) => match self.judge(own, take, &kept) {
                    Judged::Denied(decision) => return Ok(decision),
                    Judged::Again(seen) => guess = seen,
                    Judged::Tokens => return take_by_update(self, take).await,
                },
            }
            // The first time the guess was wrong; from then on others are faster.
            if attempt > 0 {
                back_off(attempt).await;
            }
        }
        Err(contended().with_backend(BACKEND).with_operation("take"))
    }

    pub(crate) async fn peek_at(&self, own: &str) -> Result<Option<Bucket>> {
        Ok(self.read(own).await?.alive(self.shared.now()))
    }

    pub(crate) async fn delete_at(&self, own: &str) -> Result<()> {
        self.shared
            .writing()?
            .delete_item()
            .table_name(&self.shared.table)
            .set_key(Some(bucket::key(own)))
            .send()
            .await
            .map(drop)
            // Deleting twice does no harm to the key, and may to who took meanwhile.
            .map_err(|e| from_sdk(e, Effect::Write, "delete"))
    }
}

/// What is to be done about a take that was not made.
enum Judged {
    Denied(Decision),
    /// It fits, if things stay as they are.
    Again(Guess),
    /// A closure wrote one of the buckets.
    Tokens,
}

#[async_trait]
impl RateLimitStore for DynamoDbLimits {
    async fn update(&self, key: LimitKey<'_>, change: BucketUpdate<'_>) -> Result<Option<Bucket>> {
        self.shared.clients()?;
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
        &*self.shared.clock
    }

    async fn ping(&self) -> Result<Ping> {
        self.shared.ping("ping").await
    }

    async fn close(&self) -> Result<()> {
        self.shared.close();
        Ok(())
    }
}

impl fmt::Debug for DynamoDbLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamoDbLimits")
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}
