//! The URL of a store, parsed in one place for all backends.

use std::fmt;
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use serde::de::{self, Deserialize, Deserializer};

use super::{UrlOptions, listed, wrong};
use crate::error::{Error, Result};
use crate::secret::Secret;

/// The URL of a store:
/// `scheme://user:secret@host:port,host:port/path?option=value&option=value`.
///
/// Everything but the scheme may be missing. Percent escapes are decoded in the
/// user, the secret, the path and the options' values; a `/`, `?`, `#` or `@` in
/// a user or secret must be escaped. `Debug` and errors show neither user nor
/// secret nor an option's value.
///
/// ```
/// use store_core::config::StoreUrl;
/// # fn main() -> store_core::Result<()> {
/// let url: StoreUrl = "redis://app:p%40ss@a:6379,b:6379/0?timeout_ms=500".parse()?;
/// assert_eq!(url.scheme(), "redis");
/// assert_eq!(url.secret().map(|secret| secret.expose()), Some("p@ss"));
/// assert_eq!(url.hosts(), ["a:6379", "b:6379"]);
/// let mut options = url.options();
/// assert_eq!(options.take::<u64>("timeout_ms")?, Some(500));
/// options.finish()?; // refuses options that were not taken, by name
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[doc(alias("dsn", "connection string"))]
pub struct StoreUrl {
    scheme: String,
    user: Option<String>,
    secret: Option<Secret>,
    hosts: Vec<String>,
    path: String,
    options: Vec<(String, String)>,
}

impl StoreUrl {
    /// The scheme, in lower case: `redis`.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The user, decoded.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The secret, decoded.
    pub fn secret(&self) -> Option<&Secret> {
        self.secret.as_ref()
    }

    /// The hosts, each `host` or `host:port`, in their order. Empty if the URL
    /// names none.
    pub fn hosts(&self) -> &[String] {
        &self.hosts
    }

    /// The one host.
    ///
    /// # Errors
    /// `Config` if the URL names none or several.
    pub fn host(&self) -> Result<&str> {
        match &self.hosts[..] {
            [host] => Ok(host),
            _ => Err(wrong("the URL must name one host: scheme://HOST/…")),
        }
    }

    /// The path, decoded, without its leading slash.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The options, to be taken by name.
    pub fn options(&self) -> UrlOptions<'_> {
        UrlOptions::new(&self.options)
    }

    /// Refuses a URL of another backend.
    ///
    /// # Errors
    /// `Config` if the scheme is none of these.
    pub fn expect_scheme(&self, schemes: &[&str]) -> Result<()> {
        if schemes.contains(&self.scheme.as_str()) {
            return Ok(());
        }
        Err(wrong(format!(
            "the URL begins with `{}:`, but this backend opens {}",
            self.scheme,
            listed(schemes.iter().map(|scheme| format!("`{scheme}:`")))
        )))
    }
}

impl FromStr for StoreUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| wrong("a store's URL has the form scheme://host/path?option=value"))?;
        let mut letters = scheme.bytes();
        let good = letters.next().is_some_and(|b| b.is_ascii_alphabetic())
            && letters.all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
        if !good {
            return Err(wrong("a URL's scheme is letters, digits, `+`, `-` and `.`"));
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        // A secret with an unescaped `/` or `?` ends up here, and must not be
        // taken for a host or an option.
        if rest.contains(['@', '#']) {
            return Err(wrong(
                "an `@` or `#` follows the host; write special characters in a user, a \
                 secret or an option as percent escapes: `/` as %2F, `?` as %3F, `#` as %23, `@` \
                 as %40",
            ));
        }
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (user, secret, hosts) = read_authority(authority)?;
        Ok(Self {
            scheme: scheme.to_ascii_lowercase(),
            user,
            secret,
            hosts,
            path: decode(path.strip_prefix('/').unwrap_or(path))?,
            options: read_options(query)?,
        })
    }
}

type Authority = (Option<String>, Option<Secret>, Vec<String>);

fn read_authority(authority: &str) -> Result<Authority> {
    let (credentials, hosts) = match authority.split_once('@') {
        Some((credentials, hosts)) => (Some(credentials), hosts),
        None => (None, authority),
    };
    if hosts.contains('@') {
        return Err(wrong(
            "the URL has two `@`; write one in a user or secret as %40",
        ));
    }
    let (mut user, mut secret) = (None, None);
    if let Some(credentials) = credentials {
        let (name, password) = match credentials.split_once(':') {
            Some((name, password)) => (name, Some(password)),
            None => (credentials, None),
        };
        user = (!name.is_empty()).then(|| decode(name)).transpose()?;
        secret = password.map(decode).transpose()?.map(Secret::new);
    }
    let hosts: Vec<String> = match hosts {
        "" => Vec::new(),
        hosts => hosts.split(',').map(str::to_owned).collect(),
    };
    if !hosts.iter().all(|host| is_host(host)) {
        return Err(wrong(
            "a host in the URL is not of the form `name`, `name:port` or `[address]:port`",
        ));
    }
    Ok((user, secret, hosts))
}

