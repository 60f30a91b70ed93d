//! Rate limits: a take is one script; an update by a closure is a read and a
//! compare-and-swap.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use redis::{Cmd, Value, cmd};
use store_core::backend::coalesce::{Buckets, Coalescer, StoredBucket};
use store_core::backend::gcra::Terms;
use store_core::limits::{
    Bucket, BucketUpdate, Decision, Decisions, Entry, LimitKey, RateLimitStore, State, Take,
    Tokens, take_by_update,
};
use store_core::{Clock, Error, Ping, RecordStore, Result, Timestamp};

use crate::error::{BACKEND, Effect};
use crate::records::RedisRecords;
use crate::shared::{Script, Shared};
use crate::wire::{Pair, WIDTH, array, text, time, unexpected};

/// Rate limits: a hash for each key, with a field for each quota.
pub(crate) struct RedisLimits {
    shared: Arc<Shared>,
    coalescer: Coalescer<Hashes>,
    /// The records of the same opened store, which share its open or closed state.
    records: Arc<RedisRecords>,
}

/// The buckets as the shared compare-and-swap code reads and writes them.
struct Hashes(Arc<Shared>);

/// The stored form of a bucket, which `take.lua` describes.
fn stored(entry: &Entry) -> Vec<u8> {
    match entry.state {
        State::Tat(tat) => stored_tat(tat, entry.expires_at),
        State::Tokens(tokens) => {
            // `{:?}` writes all digits that are needed to read the same float back.
            let (before, refilled) = (format!("c {:?} ", tokens.tokens), tokens.last_refill);
            times(&before, Pair::from(refilled), Pair::from(entry.expires_at))
        }
    }
}

fn stored_tat(tat: Timestamp, expires_at: Timestamp) -> Vec<u8> {
    times("t ", Pair::from(tat), Pair::from(expires_at))
}

/// Two times with a space between them.
fn times(before: &str, first: Pair, second: Pair) -> Vec<u8> {
    let mut text = Vec::with_capacity(before.len() + 3 * WIDTH);
    text.extend_from_slice(before.as_bytes());
    text.extend_from_slice(&first.text());
    text.push(b' ');
    text.extend_from_slice(&second.text());
    text
}

/// State and expiry of a stored bucket.
fn parse(stored: &str) -> Option<(State, Timestamp)> {
    let (rest, expires_at) = stored.rsplit_once(' ')?;
    let (rest, last_time) = rest.rsplit_once(' ')?;
    let state = match rest.split_once(' ') {
        None if rest == "t" => State::Tat(time(last_time)?),
        Some(("c", tokens)) => State::Tokens(Tokens {
            tokens: tokens.parse().ok()?,
            last_refill: time(last_time)?,
        }),
        _ => return None,
    };
    Some((state, time(expires_at)?))
}

/// The bucket in the fields and values of a hash; `None` if the hash is empty.
fn bucket(fields: Vec<Value>) -> Result<Option<Bucket>> {
    let mut entries = Vec::with_capacity(fields.len() / 2);
    let mut fields = fields.into_iter();
    while let (Some(quota), Some(value)) = (fields.next(), fields.next()) {
        let (state, expires_at) = parse(&text(value)?).ok_or_else(malformed)?;
        entries.push(Entry {
            quota: text(quota)?.into(),
            state,
            expires_at,
        });
    }
    Ok((!entries.is_empty()).then(|| entries.into_iter().collect()))
}

/// The same as a [`StoredBucket`].
fn found(fields: Vec<Value>) -> Result<StoredBucket<()>> {
    let bucket = bucket(fields)?;
    Ok(StoredBucket {
        bucket,
        version: (),
    })
}

fn malformed() -> Error {
    Error::corrupt("a stored bucket has an unknown format; was it changed by hand?")
        .with_backend(BACKEND)
}

impl RedisLimits {
    pub(crate) fn new(records: Arc<RedisRecords>) -> Self {
        let shared = Arc::clone(records.shared());
        Self {
            coalescer: Coalescer::new(Arc::new(Hashes(Arc::clone(&shared)))),
            shared,
            records,
        }
    }
}

impl RedisLimits {
    /// The last argument of a quota to `take.lua`.
    fn limits(&self, terms: &Terms) -> Vec<u8> {
        let life = self.shared.limit_life_ms(terms.expires_at, terms.now);
        let mut limits = times("", Pair::from(terms.latest), Pair::of(terms.increment));
        limits.push(b' ');
        limits.extend_from_slice(life.to_string().as_bytes());
        limits
    }
}

#[async_trait]
impl Buckets for Hashes {
    /// `swap.lua` compares buckets.
    type Version = ();

    fn now(&self) -> Timestamp {
        self.0.now()
    }

    /// All buckets of a key, expired ones too.
    async fn read(&self, key: &str) -> Result<StoredBucket<()>> {
        let mut command = cmd("HGETALL");
        command.arg(key);
        match self
            .0
            .send("peek", Effect::Repeatable, key, &command)
            .await?
        {
            Value::Map(pairs) => found(
                pairs
                    .into_iter()
                    .flat_map(|(quota, value)| [quota, value])
                    .collect(),
            ),
            fields => found(array(fields)?),
        }
    }

