//! How to open a store in DynamoDB.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use store_core::config::{Settings, Source};
use store_core::{Capabilities, Durability, Result, Support, collections};

use crate::DynamoDbStore;
use crate::collection_scan::MAX_SEGMENTS;
use crate::error::BACKEND;
use crate::url::{self, Own};

/// The maximum number of shards of one limit.
const MAX_SHARDS: u32 = 64;

/// The default table name.
const TABLE: &str = "store";

/// Options for a [`DynamoDbStore`].
///
/// ```no_run
/// # async fn f() -> store_core::Result<()> {
/// use std::time::Duration;
/// use store_dynamodb::DynamoDbStore;
///
/// let store = DynamoDbStore::builder()
///     .url("dynamodb://app?region=eu-central-1")
///     .timeout(Duration::from_secs(2))
///     .connect()
///     .await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use = "a builder opens nothing until `connect`"]
pub struct DynamoDbBuilder {
    pub(crate) common: Settings<Box<Client>>,
    pub(crate) region: Option<String>,
    pub(crate) endpoint: Option<String>,
    pub(crate) credentials: Option<(String, String)>,
    pub(crate) grace: Duration,
    pub(crate) segments: u32,
    pub(crate) spread: HashMap<String, u32>,
    pub(crate) orphans: Option<Duration>,
    pub(crate) point_in_time_recovery: bool,
}

impl Default for DynamoDbBuilder {
    fn default() -> Self {
        let mut common = Settings::new(Duration::from_secs(5), Duration::from_secs(2));
        common.collections = collections::all();
        Self {
            common,
            region: None,
            endpoint: None,
            credentials: None,
            grace: Duration::from_secs(3600),
            segments: 4,
            spread: HashMap::new(),
            orphans: None,
            point_in_time_recovery: false,
        }
    }
}

impl DynamoDbBuilder {
    store_core::builder_methods! {
        /// Where the table is: `dynamodb://id:secret@table?region=eu-central-1`.
        ///
        /// Every part except the scheme is optional. By default the table is `store`, and
        /// credentials and region come from the environment. A `/` or `+` in a secret is
        /// written as a percent escape.
        ///
        /// The options are `namespace`, `region`, `endpoint`, `timeout`, `connect_timeout`, `grace` (such
        /// as `500ms` or `5s`), `scan_segments`, `point_in_time_recovery`, each equivalent to
        /// the method of the same name, and `ca_file`, a [file of certificate
        /// authorities](Tls::ca_file). They take precedence over the builder's options.
        /// Unknown options are refused by `connect`.
        url;

        store_url;

        /// The name of the store's table, instead of the URL's; `store` by default. The table
        /// contains nothing else, so two namespaces are two tables.
        namespace;

        /// Declares a collection of the application. `setup` stores its flags, and refuses a
        /// later declaration with other flags.
        collection;

        clock;

        /// How long a call may wait for the server's answer, 5 s by default. A
        /// commit or a take that takes longer is `Timeout` and ambiguous.
        timeout;

        /// How long to wait for a connection, 2 s by default.
        connect_timeout;

        /// Which certificate authorities to trust; the system's by default.
        tls;
    }

    /// A client of the SDK, instead of URL, region, endpoint, credentials, TLS and
    /// timeouts. The store uses its HTTP connections and credentials, and turns its
    /// retries off for writes, because a conditional write that the SDK sends again fails
    /// on its own success.
    pub fn client(mut self, client: Client) -> Self {
        self.common.source = Source::Client(Box::new(client));
        self
    }

    /// The same as [`DynamoDbBuilder::namespace`], under DynamoDB's name for it.
    pub fn table(self, name: impl Into<String>) -> Self {
        self.namespace(name)
    }

    /// The region, instead of the one in the environment.
    pub fn region(mut self, name: impl Into<String>) -> Self {
        self.region = Some(name.into());
        self
    }

