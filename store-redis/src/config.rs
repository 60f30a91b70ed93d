//! How to open a store in Redis.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use redis::io::tcp::TcpSettings;
use redis::{
    Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, TlsCertificates,
};
use store_core::{
    Capabilities, Clock, Collection, Durability, Result, Support, SystemClock, collections,
};

use crate::RedisStore;
use crate::error::{BACKEND, config};
use crate::node::Settings;

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
pub struct Builder {
    source: Source,
    credentials: Option<(Option<String>, String)>,
    ca: Option<PathBuf>,
    pub(crate) namespace: String,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) grace: Duration,
    pub(crate) orphans: Duration,
    pub(crate) strict: Option<Strict>,
    pub(crate) change_notice: bool,
    pub(crate) collections: Vec<Collection>,
    timeout: Duration,
    connect_timeout: Duration,
}

/// What a commit of nonces waits for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strict {
    pub(crate) replicas: u32,
    pub(crate) timeout: Duration,
}

#[derive(Clone)]
enum Source {
    None,
    Url(String),
    Client(Box<Client>),
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            source: Source::None,
            credentials: None,
            ca: None,
            namespace: "store".into(),
            clock: Arc::new(SystemClock),
            grace: Duration::from_secs(300),
            orphans: Duration::from_secs(24 * 3600),
            strict: None,
            change_notice: false,
            collections: collections::all(),
            timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(2),
        }
    }
}

