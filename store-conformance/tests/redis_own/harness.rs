//! Opens the store in Redis for the suite.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use store_conformance::servers::{Server, missing};
use store_conformance::{Harness, Opened, cases};
use store_core::{ManualClock, Result, Store};
use store_redis::RedisStore;

pub(crate) struct Redis {
    url: String,
    server: String,
    /// Distinguishes the namespaces of two runs against one server.
    run: u32,
    next: AtomicU32,
    /// Replaces the store's default timeout, if set.
    timeout: Option<Duration>,
}

impl Redis {
    pub(crate) fn new(url: &str, server: String) -> Self {
        Self {
            url: url.into(),
            server,
            run: std::process::id(),
            next: AtomicU32::new(0),
            timeout: None,
        }
    }

    /// The same, for a server on which calls wait.
    #[allow(dead_code, reason = "not every program needs it")]
    pub(crate) fn patient(self, timeout: Duration) -> Self {
        Self {
            timeout: Some(timeout),
            ..self
        }
    }
}

#[async_trait::async_trait]
impl Harness<Store> for Redis {
    fn backend(&self) -> String {
        "redis".into()
    }

    fn server(&self) -> String {
        self.server.clone()
    }

    async fn open(&self, (): ()) -> Result<Opened<Store>> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let clock = ManualClock::default();
        let mut builder = RedisStore::builder()
            .url(&self.url)
            .namespace(format!("test-{}-{number}", self.run))
            .change_notice(true)
            .clock(clock.clone());
        if let Some(timeout) = self.timeout {
            builder = builder.timeout(timeout);
        }
        let first = builder.clone().connect().await?;
        first.setup().await?;
        let second = builder.connect().await?;
        Ok(Opened::stores(first, second, clock))
    }
}

/// Runs the whole suite on the server that was found.
#[allow(dead_code, reason = "not every program runs it")]
pub(crate) fn run(found: std::result::Result<Server, String>) -> ExitCode {
    let server = match found {
        Ok(server) => server,
        Err(advice) => return missing(&advice),
    };
    let opened = tokio::runtime::Runtime::new()
        .expect("a runtime can be started")
        .block_on(RedisStore::connect(server.url()));
    let version = match opened {
        Ok(store) => store.server_version().to_owned(),
        Err(error) => {
            eprintln!("{error:?}");
            return ExitCode::FAILURE;
        }
    };
    println!("{version}, {}", server.origin());
    let server_name = format!("{version}, {}", server.way());
    store_conformance::main(cases::all(Arc::new(Redis::new(server.url(), server_name))))
}
