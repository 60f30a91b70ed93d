//! Parses and checks fields.

use fluent_uri::Uri;
use serde::Deserialize;
use serde_json::Value;

use super::registration::{MAX_URL, ToolJwk};
use crate::body::Unknown;
use crate::error::{Error, Result};
use crate::secret::{Secret, SecretField};

/// Takes the string of this name; it must be there.
pub(super) fn required(fields: &mut Unknown, name: &'static str) -> Result<String> {
    optional(fields, name)?
        .ok_or_else(|| Error::invalid(format!("`{name}` is missing; it is required")))
}

/// Takes the string of this name, if there is one.
pub(super) fn optional(fields: &mut Unknown, name: &'static str) -> Result<Option<String>> {
    match fields.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Error::invalid(format!("`{name}` must be a string"))),
    }
}

/// Takes the boolean of this name; false if there is none.
pub(super) fn flag(fields: &mut Unknown, name: &'static str) -> Result<bool> {
    match fields.remove(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(flag),
        Some(_) => Err(Error::invalid(format!("`{name}` must be true or false"))),
    }
}

/// Takes the tool's key, if there is one.
pub(super) fn tool_jwk(fields: &mut Unknown) -> Result<Option<ToolJwk>> {
    let mut key = match fields.remove("tool_jwk") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(key)) => key,
        Some(_) => {
            return Err(Error::invalid(
                "`tool_jwk` must be an object of `kid` and `private_key`",
            ));
        }
    };
    let kid = match key.remove("kid") {
        Some(Value::String(kid)) => kid,
        _ => return Err(Error::invalid("`tool_jwk.kid` must be a string")),
    };
    let private_key = match key.remove("private_key") {
        Some(Value::String(pem)) => Some(SecretField::Clear(Secret::new(pem))),
        Some(sealed) => SecretField::deserialize(sealed).ok(),
        None => None,
    };
    let private_key = private_key.ok_or_else(|| {
        Error::invalid("`tool_jwk.private_key` must be a private key in PEM, as a string")
    })?;
    Ok(Some(ToolJwk { kid, private_key }))
}

/// The purpose of a URL, which decides what it may contain.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Url {
    Issuer,
    Endpoint,
}

/// Which URLs a registration may contain.
#[derive(Clone, Copy)]
pub(super) struct Urls {
    pub(super) allow_http_loopback: bool,
}

impl Urls {
    /// Refuses a text that is not a URL of this kind, at most [`MAX_URL`] bytes.
    pub(super) fn check(self, field: &'static str, text: &str, url: Url) -> Result<()> {
        let good = text.len() <= MAX_URL
            && Uri::parse(text).is_ok_and(|uri| {
                let authority = uri.authority();
                let host = authority.as_ref().map_or("", |a| a.host());
                let loopback = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
                let scheme = match uri.scheme().as_str() {
                    "https" => true,
                    "http" => self.allow_http_loopback && loopback,
                    _ => false,
                };
                scheme
                    && !host.is_empty()
                    && authority.is_some_and(|a| !a.has_userinfo())
                    && !uri.has_fragment()
                    && !(uri.has_query() && url == Url::Issuer)
            });
        if good {
            return Ok(());
        }
        let without = match url {
            Url::Issuer => "user, query or fragment",
            Url::Endpoint => "user or fragment",
        };
        Err(Error::invalid(format!(
            "`{field}` must be an https URL with a host and without {without}, \
             at most {MAX_URL} bytes"
        )))
    }
}

/// Whether a text is 1 to `max` bytes without control characters.
pub(super) fn check_id(field: &'static str, text: &str, max: usize) -> Result<()> {
    if (1..=max).contains(&text.len()) && !text.chars().any(char::is_control) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "`{field}` must be 1 to {max} bytes without control characters"
    )))
}

/// Whether a key in clear looks like a private key in PEM; a sealed one was checked
/// before it was sealed.
pub(super) fn check_private_key(field: &'static str, key: &SecretField) -> Result<()> {
    let looks_right = |pem: &Secret| {
        let pem = pem.expose().trim();
        pem.starts_with("-----BEGIN ") && pem.contains("PRIVATE KEY-----")
    };
    if key.clear().is_none_or(looks_right) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "`{field}` must be a private key in PEM (`-----BEGIN PRIVATE KEY-----` …)"
    )))
}
