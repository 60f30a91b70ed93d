//! The URL of a server, or of several of which one is the primary.
//!
//! sqlx reads libpq's options, with their usual meaning. This module reads the store's
//! own options. An option that neither knows is refused, and the error contains its name.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use store_core::Result;
use store_core::config::{Overrides, StoreUrl};

use crate::config::config;
use crate::hosts::{Hosts, Target};

/// The schemes of PostgreSQL's URLs.
pub(crate) const SCHEMES: &[&str] = &["postgres", "postgresql"];

/// Options that sqlx reads, by libpq's names.
const LIBPQ: [&str; 12] = [
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

/// Options that name a file, which must exist.
const FILES: [&str; 3] = ["sslrootcert", "sslcert", "sslkey"];

/// The content of a URL.
pub(crate) struct Address {
    pub(crate) hosts: Hosts,
    pub(crate) own: Own,
}

/// The store's own options in a URL; each is a method of the builder too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Own {
    pub(crate) common: Overrides,
    pub(crate) max_connections: Option<u32>,
    pub(crate) min_connections: Option<u32>,
    pub(crate) acquire_timeout: Option<Duration>,
    pub(crate) change_notice: Option<bool>,
}

/// Parses `url`. No error contains a part of it that may be secret.
pub(crate) fn read(url: &StoreUrl) -> Result<Address> {
    url.expect_scheme(SCHEMES)?;
    let mut options = url.options();
    let mut libpq = Vec::new();
    for name in LIBPQ {
        let Some(value) = options.take_text(name) else {
            continue;
        };
        if FILES.contains(&name)
            && let Err(e) = std::fs::File::open(value)
        {
            let error = config(format!(
                "the file that the URL's option `{name}` names cannot be read; check its path"
            ));
            return Err(error.with_source(e));
        }
        libpq.push(format!("{name}={}", escaped(value)));
    }
    // `options[name]=value` sets any of the server's settings.
    for (name, value) in options.take_indexed("options") {
        libpq.push(format!("options[{}]={}", escaped(name), escaped(value)));
    }
    let target = match options.take_text("target_session_attrs") {
        None if url.hosts().len() > 1 => Target::ReadWrite,
        None | Some("any") => Target::Any,
        Some("read-write") => Target::ReadWrite,
        Some("primary") => Target::Primary,
        Some(_) => {
            return Err(config(
                "target_session_attrs must be `any`, `read-write` or `primary`, because a store writes",
            ));
        }
    };
    let namespace = options.take_text("namespace");
    let schema = options.take_text("schema");
    if namespace.is_some() && schema.is_some() {
        return Err(config(
            "the URL's options `namespace` and `schema` are two names of the same option; give only one",
        ));
    }
    let own = Own {
        common: Overrides {
            namespace: namespace.or(schema).map(str::to_owned),
            timeout: options.take_duration("timeout")?,
            connect_timeout: connect_timeout(url)?.or({
                // Also removed here, so that it is not reported as unknown.
                options.take_text("connect_timeout");
                None
            }),
            ..Overrides::default()
        },
        max_connections: options.take("max_connections")?,
        min_connections: options.take("min_connections")?,
        acquire_timeout: options.take_duration("acquire_timeout")?,
        change_notice: options.take("change_notice")?,
    };
    options.finish()?;
    let hosts = each_host(url, &libpq.join("&"))?;
    Ok(Address {
        hosts: Hosts::new(hosts, target),
        own,
    })
}

/// `connect_timeout` in libpq's seconds, or as a duration.
fn connect_timeout(url: &StoreUrl) -> Result<Option<Duration>> {
    let mut options = url.options();
    let seconds = options
        .take_text("connect_timeout")
        .and_then(|text| text.parse().ok());
    match seconds {
        Some(seconds) => Ok(Some(Duration::from_secs(seconds))),
        None => url.options().take_duration("connect_timeout"),
    }
}

/// sqlx's options for each host, in the URL's order.
fn each_host(url: &StoreUrl, options: &str) -> Result<Vec<PgConnectOptions>> {
    let mut user = url.user().map(escaped).unwrap_or_default();
    if let Some(secret) = url.secret() {
        user = format!("{user}:{}", escaped(secret.expose()));
    }
    if !user.is_empty() {
        user.push('@');
    }
    let path = escaped(url.path());
    let parse = |host: &str| {
        let text = format!("postgres://{user}{host}/{path}?{options}");
        // The parser's message may show the URL with its password.
        text.parse::<PgConnectOptions>().map_err(|_| {
            config("the URL is not of the form postgres://user@host:port/database?sslmode=…")
        })
    };
    match url.hosts() {
        [] => Ok(vec![parse("")?]),
        hosts => hosts.iter().map(|host| parse(host)).collect(),
    }
}

/// `text` as a part of a URL.
fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'.' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use store_core::ErrorKind;

    use super::*;

    #[test]
    fn several_hosts_share_user_database_and_options() {
        let url = "postgres://app:p%40ss@a:1,b,[::1]:3/db?sslmode=require&options[work_mem]=1MB";
        let url: StoreUrl = url.parse().expect("well-formed");
        let hosts = each_host(&url, "sslmode=require");
        let found: Vec<_> = hosts
            .expect("well-formed")
            .iter()
            .map(|host| (host.get_host().to_owned(), host.get_port()))
            .collect();
        let port = |host: &str, port| (host.to_owned(), port);
        assert_eq!(found, [port("a", 1), port("b", 5432), port("[::1]", 3)]);
        assert!(read(&url).expect("well-formed").hosts.are_several());
    }

    #[test]
    fn the_stores_own_options_are_read_and_unknown_ones_refused_by_name() {
        let read_own = |query: &str| {
            let text = format!("postgres://u:hunter2@h/db?{query}");
            read(&text.parse().expect("well-formed"))
        };
        let own = read_own("schema=s&max_connections=3&connect_timeout=2&timeout=500ms");
        assert_eq!(
            own.expect("well-formed").own,
            Own {
                common: Overrides {
                    namespace: Some("s".into()),
                    connect_timeout: Some(Duration::from_secs(2)),
                    timeout: Some(Duration::from_millis(500)),
                    ..Overrides::default()
                },
                max_connections: Some(3),
                ..Own::default()
            }
        );
        for (query, named) in [
            ("sslmodes=require", "`sslmodes`"),
            ("max_connections=many", "`max_connections`"),
            ("target_session_attrs=standby", "target_session_attrs"),
            ("schema=a&namespace=b", "`schema`"),
            ("sslrootcert=/does/not/exist", "`sslrootcert`"),
            ("sslmode=hunter2", "form"),
        ] {
            let error = read_own(query).err().expect(query);
            assert_eq!(error.kind(), ErrorKind::Config, "{query}");
            assert!(error.message().contains(named), "{query}: {error}");
            assert!(!format!("{error:?}").contains("hunter2"), "{query}");
        }
    }

    #[test]
    fn another_backends_url_is_refused_by_its_scheme() {
        let url = "redis://u:hunter2@h".parse().expect("well-formed");
        let error = read(&url).err().expect("not PostgreSQL");
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.message().contains("`redis:`"), "{error}");
    }
}