    /// The URL of the server, if it is not the region's default: a VPC endpoint, or an
    /// emulator, as in `http://localhost:8000`. It must not contain credentials.
    pub fn endpoint(mut self, url: impl Into<String>) -> Self {
        self.endpoint = Some(url.into());
        self
    }

    /// The id and the secret of an access key, instead of those in the environment.
    pub fn credentials(mut self, id: impl Into<String>, secret: impl Into<String>) -> Self {
        self.credentials = Some((id.into(), secret.into()));
        self
    }

    /// How long, at least, the server stores a record after it expired by the store's
    /// clock; an hour by default. It must exceed the difference between the clocks of any
    /// two processes on one store, because a process whose clock is behind still reads
    /// records that have expired for another. It must also exceed the drift between a
    /// process's clock and the server's while the process runs.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// How many segments of the table a scan of a whole collection reads at a time: 4
    /// by default, between 1 and 16; a value outside of this range is replaced by the
    /// nearest bound. More segments are faster on a large table, but use up its capacity
    /// faster.
    pub fn scan_segments(mut self, segments: u32) -> Self {
        self.segments = segments.clamp(1, MAX_SEGMENTS);
        self
    }

    /// Spreads one hot limit over several items, each in a separate partition, because a
    /// single item allows about a thousand takes a second. Between 1 and 64 shards; a
    /// value outside of this range is replaced by the nearest bound.
    ///
    /// It has these costs:
    /// - Never more is granted than the quota allows, but sometimes less. A take tries
    ///   one shard, chosen at random, and if that denies it the next shard. It is then
    ///   denied even if other shards have tokens left. If the burst is not a multiple of
    ///   the number of shards, the remainder is never granted.
    /// - One request may take at most the tokens of one shard, which is the burst divided
    ///   by the number of shards. More is `InvalidInput`.
    /// - The number of tokens left is an estimate, from one shard.
    /// - A denial is two calls. A peek, a reset and a delete are one call for each shard,
    ///   and not a snapshot. Closures
    ///   ([`RateLimitStore::update`](store_core::RateLimitStore::update)) are
    ///   `Unsupported`.
    ///
    /// All processes must use the same number of shards for a key. After a change all
    /// buckets are full.
    pub fn spread_limit(mut self, key: impl Into<String>, shards: u32) -> Self {
        self.spread.insert(key.into(), shards.clamp(1, MAX_SHARDS));
        self
    }

    /// Gives the chunks of an object a time to live until it is published, so that
    /// DynamoDB removes the chunks that a dead process left, at no cost. A sweep would
    /// remove them, too. `life` must be longer than it takes to write any object; an
    /// object that takes longer is not published. Off by default, because it uses the
    /// capacity of each chunk twice: to write it, and to make it permanent.
    pub fn orphans_expire(mut self, life: Duration) -> Self {
        self.orphans = Some(life);
        self
    }

    /// Whether [`DynamoDbStore::setup`] turns on point-in-time recovery, for which AWS
    /// charges. If `false`, the default, `setup` does not change the table's setting.
    pub fn point_in_time_recovery(mut self, on: bool) -> Self {
        self.point_in_time_recovery = on;
        self
    }