    async fn swap(
        &self,
        key: &str,
        now: Timestamp,
        old: &StoredBucket<()>,
        new: Option<&Bucket>,
    ) -> Result<Result<(), StoredBucket<()>>> {
        let last = new.and_then(Bucket::expires_at);
        let life = last.map_or(0, |at| self.0.limit_life_ms(at, now));
        let old = old.unexpired(now);
        let old = old.as_ref().map_or(&[][..], Bucket::entries);
        let new = new.map_or(&[][..], Bucket::entries);
        let write = |command: &mut Cmd| {
            command.arg(Pair::from(now)).arg(life).arg(old.len());
            for entry in old.iter().chain(new) {
                command.arg(&*entry.quota).arg(stored(entry));
            }
        };
        let keys = [key.to_owned()];
        let script = Script {
            lua: &self.0.scripts.swap,
            keys: &keys,
            arguments: &write,
            size: 256,
        };
        match self.0.run("update", Effect::Write, script).await? {
            Value::Nil => Ok(Ok(())),
            fields => Ok(Err(found(array(fields)?)?)),
        }
    }
}

#[async_trait]
impl RateLimitStore for RedisLimits {
    async fn update(&self, key: LimitKey<'_>, change: BucketUpdate<'_>) -> Result<Option<Bucket>> {
        let key = self.shared.names.limit(key.as_str());
        let updated = self.coalescer.update(&key, change).await;
        updated.map_err(|error| error.with_backend(BACKEND))
    }

    /// One command.
    async fn peek(&self, key: LimitKey<'_>) -> Result<Option<Bucket>> {
        let key = self.shared.names.limit(key.as_str());
        let found = Hashes(Arc::clone(&self.shared)).read(&key).await?;
        Ok(found.unexpired(self.shared.now()))
    }

    async fn take(&self, take: &Take<'_>) -> Result<Decision> {
        let keys = [self.shared.names.limit(take.key().as_str())];
        let write = |command: &mut Cmd| {
            command.arg(Pair::from(take.now()));
            for quota in take.quotas().iter() {
                let terms = take.terms(quota);
                let full = take.now() + Duration::from_nanos(terms.increment);
                command
                    .arg(quota.name())
                    .arg(stored_tat(full, terms.expires_at))
                    .arg(Pair::from(
                        self.shared.stored_long_enough_since(terms.expires_at),
                    ))
                    .arg(self.limits(&terms));
            }
        };
        let script = Script {
            lua: &self.shared.scripts.take,
            keys: &keys,
            arguments: &write,
            size: 256,
        };
        // Not sent again after a lost reply, because it is unknown whether the script
        // ran.
        let before = match self.shared.run("take", Effect::Write, script).await? {
            Value::Array(before) => before,
            one => vec![one],
        };
        if before.len() != take.quotas().iter().count() {
            return Err(unexpected());
        }
        let mut decisions = Decisions::new(take);
        for (quota, before) in take.quotas().iter().zip(before) {
            let tat = match before {
                Value::Nil => None,
                Value::BulkString(closure) if closure == b"c" => {
                    // A bucket that a closure wrote is converted by compare-and-swap.
                    return take_by_update(self, take).await;
                }
                before => Some(time(&text(before)?).ok_or_else(malformed)?),
            };
            decisions.add(quota, tat);
        }
        Ok(decisions.finish())
    }

    /// One command.
    async fn delete(&self, key: LimitKey<'_>) -> Result<()> {
        let key = self.shared.names.limit(key.as_str());
        let mut command = cmd("DEL");
        command.arg(&key);
        // Not repeated, because it could remove a bucket that was created by a take in
        // between.
        self.shared
            .send("delete", Effect::Write, &key, &command)
            .await
            .map(drop)
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

impl fmt::Debug for RedisLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLimits")
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_read_back_exactly() {
        let states = [
            State::Tat(Timestamp::from_nanos(1_893_456_000_123_456_789)),
            State::Tat(Timestamp::MAX),
            State::Tokens(Tokens {
                tokens: 0.1 + 0.2,
                last_refill: Timestamp::from_nanos(7),
            }),
            State::Tokens(Tokens {
                tokens: f64::MIN_POSITIVE,
                last_refill: Timestamp::MAX,
            }),
        ];
        for state in states {
            let entry = Entry {
                quota: "q".into(),
                state,
                expires_at: Timestamp::from_nanos(1_893_456_001_000_000_001),
            };
            let stored = String::from_utf8(stored(&entry)).unwrap();
            let found = parse(&stored).unwrap();
            assert_eq!(found, (entry.state, entry.expires_at));
        }
        for bad in [
            "",
            "t",
            "t 1 2",
            "c x 1893456000.123456789 1893456000.123456789",
        ] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }

    /// Buckets as release 0.1 stores them, which every later release must read.
    #[test]
    fn the_stored_forms_of_this_release_are_read() {
        let moment = Timestamp::from_nanos(1_893_456_000_123_456_789);
        let expires_at = Timestamp::from_nanos(1_893_456_001_000_000_001);
        for (form, state) in [
            (
                "t 1893456000.123456789 1893456001.000000001",
                State::Tat(moment),
            ),
            (
                "c 0.30000000000000004 1893456000.123456789 1893456001.000000001",
                State::Tokens(Tokens {
                    tokens: 0.1 + 0.2,
                    last_refill: moment,
                }),
            ),
        ] {
            assert_eq!(parse(form), Some((state, expires_at)));
            let quota = "q".into();
            let entry = Entry {
                quota,
                state,
                expires_at,
            };
            assert_eq!(stored(&entry), form.as_bytes());
        }
    }
}
