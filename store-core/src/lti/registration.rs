//! Registrations: what LTI needs to know about a platform.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;

use super::fields::{Url, Urls, check_id, check_private_key, flag, optional, required, tool_jwk};
use crate::body::Unknown;
use crate::error::{Error, Result};
use crate::secret::SecretField;

/// The longest URL, in bytes.
pub const MAX_URL: usize = 2048;
/// The longest client id, in bytes.
pub const MAX_CLIENT_ID: usize = 1024;
/// The longest key id and the longest deployment id, in bytes.
pub const MAX_ID: usize = 255;

/// What an application stores for each platform: its own type, with its own
/// fields, that can say which [`Registration`] it stands for.
///
/// A lookup returns it unchanged, so that after a launch the application has
/// its own fields (a tenant, a database id) without another query. An
/// application without such fields uses [`Registration`] itself.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use store_core::Result;
/// use store_core::lti::{Registerable, Registration, RegistrationParts};
///
/// #[derive(Debug, Serialize, Deserialize)]
/// struct Campus {
///     tenant: u64,
///     issuer: String,
///     client_id: String,
/// }
///
/// impl Registerable for Campus {
///     fn to_registration(&self) -> Result<Registration> {
///         Registration::new(RegistrationParts {
///             auth_endpoint: format!("{}/auth", self.issuer),
///             jwks_uri: format!("{}/jwks", self.issuer),
///             issuer: self.issuer.clone(),
///             client_id: self.client_id.clone(),
///             ..Default::default()
///         })
///     }
/// }
/// ```
pub trait Registerable: Send + Sync + 'static {
    /// The registration that this stands for.
    ///
    /// # Errors
    /// `InvalidInput` if its fields are not those of a valid registration.
    fn to_registration(&self) -> Result<Registration>;

    /// The private key of its registration's [`ToolJwk`], if it holds one, so
    /// that a store can seal it in place. A type that has a private key must
    /// override this: a key in clear is refused when it is stored.
    fn private_key(&mut self) -> Option<&mut SecretField> {
        None
    }
}

/// The fields of a [`Registration`], not checked yet.
#[derive(Clone, Debug, Default)]
pub struct RegistrationParts {
    /// The platform's issuer: an https URL without query or fragment.
    pub issuer: String,
    /// The id that the platform gave to this tool, 1 to [`MAX_CLIENT_ID`] bytes
    /// without control characters.
    pub client_id: String,
    /// Where a login is sent: an https URL.
    pub auth_endpoint: String,
    /// Where the platform publishes its keys: an https URL.
    pub jwks_uri: String,
    /// Where access tokens are requested: an https URL, if the platform offers services.
    pub token_endpoint: Option<String>,
    /// The key that this tool signs with on this platform; without one, the
    /// store's own current key is used.
    pub tool_jwk: Option<ToolJwk>,
    /// For development only: also accepts `http` URLs of the loopback hosts
    /// `localhost`, `127.0.0.1` and `[::1]`. Never set it in production: what
    /// is fetched over plain HTTP can be replaced on the way.
    pub allow_http_loopback: bool,
    /// Fields of the application's own, stored as they are.
    pub extra: Unknown,
}

/// A key that the tool signs with: its id, and its private half in PEM.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ToolJwk {
    /// The key's id, as published, 1 to [`MAX_ID`] bytes without control characters.
    pub kid: String,
    /// The private key in PEM, sealed wherever it is stored.
    pub private_key: SecretField,
}

