//! How to open a store in DynamoDB.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{
    BehaviorVersion, Config, Credentials, Region, SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_smithy_http_client::Builder as HttpBuilder;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use store_core::{Capabilities, Clock, Durability, Result, Support, SystemClock};

use crate::DynamoDbStore;
use crate::error::{BACKEND, config};
use crate::shared::Clients;
use crate::walk::MAX_SEGMENTS;

/// The most shards of one limit.
const MAX_SHARDS: u32 = 64;

/// Options for a [`DynamoDbStore`].
///
/// ```no_run
/// # async fn f() -> store_core::Result<()> {
/// use std::time::Duration;
/// use store_dynamodb::DynamoDbStore;
///
/// let store = DynamoDbStore::builder()
///     .table("app")
///     .region("eu-central-1")
///     .timeout(Duration::from_secs(2))
///     .connect()
///     .await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use = "a builder opens nothing until `connect`"]
pub struct Builder {
    pub(crate) table: String,
    url: Option<String>,
    region: Option<String>,
    endpoint: Option<String>,
    credentials: Option<(String, String)>,
    client: Option<Client>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) grace: Duration,
    pub(crate) segments: u32,
    pub(crate) spread: HashMap<String, u32>,
    pub(crate) orphans: Option<Duration>,
    pub(crate) point_in_time_recovery: bool,
    timeout: Duration,
    connect_timeout: Duration,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            table: "store".into(),
            url: None,
            region: None,
            endpoint: None,
            credentials: None,
            client: None,
            clock: Arc::new(SystemClock),
            grace: Duration::from_secs(3600),
            segments: 4,
            spread: HashMap::new(),
            orphans: None,
            point_in_time_recovery: false,
            timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(2),
        }
    }
}

