//! The URL of a server, or of several.

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion};
use store_core::Result;
use store_core::config::{Overrides, StoreUrl};

use crate::config::config;

/// The schemes of the URLs that this backend opens.
pub(crate) const SCHEMES: &[&str] = &["redis", "rediss", "valkey", "valkeys"];

/// The port of a host without one.
const PORT: u16 = 6379;

/// Refuses a URL of another backend.
fn check_scheme(url: &StoreUrl) -> Result<()> {
    if url.scheme().ends_with("+sentinel") {
        return Err(config(
            "Sentinel is not supported; name the servers, as in redis://a:6379,b:6379, of which the \
             primary is used, or an address that follows the primary",
        ));
    }
    url.expect_scheme(SCHEMES)
}

/// The common options of `url`, and `change_notice`. No error contains a part of it that
/// may be secret.
pub(crate) fn options(url: &StoreUrl) -> Result<(Overrides, Option<bool>)> {
    check_scheme(url)?;
    let mut options = url.options();
    let common = Overrides::take(&mut options)?;
    let change_notice = options.take("change_notice")?;
    options.finish()?;
    Ok((common, change_notice))
}

/// The connection settings of each host, in the URL's order.
pub(crate) fn addresses(url: &StoreUrl) -> Result<Vec<ConnectionInfo>> {
    if url.hosts().is_empty() {
        return Err(config(
            "the URL names no server; write redis://host:port/database",
        ));
    }
    let is_tls = matches!(url.scheme(), "rediss" | "valkeys");
    let hosts = url.hosts().iter();
    hosts.map(|host| address(url, host, is_tls)).collect()
}

fn address(url: &StoreUrl, host: &str, is_tls: bool) -> Result<ConnectionInfo> {
    let (host, port) = split(host);
    let address = match is_tls {
        false => ConnectionAddr::Tcp(host, port),
        true => ConnectionAddr::TcpTls {
            host,
            port,
            insecure: false,
            tls_params: None,
        },
    };
    let wrong =
        || config("the URL's path must be the number of a database, as in redis://host:port/0");
    let info = address.into_connection_info().map_err(|_| wrong())?;
    // RESP3 reports a lost connection even if no call is waiting for a reply.
    let mut redis = info
        .redis_settings()
        .clone()
        .set_protocol(ProtocolVersion::RESP3);
    if !url.path().is_empty() {
        redis = redis.set_db(url.path().parse().map_err(|_| wrong())?);
    }
    if let Some(user) = url.user() {
        redis = redis.set_username(user);
    }
    if let Some(secret) = url.secret() {
        redis = redis.set_password(secret.expose());
    }
    Ok(info.set_redis_settings(redis))
}

/// Splits `host`, `host:port` or `[address]:port` into host and port.
fn split(host: &str) -> (String, u16) {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) => (address, port.strip_prefix(':')),
            None => (rest, None),
        },
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        },
    };
    let port = port.and_then(|port| port.parse().ok()).unwrap_or(PORT);
    (name.to_owned(), port)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use store_core::ErrorKind;

    use super::*;

    fn parse(url: &str) -> StoreUrl {
        url.parse().expect("well-formed")
    }

    #[test]
    fn several_hosts_share_user_database_and_options() {
        let url = parse("rediss://app:p%40ss@a:1,b,[::1]:3/2?namespace=n");
        let found: Vec<_> = addresses(&url)
            .expect("well-formed")
            .into_iter()
            .map(|info| {
                let redis = info.redis_settings();
                assert_eq!(redis.username(), Some("app"));
                assert_eq!(redis.password(), Some("p@ss"));
                assert_eq!(redis.db(), 2);
                info.addr().to_string()
            })
            .collect();
        assert_eq!(found, ["a:1", "b:6379", "::1:3"]);
    }

    #[test]
    fn the_stores_own_options_are_read_and_unknown_ones_refused_by_name() {
        let read = |query: &str| options(&parse(&format!("redis://u:hunter2@h/0?{query}")));
        let own = read("namespace=n&timeout=500ms&connect_timeout=2s&change_notice=true");
        assert_eq!(
            own.expect("well-formed"),
            (
                Overrides {
                    namespace: Some("n".into()),
                    timeout: Some(Duration::from_millis(500)),
                    connect_timeout: Some(Duration::from_secs(2)),
                    ..Overrides::default()
                },
                Some(true)
            )
        );
        for (query, named) in [
            ("protocol=resp2", "`protocol`"),
            ("timeout=hunter2", "`timeout`"),
            ("change_notice=hunter2", "`change_notice`"),
        ] {
            let error = read(query).expect_err(query);
            assert_eq!(error.kind(), ErrorKind::Config, "{query}");
            assert!(error.message().contains(named), "{query}: {error}");
            assert!(!format!("{error:?}").contains("hunter2"), "{query}");
        }
    }

    #[test]
    fn another_backends_url_and_sentinel_are_refused_by_their_scheme() {
        for (url, named) in [
            ("postgres://u:hunter2@h", "`postgres:`"),
            ("redis+sentinel://u:hunter2@h", "Sentinel"),
        ] {
            let error = options(&parse(url)).expect_err(url);
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.message().contains(named), "{error}");
            assert!(!format!("{error:?}").contains("hunter2"));
        }
    }

    #[test]
    fn a_url_without_a_server_or_with_another_path_is_refused() {
        for url in ["redis://", "redis://h/hunter2", "redis:///0"] {
            let error = addresses(&parse(url)).expect_err(url);
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(!format!("{error:?}").contains("hunter2"));
        }
    }
}
