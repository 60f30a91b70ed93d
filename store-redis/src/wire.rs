//! A record as one string: a readable header of fixed width, then the body.
//!
//! ```text
//! j1 2f0c…(32 digits)…91 1893456000.123456789 {"name":"ada"}
//! ||  version            when it expires       body
//! |format
//! JSON, or `b` for bytes
//! ```
//!
//! A record that never expires has dashes instead of digits. The scripts read these
//! columns too.

use std::fmt::Write as _;
use std::io::Write as _;

use bytes::Bytes;
use redis::{RedisWrite, ToRedisArgs, Value};
use store_core::body::Encoded;
use store_core::{Body, Error, Partition, Record, RecordKey, Result, Timestamp, Version};

use crate::error::BACKEND;

const HEADER: usize = 57;
const NEVER: &str = "----------.---------";
const NANOS: u64 = 1_000_000_000;

/// A time or a duration in seconds and nanoseconds, each of which a Lua script can
/// represent exactly as a double.
#[derive(Clone, Copy)]
pub(crate) struct Pair {
    pub(crate) seconds: u64,
    pub(crate) nanos: u64,
}

impl Pair {
    pub(crate) fn of(nanos: u64) -> Self {
        Self {
            seconds: nanos / NANOS,
            nanos: nanos % NANOS,
        }
    }
}

impl From<Timestamp> for Pair {
    fn from(time: Timestamp) -> Self {
        Self::of(time.as_nanos())
    }
}

/// The number of characters of a stored time.
pub(crate) const WIDTH: usize = 20;

impl Pair {
    /// The stored form, which has a fixed width, so that times can be compared as text.
    pub(crate) fn text(self) -> [u8; WIDTH] {
        let mut text = *b"0000000000.000000000";
        let mut write = |from: usize, to: usize, mut number: u64| {
            for digit in text[from..to].iter_mut().rev() {
                *digit = b'0' + (number % 10) as u8;
                number /= 10;
            }
        };
        write(0, 10, self.seconds);
        write(11, WIDTH, self.nanos);
        text
    }
}

impl std::fmt::Display for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(std::str::from_utf8(&self.text()).unwrap_or_default())
    }
}

impl ToRedisArgs for Pair {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        out.write_arg(&self.text());
    }
}

/// Parses a time that was written as a [`Pair`].
pub(crate) fn time(text: &str) -> Option<Timestamp> {
    let (seconds, nanos) = text.split_once('.')?;
    if seconds.len() != 10 || nanos.len() != 9 {
        return None;
    }
    let (seconds, nanos): (u64, u64) = (seconds.parse().ok()?, nanos.parse().ok()?);
    Some(Timestamp::from_nanos(seconds.checked_mul(NANOS)? + nanos))
}

/// A record to be written, as one argument.
pub(crate) struct Stored {
    header: String,
    body: Bytes,
}

impl Stored {
    pub(crate) fn new(
        version: Version,
        expires_at: Option<Timestamp>,
        body: &Body,
    ) -> Result<Self> {
        let (kind, body) = match body.encoded()? {
            Encoded::Json(json) => ('j', json),
            Encoded::Bytes(bytes) => ('b', bytes),
        };
        let mut header = String::with_capacity(HEADER);
        let written = match expires_at {
            Some(time) => write!(header, "{kind}1 {version} {} ", Pair::from(time)),
            None => write!(header, "{kind}1 {version} {NEVER} "),
        };
        written.expect("writing to a string cannot fail");
        Ok(Self { header, body })
    }

    pub(crate) fn len(&self) -> usize {
        self.header.len() + self.body.len()
    }
}

impl ToRedisArgs for Stored {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        let mut argument = out.writer_for_next_arg();
        // Writing to memory cannot fail.
        let _ = argument.write_all(self.header.as_bytes());
        let _ = argument.write_all(&self.body);
    }
}

/// The record in a reply; `None` for nil. Expired ones are returned too.
pub(crate) fn record(
    value: Value,
    partition: &Partition,
    key: &RecordKey,
) -> Result<Option<Record>> {
    let bytes = match value {
        Value::Nil => return Ok(None),
        Value::BulkString(bytes) => Bytes::from(bytes),
        _ => return Err(unexpected()),
    };
    let (kind, version, expires_at) =
        header(&bytes).ok_or_else(|| unreadable().with_key(key.at(partition)))?;
    let body = bytes.slice(HEADER..);
    let body = match kind {
        'j' => Body::from_json(body),
        _ => Body::bytes(body).map_err(|_| unreadable().with_key(key.at(partition)))?,
    };
    Ok(Some(Record::new(
        partition.clone(),
        key.clone(),
        version,
        expires_at,
        body,
    )))
}

