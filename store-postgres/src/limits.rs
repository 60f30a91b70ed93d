//! Rate limits: a take and a deletion are one statement each; an update by a closure is a
//! read and a compare-and-swap.

use std::sync::Arc;

use async_trait::async_trait;
use sqlx::postgres::PgRow;
use sqlx::{Executor, Row};
use store_core::backend::Attempts;
use store_core::backend::gcra::Terms;
use store_core::limits::{
    Bucket, BucketUpdate, Decision, Decisions, Entry, LimitKey, Quota, RateLimitStore, State, Take,
    Tokens, take_by_update,
};
use store_core::{Clock, Error, Ping, RecordStore, Result, Timestamp};

use crate::error::{BACKEND, Effect, from_sqlx};
use crate::records::PostgresRecords;
use crate::shared::Shared;
use crate::sql::{Schema, safe};
use crate::wire::{integer, nanos, text};

/// The statements, in the store's schema.
#[derive(Debug)]
pub(crate) struct Texts {
    take: Arc<str>,
    take_many: Arc<str>,
    read: Arc<str>,
    swap: Arc<str>,
    delete: Arc<str>,
}

const COLUMNS: &str = "quota, tat, tokens, last_refill, expires_at";

impl Texts {
    /// If `relaxed`, changes are acknowledged before they are on disk.
    pub(crate) fn new(schema: &Schema, relaxed: bool) -> Self {
        let text = |text: String| -> Arc<str> { schema.in_text(&text).into() };
        // `set_config` is part of an argument, because the server does not evaluate the
        // select list of a result without rows.
        let key = if relaxed {
            "CASE WHEN set_config('synchronous_commit', 'off', true) = 'off' THEN $1::bytea END"
        } else {
            "$1"
        };
        let relaxed = if relaxed {
            ", set_config('synchronous_commit', 'off', true)"
        } else {
            ""
        };
        Self {
            take: text(format!(
                "SELECT {{schema}}.take($1, $2, $3, $4, $5, $6){relaxed}"
            )),
            take_many: text(format!(
                "SELECT {COLUMNS} FROM {{schema}}.take_many({key}, $2, $3, $4, $5, $6)"
            )),
            read: text(format!(
                "SELECT {COLUMNS} FROM {{schema}}.buckets WHERE key = $1 AND expires_at > $2"
            )),
            swap: text(format!(
                "SELECT {COLUMNS} FROM {{schema}}.swap_bucket\
                 ({key}, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
            )),
            delete: text(format!("SELECT {{schema}}.delete_bucket({key})")),
        }
    }
}

/// Rate limits in a separate table, with one row for each quota of a key.
#[derive(Debug)]
pub(crate) struct PostgresLimits {
    shared: Arc<Shared>,
    /// The records of the same opened store, which share its open or closed state.
    records: Arc<PostgresRecords>,
}

/// A bucket as the columns of its rows.
#[derive(Default)]
struct Columns {
    quotas: Vec<String>,
    tats: Vec<Option<i64>>,
    tokens: Vec<Option<f64>>,
    refills: Vec<Option<i64>>,
    expires_at: Vec<i64>,
}

impl Columns {
    fn of(bucket: Option<&Bucket>) -> Self {
        let mut columns = Self::default();
        for entry in bucket.into_iter().flat_map(Bucket::entries) {
            let (tat, tokens) = match entry.state {
                State::Tat(tat) => (Some(tat), None),
                State::Tokens(tokens) => (None, Some(tokens)),
            };
            columns.quotas.push(String::from(&*entry.quota));
            columns.tats.push(tat.map(nanos));
            columns.tokens.push(tokens.map(|tokens| tokens.tokens));
            let last_refill = tokens.map(|tokens| nanos(tokens.last_refill));
            columns.refills.push(last_refill);
            columns.expires_at.push(nanos(entry.expires_at));
        }
        columns
    }
}

fn time(row: &PgRow, index: usize) -> Result<Option<Timestamp>> {
    let time = |nanos| Timestamp::from_nanos(u64::try_from(nanos).unwrap_or_default());
    Ok(integer(row, index)?.map(time))
}

