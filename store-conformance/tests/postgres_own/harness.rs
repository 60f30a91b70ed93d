//! Opens the store in PostgreSQL for the suite.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use store_conformance::{Harness, Opened, cases};
use store_core::{ManualClock, Result, Store};
use store_postgres::PostgresStore;

pub(crate) struct Postgres {
    url: String,
    /// Past a pooler, for the notices that it does not carry.
    listener: Option<String>,
    server: String,
    /// Makes schemas of two runs against one server differ.
    run: u32,
    next: AtomicU32,
    /// The server's `statement_timeout`, if set.
    timeout: Option<Duration>,
}

impl Postgres {
    pub(crate) fn new(url: &str, listener: Option<&str>, server: String) -> Self {
        Self {
            url: url.into(),
            listener: listener.map(Into::into),
            server,
            run: std::process::id(),
            next: AtomicU32::new(0),
            timeout: None,
        }
    }

    /// The same, for statements that may never end.
    #[allow(dead_code, reason = "not every program needs it")]
    pub(crate) fn impatient(self, timeout: Duration) -> Self {
        Self {
            timeout: Some(timeout),
            ..self
        }
    }
}

#[async_trait::async_trait]
impl Harness<Store> for Postgres {
    fn backend(&self) -> String {
        "postgres".into()
    }

    fn server(&self) -> String {
        self.server.clone()
    }

    async fn open(&self, (): ()) -> Result<Opened<Store>> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let clock = ManualClock::default();
        let mut builder = PostgresStore::builder()
            .url(&self.url)
            .schema(format!("store_test_{}_{number}", self.run))
            .collections(cases::collections())
            .max_connections(8)
            .change_notice(true)
            .clock(clock.clone());
        if let Some(listener) = &self.listener {
            builder = builder.listener_url(listener);
        }
        if let Some(timeout) = self.timeout {
            builder = builder.statement_timeout(timeout);
        }
        let first = builder.clone().connect().await?;
        first.setup().await?;
        let second = builder.connect().await?;
        Ok(Opened::stores(first, second, clock))
    }
}
