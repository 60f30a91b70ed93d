//! How to open a store in Redis.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use redis::io::tcp::TcpSettings;
use redis::{Client, ConnectionAddr, ConnectionInfo};
use serde::Deserialize;
use store_core::config::{Overrides, Settings, Source, Tls};
use store_core::{Capabilities, Durability, Error, ErrorKind, Result, Support};

use crate::connection::Timeouts;
use crate::error::BACKEND;
use crate::{RedisStore, tls, url};

/// Options for a [`RedisStore`].
///
/// ```no_run
/// # async fn f() -> store_core::Result<()> {
/// use std::time::Duration;
/// use store_redis::RedisStore;
///
/// let store = RedisStore::builder()
///     .url("rediss://cache-1.example.org:6379,cache-2.example.org:6379")
///     .credentials("app", "secret")
///     .namespace("app")
///     .timeout(Duration::from_secs(2))
///     .connect()
///     .await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use = "a builder opens nothing until `connect`"]
pub struct RedisBuilder {
    pub(crate) common: Settings<Box<Client>>,
    credentials: Option<(String, String)>,
    pub(crate) grace: Duration,
    pub(crate) orphans: Duration,
    pub(crate) strict: Option<Strict>,
    pub(crate) change_notice: bool,
}

/// The options of a [`RedisBuilder`] as data, for configuration files. An option that is
/// not given has the builder's default.
///
/// ```
/// use store_redis::{RedisBuilder, RedisConfig};
/// let config: RedisConfig =
///     serde_json::from_str(r#"{"url": "redis://cache.example.org", "namespace": "app"}"#)?;
/// let builder = RedisBuilder::from(config);
/// # let _ = builder;
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RedisConfig {
    /// See [`RedisBuilder::url`], which lists the options that it may have.
    pub url: Option<String>,
    /// See [`RedisBuilder::namespace`].
    pub namespace: Option<String>,
    /// See [`RedisBuilder::timeout`], in milliseconds.
    pub timeout_ms: Option<u64>,
    /// See [`RedisBuilder::connect_timeout`], in milliseconds.
    pub connect_timeout_ms: Option<u64>,
    /// See [`RedisBuilder::change_notice`].
    pub change_notice: Option<bool>,
    /// See [`RedisBuilder::tls`].
    pub tls: Option<Tls>,
}

/// How many replicas must confirm a commit of single-use records.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strict {
    pub(crate) replicas: u32,
    pub(crate) timeout: Duration,
}

impl Default for RedisBuilder {
    fn default() -> Self {
        Self {
            common: Settings::new(Duration::from_secs(5), Duration::from_secs(2)),
            credentials: None,
            grace: Duration::from_secs(300),
            orphans: Duration::from_secs(24 * 3600),
            strict: None,
            change_notice: false,
        }
    }
}

impl From<RedisConfig> for RedisBuilder {
    fn from(config: RedisConfig) -> Self {
        let mut builder = Self::default();
        builder.common.replace(Overrides {
            url: config.url,
            namespace: config.namespace,
            timeout: config.timeout_ms.map(Duration::from_millis),
            connect_timeout: config.connect_timeout_ms.map(Duration::from_millis),
            tls: config.tls,
            ..Overrides::default()
        });
        builder.change_notice = config.change_notice.unwrap_or(builder.change_notice);
        builder
    }
}

