//! What can still be read of a key's record that cannot be decoded as a whole:
//! damaged, edited by hand, nested too deeply, or written by a newer release.
//! Revoking and deleting a key must not depend on the rest of its record.

use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::api_keys::data::{KeyId, StoredKey};
use crate::record::Record;

/// The fields that identify a key, each read on its own.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Readable {
    #[serde(default)]
    id: Text,
    #[serde(default)]
    tenant: Text,
    #[serde(default)]
    hint: Text,
    #[serde(default)]
    created_at: Text,
}

impl Readable {
    /// What can be read of `record`; nothing if it is not a JSON object.
    pub(super) fn of(record: &Record) -> Self {
        record
            .decode::<Self>()
            .map(|readable| (*readable).clone())
            .unwrap_or_default()
    }

    pub(super) fn id(&self) -> Option<KeyId> {
        KeyId::new(self.id.0.as_deref()?).ok()
    }

    pub(super) fn tenant(&self) -> Option<&str> {
        self.tenant.0.as_deref()
    }

    pub(super) fn hint(&self) -> Option<&str> {
        self.hint.0.as_deref()
    }

    pub(super) fn created_at(&self) -> Option<&str> {
        self.created_at.0.as_deref()
    }
}

/// The id of a key's record, whether or not the rest can be decoded.
pub(super) fn id_of(record: &Record) -> Option<KeyId> {
    match record.decode::<StoredKey>() {
        Ok(stored) => Some(stored.id.clone()),
        Err(_) => Readable::of(record).id(),
    }
}

/// A string, or `None` for any other JSON value. Other values are skipped
/// without recursion, however deeply they are nested.
#[derive(Clone, Debug, Default, Serialize)]
struct Text(Option<String>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Text;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any JSON value")
            }
            fn visit_str<E>(self, text: &str) -> Result<Text, E> {
                Ok(Text(Some(text.to_owned())))
            }
            fn visit_bool<E>(self, _: bool) -> Result<Text, E> {
                Ok(Text(None))
            }
            fn visit_i64<E>(self, _: i64) -> Result<Text, E> {
                Ok(Text(None))
            }
            fn visit_u64<E>(self, _: u64) -> Result<Text, E> {
                Ok(Text(None))
            }
            fn visit_f64<E>(self, _: f64) -> Result<Text, E> {
                Ok(Text(None))
            }
            fn visit_unit<E>(self) -> Result<Text, E> {
                Ok(Text(None))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Text, A::Error> {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Text(None))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Text, A::Error> {
                while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Text(None))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::Body;
    use crate::key::{Collection, Partition, RecordKey};
    use crate::record::Version;

    fn record(json: String) -> Record {
        let key = RecordKey::new(Collection::new("things"), "id").unwrap();
        let partition = Partition::new("p").unwrap();
        Record::new(
            partition,
            key,
            Version::unique(),
            None,
            Body::from_json(json),
        )
    }

    #[test]
    fn fields_are_read_beside_values_of_any_depth_and_form() {
        let deep = "[".repeat(20_000) + &"]".repeat(20_000);
        let readable = Readable::of(&record(format!(
            r#"{{"extra":{{"a":{deep}}},"hint":{{"b":{deep}}},"id":"k1","tenant":7}}"#
        )));
        assert_eq!(readable.id().unwrap().as_str(), "k1");
        assert_eq!((readable.tenant(), readable.hint()), (None, None));
        for other in ["7", "\"text\"", "null", "{", "[]"] {
            assert_eq!(Readable::of(&record(other.into())).id(), None);
        }
    }
}