/// The rows of a key as a bucket; `None` for none.
fn bucket(rows: &[PgRow]) -> Result<Option<Bucket>> {
    let mut entries = Vec::with_capacity(rows.len());
    for row in rows {
        let tokens: Option<f64> = row
            .try_get(2)
            .map_err(|e| from_sqlx(e, Effect::Repeatable, "limits"))?;
        let state = match (time(row, 1)?, tokens, time(row, 3)?) {
            (Some(tat), None, None) => State::Tat(tat),
            (None, Some(tokens), Some(last_refill)) => State::Tokens(Tokens {
                tokens,
                last_refill,
            }),
            // This row represents an empty bucket.
            (None, None, None) => continue,
            _ => return Err(malformed()),
        };
        let expires_at = time(row, 4)?.ok_or_else(malformed)?;
        let quota = Arc::from(text(row, 0)?);
        entries.push(Entry {
            quota,
            state,
            expires_at,
        });
    }
    Ok((!entries.is_empty()).then(|| entries.into_iter().collect()))
}

fn malformed() -> Error {
    Error::corrupt("a stored bucket is of neither form; was it changed by hand?")
        .with_backend(BACKEND)
}

/// The nanoseconds that a take adds, at most ten years.
fn increment(terms: &Terms) -> i64 {
    terms.increment as i64
}

impl PostgresLimits {
    pub(crate) fn new(records: Arc<PostgresRecords>) -> Self {
        Self {
            shared: records.shared_arc(),
            records,
        }
    }

    async fn read(&self, key: LimitKey<'_>, now: Timestamp) -> Result<Option<Bucket>> {
        let mut connection = self.shared.connection("peek").await?;
        let query = sqlx::query(safe(&self.shared.limits.read))
            .bind(key.as_str().as_bytes())
            .bind(nanos(now))
            .fetch_all(&mut *connection);
        bucket(
            &self
                .shared
                .answer("peek", Effect::Repeatable, query)
                .await?,
        )
    }

    /// Writes `new` if the bucket is still `old`; otherwise returns the stored one.
    async fn swap(
        &self,
        key: LimitKey<'_>,
        now: Timestamp,
        old: Option<&Bucket>,
        new: &Bucket,
    ) -> Result<Result<(), Option<Bucket>>> {
        let (old, new) = (Columns::of(old), Columns::of(Some(new)));
        let mut connection = self.shared.connection("update").await?;
        let query = sqlx::query(safe(&self.shared.limits.swap))
            .bind(key.as_str().as_bytes())
            .bind(nanos(now))
            .bind(old.quotas)
            .bind(old.tats)
            .bind(old.tokens)
            .bind(old.refills)
            .bind(old.expires_at)
            .bind(new.quotas)
            .bind(new.tats)
            .bind(new.tokens)
            .bind(new.refills)
            .bind(new.expires_at);
        let rows = self
            .shared
            .written("update", connection.fetch_many(query))
            .await?;
        if rows.is_empty() {
            return Ok(Ok(()));
        }
        Ok(Err(bucket(&rows)?))
    }

    async fn delete_rows(&self, key: LimitKey<'_>) -> Result<()> {
        let mut connection = self.shared.connection("delete").await?;
        let query = sqlx::query(safe(&self.shared.limits.delete)).bind(key.as_str().as_bytes());
        self.shared
            .written("delete", connection.fetch_many(query))
            .await
            .map(drop)
    }

