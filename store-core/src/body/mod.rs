//! A record's content: a typed value, its JSON, or plain bytes.
//!
//! Memory and caches hold the value that was put, as an `Arc<T>`, and return that
//! same value: nothing is encoded. Network backends ask for
//! [`Body::encoded`] and make a body of what they read with
//! [`Body::from_json`], which is decoded when it is first needed, once.
//!
//! A value is measured and checked when the body is made, so what memory
//! accepts, every backend accepts. A number preserves its value to the last digit, not
//! its spelling: decoded as JSON, `1e3` may be returned as `1000`, and `-0.0` as
//! `0`. An `f64` reads what was written, but for the sign of a zero.

mod check;
mod format;
mod preserve;

use std::any::Any;
use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

pub use check::MAX_NESTING;
pub use format::Format;

/// The largest body in bytes: of its JSON, or of the bytes themselves.
pub const MAX_BODY: usize = 256 * 1024;

/// Fields that a type does not know. A put over a record that was read
/// preserves them without this (see [`Body::json`]); flatten it into a type that
/// must show them or may remove them.
pub type Unknown = serde_json::Map<String, serde_json::Value>;

/// A record's content. Cheap to clone; its `Debug` shows only its size.
#[derive(Clone)]
pub struct Body(Repr);

#[derive(Clone)]
enum Repr {
    Typed(Typed),
    Json(Arc<Json>),
    Bytes(Bytes),
}

/// A value as it was put. Held directly, so that a read follows no more
/// pointers than it would to an `Arc<T>` in a map; encoded when asked.
#[derive(Clone)]
struct Typed {
    value: Arc<dyn Any + Send + Sync>,
    ops: &'static Ops,
    size: usize,
}

type Held = dyn Any + Send + Sync;

/// Adds the fields of a stored body that the new value's type does not know.
type Merge = fn(&Held, &Body) -> Result<Option<Body>>;

/// What the type of a value does for it.
struct Ops {
    encode: fn(&Held) -> Result<Bytes>,
    /// `None` for a value that replaces all.
    merge: Option<Merge>,
}

/// JSON as it was read, and the value that was first decoded from it.
struct Json {
    encoded: Bytes,
    decoded: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl Typed {
    fn encoded(&self) -> Result<Bytes> {
        (self.ops.encode)(&*self.value)
    }
}

fn encode<T: Serialize + 'static>(value: &(dyn Any + Send + Sync)) -> Result<Bytes> {
    let value = value.downcast_ref::<T>().expect("made from a T");
    serde_json::to_vec(value).map(Bytes::from).map_err(|_| {
        // The text is the value's own and may quote its content.
        Error::invalid("a value was serializable when it was measured and is not now")
    })
}

/// The value, if it is a `T`.
fn shared<T: Send + Sync + 'static>(value: &Arc<dyn Any + Send + Sync>) -> Option<Arc<T>> {
    Arc::clone(value).downcast().ok()
}

/// What a body is made of, for a backend that must store it.
#[derive(Debug)]
pub enum Encoded {
    /// UTF-8 JSON without NUL.
    Json(Bytes),
    /// Anything.
    Bytes(Bytes),
}

