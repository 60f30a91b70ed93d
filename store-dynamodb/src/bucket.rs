//! Buckets as DynamoDB items. One item holds all quotas of a key.
//!
//! Each quota has an attribute: a number is the arrival time that a take wrote, and a map
//! is a bucket that a closure wrote. Comparing a map with a number is false, so a numeric
//! comparison also checks the type.
//!
//! A take rewrites only that number. The item's `remove_at` is a time at which all of its
//! buckets are full, and its `version` changes when an attribute is added.

use std::collections::HashMap;
use std::sync::Arc;

use aws_sdk_dynamodb::types::AttributeValue;
use store_core::backend::coalesce::StoredBucket;
use store_core::limits::{Bucket, Entry, State, Tokens};
use store_core::{Result, Timestamp, Version};

use crate::shared::Shared;
use crate::wire::{self, EXPIRES_AT, Item, TTL, VERSION, malformed};

/// The prefix of a quota's attribute; the quota's name follows.
const QUOTA: &str = "quota_";

/// The attributes of a bucket that a closure wrote.
const TOKENS: &str = "tokens";
const REFILLED: &str = "refilled";

/// The sort key of every bucket.
const SORT_KEY: &str = "bucket";

/// The key of the item of partition key `own`.
pub(crate) fn key(own: &str) -> Item {
    wire::key_of(own, SORT_KEY)
}

/// The name of a quota's attribute.
pub(crate) fn name(quota: &str) -> String {
    [QUOTA, quota].concat()
}

/// The attributes of an item other than its buckets.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Mark {
    /// The version of the last write of the whole item, or of the last take that added
    /// a quota; `None` if there is no item.
    version: Option<Version>,
    /// When the server may remove the item.
    pub(crate) ttl: u64,
}

/// The buckets of an item, expired or not, and its mark.
pub(crate) type Stored = StoredBucket<Mark>;

/// Decodes an item; without attributes it has no buckets.
pub(crate) fn read(item: Item, shared: &Shared) -> Result<Stored> {
    let ttl = wire::integer(&item, TTL)?.unwrap_or_default();
    full_by(item, ttl, shared.expired_by(ttl))
}

/// The same; the expiry of a bucket that a take wrote is `full` or its arrival time,
/// whichever is later.
fn full_by(item: Item, ttl: u64, full: Timestamp) -> Result<Stored> {
    if item.is_empty() {
        return Ok(StoredBucket::default());
    }
    let version = wire::version(&item)?.ok_or_else(malformed)?;
    let entry = |(name, value): (String, AttributeValue)| {
        let quota = name.strip_prefix(QUOTA)?;
        Some(entry(quota, value, full))
    };
    let bucket: Bucket = item.into_iter().filter_map(entry).collect::<Result<_>>()?;
    Ok(StoredBucket {
        bucket: Some(bucket),
        version: Mark::new(version, ttl),
    })
}

impl Mark {
    /// The mark of an item that is completely rewritten.
    pub(crate) fn new(version: Version, ttl: u64) -> Self {
        Self {
            version: Some(version),
            ttl,
        }
    }
}

/// The condition that the item is unchanged since it was read.
pub(crate) fn unchanged(stored: &Stored) -> Condition {
    let mut condition = Condition::default();
    let Some(version) = stored.version.version else {
        condition.text = "attribute_not_exists(pk)".into();
        return condition;
    };
    condition.text = "version = :version".into();
    let version = wire::text(version.to_string());
    condition.values.insert(":version".into(), version);
    // The version covers buckets that closures wrote, which takes do not change.
    let entries = stored.bucket.as_ref().map_or(&[][..], Bucket::entries);
    for (i, entry) in entries.iter().enumerate() {
        if let State::Tat(tat) = entry.state {
            condition.text += &format!(" AND #quota{i} = :tat{i}");
            let name = (format!("#quota{i}"), name(&entry.quota));
            condition.names.extend([name]);
            condition.values.insert(format!(":tat{i}"), wire::time(tat));
        }
    }
    condition
}

/// A condition, with the placeholders of its names and values.
#[derive(Default)]
pub(crate) struct Condition {
    pub(crate) text: String,
    names: HashMap<String, String>,
    values: Item,
}

impl Condition {
    /// DynamoDB refuses an empty map.
    pub(crate) fn names(&self) -> Option<HashMap<String, String>> {
        Some(self.names.clone()).filter(|names| !names.is_empty())
    }

    pub(crate) fn values(&self) -> Option<Item> {
        Some(self.values.clone()).filter(|values| !values.is_empty())
    }
}

