//! Rewrites that preserve fields of a newer version.

use std::any::Any;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{Body, Encoded, Repr, shared};
use crate::error::{Error, Result};

impl Body {
    /// A body that holds `value` and the fields of `previous` that `T` does not
    /// know, so that an older process preserves what a newer one added. Use it
    /// wherever a record that was read is written again:
    ///
    /// ```
    /// use serde::{Deserialize, Serialize};
    /// use store_core::Body;
    ///
    /// #[derive(Serialize, Deserialize)]
    /// struct Badge {
    ///     owner: String,
    /// }
    /// # fn main() -> store_core::Result<()> {
    /// // What a newer release stored.
    /// let stored = Body::from_json(r#"{"owner":"ada","color":"red"}"#);
    /// let body = Body::rewrite(&stored, Badge { owner: "bob".into() })?;
    /// let json = body.decode::<serde_json::Value>()?;
    /// assert_eq!(*json, serde_json::json!({"owner": "bob", "color": "red"}));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// A field that `T` knows and `value` leaves out is removed. In an object
    /// inside of the value the same holds if the value still has that object;
    /// elements of arrays are not compared.
    ///
    /// # Errors
    /// As [`Body::json`]; `Corrupt` if `previous` is JSON and not a `T`.
    pub fn rewrite<T>(previous: &Body, value: T) -> Result<Self>
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        let is_own = match &previous.0 {
            // Held as a `T`, it has no field that a `T` has not.
            Repr::Typed(typed) => shared::<T>(&typed.value).is_some(),
            Repr::Json(_) => false,
            Repr::Bytes(_) => true,
        };
        if is_own {
            return Self::json(value);
        }
        let known = to_value(&*previous.decode::<T>()?)?;
        let stored = match previous.encoded()? {
            Encoded::Json(json) => super::parse::<Value>(&json)?,
            Encoded::Bytes(_) => return Self::json(value),
        };
        let merged = match (Arc::unwrap_or_clone(stored), known, to_value(&value)?) {
            (Value::Object(stored), Value::Object(known), Value::Object(mut new)) => {
                let added = carry(&mut new, stored, &known);
                added.then_some(Value::Object(new))
            }
            _ => None,
        };
        match merged {
            // A field that `T` reads under another name is not unknown to it,
            // and both names together are often no `T`.
            Some(merged) if T::deserialize(&merged).is_ok() => Self::json(merged),
            _ => Self::json(value),
        }
    }
}

fn to_value<T: Serialize>(value: &T) -> Result<Value> {
    // The text is the value's own and may quote its content.
    serde_json::to_value(value)
        .map_err(|_| Error::invalid("the value cannot be serialized; check its fields"))
}

/// Adds to `new` what `stored` has and `known` has not; whether there was any.
fn carry(
    new: &mut Map<String, Value>,
    stored: Map<String, Value>,
    known: &Map<String, Value>,
) -> bool {
    let mut added = false;
    for (name, stored) in stored {
        match (known.get(&name), stored) {
            (None, stored) => {
                added |= !new.contains_key(&name);
                new.entry(name).or_insert(stored);
            }
            (Some(Value::Object(known)), Value::Object(stored)) => {
                if let Some(Value::Object(new)) = new.get_mut(&name) {
                    added |= carry(new, stored, known);
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
        let body = Body::rewrite(&stored, value).unwrap();
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
        let stored = Body::from_json("[1]");
        assert!(Body::rewrite(&stored, Older::default()).is_err());
    }

    #[test]
    fn a_refused_value_of_any_depth_is_dropped_without_recursion() {
        let deep = (0..1_000_000).fold(Value::Null, |inner, _| vec![inner].into());
        assert!(Body::json(deep).is_err());
    }
}