impl Body {
    /// A body that holds `value`.
    ///
    /// Put over a record that was read, it preserves the fields of that record
    /// that `T` does not know, so that an older process does not remove what a
    /// newer one added. That holds for [`Decided::Put`](crate::Decided::Put), for
    /// [`Transaction::put`](crate::Transaction::put), and for a [`Batch`](crate::Batch)
    /// that expects a `&Record`:
    ///
    /// ```
    /// use serde::{Deserialize, Serialize};
    /// use store_core::{Body, Decided};
    ///
    /// #[derive(Serialize, Deserialize)]
    /// struct Badge {
    ///     owner: String,
    /// }
    /// # use store_core::{Collection, Expect, Partition, RecordKey, Store};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> store_core::Result<()> {
    /// # let store = Store::from(store_memory::MemoryStore::new());
    /// # let (partition, key) = (Partition::new("acme")?, RecordKey::new(Collection::new("badges"), "7")?);
    /// // What a newer release stored.
    /// # let mut batch = store.batch(&partition);
    /// batch.put(key.clone(), Expect::Absent, Body::from_json(r#"{"owner":"ada","color":"red"}"#))?;
    /// # store.commit(&batch).await?;
    /// // What this release makes of it.
    /// store
    ///     .update(&partition, &key, |_| {
    ///         Ok(Decided::Put(Body::json(Badge { owner: "bob".into() })?, None, ()))
    ///     })
    ///     .await?;
    /// let record = store.get(key.at(&partition)).await?.expect("it was put");
    /// let stored = record.decode::<serde_json::Value>()?;
    /// assert_eq!(*stored, serde_json::json!({"owner": "bob", "color": "red"}));
    /// # Ok(()) }
    /// ```
    ///
    /// A field that `T` knows and `value` leaves out is removed. In an object
    /// inside of the value the same holds if the value still has that object;
    /// elements of arrays are not compared. [`Body::replacement`] preserves
    /// nothing.
    ///
    /// # Errors
    /// `InvalidInput` if its JSON is over [`MAX_BODY`] bytes, is nested deeper
    /// than [`MAX_NESTING`], holds a NUL in a string, a number that JSON has no
    /// form for (not finite, or beyond 64 bits), a map whose keys are not strings, an
    /// object with two members of one name (of a map, a renamed field or a flattened
    /// map), or a `serde_json::value::RawValue`, whose text is not checked.
    pub fn json<T>(value: T) -> Result<Self>
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        Self::shared(Arc::new(value))
    }

    /// Like [`Body::json`] for a value that is shared already.
    ///
    /// # Errors
    /// As [`Body::json`].
    pub fn shared<T>(value: Arc<T>) -> Result<Self>
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        Self::typed(
            value,
            &Ops {
                encode: encode::<T>,
                merge: Some(preserve::merge::<T>),
            },
        )
    }

    /// A body that holds `value` and replaces all that was stored, fields that
    /// `T` does not know included. For a value that is not rewritten by reading
    /// it first, [`Body::json`] does the same.
    ///
    /// # Errors
    /// As [`Body::json`].
    pub fn replacement<T: Serialize + Send + Sync + 'static>(value: T) -> Result<Self> {
        Self::typed(
            Arc::new(value),
            &Ops {
                encode: encode::<T>,
                merge: None,
            },
        )
    }

    fn typed<T>(value: Arc<T>, ops: &'static Ops) -> Result<Self>
    where
        T: Serialize + Send + Sync + 'static,
    {
        let size = match check::measure(&*value) {
            Ok(size) => size,
            Err(error) => {
                preserve::dismantle(value);
                return Err(error);
            }
        };
        check_size(size)?;
        Ok(Self(Repr::Typed(Typed { value, ops, size })))
    }

    /// A body of JSON that a backend read. The text is not parsed until
    /// [`Body::decode`].
    pub fn from_json(encoded: impl Into<Bytes>) -> Self {
        Self(Repr::Json(Arc::new(Json {
            encoded: encoded.into(),
            decoded: OnceLock::new(),
        })))
    }

    /// A body of plain bytes.
    ///
    /// # Errors
    /// `InvalidInput` over [`MAX_BODY`] bytes.
    pub fn bytes(bytes: impl Into<Bytes>) -> Result<Self> {
        let bytes = bytes.into();
        check_size(bytes.len())?;
        Ok(Self(Repr::Bytes(bytes)))
    }

    /// The size in bytes that counts towards limits.
    ///
    /// A body that a backend read counts as what the backend returned, which may
    /// be longer than what was put: PostgreSQL writes `1e308` in full. A rewrite
    /// is measured by the value that is put, not by what was read, so a value
    /// that could be put can be read and put again.
    pub fn size(&self) -> usize {
        match &self.0 {
            Repr::Typed(typed) => typed.size,
            Repr::Json(json) => json.encoded.len(),
            Repr::Bytes(bytes) => bytes.len(),
        }
    }

    /// The value, as the `Arc` it is held in if it is held as a `T`; otherwise
    /// decoded, and cached, so that the next call does not decode again.
    ///
    /// # Errors
    /// `Corrupt` if the body is plain bytes or its JSON is no `T`.
    pub fn decode<T>(&self) -> Result<Arc<T>>
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        match &self.0 {
            Repr::Typed(typed) => match shared(&typed.value) {
                Some(value) => Ok(value),
                None => parse(&typed.encoded()?),
            },
            Repr::Json(json) => {
                if let Some(value) = json.decoded.get().and_then(shared) {
                    return Ok(value);
                }
                let value: Arc<T> = parse(&json.encoded)?;
                let _ = json.decoded.set(Arc::clone(&value) as _);
                Ok(value)
            }
            Repr::Bytes(_) => Err(Error::corrupt(
                "the body is plain bytes where a value was expected; read it with as_bytes",
            )),
        }
    }

    /// The bytes of a body made by [`Body::bytes`]; `None` for JSON.
    pub fn as_bytes(&self) -> Option<&Bytes> {
        match &self.0 {
            Repr::Bytes(bytes) => Some(bytes),
            Repr::Typed(_) | Repr::Json(_) => None,
        }
    }

    /// What to store. Each call encodes a typed value again.
    ///
    /// # Errors
    /// `InvalidInput` if a value refuses to be serialized the second time.
    pub fn encoded(&self) -> Result<Encoded> {
        match &self.0 {
            Repr::Typed(typed) => Ok(Encoded::Json(typed.encoded()?)),
            Repr::Json(json) => Ok(Encoded::Json(json.encoded.clone())),
            Repr::Bytes(bytes) => Ok(Encoded::Bytes(bytes.clone())),
        }
    }

    /// This body encoded and read back, as a network backend would return it.
    /// Memory's strict mode applies it to each body.
    ///
    /// # Errors
    /// As [`Body::encoded`].
    pub fn round_trip(&self) -> Result<Self> {
        match self.encoded()? {
            Encoded::Json(json) => Ok(Self::from_json(json)),
            Encoded::Bytes(bytes) => Ok(Self(Repr::Bytes(bytes))),
        }
    }
}