fn header(bytes: &[u8]) -> Option<(char, Version, Option<Timestamp>)> {
    let header = std::str::from_utf8(bytes.get(..HEADER)?).ok()?;
    let kind = header
        .chars()
        .next()
        .filter(|kind| matches!(kind, 'j' | 'b'))?;
    let rest = header[1..].strip_prefix("1 ")?;
    let (version, rest) = rest.split_once(' ')?;
    let expiry = rest.strip_suffix(' ')?;
    let expires_at = match expiry {
        NEVER => None,
        expiry => Some(time(expiry)?),
    };
    Some((kind, version.parse().ok()?, expires_at))
}

fn unreadable() -> Error {
    Error::corrupt(
        "the stored value is not a record that this version can read; was it changed by hand, \
         or written by a newer version?",
    )
    .with_backend(BACKEND)
}

/// The error for a reply with an unexpected format.
pub(crate) fn unexpected() -> Error {
    Error::corrupt("the server's reply does not have the format that the command returns")
        .with_backend(BACKEND)
}

pub(crate) fn array(value: Value) -> Result<Vec<Value>> {
    match value {
        Value::Array(values) => Ok(values),
        _ => Err(unexpected()),
    }
}

pub(crate) fn text(value: Value) -> Result<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).map_err(|_| unexpected()),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Ok(text),
        _ => Err(unexpected()),
    }
}

pub(crate) fn integer(value: &Value) -> Result<i64> {
    match value {
        Value::Int(integer) => Ok(*integer),
        Value::BulkString(bytes) => std::str::from_utf8(bytes)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or_else(unexpected),
        _ => Err(unexpected()),
    }
}

#[cfg(test)]
mod tests {
    use store_core::Collection;

    use super::*;

    fn round_trip(expires_at: Option<Timestamp>, body: &Body) -> Record {
        let version = Version::unique();
        let stored = Stored::new(version, expires_at, body).unwrap();
        let mut bytes = stored.header.clone().into_bytes();
        assert_eq!(bytes.len(), HEADER);
        bytes.extend_from_slice(&stored.body);
        let key = RecordKey::new(Collection::new("things"), "a").unwrap();
        let value = Value::BulkString(bytes);
        let record = record(value, &Partition::new("p").unwrap(), &key);
        let record = record.unwrap().unwrap();
        assert_eq!(record.version(), version);
        assert_eq!(record.expires_at(), expires_at);
        record
    }

    #[test]
    fn a_record_is_read_back_as_it_was_written() {
        for expires_at in [
            None,
            Some(Timestamp::EPOCH),
            Some(Timestamp::from_nanos(1_893_456_000_123_456_789)),
            Some(Timestamp::MAX),
        ] {
            let json = round_trip(expires_at, &Body::json(7).unwrap());
            assert_eq!(*json.decode::<u64>().unwrap(), 7);
            let bytes = round_trip(expires_at, &Body::bytes(vec![0, 255]).unwrap());
            assert_eq!(bytes.body().as_bytes().unwrap()[..], [0, 255]);
        }
    }

    /// Values as release 0.1 stores them, which every later release must read.
    #[test]
    fn the_stored_forms_of_this_release_are_read() {
        let key = RecordKey::new(Collection::new("things"), "a").unwrap();
        let partition = Partition::new("p").unwrap();
        let version = Version::from_bytes([1; 16]);
        let moment = Timestamp::from_nanos(1_893_456_000_123_456_789);
        for (form, expires_at, body) in [
            (
                "j1 01010101010101010101010101010101 1893456000.123456789 {\"name\":\"Ada\"}",
                Some(moment),
                Body::from_json("{\"name\":\"Ada\"}"),
            ),
            (
                "b1 01010101010101010101010101010101 ----------.--------- \0\n",
                None,
                Body::bytes(&b"\0\n"[..]).unwrap(),
            ),
        ] {
            let stored = Stored::new(version, expires_at, &body).unwrap();
            let written = [stored.header.as_bytes(), &stored.body].concat();
            assert_eq!(written, form.as_bytes());
            let value = Value::BulkString(form.into());
            let read = record(value, &partition, &key).unwrap().unwrap();
            assert_eq!((read.version(), read.expires_at()), (version, expires_at));
            let (read, expected) = (read.body().encoded(), body.encoded());
            assert_eq!(format!("{read:?}"), format!("{expected:?}"));
        }
    }

    #[test]
    fn a_value_that_is_no_record_is_an_error_and_no_panic() {
        let key = RecordKey::new(Collection::new("things"), "a").unwrap();
        let partition = Partition::new("p").unwrap();
        let good = format!("j1 {} {NEVER} 7", Version::unique());
        for bad in [
            "",
            "7",
            &good[..56],
            &good.replace("j1", "j2"),
            &good.replace("j1", "x1"),
            &good.replace(NEVER, "1893456000-123456789"),
            &good
                .replace(NEVER, "9999999999.999999999")
                .replace(' ', "ä"),
            &"é".repeat(40),
        ] {
            let value = Value::BulkString(bad.as_bytes().to_vec());
            assert!(record(value, &partition, &key).is_err(), "{bad}");
        }
    }
}
