//! Buckets as DynamoDB's items: all quotas of a key in one.

use std::sync::Arc;

use aws_sdk_dynamodb::types::AttributeValue;
use store_core::limits::{Bucket, Entry, State, Tokens};
use store_core::{Result, Timestamp, Version};

use crate::wire::{self, Item, TTL, VERSION, malformed};

/// What the names of a quota's attributes begin with; its own name follows.
pub(crate) const TAT: &str = "tat.";
pub(crate) const UNTIL: &str = "until.";
pub(crate) const TOKENS: &str = "tokens.";
const REFILLED: &str = "refilled.";

/// The sort key of every bucket.
const SORT_KEY: &str = "bucket";

/// The key of the item of partition key `own`.
pub(crate) fn key(own: &str) -> Item {
    wire::key_of(own, SORT_KEY)
}

pub(crate) fn name(begin: &str, quota: &str) -> String {
    [begin, quota].concat()
}

/// What is kept under one key, expired or not.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) bucket: Bucket,
    /// Of whoever wrote it last; `None` if there is no item.
    pub(crate) version: Option<Version>,
    /// When the server may remove it.
    pub(crate) ttl: u64,
}

impl Kept {
    /// What an item holds; nothing, if it has no attributes.
    pub(crate) fn read(item: Item) -> Result<Self> {
        if item.is_empty() {
            return Ok(Self::default());
        }
        let mut entries = Vec::new();
        for attribute in item.keys() {
            if let Some(quota) = attribute.strip_prefix(UNTIL) {
                entries.push(entry(&item, quota)?);
            }
        }
        Ok(Self {
            bucket: entries.into_iter().collect(),
            version: Some(wire::version(&item)?.ok_or_else(malformed)?),
            ttl: wire::integer(&item, TTL)?.unwrap_or_default(),
        })
    }

    /// Without what has expired; `None` if nothing is left.
    pub(crate) fn alive(&self, now: Timestamp) -> Option<Bucket> {
        let mut bucket = self.bucket.clone();
        bucket.forget_expired(now);
        (!bucket.is_empty()).then_some(bucket)
    }
}

fn entry(item: &Item, quota: &str) -> Result<Entry> {
    let tat = wire::moment(item, &name(TAT, quota))?;
    let tokens = item.get(&name(TOKENS, quota)).map(AttributeValue::as_s);
    let state = match (tat, tokens) {
        (Some(tat), None) => State::Tat(tat),
        (None, Some(Ok(tokens))) => State::Tokens(Tokens {
            tokens: tokens.parse().map_err(|_| malformed())?,
            last_refill: wire::moment(item, &name(REFILLED, quota))?.ok_or_else(malformed)?,
        }),
        _ => return Err(malformed()),
    };
    Ok(Entry {
        quota: Arc::from(quota),
        state,
        expires_at: wire::moment(item, &name(UNTIL, quota))?.ok_or_else(malformed)?,
    })
}

/// The item of a bucket that is written whole.
pub(crate) fn item(own: &str, bucket: &Bucket, version: Version, ttl: u64) -> Item {
    let mut item = key(own);
    item.insert(VERSION.into(), wire::text(version.to_string()));
    item.insert(TTL.into(), wire::number(ttl));
    for entry in bucket.entries() {
        let mut put = |begin, value| item.insert(name(begin, &entry.quota), value);
        put(UNTIL, wire::time(entry.expires_at));
        match entry.state {
            State::Tat(tat) => {
                put(TAT, wire::time(tat));
            }
            State::Tokens(tokens) => {
                // As text: all digits that a float needs to be read back to the
                // last bit, which may be more than a number of DynamoDB's has.
                put(TOKENS, wire::text(format!("{:?}", tokens.tokens)));
                put(REFILLED, wire::time(tokens.last_refill));
            }
        }
    }
    item
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_read_back_to_the_nanosecond_and_the_last_bit() {
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
        let entry = |(i, state)| Entry {
            quota: format!("a.b-{i}").into(),
            state,
            expires_at: Timestamp::from_nanos(1_893_456_001_000_000_001),
        };
        let bucket: Bucket = states.into_iter().enumerate().map(entry).collect();
        let version = Version::unique();
        let kept = Kept::read(item("k", &bucket, version, 9)).unwrap();
        assert_eq!(
            (kept.bucket, kept.version, kept.ttl),
            (bucket, Some(version), 9)
        );
    }

    #[test]
    fn an_item_of_another_form_is_corrupt() {
        let bucket: Bucket = [Entry {
            quota: "q".into(),
            state: State::Tat(Timestamp::EPOCH),
            expires_at: Timestamp::EPOCH,
        }]
        .into_iter()
        .collect();
        for spoilt in ["tat.q", "until.q", VERSION] {
            let mut item = item("k", &bucket, Version::unique(), 0);
            item.insert(spoilt.into(), AttributeValue::Bool(true));
            assert!(Kept::read(item).is_err(), "{spoilt}");
        }
    }
}