/// A platform that this tool is registered with, its fields checked.
///
/// Identified by issuer and client id, both compared byte by byte.
///
/// ```
/// use store_core::lti::Registration;
///
/// let platform = Registration::from_json(r#"{
///     "issuer": "https://canvas.example.edu",
///     "client_id": "10000000000042",
///     "auth_endpoint": "https://canvas.example.edu/api/lti/authorize_redirect",
///     "jwks_uri": "https://canvas.example.edu/api/lti/security/jwks",
///     "campus": "north"
/// }"#)?;
/// assert_eq!(platform.client_id(), "10000000000042");
/// assert_eq!(platform.extra()["campus"], "north");
///
/// let error = Registration::from_json(r#"{"issuer": "http://lms.example.edu"}"#).unwrap_err();
/// assert_eq!(
///     error.message(),
///     "`issuer` must be an https URL with a host and without user, query or fragment, \
///      at most 2048 bytes"
/// );
/// # Ok::<(), store_core::Error>(())
/// ```
#[derive(Clone, Serialize)]
#[doc(alias("platform", "tool"))]
pub struct Registration {
    issuer: String,
    client_id: String,
    auth_endpoint: String,
    jwks_uri: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_endpoint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_jwk: Option<ToolJwk>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    allow_http_loopback: bool,
    #[serde(flatten)]
    extra: Unknown,
}

impl Registration {
    /// A registration of these fields.
    ///
    /// # Errors
    /// `InvalidInput` that names the first field that is wrong and says what is
    /// expected of it. No value is quoted.
    pub fn new(parts: RegistrationParts) -> Result<Self> {
        let urls = Urls {
            allow_http_loopback: parts.allow_http_loopback,
        };
        urls.check("issuer", &parts.issuer, Url::Issuer)?;
        check_id("client_id", &parts.client_id, MAX_CLIENT_ID)?;
        urls.check("auth_endpoint", &parts.auth_endpoint, Url::Endpoint)?;
        urls.check("jwks_uri", &parts.jwks_uri, Url::Endpoint)?;
        if let Some(endpoint) = &parts.token_endpoint {
            urls.check("token_endpoint", endpoint, Url::Endpoint)?;
        }
        if let Some(key) = &parts.tool_jwk {
            check_id("tool_jwk.kid", &key.kid, MAX_ID)?;
            check_private_key("tool_jwk.private_key", &key.private_key)?;
        }
        if let Some(field) = FIELDS
            .iter()
            .find(|&&field| parts.extra.contains_key(field))
        {
            return Err(Error::invalid(format!(
                "`{field}` is a field of its own and cannot be among the extra ones"
            )));
        }
        Ok(Self {
            issuer: parts.issuer,
            client_id: parts.client_id,
            auth_endpoint: parts.auth_endpoint,
            jwks_uri: parts.jwks_uri,
            token_endpoint: parts.token_endpoint,
            tool_jwk: parts.tool_jwk,
            allow_http_loopback: parts.allow_http_loopback,
            extra: parts.extra,
        })
    }

    /// The registration that a JSON object describes: the fields of
    /// [`RegistrationParts`] by name, `tool_jwk` as an object of `kid` and
    /// `private_key`; any other field is stored in [`Registration::extra`].
    ///
    /// # Errors
    /// `InvalidInput` in one line: where the text stops being JSON, or which
    /// field is wrong and what is expected of it. No value is quoted.
    pub fn from_json(text: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(text).map_err(|e| {
            Error::invalid(format!(
                "the registration is not JSON: look at line {}, column {}",
                e.line(),
                e.column()
            ))
        })?;
        match value {
            Value::Object(fields) => Self::from_fields(fields),
            _ => Err(Error::invalid(
                "the registration must be a JSON object with the fields `issuer`, `client_id`, \
                 `auth_endpoint` and `jwks_uri`",
            )),
        }
    }

    fn from_fields(mut fields: Unknown) -> Result<Self> {
        let allow_http_loopback = flag(&mut fields, "allow_http_loopback")?;
        // The issuer is checked first, so that errors come in the fields' order.
        let issuer = required(&mut fields, "issuer")?;
        let urls = Urls {
            allow_http_loopback,
        };
        urls.check("issuer", &issuer, Url::Issuer)?;
        let parts = RegistrationParts {
            issuer,
            client_id: required(&mut fields, "client_id")?,
            auth_endpoint: required(&mut fields, "auth_endpoint")?,
            jwks_uri: required(&mut fields, "jwks_uri")?,
            token_endpoint: optional(&mut fields, "token_endpoint")?,
            tool_jwk: tool_jwk(&mut fields)?,
            allow_http_loopback,
            extra: fields,
        };
        Self::new(parts)
    }

