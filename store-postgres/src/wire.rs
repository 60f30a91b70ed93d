//! Encodes versions as `uuid` and JSON bodies as `json` in PostgreSQL's binary format.
//! sqlx's own types for them would need more dependencies.

use bytes::Bytes;
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgRow, PgTypeInfo, PgValue};
use sqlx::{Encode, Postgres, Row, Type, Value, ValueRef};
use store_core::body::Encoded;
use store_core::{Body, Error, Partition, Record, RecordKey, Result, Timestamp, Version};

/// The object ids of PostgreSQL's built-in types never change.
const UUID: PgTypeInfo = PgTypeInfo::with_oid(Oid(2950));
const UUID_ARRAY: PgTypeInfo = PgTypeInfo::with_oid(Oid(2951));
const JSON: PgTypeInfo = PgTypeInfo::with_oid(Oid(114));
const JSON_ARRAY: PgTypeInfo = PgTypeInfo::with_oid(Oid(199));

#[derive(Clone, Copy)]
pub(crate) struct Uuid(pub(crate) Version);

impl Type<Postgres> for Uuid {
    fn type_info() -> PgTypeInfo {
        UUID
    }
}

impl PgHasArrayType for Uuid {
    fn array_type_info() -> PgTypeInfo {
        UUID_ARRAY
    }
}

impl Encode<'_, Postgres> for Uuid {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend_from_slice(&self.0.to_bytes());
        Ok(IsNull::No)
    }
}

pub(crate) struct Json(pub(crate) Bytes);

impl Type<Postgres> for Json {
    fn type_info() -> PgTypeInfo {
        JSON
    }
}

impl PgHasArrayType for Json {
    fn array_type_info() -> PgTypeInfo {
        JSON_ARRAY
    }
}

impl Encode<'_, Postgres> for Json {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend_from_slice(&self.0);
        Ok(IsNull::No)
    }
}

/// A body as the values of its two columns, one of which is null.
pub(crate) fn columns(body: &Body) -> Result<(Option<Json>, Option<Bytes>)> {
    Ok(match body.encoded()? {
        Encoded::Json(json) => (Some(Json(json)), None),
        Encoded::Bytes(bytes) => (None, Some(bytes)),
    })
}

/// A time as the value of its column.
pub(crate) fn nanos(time: Timestamp) -> i64 {
    // A timestamp is at most `i64::MAX`.
    time.as_nanos() as i64
}

/// The bytes of the column at `index`, or `None` if it is null.
fn raw(row: &PgRow, index: usize) -> Result<Option<&[u8]>> {
    let value = row.try_get_raw(index).map_err(|_| unexpected())?;
    if value.is_null() {
        return Ok(None);
    }
    value.as_bytes().map(Some).map_err(|_| unexpected())
}

/// A body of at least this size is not copied out of the receive buffer, which is only
/// slightly larger. A smaller body is copied, so that it does not hold a much larger
/// buffer in memory.
const SHARED_FROM: usize = 64 << 10;

/// A value in the receive buffer.
struct Received(PgValue);

impl AsRef<[u8]> for Received {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref().as_bytes().unwrap_or_default()
    }
}

/// A body's column at `index`, or `None` if it is null.
fn body_bytes(row: &PgRow, index: usize) -> Result<Option<Bytes>> {
    let value = row.try_get_raw(index).map_err(|_| unexpected())?;
    if value.is_null() {
        return Ok(None);
    }
    let bytes = value.as_bytes().map_err(|_| unexpected())?;
    if bytes.len() < SHARED_FROM {
        return Ok(Some(Bytes::copy_from_slice(bytes)));
    }
    Ok(Some(Bytes::from_owner(Received(ValueRef::to_owned(
        &value,
    )))))
}

fn unexpected() -> Error {
    Error::corrupt(
        "the server's reply does not have the expected columns; \
         was the schema changed by hand?",
    )
}

pub(crate) fn integer(row: &PgRow, index: usize) -> Result<Option<i64>> {
    raw(row, index)?
        .map(|bytes| match *bytes {
            [a, b, c, d] => Ok(i64::from(i32::from_be_bytes([a, b, c, d]))),
            _ => bytes
                .try_into()
                .map(i64::from_be_bytes)
                .map_err(|_| unexpected()),
        })
        .transpose()
}

pub(crate) fn text(row: &PgRow, index: usize) -> Result<&str> {
    let bytes = raw(row, index)?.ok_or_else(unexpected)?;
    std::str::from_utf8(bytes).map_err(|_| unexpected())
}

/// The record whose `version`, `expires_at`, `json` and `bytes` start at `first`;
/// `None` if its version is null.
pub(crate) fn record(
    row: &PgRow,
    first: usize,
    partition: Partition,
    key: RecordKey,
) -> Result<Option<Record>> {
    let Some(version) = raw(row, first)? else {
        return Ok(None);
    };
    let version = Version::from_bytes(version.try_into().map_err(|_| unexpected())?);
    let expires_at = integer(row, first + 1)?
        .map(|nanos| Timestamp::from_nanos(u64::try_from(nanos).unwrap_or_default()));
    let body = match (body_bytes(row, first + 2)?, body_bytes(row, first + 3)?) {
        (Some(json), None) => Body::from_json(json),
        (None, Some(bytes)) => Body::bytes(bytes).map_err(|e| {
            Error::corrupt("the stored body exceeds the maximum size of a body").with_source(e)
        })?,
        _ => return Err(unexpected()),
    };
    Ok(Some(Record::new(partition, key, version, expires_at, body)))
}