impl RedisBuilder {
    store_core::builder_methods! {
        /// Where the server is: `redis://user:password@host:port/database`, or
        /// `rediss://` for TLS. `valkey:` and `valkeys:` mean the same. A Unix socket
        /// is used through [`client`](Self::client).
        ///
        /// Several `host:port`, separated by commas, are tried in this order until one
        /// is a primary, and again after a fail-over. If a server belongs to a cluster, the
        /// other servers are found through it. Sentinel is not supported: name the servers
        /// that it monitors.
        ///
        /// The store has these options, each equivalent to the method of the same name:
        /// `namespace`, `timeout`, `connect_timeout`, `change_notice`; and `ca_file`, a [file of
        /// certificate authorities](Tls::ca_file). They take precedence
        /// over the builder's options. Unknown options are refused by `connect`.
        url;

        store_url;

        /// The prefix of all keys; `store` by default. Two namespaces on one server
        /// are two stores.
        namespace;

        /// Has no effect, because collections in Redis need no declaration. It exists because
        /// all backends have the same options.
        collection;

        clock;

        /// How long a call may wait for the server's reply, 5 s by default. A commit
        /// or a take that takes longer fails with `Timeout` and is ambiguous.
        timeout;

        /// How long to wait for a connection, 2 s by default.
        connect_timeout;

        /// Which certificate authorities to trust in addition to the system's, or instead of
        /// them. The URL must begin with `rediss:`.
        tls;
    }

    /// A client of the application, whose address is used instead of a URL. The store
    /// opens its own connections with it.
    pub fn client(mut self, client: Client) -> Self {
        self.common.source = Source::Client(Box::new(client));
        self
    }

    /// User and password, instead of those in the URL. On a server without an ACL the
    /// user is `default`.
    pub fn credentials(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.credentials = Some((user.into(), password.into()));
        self
    }

    /// How long the server stores a record after it expired by the store's clock, 5
    /// minutes by default; for rate limits up to half as much longer. It must exceed the
    /// difference between the clocks of any two processes on one store, because a process
    /// whose clock is behind still reads records that have expired for another.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// How long the server stores the chunks of an object that was not published, for
    /// example because its writer crashed or was dropped. A day by default. It must be
    /// longer than it takes to write any object: an object that takes longer is not
    /// published, and its writer gets
    /// [`Superseded`](store_core::blobs::Publication::Superseded).
    pub fn orphans_expire(mut self, life: Duration) -> Self {
        self.orphans = life;
        self
    }

    /// Whether commits announce the changes that they make in
    /// [cacheable](store_core::Collection::cacheable) collections to the subscribers
    /// of [`changes`](store_core::RecordStore::changes); off by default. Each
    /// process announces its own commits, so open the store with the same setting
    /// in all of them. It costs a `PUBLISH` in the commit, and in a cluster a message to
    /// each server.
    pub fn change_notice(mut self, announced: bool) -> Self {
        self.change_notice = announced;
        self
    }

    /// Acknowledges a commit in a [single-use](store_core::Collection::single_use)
    /// collection, such as that of nonces, only when this many replicas have
    /// received it (`WAIT`), so that after a fail-over to one of them a used nonce is
    /// still known as used. If they do not confirm it in time, the commit fails with
    /// `Timeout` and is ambiguous, and a launch is refused. Off by default.
    ///
    /// Such commits share a separate connection and run one after another; each waits for
    /// the replicas. A fail-over to a replica that had not confirmed still loses the
    /// record, so the primary should have no more replicas than are required here.
    pub fn strict_nonces(mut self, replicas: u32, timeout: Duration) -> Self {
        self.strict = (replicas > 0).then_some(Strict { replicas, timeout });
        self
    }

    /// The capabilities of a store with these options on a server of this durability.
    pub fn capabilities(&self, durability: Durability) -> Capabilities {
        let mut capabilities = Capabilities::new(BACKEND);
        capabilities.transactions = Support::Native;
        capabilities.ordered_scans = Support::Native;
        capabilities.collection_scans = Support::Native;
        capabilities.native_expiry = Support::Native;
        capabilities.blobs = Support::Emulated;
        capabilities.rate_limits = Support::native_if(cfg!(feature = "limits"));
        capabilities.durability = durability;
        if self.change_notice {
            capabilities.change_notice = Support::Native;
        }
        capabilities.compiled()
    }