impl Builder {
    /// Where the server is: `redis://user:password@host:port/database`, or
    /// `rediss://` for TLS, which is by rustls and checks the certificate
    /// against the system's authorities.
    ///
    /// Several `host:port`, separated by commas, are tried in this order until one
    /// is a primary, and again after a fail-over. A server that belongs to a
    /// cluster names the others. Sentinel is not supported: name the servers that
    /// it watches.
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.source = Source::Url(url.into());
        self
    }

    /// The same as the driver's own client, instead of a URL. The store makes
    /// connections of its own from it.
    pub fn client(mut self, client: Client) -> Self {
        self.source = Source::Client(Box::new(client));
        self
    }

    /// User and password, if the URL has none. The user `default` is there
    /// without an access list.
    pub fn credentials(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.credentials = Some((Some(user.into()), password.into()));
        self
    }

    /// The file of the certificate authorities to trust instead of the
    /// system's, in PEM. The URL must begin with `rediss`.
    pub fn ca_certificate(mut self, file: impl AsRef<Path>) -> Self {
        self.ca = Some(file.as_ref().into());
        self
    }

    /// What all keys begin with; `store` by default. Two namespaces on one
    /// server are two stores.
    pub fn namespace(mut self, name: impl Into<String>) -> Self {
        self.namespace = name.into();
        self
    }

    /// The clock that decides expiry and refill. The machine's by default.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// How long the server keeps what has expired by the clock, 5 minutes by
    /// default; a limit's buckets half as long again at most. It must be more than
    /// any two clocks of processes on one store are apart: one that is behind
    /// still sees what has expired by another.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// How long the server keeps the chunks of an object that is not published:
    /// of a process that died while it wrote, or gave up without a word. A day by
    /// default. It must be longer than any object takes to be written: one that
    /// takes longer is not published, and says
    /// [`Superseded`](store_core::blobs::Publication::Superseded).
    pub fn orphans_expire(mut self, life: Duration) -> Self {
        self.orphans = life;
        self
    }

    /// Tells all who listen of every change in a
    /// [cacheable](store_core::Collection::cacheable) collection
    /// ([`changes`](store_core::RecordStore::changes)); off by default. Each
    /// process tells of its own commits, so open the store alike in all of them.
    /// It costs a `PUBLISH` in the commit, and in a cluster a message to every
    /// server.
    pub fn change_notice(mut self, told: bool) -> Self {
        self.change_notice = told;
        self
    }

    /// Declares collections of the application's own, so that it is told of
    /// changes in them. Nothing else needs them declared.
    pub fn collections(mut self, collections: impl IntoIterator<Item = Collection>) -> Self {
        self.collections.extend(collections);
        self
    }

    /// What a store opened so can do, on a server of this durability.
    pub fn capabilities(&self, durability: Durability) -> Capabilities {
        let mut capabilities = Capabilities::new(BACKEND);
        capabilities.transactions = Support::Native;
        capabilities.ordered_scans = Support::Native;
        capabilities.collection_scans = Support::Native;
        capabilities.native_expiry = Support::Native;
        capabilities.blobs = Support::Emulated;
        capabilities.rate_limits = Support::Native;
        capabilities.durability = durability;
        if self.change_notice {
            capabilities.change_notice = Support::Native;
        }
        capabilities
    }

    /// Acknowledges a commit in a [single-use](store_core::Collection::single_use)
    /// collection, such as that of nonces, only once so many replicas have it
    /// too (`WAIT`), so that a fail-over to one of them forgets no used nonce. If
    /// they do not confirm it in time the commit is `Timeout` and ambiguous, and
    /// a launch refused. Off by default.
    ///
    /// Such commits share a connection of their own and follow one another, each
    /// as long as a replica takes. A fail-over to a replica that was left behind
    /// still forgets: let the cluster's other replicas be no more than these.
    pub fn strict_nonces(mut self, replicas: u32, timeout: Duration) -> Self {
        self.strict = (replicas > 0).then_some(Strict { replicas, timeout });
        self
    }

    /// How long a call may wait for the server's answer, 5 s by default. A
    /// commit or a take that takes longer is `Timeout` and ambiguous.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long to wait for a connection, 2 s by default.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Opens the store. A server is asked what it is, so that a wrong URL is
    /// found here.
    ///
    /// # Errors
    /// `Config` for a wrong option or a server that is too old,
    /// `Unauthenticated`, or `Unavailable`.
    pub async fn connect(self) -> Result<RedisStore> {
        RedisStore::open(self).await
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings {
            timeout: self.timeout,
            connect_timeout: self.connect_timeout,
        }
    }

    /// Where to connect to, and how.
    pub(crate) fn seeds(&self) -> Result<Vec<ConnectionInfo>> {
        let seeds = match &self.source {
            Source::None => {
                return Err(config(
                    "no server is named; call Builder::url or Builder::client",
                ));
            }
            Source::Client(client) => vec![client.get_connection_info().clone()],
            Source::Url(url)
                if url.starts_with("redis+sentinel") || url.starts_with("rediss+sentinel") =>
            {
                return Err(config(
                    "Sentinel is not supported; name the servers themselves, as in \
                     redis://a:6379,b:6379, of which the primary is used, or an address that \
                     follows the primary",
                ));
            }
            Source::Url(url) => hosts(url)
                .iter()
                .map(|url| {
                    let info = url.as_str().into_connection_info().map_err(|_| {
                        // The parser's own words may hold the URL, password and all.
                        config(
                            "the URL is not of the form redis://user:password@host:port/database",
                        )
                    })?;
                    // Tells at once when a connection is lost.
                    let redis = info.redis_settings().clone();
                    Ok(info.set_redis_settings(redis.set_protocol(ProtocolVersion::RESP3)))
                })
                .collect::<Result<_>>()?,
        };
        seeds
            .into_iter()
            .map(|seed| self.configured(seed))
            .collect()
    }

    fn configured(&self, mut seed: ConnectionInfo) -> Result<ConnectionInfo> {
        if let Some((user, password)) = &self.credentials {
            let mut redis = seed.redis_settings().clone();
            if let Some(user) = user {
                redis = redis.set_username(user);
            }
            seed = seed.set_redis_settings(redis.set_password(password));
        }
        if let Some(file) = &self.ca {
            let root_cert = std::fs::read(file).map_err(|e| {
                config("the file of certificate authorities cannot be read").with_source(e)
            })?;
            let certificates = TlsCertificates {
                client_tls: None,
                root_cert: Some(root_cert),
            };
            let client = Client::build_with_tls(seed, certificates).map_err(|_| {
                config("certificate authorities need a URL that begins with rediss, and a PEM file")
            })?;
            seed = client.get_connection_info().clone();
        }
        if matches!(seed.addr(), ConnectionAddr::TcpTls { .. }) {
            // Unless the application chose another.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        Ok(seed.set_tcp_settings(TcpSettings::default().set_nodelay(true)))
    }
}

/// The URL, once for each of its hosts.
fn hosts(url: &str) -> Vec<String> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return vec![url.into()];
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (user, hosts) = match authority.rsplit_once('@') {
        Some((user, hosts)) => (format!("{user}@"), hosts),
        None => (String::new(), authority),
    };
    hosts
        .split(',')
        .map(|host| format!("{scheme}://{user}{host}{path}"))
        .collect()
}

impl fmt::Debug for Builder {
    /// Without the URL, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("namespace", &self.namespace)
            .field("clock", &self.clock)
            .field("grace", &self.grace)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_hosts_share_the_rest_of_the_url() {
        assert_eq!(
            hosts("rediss://u:p@a:1,b:2/0?protocol=resp3"),
            [
                "rediss://u:p@a:1/0?protocol=resp3",
                "rediss://u:p@b:2/0?protocol=resp3"
            ]
        );
        assert_eq!(hosts("redis://a"), ["redis://a"]);
    }

    #[test]
    fn neither_a_builder_nor_its_error_shows_the_password() {
        let builder = RedisStore::builder().url("redis:// :hunter2@ /x");
        let error = builder.seeds().unwrap_err();
        assert!(!format!("{builder:?} {error:?} {error}").contains("hunter2"));
    }
}