/// How a message says that this program is too old.
const UPGRADE: &str = "upgrade it to the release that wrote this";

fn check_size(size: usize) -> Result<()> {
    if size > MAX_BODY {
        return Err(Error::invalid(format!(
            "the body is {size} bytes and may be {MAX_BODY}; store large content as an object"
        )));
    }
    Ok(())
}

fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<Arc<T>> {
    read_json(json).map(Arc::new)
}

/// Decodes a value that a backend stored outside of records. The errors are those
/// of [`Body::decode`], and never quote the text.
///
/// # Errors
/// `Corrupt` if the JSON is no `T`, or has a newer [`Format`].
pub fn read_json<T: DeserializeOwned>(json: &[u8]) -> Result<T> {
    serde_json::from_slice(json).map_err(|e| corrupt(&e))
}

/// serde_json's message may quote content; its position and category do not.
fn corrupt(e: &serde_json::Error) -> Error {
    if let Some((found, known)) = format::newer(&e.to_string()) {
        return Error::corrupt(format!(
            "this is stored in format {found}, and this program, built with store-core {}, reads \
             format {known} at most; {UPGRADE}. Nothing is damaged",
            env!("CARGO_PKG_VERSION")
        ));
    }
    Error::corrupt(format!(
        "the body is not of the expected form ({:?} error at line {}, column {}); \
         was it written by something else?",
        e.classify(),
        e.line(),
        e.column()
    ))
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.0 {
            Repr::Typed(_) | Repr::Json(_) => "Json",
            Repr::Bytes(_) => "Bytes",
        };
        write!(f, "{kind}({} bytes)", self.size())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Thing {
        name: String,
        parts: Vec<u8>,
    }

    fn thing() -> Thing {
        Thing {
            name: "ädam \"q\" \u{1f}\n".into(),
            parts: vec![1, 2, 255],
        }
    }

    #[test]
    fn a_typed_body_hands_out_the_value_it_was_given() {
        let value = Arc::new(thing());
        let body = Body::shared(Arc::clone(&value)).unwrap();
        assert!(Arc::ptr_eq(&body.decode::<Thing>().unwrap(), &value));
    }

    #[test]
    fn an_encoded_body_is_decoded_once() {
        let body = Body::json(thing()).unwrap().round_trip().unwrap();
        let first = body.decode::<Thing>().unwrap();
        assert_eq!(*first, thing());
        assert!(Arc::ptr_eq(&first, &body.clone().decode().unwrap()));
    }

    #[test]
    fn a_body_can_be_read_as_another_type() {
        let body = Body::json(thing()).unwrap();
        let value = body.decode::<serde_json::Value>().unwrap();
        assert_eq!(value["parts"][2], 255);
    }

    #[test]
    fn the_measured_size_is_the_encoded_size() {
        let body = Body::json(thing()).unwrap();
        let Encoded::Json(json) = body.encoded().unwrap() else {
            panic!("json expected");
        };
        assert_eq!(body.size(), json.len());
    }

    #[test]
    fn a_body_over_the_limit_is_refused() {
        assert!(Body::json("x".repeat(MAX_BODY - 2)).is_ok());
        assert!(Body::json("x".repeat(MAX_BODY - 1)).is_err());
        assert!(Body::bytes(vec![0; MAX_BODY]).is_ok());
        assert!(Body::bytes(vec![0; MAX_BODY + 1]).is_err());
    }

    #[test]
    fn neither_debug_nor_a_decoding_error_shows_content() {
        let body = Body::json("hunter2".to_owned()).unwrap();
        assert!(!format!("{body:?}").contains("hunter2"));
        let error = body.decode::<u64>().unwrap_err();
        assert!(!format!("{error:?} {error}").contains("hunter2"));
    }
}
