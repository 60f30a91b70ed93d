//! The state of an opened store: its clients, the table's name, the clock.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::{BoxError, ProvideErrorMetadata};
use aws_sdk_dynamodb::primitives::{DateTime, DateTimeFormat};
use store_core::{Clock, Error, ErrorKind, Ping, Result, Timestamp};

use crate::config::DynamoDbBuilder;
use crate::driver::Clients;
use crate::error::{BACKEND, Effect, from_sdk};

/// Clocks that differ by at most this are considered equal, because the server reports
/// whole seconds.
const SAME: Duration = Duration::from_secs(2);

/// A second in nanoseconds.
const SECOND: u64 = 1_000_000_000;

pub(crate) struct Shared {
    /// `None` once the store is closed.
    clients: RwLock<Option<Clients>>,
    pub(crate) table: String,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) segments: u32,
    grace: Duration,
    /// How far the server's clock was ahead of the store's when the store was opened, in
    /// nanoseconds. It does not change later, so that the second copy of a transaction
    /// equals the first.
    ahead: i64,
}

impl Shared {
    pub(crate) async fn open(builder: &DynamoDbBuilder) -> Result<Self> {
        let mut shared = Self {
            clients: RwLock::new(Some(builder.clients().await?)),
            table: builder.table_name().to_owned(),
            clock: Arc::clone(&builder.common.clock),
            segments: builder.segments,
            grace: builder.grace,
            ahead: 0,
        };
        let ping = shared.ping("connect").await?;
        if let Some(server) = ping.server_time
            && ping.skew.is_some_and(|skew| skew > SAME)
        {
            // Timestamps are at most `i64::MAX`.
            shared.ahead = server.as_nanos() as i64 - shared.now().as_nanos() as i64;
        }
        Ok(shared)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn clients(&self) -> Result<Clients> {
        let clients = self.clients.read().unwrap_or_else(PoisonError::into_inner);
        clients
            .clone()
            .ok_or_else(|| Error::closed().with_backend(BACKEND))
    }

    pub(crate) fn reading(&self) -> Result<Client> {
        Ok(self.clients()?.reading)
    }

    pub(crate) fn writing(&self) -> Result<Client> {
        Ok(self.clients()?.writing)
    }

    /// When the server may remove an item that expires at `expires_at`, by the server's
    /// clock, in seconds.
    pub(crate) fn ttl(&self, expires_at: Timestamp) -> u64 {
        self.ttl_after(expires_at, self.grace)
    }

    /// The same plus half a grace, for items whose expiry moves with every write, so that
    /// most of these writes need not change it.
    pub(crate) fn ttl_ahead(&self, expires_at: Timestamp) -> u64 {
        self.ttl_after(expires_at, self.grace + self.grace / 2)
    }

    fn ttl_after(&self, expires_at: Timestamp, grace: Duration) -> u64 {
        let ours = (expires_at + grace).as_nanos();
        let theirs = ours.saturating_add_signed(self.ahead);
        // Zero means no expiry.
        theirs.div_ceil(SECOND).max(1)
    }

    /// The inverse of [`Shared::ttl`]: the time by which every item with this `remove_at`
    /// has expired.
    pub(crate) fn expired_by(&self, ttl: u64) -> Timestamp {
        let theirs = Timestamp::from_nanos(ttl.saturating_mul(SECOND));
        let ours = theirs.as_nanos().saturating_add_signed(-self.ahead);
        Timestamp::from_nanos(ours) - self.grace
    }

    /// Sends a request about the table. It also succeeds if the server replies that the
    /// table does not exist or that the credentials do not permit the request.
    pub(crate) async fn ping(&self, operation: &'static str) -> Result<Ping> {
        let date = Date::default();
        let asked = self
            .reading()?
            .describe_table()
            .table_name(&self.table)
            .customize()
            .interceptor(date.clone())
            .send()
            .await;
        if let Err(e) = asked {
            let is_missing = e.code() == Some("ResourceNotFoundException");
            let error = from_sdk(e, Effect::Repeatable, operation);
            if !is_missing && !error.is(ErrorKind::PermissionDenied) {
                return Err(error);
            }
        }
        let server_time = *date.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(server_time.map_or_else(Ping::default, |server| Ping::at(server, self.now())))
    }

    /// Closes the store. Calls in progress continue.
    pub(crate) fn close(&self) {
        *self.clients.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("table", &self.table)
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}

/// The server's time, from the `Date` header of its reply.
#[derive(Clone, Debug, Default)]
struct Date(Arc<Mutex<Option<Timestamp>>>);

impl Intercept for Date {
    fn name(&self) -> &'static str {
        "Date"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> std::result::Result<(), BoxError> {
        let header = context.response().headers().get("date");
        let date = header.and_then(|date| DateTime::from_str(date, DateTimeFormat::HttpDate).ok());
        let seconds = date.and_then(|date| u64::try_from(date.secs()).ok());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) =
            seconds.map(Timestamp::from_seconds);
        Ok(())
    }
}