    /// The platform's issuer.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The id that the platform gave to this tool.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Where a login is sent.
    pub fn auth_endpoint(&self) -> &str {
        &self.auth_endpoint
    }

    /// Where the platform publishes its keys.
    pub fn jwks_uri(&self) -> &str {
        &self.jwks_uri
    }

    /// Where access tokens are requested, if the platform offers services.
    pub fn token_endpoint(&self) -> Option<&str> {
        self.token_endpoint.as_deref()
    }

    /// The key that this tool signs with on this platform, if it has one of its own.
    pub fn tool_jwk(&self) -> Option<&ToolJwk> {
        self.tool_jwk.as_ref()
    }

    /// Whether `http` URLs of loopback hosts are accepted, for development.
    pub fn allows_http_loopback(&self) -> bool {
        self.allow_http_loopback
    }

    /// The application's own fields.
    pub fn extra(&self) -> &Unknown {
        &self.extra
    }
}

impl Registerable for Registration {
    fn to_registration(&self) -> Result<Registration> {
        Ok(self.clone())
    }

    fn private_key(&mut self) -> Option<&mut SecretField> {
        self.tool_jwk.as_mut().map(|key| &mut key.private_key)
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration")
            .field("issuer", &self.issuer)
            .field("client_id", &self.client_id)
            .field("tool_jwk", &self.tool_jwk)
            .finish_non_exhaustive()
    }
}

impl<'de> Deserialize<'de> for Registration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_fields(Unknown::deserialize(deserializer)?)
            .map_err(|e| de::Error::custom(e.message()))
    }
}

