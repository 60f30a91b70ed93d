//! Rewrites that preserve fields of a newer release.

use std::any::{Any, TypeId};
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{Body, Encoded, Repr, read_json, shared};
use crate::error::{Error, Result};

impl Body {
    /// This body with the fields of `previous` that its type does not know. A
    /// body that was not made from a typed value, or by [`Body::replacement`],
    /// is returned as it is.
    pub(crate) fn preserving(self, previous: &Body) -> Result<Self> {
        let merged = match &self.0 {
            Repr::Typed(typed) => match typed.ops.merge {
                Some(merge) => merge(&*typed.value, previous)?,
                None => None,
            },
            Repr::Json(_) | Repr::Bytes(_) => None,
        };
        Ok(merged.unwrap_or(self))
    }
}

/// The body of `value` and of what `previous` has that a `T` does not know;
/// `None` if there is nothing like that.
pub(super) fn merge<T>(value: &(dyn Any + Send + Sync), previous: &Body) -> Result<Option<Body>>
where
    T: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    if TypeId::of::<T>() == TypeId::of::<Value>() {
        return Ok(None);
    }
    let Some(stored) = object_of::<T>(previous)? else {
        return Ok(None);
    };
    let known = previous.decode::<T>().map_err(not_comparable)?;
    let known = serde_json::to_vec(&*known).map_err(|_| unserializable())?;
    // Most backends return the bytes that were put.
    if known == stored {
        return Ok(None);
    }
    let (stored, known) = (read_json(&stored)?, read_json(&known)?);
    if stored == known {
        return Ok(None);
    }
    let value = value.downcast_ref::<T>().expect("made from a T");
    let value = serde_json::to_value(value).map_err(|_| unserializable())?;
    let (Value::Object(mut merged), Value::Object(stored), Value::Object(known)) =
        (value, stored, known)
    else {
        return Ok(None);
    };
    if !add_unknown(&mut merged, stored, &known) {
        return Ok(None);
    }
    let merged = Value::Object(merged);
    // A field that `T` reads under another name is not unknown to it, and both
    // names together are often no `T`.
    if T::deserialize(&merged).is_err() {
        return Ok(None);
    }
    // As text, so that a `T` is decoded from it once and then cached.
    Body::json(merged)?.round_trip().map(Some)
}

/// The JSON of `previous` if it is an object that may have fields that a `T` does not
/// have. One that is held as a `T` has none.
fn object_of<T: 'static>(previous: &Body) -> Result<Option<Bytes>> {
    if matches!(&previous.0, Repr::Typed(typed) if (*typed.value).is::<T>()) {
        return Ok(None);
    }
    Ok(match previous.encoded()? {
        Encoded::Json(json) if json.trim_ascii_start().starts_with(b"{") => Some(json),
        Encoded::Json(_) | Encoded::Bytes(_) => None,
    })
}

fn unserializable() -> Error {
    // The text is the value's own and may quote its content.
    Error::invalid("the value cannot be serialized; check its fields")
}

/// A newer format says so itself; anything else is a value of another type.
fn not_comparable(error: Error) -> Error {
    if error.message().contains(super::UPGRADE) {
        return error;
    }
    Error::corrupt(
        "the record that this put replaces is not of the type of the value, so fields that the \
         type does not know cannot be preserved; put Body::replacement to replace all of it",
    )
    .with_source(error)
}

/// Adds to `value` what `stored` has and `known` does not, also in objects that all
/// three have. Returns whether there was anything.
fn add_unknown(
    value: &mut Map<String, Value>,
    stored: Map<String, Value>,
    known: &Map<String, Value>,
) -> bool {
    let mut added = false;
    for (name, stored) in stored {
        match (known.get(&name), stored) {
            (None, stored) => {
                added |= !value.contains_key(&name);
                value.entry(name).or_insert(stored);
            }
            (Some(Value::Object(known)), Value::Object(stored)) => {
                if let Some(Value::Object(value)) = value.get_mut(&name) {
                    added |= add_unknown(value, stored, known);
                }
            }
            _ => {}
        }
    }
    added
}

/// Drops a refused value. JSON may be nested so deeply that dropping it level
/// by level would overflow the stack.
pub(super) fn dismantle<T: Send + Sync + 'static>(value: Arc<T>) {
    let value: Arc<dyn Any + Send + Sync> = value;
    let Some(value) = shared::<Value>(&value).and_then(|held| {
        drop(value);
        Arc::into_inner(held)
    }) else {
        return;
    };
    let mut left = vec![value];
    while let Some(value) = left.pop() {
        match value {
            Value::Array(values) => left.extend(values),
            Value::Object(values) => left.extend(values.into_iter().map(|(_, value)| value)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;
    use crate::error::ErrorKind;

    #[derive(Default, Serialize, Deserialize)]
    struct Older {
        #[serde(alias = "title")]
        name: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
        #[serde(default)]
        inner: Inner,
    }

    #[derive(Default, Serialize, Deserialize)]
    struct Inner {
        #[serde(default)]
        count: u32,
    }

    fn rewritten(stored: Value, value: Older) -> Value {
        let stored = Body::json(stored).unwrap().round_trip().unwrap();
        let body = Body::json(value).unwrap().preserving(&stored).unwrap();
        (*body.decode::<Value>().unwrap()).clone()
    }

    #[test]
    fn a_rewrite_keeps_unknown_fields_and_removes_known_ones() {
        let stored =
            json!({"name": "a", "note": "n", "new": [1], "inner": {"count": 1, "deep": 2}});
        let expected = json!({"name": "", "new": [1], "inner": {"count": 0, "deep": 2}});
        assert_eq!(rewritten(stored, Older::default()), expected);
    }

    #[test]
    fn a_field_under_its_former_name_is_not_duplicated() {
        let found = rewritten(json!({"title": "a"}), Older::default());
        assert_eq!(found, json!({"name": "", "inner": {"count": 0}}));
    }

    #[test]
    fn a_rewrite_of_what_is_not_the_type_is_corrupt() {
        let stored = Body::from_json("{}");
        let error = Body::json(Older::default()).unwrap().preserving(&stored);
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Corrupt);
        let replaced = Body::replacement(Older::default()).unwrap();
        assert!(replaced.preserving(&stored).is_ok());
    }

    #[test]
    fn a_refused_value_of_any_depth_is_dropped_without_recursion() {
        let deep = (0..1_000_000).fold(Value::Null, |inner, _| vec![inner].into());
        assert!(Body::json(deep).is_err());
    }
}
