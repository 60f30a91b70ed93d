//! The tool's own keys.

use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;

use super::fields::{check_id, check_private_key};
use super::registration::MAX_ID;
use crate::body::Unknown;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::secret::{Secret, SecretField};

/// The public half of a key as a JSON Web Key, for publishing.
///
/// It cannot contain a private member. Nothing else about it is checked: use a JWT
/// library to generate keys and to sign.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct PublicJwk(Unknown);

impl PublicJwk {
    /// A public key of these members.
    ///
    /// # Errors
    /// `InvalidInput` without a `kty`, or with a member that belongs to a
    /// private or a symmetric key.
    pub fn new(members: Unknown) -> Result<Self> {
        // RFC 7518, sections 6.2.2, 6.3.2 and 6.4.1.
        const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
        if let Some(member) = PRIVATE.iter().find(|&&member| members.contains_key(member)) {
            return Err(Error::invalid(format!(
                "a public key has no member `{member}`; publish the public half alone"
            )));
        }
        if !members.get("kty").is_some_and(Value::is_string) {
            return Err(Error::invalid("a public key must say its type in `kty`"));
        }
        Ok(Self(members))
    }

    /// The members.
    pub fn members(&self) -> &Unknown {
        &self.0
    }
}

impl<'de> Deserialize<'de> for PublicJwk {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(Unknown::deserialize(deserializer)?).map_err(|e| de::Error::custom(e.message()))
    }
}

/// A key pair to add to the store.
#[derive(Clone, Debug)]
pub struct NewToolKey {
    pub(super) kid: String,
    pub(super) private_key: SecretField,
    pub(super) public: PublicJwk,
}

impl NewToolKey {
    /// The key `kid`, its private half in PEM, its public half as published. The
    /// `kid` member of the public half is set to `kid`.
    ///
    /// # Errors
    /// `InvalidInput` if `kid` is not 1 to 255 bytes without control
    /// characters or the private key is not in PEM.
    pub fn new(kid: impl Into<String>, private_key: Secret, public: PublicJwk) -> Result<Self> {
        let (kid, private_key) = (kid.into(), SecretField::Clear(private_key));
        check_id("kid", &kid, MAX_ID)?;
        check_private_key("private_key", &private_key)?;
        let mut members = public.0;
        members.insert("kid".into(), Value::String(kid.clone()));
        Ok(Self {
            kid,
            private_key,
            public: PublicJwk(members),
        })
    }

    /// The key's id.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The private half, in clear.
    pub fn private_key(&self) -> &SecretField {
        &self.private_key
    }

    /// The public half.
    pub fn public(&self) -> &PublicJwk {
        &self.public
    }
}

/// One of the tool's keys as it is stored, without its private half.
///
/// While a key is active it is published, and the newest active one signs. To
/// rotate: add a key; once no token signed by the old one is alive, retire that.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub struct ToolKey {
    /// The key's id.
    pub kid: String,
    /// What is published.
    pub public: PublicJwk,
    /// Whether it is in use.
    pub active: bool,
    /// When it was added.
    pub created_at: Timestamp,
}

impl ToolKey {
    /// A stored key.
    pub fn new(kid: String, public: PublicJwk, active: bool, created_at: Timestamp) -> Self {
        Self {
            kid,
            public,
            active,
            created_at,
        }
    }
}

/// What to sign with, now.
#[derive(Clone, Debug)]
pub struct SigningKey {
    /// The key's id, for the token's header.
    pub kid: String,
    /// The private key in PEM.
    pub private_key: Secret,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_member_is_never_published() {
        let members = |json: Value| json.as_object().unwrap().clone();
        let public = serde_json::json!({ "kty": "RSA", "n": "AQ", "e": "AQAB" });
        assert!(PublicJwk::new(members(public.clone())).is_ok());
        for member in ["d", "p", "k", "oth"] {
            let mut private = members(public.clone());
            private.insert(member.into(), "hunter2".into());
            let error = PublicJwk::new(private.clone()).unwrap_err();
            assert!(!error.to_string().contains("hunter2"));
            assert!(serde_json::from_value::<PublicJwk>(private.into()).is_err());
        }
        assert!(PublicJwk::new(Unknown::new()).is_err());
    }
}