    /// The capabilities of a store with these options.
    pub fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::new(BACKEND);
        capabilities.transactions = Support::Native;
        capabilities.ordered_scans = Support::Native;
        capabilities.collection_scans = Support::Native;
        capabilities.native_expiry = Support::Native;
        capabilities.blobs = Support::Emulated;
        capabilities.rate_limits = Support::native_if(cfg!(feature = "limits"));
        // AWS documents that each write is stored in three availability zones of the
        // region.
        capabilities.durability = Durability::Replicated;
        capabilities.compiled()
    }

    /// Opens the store. It sends a request about the table, so that a wrong endpoint or
    /// wrong credentials are reported here. The table need not exist yet.
    ///
    /// # Errors
    /// `Config` for a wrong option or a server whose certificate is not trusted,
    /// `Unauthenticated`, or `Unavailable`.
    pub async fn connect(self) -> Result<DynamoDbStore> {
        DynamoDbStore::open(self.resolved()?).await
    }

    /// These options, combined with those of the URL.
    pub(crate) fn resolved(mut self) -> Result<Self> {
        let Some(url) = self.common.url()? else {
            return Ok(self);
        };
        let address = url::read(url)?;
        self.common.namespace = self.common.namespace.or(address.table);
        self.credentials = address.credentials.or(self.credentials);
        Ok(self.with(address.own))
    }

    /// These options, replaced by those that `own` contains.
    pub(crate) fn with(mut self, own: Own) -> Self {
        self.region = own.region.or(self.region);
        self.endpoint = own.endpoint.or(self.endpoint);
        self.common.replace(own.common);
        self.grace = own.grace.unwrap_or(self.grace);
        let recovery = own.point_in_time_recovery;
        self.point_in_time_recovery = recovery.unwrap_or(self.point_in_time_recovery);
        match own.scan_segments {
            Some(segments) => self.scan_segments(segments),
            None => self,
        }
    }

    /// The name of the table.
    pub(crate) fn table_name(&self) -> &str {
        self.common.namespace.as_deref().unwrap_or(TABLE)
    }

    /// The application's own client, if there is one.
    pub(crate) fn own_client(&self) -> Option<&Client> {
        match &self.common.source {
            Source::Client(client) => Some(client),
            _ => None,
        }
    }
}

impl fmt::Debug for DynamoDbBuilder {
    /// Without URL, endpoint and credentials, which may hold a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamoDbBuilder")
            .field("common", &self.common)
            .field("region", &self.region)
            .field("grace", &self.grace)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use store_core::config::Tls;

    use super::*;

    fn read(url: &str) -> Result<DynamoDbBuilder> {
        DynamoDbBuilder::default().url(url).resolved()
    }

    #[test]
    fn a_url_names_table_credentials_and_every_option() {
        let builder = read(
            "dynamodb://id:se%2Fcr%40et+@app?region=eu-central-1&endpoint=http://[::1]:8000\
             &timeout=500ms&connect_timeout=1s&grace=2min&scan_segments=99\
             &point_in_time_recovery=true&ca_file=/ca.pem",
        )
        .expect("a valid configuration");
        assert_eq!(builder.table_name(), "app");
        assert_eq!(builder.region.as_deref(), Some("eu-central-1"));
        assert_eq!(builder.endpoint.as_deref(), Some("http://[::1]:8000"));
        assert_eq!(builder.common.timeout, Duration::from_millis(500));
        assert_eq!(builder.common.connect_timeout, Duration::from_secs(1));
        assert_eq!(builder.grace, Duration::from_secs(120));
        assert_eq!(builder.segments, MAX_SEGMENTS);
        assert!(builder.point_in_time_recovery);
        assert_eq!(builder.common.tls, Tls::new().ca_file("/ca.pem"));
        assert_eq!(builder.credentials, Some(("id".into(), "se/cr@et+".into())));
        let plain = read("dynamodb://").expect("every part is optional");
        assert_eq!(plain.table_name(), TABLE);
        assert_eq!(plain.credentials, None);
    }

    #[test]
    fn a_namespace_takes_precedence_over_the_urls_table() {
        let builder = read("dynamodb://app")
            .expect("a valid configuration")
            .namespace("other");
        assert_eq!(
            builder.resolved().expect("read twice").table_name(),
            "other"
        );
    }

    #[test]
    fn a_builder_shows_no_secret() {
        let builder = DynamoDbBuilder::default()
            .url("dynamodb://id:hunter2@app")
            .endpoint("http://id:hunter2@localhost")
            .credentials("id", "hunter2");
        assert!(!format!("{builder:?}").contains("hunter2"));
        let resolved = builder.resolved().expect("the endpoint is read later");
        assert!(!format!("{resolved:?}").contains("hunter2"));
    }
}