    /// Opens the store. It connects to the server, so a wrong URL is reported
    /// here.
    ///
    /// # Errors
    /// `Config` for a wrong option or a server that is too old,
    /// `Unauthenticated`, or `Unavailable`.
    pub async fn connect(self) -> Result<RedisStore> {
        RedisStore::open(self.resolved()?).await
    }

    /// These options, with those of the URL applied.
    fn resolved(mut self) -> Result<Self> {
        if let Some(url) = self.common.url()? {
            let (common, change_notice) = url::options(url)?;
            self.common.replace(common);
            self.change_notice = change_notice.unwrap_or(self.change_notice);
        }
        Ok(self)
    }

    /// The name of the namespace.
    pub(crate) fn namespace_name(&self) -> &str {
        self.common.namespace.as_deref().unwrap_or("store")
    }

    pub(crate) fn timeouts(&self) -> Timeouts {
        Timeouts {
            timeout: self.common.timeout,
            connect_timeout: self.common.connect_timeout,
        }
    }

    /// The connection settings of each configured server.
    pub(crate) fn seeds(&self) -> Result<Vec<ConnectionInfo>> {
        let seeds = match &self.common.source {
            Source::None => {
                return Err(config(
                    "no server is configured; call RedisBuilder::url or RedisBuilder::client",
                ));
            }
            Source::Client(client) => vec![client.get_connection_info().clone()],
            Source::Url(text) => url::addresses(&text.parse()?)?,
            Source::Parsed(url) => url::addresses(url)?,
        };
        let authorities = tls::authorities(&self.common.tls)?;
        let seeds = seeds.into_iter();
        seeds
            .map(|seed| self.configured(seed, authorities.as_deref()))
            .collect()
    }

    fn configured(
        &self,
        mut seed: ConnectionInfo,
        authorities: Option<&[u8]>,
    ) -> Result<ConnectionInfo> {
        if let Some((user, password)) = &self.credentials {
            let redis = seed.redis_settings().clone();
            seed = seed.set_redis_settings(redis.set_username(user).set_password(password));
        }
        if let Some(pem) = authorities {
            seed = tls::trusting(seed, pem)?;
        }
        if matches!(seed.addr(), ConnectionAddr::TcpTls { .. }) {
            // The driver needs a default provider. This call fails if the application has
            // installed one, which is then used.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        Ok(seed.set_tcp_settings(TcpSettings::default().set_nodelay(true)))
    }
}

pub(crate) fn config(message: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Config, message).with_backend(BACKEND)
}

impl fmt::Debug for RedisBuilder {
    /// Without the URL and the credentials, which are secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBuilder")
            .field("common", &self.common)
            .field("grace", &self.grace)
            .field("change_notice", &self.change_notice)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for RedisConfig {
    /// Without the URL, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("namespace", &self.namespace)
            .field("timeout_ms", &self.timeout_ms)
            .field("connect_timeout_ms", &self.connect_timeout_ms)
            .field("change_notice", &self.change_notice)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_a_builder_nor_its_error_shows_a_password() {
        let builder = RedisStore::builder()
            .url("redis://app:hunter2@h:x")
            .credentials("app", "hunter2");
        let error = builder.clone().resolved().expect_err("a malformed port");
        assert!(!format!("{builder:?} {error:?} {error}").contains("hunter2"));
    }

    #[test]
    fn the_urls_options_take_precedence_over_the_builders() {
        let config: RedisConfig = serde_json::from_str(
            r#"{"url": "redis://h?namespace=url&timeout=1s", "namespace": "config",
                "connect_timeout_ms": 7}"#,
        )
        .expect("well-formed");
        let builder = RedisBuilder::from(config).resolved().expect("well-formed");
        assert_eq!(builder.namespace_name(), "url");
        assert_eq!(builder.common.timeout, Duration::from_secs(1));
        assert_eq!(builder.common.connect_timeout, Duration::from_millis(7));
    }
}
