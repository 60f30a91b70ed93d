//! What is stored about a key.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::api_keys::{Permission, Permissions};
use crate::body::{Format, Unknown};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::key::MAX_NAME;
use crate::record::Version;

/// The format in which keys are stored. A record of a later one is an error.
pub(super) type KeyFormatNumber = Format<1>;

/// The longest tenant name, in bytes.
pub const MAX_TENANT: usize = 1024;

/// A key's public name: not secret, never reused, the same for as long as the
/// key exists, and different for a key that was deleted and inserted again.
///
/// Show it in lists; disable and delete keys by it when the secret is no longer
/// known. Opaque: 1 to 255 bytes without NUL, chosen by the store.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyId(Arc<str>);

impl KeyId {
    /// The id of this text: one that a list returned, or, in a store of your
    /// own, the name of a row there.
    ///
    /// # Errors
    /// `InvalidInput` if it is empty, over 255 bytes long or holds a NUL.
    pub fn new(text: impl AsRef<str>) -> Result<Self> {
        let text = text.as_ref();
        if !(1..=MAX_NAME).contains(&text.len()) || text.contains('\0') {
            return Err(Error::invalid(
                "a key's id is 1 to 255 bytes without NUL; pass one that a list returned",
            ));
        }
        Ok(Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for KeyId {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        Self::new(text)
    }
}

impl FromStr for KeyId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::new(text)
    }
}