fn entry(quota: &str, value: AttributeValue, full: Timestamp) -> Result<Entry> {
    let (state, expires_at) = match value {
        AttributeValue::N(tat) => {
            let tat = Timestamp::from_nanos(tat.parse().map_err(|_| malformed())?);
            (State::Tat(tat), tat.max(full))
        }
        AttributeValue::M(written) => {
            let tokens = written.get(TOKENS).map(AttributeValue::as_s);
            let Some(Ok(tokens)) = tokens else {
                return Err(malformed());
            };
            let at = |name| wire::moment(&written, name)?.ok_or_else(malformed);
            let tokens = Tokens {
                tokens: tokens.parse().map_err(|_| malformed())?,
                last_refill: at(REFILLED)?,
            };
            (State::Tokens(tokens), at(EXPIRES_AT)?)
        }
        _ => return Err(malformed()),
    };
    Ok(Entry {
        quota: Arc::from(quota),
        state,
        expires_at,
    })
}

/// The complete item of a bucket.
pub(crate) fn item(own: &str, bucket: &Bucket, version: Version, ttl: u64) -> Item {
    let mut item = key(own);
    item.insert(VERSION.into(), wire::text(version.to_string()));
    item.insert(TTL.into(), wire::number(ttl));
    for entry in bucket.entries() {
        let value = match entry.state {
            State::Tat(tat) => wire::time(tat),
            State::Tokens(tokens) => AttributeValue::M(HashMap::from([
                // As text, because a number in DynamoDB may have too few digits for an
                // exact float.
                (TOKENS.into(), wire::text(format!("{:?}", tokens.tokens))),
                (REFILLED.into(), wire::time(tokens.last_refill)),
                (EXPIRES_AT.into(), wire::time(entry.expires_at)),
            ])),
        };
        item.insert(name(&entry.quota), value);
    }
    item
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_reads_back_to_the_nanosecond_and_the_last_bit() {
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
        let full = Timestamp::from_nanos(1_893_456_001_000_000_001);
        let entry = |(i, state)| Entry {
            quota: format!("a.b-{i}").into(),
            state,
            expires_at: match state {
                State::Tat(tat) => tat.max(full),
                State::Tokens(_) => Timestamp::from_nanos(7),
            },
        };
        let bucket: Bucket = states.into_iter().enumerate().map(entry).collect();
        let version = Version::unique();
        let stored = full_by(item("k", &bucket, version, 9), 9, full).unwrap();
        assert_eq!(
            (stored.bucket, stored.version),
            (Some(bucket), Mark::new(version, 9))
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
        for spoilt in ["quota_q", VERSION] {
            let mut item = item("k", &bucket, Version::unique(), 0);
            item.insert(spoilt.into(), AttributeValue::Bool(true));
            assert!(full_by(item, 0, Timestamp::EPOCH).is_err(), "{spoilt}");
        }
    }

    /// An item as release 0.1 stores it, which every later release must read.
    #[test]
    fn the_stored_form_of_this_release_is_read() {
        let (text, number) = (wire::text, |n: &str| AttributeValue::N(n.into()));
        let tokens = AttributeValue::M(HashMap::from([
            ("tokens".into(), text("0.30000000000000004")),
            ("refilled".into(), number("1893456000123456789")),
            ("expires_at".into(), number("1893456002000000000")),
        ]));
        let form = Item::from([
            ("pk".into(), text("l:login")),
            ("sk".into(), text("bucket")),
            ("version".into(), text("01010101010101010101010101010101")),
            ("remove_at".into(), number("1893459601")),
            ("quota_by_tokens".into(), tokens),
            ("quota_by_time".into(), number("1893456000123456789")),
        ]);
        let moment = Timestamp::from_nanos(1_893_456_000_123_456_789);
        let full = Timestamp::from_seconds(1_893_456_001);
        let bucket: Bucket = [
            Entry {
                quota: "by_time".into(),
                state: State::Tat(moment),
                expires_at: full,
            },
            Entry {
                quota: "by_tokens".into(),
                state: State::Tokens(Tokens {
                    tokens: 0.1 + 0.2,
                    last_refill: moment,
                }),
                expires_at: Timestamp::from_seconds(1_893_456_002),
            },
        ]
        .into_iter()
        .collect();
        let version = Version::from_bytes([1; 16]);
        assert_eq!(item("l:login", &bucket, version, 1_893_459_601), form);
        let read = full_by(form, 1_893_459_601, full).unwrap();
        assert_eq!(
            (read.bucket, read.version),
            (Some(bucket), Mark::new(version, 1_893_459_601))
        );
    }
}