const FIELDS: [&str; 7] = [
    "issuer",
    "client_id",
    "auth_endpoint",
    "jwks_uri",
    "token_endpoint",
    "tool_jwk",
    "allow_http_loopback",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lti::Deployment;

    const PEM: &str = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n";

    fn good() -> Value {
        serde_json::json!({
            "issuer": "https://lms.example.edu",
            "client_id": "42",
            "auth_endpoint": "https://lms.example.edu/auth?flow=lti",
            "jwks_uri": "https://lms.example.edu/jwks",
            "token_endpoint": "https://lms.example.edu/token",
            "tool_jwk": { "kid": "2026a", "private_key": PEM },
        })
    }

    fn with(field: &str, value: Value) -> Result<Registration> {
        let mut fields = good();
        fields[field] = value;
        Registration::from_json(&fields.to_string())
    }

    #[test]
    fn a_registration_is_read_from_json_with_its_own_fields() {
        let registration = with("campus", "north".into()).unwrap();
        assert_eq!(registration.issuer(), "https://lms.example.edu");
        assert_eq!(
            registration.token_endpoint(),
            Some("https://lms.example.edu/token")
        );
        assert_eq!(registration.extra()["campus"], "north");
        let bare = with("token_endpoint", Value::Null).unwrap();
        assert_eq!(bare.token_endpoint(), None);
    }

    #[test]
    fn a_wrong_field_is_named_and_never_quoted() {
        let long = format!("https://{}.example.edu", "x".repeat(MAX_URL));
        for (field, value) in [
            ("issuer", "http://lms.example.edu"),
            ("issuer", "https://lms.example.edu?x=hunter2"),
            ("issuer", "https://lms.example.edu#hunter2"),
            ("issuer", "https://user:hunter2@lms.example.edu"),
            ("issuer", "https://"),
            ("issuer", "lms.example.edu"),
            ("issuer", "HTTPS://lms.example.edu"),
            ("issuer", "https://lms.example.edu/a b"),
            ("issuer", &long),
            ("client_id", ""),
            ("client_id", "hunter2\n"),
            ("auth_endpoint", "ftp://hunter2.example.edu"),
            ("jwks_uri", "/jwks/hunter2"),
            ("token_endpoint", "http://hunter2.example.edu"),
        ] {
            let error = with(field, value.into()).unwrap_err();
            let text = error.message();
            assert!(text.starts_with(&format!("`{field}` must be")), "{text}");
            assert!(!text.contains("hunter2") && !text.contains('\n'), "{text}");
        }
        for (field, value) in [
            ("issuer", Value::Null),
            ("client_id", 7.into()),
            ("jwks_uri", Value::Null),
            ("tool_jwk", "hunter2".into()),
            ("tool_jwk", serde_json::json!({ "kid": "a" })),
            (
                "tool_jwk",
                serde_json::json!({ "kid": "a", "private_key": "hunter2" }),
            ),
            (
                "tool_jwk",
                serde_json::json!({ "kid": "", "private_key": PEM }),
            ),
            (
                "tool_jwk",
                serde_json::json!({ "kid": "a", "private_key": { "key": "hunter2" } }),
            ),
        ] {
            let error = with(field, value).unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(error.message().starts_with(&format!("`{field}")), "{text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
        for text in ["", "[]", "{", "null"] {
            let error = Registration::from_json(text).unwrap_err();
            assert!(error.message().starts_with("the registration"), "{error}");
        }
    }

    #[test]
    fn neither_debug_nor_json_shows_the_private_key() {
        let registration = Registration::from_json(&good().to_string()).unwrap();
        assert!(!format!("{registration:?}").contains("c2VjcmV0"));
        assert!(serde_json::to_string(&registration).is_err());
    }

    #[test]
    fn an_extra_field_cannot_shadow_a_real_one() {
        let parts = RegistrationParts {
            issuer: "https://lms.example.edu".into(),
            client_id: "42".into(),
            auth_endpoint: "https://lms.example.edu/auth".into(),
            jwks_uri: "https://lms.example.edu/jwks".into(),
            extra: Unknown::from_iter([("token_endpoint".into(), 1.into())]),
            ..Default::default()
        };
        assert!(Registration::new(parts).is_err());
        let shadow = Unknown::from_iter([("deployment_id".into(), 1.into())]);
        assert!(Deployment::new("d").unwrap().with_extra(shadow).is_err());
    }

    #[test]
    fn http_is_accepted_for_loopback_hosts_alone_and_only_if_asked_for() {
        let json = |host: &str, allow: bool| {
            serde_json::json!({
                "issuer": format!("http://{host}"),
                "client_id": "42",
                "auth_endpoint": format!("http://{host}/auth"),
                "jwks_uri": format!("http://{host}/jwks"),
                "allow_http_loopback": allow,
            })
            .to_string()
        };
        for host in ["localhost:8000", "localhost", "127.0.0.1:80", "[::1]:8000"] {
            assert!(Registration::from_json(&json(host, false)).is_err());
            let good = Registration::from_json(&json(host, true)).unwrap();
            assert!(good.allows_http_loopback());
            // It is stored with the registration, so that it can be read again.
            let stored = serde_json::to_string(&good).unwrap();
            assert!(serde_json::from_str::<Registration>(&stored).is_ok());
        }
        for host in [
            "lms.example.edu",
            "localhost.evil.example",
            "127.0.0.2",
            "10.0.0.1",
        ] {
            assert!(
                Registration::from_json(&json(host, true)).is_err(),
                "{host}"
            );
        }
        let https = Registration::from_json(&good().to_string()).unwrap();
        assert!(
            !serde_json::to_string(&https.extra())
                .unwrap()
                .contains("allow")
        );
    }
}