impl From<KeyId> for String {
    fn from(id: KeyId) -> Self {
        (*id.0).into()
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an application says about a key, and may change.
///
/// ```
/// use store_core::api_keys::KeyData;
///
/// let data = KeyData::new()
///     .with_tenant("acme")
///     .with_label("nightly build")
///     .permit("orders", ["read", "cancel"])
///     .with_extra("plan", "gold");
/// assert!(data.enabled && data.permissions.allow("orders", "cancel"));
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[doc(alias("scopes"))]
pub struct KeyData {
    /// Whether the key works. Where nothing is stored, it does.
    #[serde(default = "enabled_unless_said_otherwise")]
    pub enabled: bool,
    /// The tenant that owns the key, if there are tenants; at most [`MAX_TENANT`] bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// A name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// What it may do.
    #[serde(default)]
    pub permissions: Permissions,
    /// From this moment on it is expired; `None` for never. In JSON, RFC 3339
    /// text in UTC or with an offset, up to April of 2262.
    #[doc(alias = "ttl")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// The application's own fields, stored as they are. All data of a key
    /// together, as JSON, is at most 256 KiB. Never put a secret here.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
}

fn enabled_unless_said_otherwise() -> bool {
    true
}

impl Default for KeyData {
    fn default() -> Self {
        Self {
            enabled: true,
            tenant: None,
            label: None,
            permissions: Permissions::default(),
            expires_at: None,
            extra: Map::new(),
        }
    }
}

impl KeyData {
    /// An enabled key that may do nothing and never expires.
    pub fn new() -> Self {
        Self::default()
    }

    /// This data with `tenant` as the owner.
    pub fn with_tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// This data with this label.
    pub fn with_label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// This data with one more permission.
    pub fn permit<I: IntoIterator<Item: Into<String>>>(
        mut self,
        resource: impl Into<String>,
        scopes: I,
    ) -> Self {
        let more = Permission::new(resource, scopes);
        let permissions: Vec<_> = self.permissions.iter().cloned().chain([more]).collect();
        self.permissions = permissions.into();
        self
    }

    /// This data, expired from `at` on.
    #[doc(alias = "ttl")]
    pub fn expiring_at(mut self, at: Timestamp) -> Self {
        self.expires_at = Some(at);
        self
    }

    /// This data for a disabled key.
    pub fn disabled(mut self) -> Self {
        self.enabled = false;
        self
    }

    /// This data with a field of the application.
    pub fn with_extra(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.extra.insert(name.into(), value.into());
        self
    }

    /// True from [`KeyData::expires_at`] on.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// Refuses what must not be written: an empty or overlong tenant, or
    /// malformed permissions that `before` did not have already. Every store
    /// calls it before it writes.
    ///
    /// # Errors
    /// `InvalidInput`, saying what is wrong.
    pub fn check(&self, before: Option<&Self>) -> Result<()> {
        if let Some(tenant) = &self.tenant
            && (!(1..=MAX_TENANT).contains(&tenant.len()) || tenant.contains('\0'))
        {
            return Err(Error::invalid(
                "a key's tenant is 1 to 1024 bytes without NUL; leave it out for none",
            ));
        }
        let unchanged = before.is_some_and(|before| before.permissions == self.permissions);
        if self.permissions.is_malformed() && !unchanged {
            return Err(Error::invalid(
                r#"permissions are a list of {"resource": text, "scopes": [text, …]}"#,
            ));
        }
        Ok(())
    }

    /// Sets the fields that `partial` names and leaves the others: a shallow
    /// merge. A name that is not one of its own sets that field of
    /// [`KeyData::extra`]; `null` clears a tenant, label, expiry or the
    /// permissions, and is stored as a value in `extra`.
    ///
    /// # Errors
    /// `InvalidInput` if a value is of the wrong form, or if `partial` names
    /// `id`, `created_at`, `format` or `hint`: what a key is never changes.
    /// Nothing is changed then.
    pub fn merge(&mut self, partial: &Map<String, Value>) -> Result<()> {
        let mut merged = self.clone();
        for (name, value) in partial {
            match &**name {
                "enabled" => merged.enabled = read(name, value)?,
                "tenant" => merged.tenant = read(name, value)?,
                "label" => merged.label = read(name, value)?,
                "permissions" => merged.permissions = read(name, value)?,
                "expires_at" => merged.expires_at = read(name, value)?,
                "extra" => merged.extra = read(name, value)?,
                "id" | "created_at" | "format" | "hint" => {
                    return Err(Error::invalid(format!(
                        "a key's `{name}` never changes; leave it out of the update"
                    )));
                }
                _ => {
                    merged.extra.insert(name.clone(), value.clone());
                }
            }
        }
        merged.check(Some(self))?;
        *self = merged;
        Ok(())
    }
}

fn read<'a, T: Deserialize<'a>>(name: &str, value: &'a Value) -> Result<T> {
    // serde_json's message would quote the value.
    T::deserialize(value).map_err(|_| {
        Error::invalid(format!(
            "the value of `{name}` has the wrong form; nothing was changed"
        ))
    })
}

/// A key as it is stored: its data and what never changes about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct StoredKey {
    pub(super) format: KeyFormatNumber,
    pub(super) id: KeyId,
    pub(super) created_at: Timestamp,
    /// Which hint in the tenant's list is this key's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) hint: Option<String>,
    #[serde(flatten)]
    pub(super) data: KeyData,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

/// A key that a store knows. Cheap to clone; holds no secret.
#[derive(Clone, PartialEq)]
pub struct KeyEntry {
    stored: Arc<StoredKey>,
    version: Option<Version>,
}

impl KeyEntry {
    /// A key as a store of your own found it.
    pub fn new(id: KeyId, created_at: Timestamp, data: KeyData) -> Self {
        let stored = StoredKey {
            format: Format,
            id,
            created_at,
            hint: None,
            data,
            unknown: Unknown::new(),
        };
        Self::stored(Arc::new(stored), None)
    }

    /// This entry in the state that `version` names, so that an update can require it.
    pub fn with_version(mut self, version: Version) -> Self {
        self.version = Some(version);
        self
    }

    pub(super) fn stored(stored: Arc<StoredKey>, version: Option<Version>) -> Self {
        Self { stored, version }
    }

    /// Its public name.
    pub fn id(&self) -> &KeyId {
        &self.stored.id
    }

    /// When it was inserted.
    pub fn created_at(&self) -> Timestamp {
        self.stored.created_at
    }

    /// Its data.
    pub fn data(&self) -> &KeyData {
        &self.stored.data
    }

    /// Names the state that was read, if the store has versions. See
    /// [`ApiKeyStoreExt::update_if`](crate::api_keys::ApiKeyStoreExt::update_if).
    pub fn version(&self) -> Option<Version> {
        self.version
    }
}

impl fmt::Debug for KeyEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyEntry")
            .field("id", self.id())
            .field("data", self.data())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn a_key_without_enabled_is_enabled_and_an_explicit_false_survives() {
        let data: KeyData = serde_json::from_value(json!({})).unwrap();
        assert!(data.enabled);
        let text = serde_json::to_string(&data.disabled()).unwrap();
        assert!(!serde_json::from_str::<KeyData>(&text).unwrap().enabled);
        assert!(serde_json::from_value::<KeyData>(json!({"enabled": "no"})).is_err());
    }

    #[test]
    fn a_merge_sets_what_it_names_and_keeps_the_rest() {
        let mut data = KeyData::new()
            .with_tenant("acme")
            .with_label("a")
            .permit("orders", ["read"])
            .with_extra("plan", "gold")
            .with_extra("seats", 5);
        data.merge(&object(
            json!({"label": null, "seats": [1, null], "note": null}),
        ))
        .unwrap();
        assert_eq!(data.label, None);
        assert_eq!(data.tenant.as_deref(), Some("acme"));
        assert!(data.permissions.allow("orders", "read"));
        let extra = json!({"plan": "gold", "seats": [1, null], "note": null});
        assert_eq!(Value::Object(data.extra), extra);
    }

    #[test]
    fn a_refused_merge_changes_nothing_and_quotes_nothing() {
        let before = KeyData::new().with_label("a");
        for wrong in [
            json!({"label": "b", "enabled": "hunter2"}),
            json!({"label": "b", "permissions": ["hunter2"]}),
            json!({"label": "b", "tenant": ""}),
            json!({"label": "b", "id": "hunter2"}),
            json!({"label": "b", "expires_at": "hunter2"}),
        ] {
            let mut data = before.clone();
            let error = data.merge(&object(wrong)).unwrap_err();
            assert!(error.is(crate::ErrorKind::InvalidInput));
            assert!(!format!("{error} {error:?}").contains("hunter2"));
            assert_eq!(data, before);
        }
    }
}
