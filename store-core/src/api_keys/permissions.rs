//! What a key may do.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// Some actions on one resource.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct Permission {
    /// What may be acted upon. Compared exactly.
    pub resource: String,
    /// The actions. Compared exactly, one with one: never as a prefix or a pattern.
    pub scopes: Vec<String>,
}

impl Permission {
    /// These actions on this resource.
    pub fn new<I: IntoIterator<Item: Into<String>>>(
        resource: impl Into<String>,
        scopes: I,
    ) -> Self {
        Self {
            resource: resource.into(),
            scopes: scopes.into_iter().map(Into::into).collect(),
        }
    }
}

/// An object with `resource` and `scopes` and nothing else. A derived
/// implementation would accept an array of the two as well.
impl<'de> Deserialize<'de> for Permission {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Fields {
            resource: String,
            scopes: Vec<String>,
        }
        let object = Map::<String, Value>::deserialize(deserializer)?;
        // The text of serde's own error may quote the value.
        let Fields { resource, scopes } = Fields::deserialize(Value::Object(object))
            .map_err(|_| de::Error::custom("expected an object of `resource` and `scopes`"))?;
        Ok(Self { resource, scopes })
    }
}

impl fmt::Debug for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}", self.resource, self.scopes)
    }
}

/// All that a key may do.
///
/// Stored as `[{"resource": …, "scopes": […]}, …]`. What is stored in any other
/// form, edited by hand perhaps, permits nothing, is preserved when the key
/// is rewritten, and is reported: see [`Permissions::is_malformed`].
///
/// ```
/// use store_core::api_keys::Permissions;
///
/// let mut permissions = Permissions::default();
/// permissions.grant("orders", "read")?;
/// assert!(permissions.allow("orders", "read"));
/// assert!(!permissions.allow("orders", "rea") && !permissions.allow("order", "read"));
///
/// let odd = Permissions::from(serde_json::json!([{"resource": "orders", "scopes": [1]}]));
/// assert!(odd.is_malformed() && !odd.allow("orders", "1"));
/// # Ok::<(), store_core::Error>(())
/// ```
#[derive(Clone, PartialEq)]
pub struct Permissions(Repr);

#[derive(Clone, PartialEq)]
enum Repr {
    Listed(Vec<Permission>),
    Malformed(Value),
}

impl Permissions {
    /// Whether `action` on `resource` is among them. Both are compared exactly.
    /// Never fails: what is malformed permits nothing.
    pub fn allow(&self, resource: &str, action: &str) -> bool {
        self.iter().any(|permission| {
            permission.resource == resource && permission.scopes.iter().any(|s| s == action)
        })
    }

    /// The permissions one by one; none if they are malformed.
    pub fn iter(&self) -> impl Iterator<Item = &Permission> {
        match &self.0 {
            Repr::Listed(listed) => listed.iter(),
            Repr::Malformed(_) => [].iter(),
        }
    }

    /// Whether what is stored is not of the form that permissions have.
    pub fn is_malformed(&self) -> bool {
        matches!(self.0, Repr::Malformed(_))
    }

    /// Adds one action on one resource. Doing it twice changes nothing.
    ///
    /// # Errors
    /// `Corrupt` if the permissions are malformed: set them again.
    pub fn grant(&mut self, resource: &str, action: &str) -> Result<()> {
        let listed = self.listed()?;
        if !listed.iter().any(|held| held.resource == resource) {
            listed.push(Permission::new(resource, [action]));
            return Ok(());
        }
        let held = listed.iter_mut().filter(|held| held.resource == resource);
        let mut scopes: Vec<_> = held.map(|held| &mut held.scopes).collect();
        if !scopes
            .iter()
            .any(|scopes| scopes.iter().any(|s| s == action))
        {
            scopes[0].push(action.into());
        }
        Ok(())
    }

    /// Takes one action on one resource away. Doing it twice changes nothing.
    ///
    /// # Errors
    /// `Corrupt` if the permissions are malformed: set them again.
    pub fn revoke(&mut self, resource: &str, action: &str) -> Result<()> {
        let listed = self.listed()?;
        for held in listed.iter_mut().filter(|held| held.resource == resource) {
            held.scopes.retain(|scope| scope != action);
        }
        listed.retain(|held| !held.scopes.is_empty());
        Ok(())
    }

    fn listed(&mut self) -> Result<&mut Vec<Permission>> {
        match &mut self.0 {
            Repr::Listed(listed) => Ok(listed),
            Repr::Malformed(_) => Err(Error::corrupt(
                "the key's stored permissions are not a list of {resource, scopes}; \
                 set them again as a whole",
            )),
        }
    }
}

impl Default for Permissions {
    /// None.
    fn default() -> Self {
        Self(Repr::Listed(Vec::new()))
    }
}

impl From<Vec<Permission>> for Permissions {
    fn from(listed: Vec<Permission>) -> Self {
        Self(Repr::Listed(listed))
    }
}

impl From<Value> for Permissions {
    /// What is no list of permissions becomes malformed ones; `null` none.
    fn from(value: Value) -> Self {
        if value.is_null() {
            return Self::default();
        }
        match Vec::<Permission>::deserialize(&value) {
            Ok(listed) => Self(Repr::Listed(listed)),
            Err(_) => Self(Repr::Malformed(value)),
        }
    }
}

impl Serialize for Permissions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Repr::Listed(listed) => listed.serialize(serializer),
            Repr::Malformed(value) => value.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Permissions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Value::deserialize(deserializer)?.into())
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Listed(listed) => listed.fmt(f),
            Repr::Malformed(_) => f.write_str("malformed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn whatever_is_stored_permits_only_what_it_says_exactly() {
        for odd in [
            json!("orders:read"),
            json!({"orders": ["read"]}),
            json!([{"resource": "orders", "scopes": "read"}]),
            json!([{"resource": "orders", "scopes": [1, "read"]}]),
            json!([{"resource": "orders", "scopes": ["read"]}, 7]),
            json!([{"resource": 1, "scopes": ["read"]}]),
            json!([["orders", "read"]]),
            json!([["orders", ["read"]]]),
            json!([{"resource": "orders", "scopes": ["read"], "also": 1}]),
            json!(true),
        ] {
            let permissions = Permissions::from(odd.clone());
            assert!(!permissions.allow("orders", "read"), "{odd}");
            assert!(permissions.is_malformed(), "{odd}");
            assert_eq!(
                serde_json::to_value(&permissions).unwrap(),
                odd,
                "preserved"
            );
        }
        assert!(!Permissions::from(Value::Null).is_malformed());
    }

    #[test]
    fn granting_and_revoking_twice_is_granting_and_revoking_once() {
        let mut permissions = Permissions::from(vec![
            Permission::new("a", ["x"]),
            Permission::new("a", ["y", "x"]),
        ]);
        permissions.grant("a", "y").unwrap();
        permissions.grant("b", "z").unwrap();
        permissions.grant("b", "z").unwrap();
        assert_eq!(permissions.iter().count(), 3);
        permissions.revoke("a", "x").unwrap();
        permissions.revoke("a", "x").unwrap();
        assert!(!permissions.allow("a", "x") && permissions.allow("a", "y"));
        assert_eq!(permissions.iter().count(), 2, "an empty one is dropped");
    }
}