/// Whether this is a name or an address, and a port at most.
fn is_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) => (
                address,
                match port {
                    "" => None,
                    port => Some(port.strip_prefix(':').unwrap_or("none")),
                },
            ),
            None => return false,
        },
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        },
    };
    let good_name = !name.is_empty()
        && !name
            .contains(|c: char| c.is_whitespace() || c.is_control() || "[]\"<>\\^`{|}".contains(c));
    good_name && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

fn read_options(query: &str) -> Result<Vec<(String, String)>> {
    let mut options: Vec<(String, String)> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair
            .split_once('=')
            .filter(|(name, _)| is_option_name(name))
            .ok_or_else(|| wrong("an option in the URL is not of the form name=value"))?;
        if options.iter().any(|(known, _)| known == name) {
            return Err(wrong(format!("the URL's option `{name}` is given twice")));
        }
        options.push((name.to_owned(), decode(value)?));
    }
    Ok(options)
}

fn is_option_name(name: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"_-.[]".contains(&b);
    !name.is_empty() && name.bytes().all(good)
}

fn decode(text: &str) -> Result<String> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded
        .map(|text| text.into_owned())
        .map_err(|_| wrong("the percent escapes in the URL are not UTF-8"))
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.options.iter().map(|(name, _)| name).collect();
        f.debug_struct("StoreUrl")
            .field("scheme", &self.scheme)
            .field("hosts", &self.hosts)
            .field("path", &self.path)
            .field("options", &names)
            .finish_non_exhaustive()
    }
}

impl<'de> Deserialize<'de> for StoreUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse()
            .map_err(|error: Error| de::Error::custom(error.message()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn read(text: &str) -> StoreUrl {
        text.parse().unwrap()
    }

    #[test]
    fn every_part_is_read_and_decoded() {
        let url = read("S3://id:se%2Fcr%40et@[::1]:9000,b/a%20b/c?endpoint=http://h:1&flag=true");
        assert_eq!((url.scheme(), url.user()), ("s3", Some("id")));
        assert_eq!(url.secret().unwrap().expose(), "se/cr@et");
        assert_eq!(url.hosts(), ["[::1]:9000", "b"]);
        assert_eq!(url.path(), "a b/c");
        let mut options = url.options();
        assert_eq!(options.take_text("endpoint"), Some("http://h:1"));
        assert_eq!(options.take::<bool>("flag").unwrap(), Some(true));
        assert_eq!(options.take::<u16>("port").unwrap(), None);
        options.finish().unwrap();
    }

    #[test]
    fn options_with_an_index_are_taken_by_their_prefix() {
        let url = read("postgres://h?options[a]=1&optionsb=2&options[c]=3");
        let mut options = url.options();
        assert_eq!(options.take_indexed("options"), [("a", "1"), ("c", "3")]);
        assert!(options.finish().unwrap_err().message().contains("optionsb"));
    }

    #[test]
    fn a_scheme_alone_is_enough() {
        let url = read("memory://");
        assert!(url.hosts().is_empty() && url.path().is_empty() && url.user().is_none());
        assert!(url.host().is_err());
    }

    #[test]
    fn a_malformed_url_is_refused_and_no_secret_is_shown() {
        for text in [
            "hunter2",
            "://hunter2",
            "re dis://hunter2",
            "redis://u:hunter2@h@i",
            "redis://u:hun/ter2@h",
            "redis://u:hun?ter2@h",
            "redis://u:hun#ter2@h",
            "redis://u:%ff@hunter2",
            "redis://h:hunter2",
            "redis://h:99999",
            "redis://[::1",
            "redis://[::1]9",
            "redis://a,,b",
            "redis://a b",
            "redis://h?hunter2",
            "redis://h?=hunter2",
            "redis://h?a=hunter2&a=1",
        ] {
            let error = text.parse::<StoreUrl>().expect_err(text);
            assert_eq!(error.kind(), ErrorKind::Config, "{text}");
            assert!(!format!("{error:?} {error}").contains("ter2"), "{text}");
        }
    }

    #[test]
    fn an_unknown_option_is_refused_by_name_and_its_value_is_not_shown() {
        let url = read("redis://u:hunter2@h?timeout=1s&zone=hunter2");
        let mut options = url.options();
        let second = std::time::Duration::from_secs(1);
        assert_eq!(options.take_duration("timeout").unwrap(), Some(second));
        let error = options.finish().unwrap_err();
        assert!(error.message().contains("`zone`") && error.message().contains("`timeout`"));
        let error = url.options().take::<u32>("zone").unwrap_err();
        assert!(error.message().contains("`zone`"));
        assert!(!format!("{error:?} {error} {url:?}").contains("hunter2"));
    }

    #[test]
    fn another_backends_url_is_refused_by_its_scheme() {
        let url = read("redis://u:hunter2@h");
        url.expect_scheme(&["redis", "rediss"]).unwrap();
        let error = url.expect_scheme(&["postgres", "postgresql"]).unwrap_err();
        assert_eq!(
            error.message(),
            "the URL begins with `redis:`, but this backend opens `postgres:` or `postgresql:`"
        );
    }
}