impl Builder {
    /// Table, region, endpoint and credentials in one:
    /// `dynamodb://id:secret@table?region=eu-central-1&endpoint=http://localhost:8000`.
    /// All but the table may be left out. Nothing in it is escaped. What is said
    /// by the other options stands where the URL is silent.
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.url = Some(url.into());
        self
    }

    /// The table; `store` by default. It is the store's alone: two tables are
    /// two stores.
    pub fn table(mut self, name: impl Into<String>) -> Self {
        self.table = name.into();
        self
    }

    /// The region, if it is not the environment's.
    pub fn region(mut self, name: impl Into<String>) -> Self {
        self.region = Some(name.into());
        self
    }

    /// The server, if it is not that of the region: a VPC endpoint, or a server
    /// that stands in for DynamoDB, as in `http://localhost:8000`.
    pub fn endpoint(mut self, url: impl Into<String>) -> Self {
        self.endpoint = Some(url.into());
        self
    }

    /// An access key's id and its secret, if they are not the environment's.
    pub fn credentials(mut self, id: impl Into<String>, secret: impl Into<String>) -> Self {
        self.credentials = Some((id.into(), secret.into()));
        self
    }

    /// The SDK's own client, instead of URL, region, endpoint, credentials and
    /// timeouts. The store uses its HTTP connections and its credentials, and
    /// turns its retries off for whatever writes: a conditional write that the
    /// SDK sends again fails on its own success.
    pub fn client(mut self, client: Client) -> Self {
        self.client = Some(client);
        self
    }

    /// The clock that decides expiry and refill. The machine's by default.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// How long the server keeps what has expired by the clock, at least; an
    /// hour by default. It must be more than any two clocks of processes on one
    /// store are apart: one that is behind still sees what has expired by
    /// another. And more than a process's own clock and the server's come apart
    /// while it runs.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Over how many segments a walk over a whole collection reads at a time: 4
    /// by default, at least 1 and at most 16, which also stand for less and for
    /// more. More is faster on a large table, and uses its capacity faster.
    pub fn scan_segments(mut self, segments: u32) -> Self {
        self.segments = segments.clamp(1, MAX_SEGMENTS);
        self
    }

    /// Spreads one hot limit over so many items, each in a partition of its own:
    /// a single one takes about a thousand calls a second. At least 1 and at most
    /// 64 shards, which also stand for less and for more.
    ///
    /// What it costs:
    /// - Never more is granted than the quota allows, and sometimes less: a take
    ///   asks one shard, chosen at random, and if that denies its neighbour, and
    ///   is denied though others may have tokens left. Of a burst that the shards
    ///   do not divide, the rest is lost.
    /// - One request may take as many tokens as one shard holds: the burst
    ///   divided by the shards. More is `InvalidInput`.
    /// - What is told of tokens left is an estimate, from one shard.
    /// - A denial is two calls; a peek, a reset and a delete are one for each
    ///   shard, no snapshot. Closures ([`RateLimitStore::update`](store_core::RateLimitStore::update))
    ///   are `Unsupported`.
    ///
    /// All processes must spread a key alike. Changing it begins with full buckets.
    pub fn spread_limit(mut self, key: impl Into<String>, shards: u32) -> Self {
        self.spread.insert(key.into(), shards.clamp(1, MAX_SHARDS));
        self
    }

    /// Gives the chunks of an object a time to live until it is published, so that
    /// DynamoDB removes, at no cost, what a process that died left behind; a sweep
    /// does too, if one is run. `life` must be longer than any object takes to be
    /// written: one that takes longer is not published. Off by default, because
    /// each chunk's capacity is then used twice: to write it, and to keep it.
    pub fn orphans_expire(mut self, life: Duration) -> Self {
        self.orphans = Some(life);
        self
    }

    /// Has [`DynamoDbStore::setup`] turn point-in-time recovery on, which AWS
    /// charges for. Off by default, and left as it is then.
    pub fn point_in_time_recovery(mut self, on: bool) -> Self {
        self.point_in_time_recovery = on;
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

    /// What a store opened so can do.
    pub fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::new(BACKEND);
        capabilities.transactions = Support::Native;
        capabilities.ordered_scans = Support::Native;
        capabilities.collection_scans = Support::Native;
        capabilities.native_expiry = Support::Native;
        capabilities.blobs = Support::Emulated;
        capabilities.rate_limits = Support::Native;
        // As AWS promises it: each write is in three zones of the region.
        capabilities.durability = Durability::Replicated;
        capabilities
    }

    /// Opens the store. The server is asked about the table, so that a wrong
    /// endpoint or wrong credentials are found here; a table that is not there
    /// yet is not refused.
    ///
    /// # Errors
    /// `Config` for a wrong option, `Unauthenticated`, or `Unavailable`.
    pub async fn connect(mut self) -> Result<DynamoDbStore> {
        if let Some(url) = self.url.take() {
            self.read(&url)?;
        }
        DynamoDbStore::open(self).await
    }

    fn read(&mut self, url: &str) -> Result<()> {
        // The URL may hold a secret, so no error shows it.
        let wrong = || {
            config(
                "the URL is not of the form dynamodb://table?region=eu-central-1&endpoint=http://host:port",
            )
        };
        let rest = url.strip_prefix("dynamodb://").ok_or_else(wrong)?;
        let (name, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (credentials, table) = match name.rsplit_once('@') {
            Some((credentials, table)) => (Some(credentials), table),
            None => (None, name),
        };
        if table.is_empty() {
            return Err(wrong());
        }
        self.table = table.into();
        if let Some(credentials) = credentials {
            let (id, secret) = credentials.split_once(':').ok_or_else(wrong)?;
            self.credentials = Some((id.into(), secret.into()));
        }
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("region", region)) => self.region = Some(region.into()),
                Some(("endpoint", endpoint)) => self.endpoint = Some(endpoint.into()),
                _ => return Err(wrong()),
            }
        }
        Ok(())
    }

    pub(crate) async fn clients(&self) -> Result<Clients> {
        let own = match &self.client {
            Some(client) => client.config().clone(),
            None => self.config().await?,
        };
        // An answer may be late, and the next one is not: try again soon.
        let again = RetryConfig::standard()
            .with_max_attempts(3)
            .with_initial_backoff(Duration::from_millis(50));
        let with = |retries| Client::from_conf(own.to_builder().retry_config(retries).build());
        Ok(Clients {
            reading: with(again),
            writing: with(RetryConfig::disabled()),
        })
    }

    async fn config(&self) -> Result<Config> {
        let http = self.http();
        let mut builder = match (&self.region, &self.credentials) {
            // All is said.
            (Some(_), Some(_)) => Config::builder().behavior_version(BehaviorVersion::latest()),
            _ => {
                let mut loader = aws_config::defaults(BehaviorVersion::latest());
                if let Some(region) = &self.region {
                    loader = loader.region(Region::new(region.clone()));
                }
                let loaded = loader.http_client(http.clone()).load().await;
                aws_sdk_dynamodb::config::Builder::from(&loaded)
            }
        };
        if let Some(region) = &self.region {
            builder = builder.region(Region::new(region.clone()));
        }
        if let Some(endpoint) = &self.endpoint {
            builder = builder.endpoint_url(endpoint);
        }
        if let Some((id, secret)) = &self.credentials {
            let own = Credentials::new(id, secret, None, None, "store");
            builder = builder.credentials_provider(own);
        }
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(self.connect_timeout)
            .operation_attempt_timeout(self.timeout)
            .build();
        let config = builder
            .http_client(http)
            .timeout_config(timeouts)
            // Each call has its timeout.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .build();
        if config.region().is_none() {
            return Err(crate::error::config(
                "no region is named; call Builder::region, or set AWS_REGION",
            ));
        }
        Ok(config)
    }

    /// One client, for DynamoDB and for whoever gives credentials.
    fn http(&self) -> SharedHttpClient {
        let is_plain = |url: &String| url.starts_with("http://");
        match self.endpoint.as_ref().is_some_and(is_plain) && self.credentials.is_some() {
            true => HttpBuilder::new().build_http(),
            false => HttpBuilder::new()
                .tls_provider(Provider::Rustls(CryptoMode::Ring))
                .build_https(),
        }
    }
}

impl fmt::Debug for Builder {
    /// Without URL and credentials, which hold a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("table", &self.table)
            .field("region", &self.region)
            .field("endpoint", &self.endpoint)
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
    fn a_url_says_all_there_is_to_say() {
        let mut builder = Builder::default();
        let url = "dynamodb://id:se/cr@et+@app?region=eu-central-1&endpoint=http://[::1]:8000";
        builder.read(url).unwrap();
        assert_eq!(builder.table, "app");
        assert_eq!(builder.region.as_deref(), Some("eu-central-1"));
        assert_eq!(builder.endpoint.as_deref(), Some("http://[::1]:8000"));
        let own = builder.credentials.clone().unwrap();
        assert_eq!(own, ("id".into(), "se/cr@et+".into()));
        assert!(!format!("{builder:?}").contains("cr@et"));
    }

    #[test]
    fn a_wrong_url_is_refused_and_shows_no_secret() {
        for url in [
            "redis://id:hunter2@app",
            "dynamodb://",
            "dynamodb://hunter2@app",
            "dynamodb://id:hunter2@app?zone=1",
        ] {
            let error = Builder::default().read(url).unwrap_err();
            assert!(!format!("{error:?}").contains("hunter2"), "{url}");
        }
    }
}