    /// A take from one quota; `None` if its bucket was written by a closure.
    async fn take_one(&self, take: &Take<'_>, quota: &Quota) -> Result<Option<Decision>> {
        let terms = take.terms(quota);
        let mut connection = self.shared.connection("take").await?;
        let query = sqlx::query(safe(&self.shared.limits.take))
            .bind(take.key().as_str().as_bytes())
            .bind(quota.name())
            .bind(nanos(terms.now))
            .bind(increment(&terms))
            .bind(nanos(terms.latest))
            .bind(nanos(terms.expires_at));
        let rows = self
            .shared
            .written("take", connection.fetch_many(query))
            .await?;
        let row = rows.first().ok_or_else(malformed)?;
        let Some(answer) = integer(row, 0)? else {
            return Ok(None);
        };
        // The SQL function `take` documents the meaning of the sign.
        let (taken, before) = match answer {
            0.. => (true, answer - increment(&terms)),
            _ => (false, !answer),
        };
        let before = u64::try_from(before).map_err(|_| malformed())?;
        let mut decisions = Decisions::new(take);
        decisions.add(quota, Some(Timestamp::from_nanos(before)));
        if decisions.allows() != taken {
            return Err(malformed());
        }
        Ok(Some(decisions.finish()))
    }

    /// A take from several quotas; `None` if one of their buckets was written by a
    /// closure.
    async fn take_many(&self, take: &Take<'_>) -> Result<Option<Decision>> {
        let quotas = take.quotas();
        let terms: Vec<Terms> = quotas.iter().map(|quota| take.terms(quota)).collect();
        let column = |f: fn(&Terms) -> i64| terms.iter().map(f).collect::<Vec<_>>();
        let mut connection = self.shared.connection("take").await?;
        let query = sqlx::query(safe(&self.shared.limits.take_many))
            .bind(take.key().as_str().as_bytes())
            .bind(nanos(take.now()))
            .bind(quotas.iter().map(Quota::name).collect::<Vec<_>>())
            .bind(column(increment))
            .bind(column(|terms| nanos(terms.latest)))
            .bind(column(|terms| nanos(terms.expires_at)));
        let rows = self
            .shared
            .written("take", connection.fetch_many(query))
            .await?;
        let before = bucket(&rows)?.unwrap_or_default();
        let mut decisions = Decisions::new(take);
        for quota in quotas.iter() {
            let tat = match before.state(quota.name()) {
                Some(State::Tokens(_)) => return Ok(None),
                Some(State::Tat(tat)) => Some(tat),
                None => None,
            };
            decisions.add(quota, tat);
        }
        Ok(Some(decisions.finish()))
    }
}

#[async_trait]
impl RateLimitStore for PostgresLimits {
    async fn update(&self, key: LimitKey<'_>, change: BucketUpdate<'_>) -> Result<Option<Bucket>> {
        let mut current = self
            .shared
            .call(|| self.read(key, self.shared.now()))
            .await?;
        let mut attempts = Attempts::new();
        loop {
            let now = self.shared.now();
            if let Some(bucket) = &mut current {
                bucket.forget_expired(now);
            }
            current = current.filter(|bucket| !bucket.is_empty());
            let Some(new) = change(current.as_ref()) else {
                return Ok(current);
            };
            let swapping = || self.swap(key, now, current.as_ref(), &new);
            match self.shared.call(swapping).await? {
                Ok(()) => return Ok((!new.is_empty()).then_some(new)),
                Err(found) => current = found,
            }
            attempts
                .failed()
                .await
                .map_err(|error| error.with_backend(BACKEND).with_operation("update"))?;
        }
    }

    async fn take(&self, take: &Take<'_>) -> Result<Decision> {
        let mut quotas = take.quotas().iter();
        let decided = match (quotas.next(), quotas.next()) {
            // Beyond this time the new arrival time would exceed the latest timestamp.
            (Some(quota), None) if take.terms(quota).latest >= take.now() => {
                self.shared.call(|| self.take_one(take, quota)).await?
            }
            _ => self.shared.call(|| self.take_many(take)).await?,
        };
        match decided {
            Some(decision) => Ok(decision),
            // A bucket that a closure wrote is converted by compare-and-swap.
            None => take_by_update(self, take).await,
        }
    }

    async fn delete(&self, key: LimitKey<'_>) -> Result<()> {
        self.shared.call(|| self.delete_rows(key)).await
    }

    fn clock(&self) -> &dyn Clock {
        &*self.shared.clock
    }

    async fn ping(&self) -> Result<Ping> {
        self.shared.ping().await
    }

    async fn close(&self) -> Result<()> {
        self.records.close().await
    }
}
