//! Records as DynamoDB items.

use std::collections::HashMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use bytes::Bytes;
use store_core::body::Encoded;
use store_core::{
    Body, Collection, Error, Partition, Record, RecordKey, RecordRef, Result, Timestamp, Version,
};

use crate::error::BACKEND;

pub(crate) type Item = HashMap<String, AttributeValue>;

pub(crate) const PK: &str = "pk";
pub(crate) const SK: &str = "sk";
pub(crate) const VERSION: &str = "version";
pub(crate) const EXPIRES_AT: &str = "expires_at";
/// When the server may remove the item, in seconds. The name needs no placeholder in
/// expressions. See [`crate::config::DynamoDbBuilder::grace`].
pub(crate) const TTL: &str = "remove_at";
const JSON: &str = "json";
const BYTES: &str = "bytes";

/// The condition that an item has not expired.
pub(crate) const ALIVE: &str = "(attribute_not_exists(expires_at) OR expires_at > :now)";

/// The prefix of the partition key of every record.
pub(crate) const RECORDS: &str = "r:";
/// The prefix of the partition key of every limit.
pub(crate) const LIMITS: &str = "l:";

pub(crate) fn text(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

pub(crate) fn number(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// A time in nanoseconds.
pub(crate) fn time(time: Timestamp) -> AttributeValue {
    number(time.as_nanos())
}

pub(crate) fn partition_key(partition: &str) -> String {
    [RECORDS, partition].concat()
}

/// The sort key. The colon ends the collection's name, which contains none.
pub(crate) fn sort_key(collection: Collection, id: &str) -> String {
    [collection.name(), ":", id].concat()
}

/// Partition key and sort key of an item.
pub(crate) fn names(at: RecordRef<'_>) -> (String, String) {
    (
        partition_key(at.partition()),
        sort_key(at.collection(), at.id()),
    )
}

/// The key of an item, as a map of its two attributes.
pub(crate) fn key(at: RecordRef<'_>) -> Item {
    let (pk, sk) = names(at);
    key_of(pk, sk)
}

pub(crate) fn key_of(pk: impl Into<String>, sk: impl Into<String>) -> Item {
    HashMap::from([(PK.into(), text(pk)), (SK.into(), text(sk))])
}

/// The item of a put, and when it may be removed, in seconds.
pub(crate) fn item(
    at: RecordRef<'_>,
    version: Version,
    expires_at: Option<Timestamp>,
    ttl: Option<u64>,
    body: &Body,
) -> Result<Item> {
    let mut item = key(at);
    item.insert(VERSION.into(), text(version.to_string()));
    if let Some(at) = expires_at {
        item.insert(EXPIRES_AT.into(), time(at));
    }
    if let Some(ttl) = ttl {
        item.insert(TTL.into(), number(ttl));
    }
    let (name, value) = match body.encoded()? {
        Encoded::Json(json) => (
            JSON,
            text(String::from_utf8(json.into()).map_err(|_| malformed())?),
        ),
        Encoded::Bytes(bytes) => (BYTES, AttributeValue::B(Blob::new(bytes))),
    };
    item.insert(name.into(), value);
    Ok(item)
}

/// The record of an item whose name is known.
pub(crate) fn record(mut item: Item, partition: &Partition, key: &RecordKey) -> Result<Record> {
    let body = match (item.remove(JSON), item.remove(BYTES)) {
        (Some(AttributeValue::S(json)), None) => Body::from_json(json),
        (None, Some(AttributeValue::B(bytes))) => {
            Body::bytes(Bytes::from(bytes.into_inner())).map_err(|e| malformed().with_source(e))?
        }
        _ => return Err(malformed().with_key(key.at(partition))),
    };
    Ok(Record::new(
        partition.clone(),
        key.clone(),
        version(&item)?.ok_or_else(malformed)?,
        moment(&item, EXPIRES_AT)?,
        body,
    ))
}

/// The record of an item, with the name in its key; `None` if it is not in `collection`.
pub(crate) fn named(item: Item, collection: Collection) -> Result<Option<Record>> {
    let of = |name| item.get(name).and_then(|value| value.as_s().ok());
    let partition = of(PK).and_then(|pk| pk.strip_prefix(RECORDS));
    let id = of(SK).and_then(|sk| sk.strip_prefix(collection.name())?.strip_prefix(':'));
    let (Some(partition), Some(id)) = (partition, id) else {
        return Ok(None);
    };
    let (partition, key) = (Partition::new(partition)?, RecordKey::new(collection, id)?);
    record(item, &partition, &key).map(Some)
}

pub(crate) fn version(item: &Item) -> Result<Option<Version>> {
    let parse = |value: &AttributeValue| value.as_s().ok()?.parse().ok();
    item.get(VERSION)
        .map(|value| parse(value).ok_or_else(malformed))
        .transpose()
}

/// An attribute that is a time in nanoseconds.
pub(crate) fn moment(item: &Item, name: &str) -> Result<Option<Timestamp>> {
    Ok(integer(item, name)?.map(Timestamp::from_nanos))
}

pub(crate) fn integer(item: &Item, name: &str) -> Result<Option<u64>> {
    let parse = |value: &AttributeValue| value.as_n().ok()?.parse().ok();
    item.get(name)
        .map(|value| parse(value).ok_or_else(malformed))
        .transpose()
}

pub(crate) fn malformed() -> Error {
    Error::corrupt(
        "a stored item does not have the format that this store writes; was it changed by hand?",
    )
    .with_backend(BACKEND)
}

#[cfg(test)]
mod tests {
    use super::*;

    const THINGS: Collection = Collection::new("things");

    #[test]
    fn an_item_reads_back_as_it_was_written() {
        let partition = Partition::new("").unwrap();
        let key = RecordKey::new(THINGS, "a:b").unwrap();
        let version = Version::unique();
        let expires_at = Some(Timestamp::from_nanos(1_893_456_000_123_456_789));
        for body in [
            Body::json("1e3 is text".to_owned()).unwrap(),
            Body::bytes(&b"\0\xff"[..]).unwrap(),
        ] {
            let item = item(key.at(&partition), version, expires_at, Some(7), &body).unwrap();
            let found = named(item, THINGS).unwrap().unwrap();
            assert_eq!((found.partition(), found.key()), (&partition, &key));
            assert_eq!((found.version(), found.expires_at()), (version, expires_at));
            assert_eq!(found.body().as_bytes(), body.as_bytes());
        }
    }

    /// Items as release 0.1 stores them, which every later release must read.
    #[test]
    fn the_stored_forms_of_this_release_are_read() {
        let of = |attributes: &[(&str, AttributeValue)]| -> Item {
            let attributes = attributes.iter();
            attributes
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect()
        };
        let partition = Partition::new("acme").unwrap();
        let key = RecordKey::new(THINGS, "alice").unwrap();
        let version = Version::from_bytes([1; 16]);
        let common = [
            ("pk", text("r:acme")),
            ("sk", text("things:alice")),
            ("version", text("01010101010101010101010101010101")),
        ];
        let mut json = of(&common);
        json.extend(of(&[
            ("json", text("{\"name\":\"Ada\"}")),
            (
                "expires_at",
                AttributeValue::N("1893456000123456789".into()),
            ),
            ("remove_at", AttributeValue::N("1893459601".into())),
        ]));
        let mut bytes = of(&common);
        let content = AttributeValue::B(Blob::new(&b"\0\xff"[..]));
        bytes.insert("bytes".into(), content);
        for (form, expires_at, ttl, body) in [
            (
                json,
                Some(Timestamp::from_nanos(1_893_456_000_123_456_789)),
                Some(1_893_459_601),
                Body::from_json("{\"name\":\"Ada\"}"),
            ),
            (bytes, None, None, Body::bytes(&b"\0\xff"[..]).unwrap()),
        ] {
            let written = item(key.at(&partition), version, expires_at, ttl, &body);
            assert_eq!(written.unwrap(), form);
            let read = named(form, THINGS).unwrap().unwrap();
            assert_eq!((read.partition(), read.key()), (&partition, &key));
            assert_eq!((read.version(), read.expires_at()), (version, expires_at));
            let (read, expected) = (read.body().encoded(), body.encoded());
            assert_eq!(format!("{read:?}"), format!("{expected:?}"));
        }
    }

    #[test]
    fn an_item_of_another_form_is_corrupt_and_names_no_content() {
        let partition = Partition::new("p").unwrap();
        let key = RecordKey::new(THINGS, "a").unwrap();
        let body = Body::json("hunter2".to_owned()).unwrap();
        let at = key.at(&partition);
        for spoilt in [VERSION, JSON, EXPIRES_AT] {
            let mut item = item(at, Version::unique(), None, None, &body).unwrap();
            item.insert(spoilt.into(), AttributeValue::Bool(true));
            let error = record(item, &partition, &key).unwrap_err();
            assert!(!format!("{error:?}").contains("hunter2"), "{spoilt}");
        }
    }
}
