//! The connection pool, and which of its sessions are still usable.
//!
//! A session that was opened on a standby stays read-only after the standby was promoted,
//! and a session that the server ended while it was idle fails at its next call. An error
//! that shows either condition marks every session opened until then. Sessions that may
//! be read-only are replaced before their next use, and sessions that may have ended are
//! tested first.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool, Postgres};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::hosts::Hosts;

/// A connection that was idle for longer than this is tested before it is used.
const TRUSTED_IDLE: Duration = Duration::from_secs(30);

/// A call that has waited this long for a session checks whether the server can be
/// reached.
const SLOW_ACQUIRE: Duration = Duration::from_millis(100);

/// Why open sessions may be unusable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// They may have been ended.
    Ended,
    /// They are on a server that cannot write.
    ReadOnly,
}

/// Sessions that were opened before these times, in microseconds since `start`, may be
/// unusable.
#[derive(Debug)]
struct Doubts {
    start: Instant,
    ended: AtomicU64,
    read_only: AtomicU64,
}

impl Doubts {
    fn micros(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.start);
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }

    fn of(&self, doubt: Doubt) -> &AtomicU64 {
        match doubt {
            Doubt::Ended => &self.ended,
            Doubt::ReadOnly => &self.read_only,
        }
    }

    /// Marks every session that was opened until now.
    fn raise(&self, doubt: Doubt) {
        let now = self.micros(Instant::now()).max(1);
        self.of(doubt).fetch_max(now, Ordering::AcqRel);
    }

    fn until(&self, doubt: Doubt) -> u64 {
        self.of(doubt).load(Ordering::Acquire)
    }

    fn covers(&self, doubt: Doubt, at: Option<Instant>) -> bool {
        let until = self.until(doubt);
        until > 0 && at.is_none_or(|at| self.micros(at) <= until)
    }
}

/// The pool's settings.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) max_connections: u32,
    pub(crate) min_connections: u32,
    pub(crate) acquire_timeout: Duration,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) max_lifetime: Option<Duration>,
}

#[derive(Debug)]
pub(crate) struct Sessions {
    pub(crate) pool: PgPool,
    /// `None` for a pool that the application owns.
    hosts: Option<Hosts>,
    doubts: Arc<Doubts>,
    connect_timeout: Duration,
}

/// A session in use. It is not returned to the pool if its server was found to be
/// read-only.
pub(crate) struct Session {
    connection: PoolConnection<Postgres>,
    doubts: Arc<Doubts>,
    read_only: u64,
}

impl Deref for Session {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.doubts.until(Doubt::ReadOnly) != self.read_only {
            self.connection.close_on_drop();
        }
    }
}

impl Sessions {
    /// Over a pool that the application owns.
    pub(crate) fn borrowed(pool: PgPool, connect_timeout: Duration) -> Self {
        Self {
            pool,
            hosts: None,
            doubts: Arc::new(Doubts::new()),
            connect_timeout,
        }
    }

    /// Over a new pool, which opens no connection yet.
    pub(crate) fn own(hosts: Hosts, limits: &Limits, connect_timeout: Duration) -> Self {
        let doubts = Arc::new(Doubts::new());
        let hook = Arc::clone(&doubts);
        let pool = PgPoolOptions::new()
            .max_connections(limits.max_connections)
            .min_connections(limits.min_connections)
            .acquire_timeout(limits.acquire_timeout)
            .idle_timeout(limits.idle_timeout)
            .max_lifetime(limits.max_lifetime)
            .test_before_acquire(false)
            .before_acquire(move |connection, meta| {
                let now = Instant::now();
                let opened = now.checked_sub(meta.age);
                let used = now.checked_sub(meta.idle_for);
                let read_only = hook.covers(Doubt::ReadOnly, opened);
                let test = meta.idle_for > TRUSTED_IDLE || hook.covers(Doubt::Ended, used);
                Box::pin(async move {
                    if test && !read_only {
                        connection.ping().await?;
                    }
                    Ok(!read_only)
                })
            })
            .connect_lazy_with(hosts.first().clone());
        Self {
            pool,
            hosts: Some(hosts),
            doubts,
            connect_timeout,
        }
    }

    pub(crate) fn is_borrowed(&self) -> bool {
        self.hosts.is_none()
    }

    /// Marks the sessions opened so far, after an error.
    pub(crate) fn raise(&self, doubt: Doubt) {
        self.doubts.raise(doubt);
        if let Some(hosts) = &self.hosts {
            hosts.lose();
        }
    }

    /// The first session of a store. An unreachable server is reported immediately,
    /// without waiting for the pool's retries.
    pub(crate) async fn first(&self) -> Result<Session, sqlx::Error> {
        if let Some(hosts) = &self.hosts
            && hosts.are_several()
        {
            let found = hosts.find(self.connect_timeout).await?;
            self.pool.set_connect_options(found);
        }
        let read_only = self.doubts.until(Doubt::ReadOnly);
        let mut acquiring = std::pin::pin!(self.pool.acquire());
        let connection = tokio::select! {
            biased;
            acquired = &mut acquiring => acquired?,
            () = tokio::time::sleep(SLOW_ACQUIRE) => {
                if let Some(refused) = self.connect_error().await {
                    return Err(sqlx::Error::Io(refused));
                }
                timeout(self.connect_timeout, acquiring)
                    .await
                    .map_err(|_| sqlx::Error::PoolTimedOut)??
            }
        };
        Ok(self.session(connection, read_only))
    }

    /// Waits for a session, at most for the pool's `acquire_timeout`.
    pub(crate) async fn acquire(&self) -> Result<Session, sqlx::Error> {
        let read_only = self.doubts.until(Doubt::ReadOnly);
        let several = self.hosts.as_ref().filter(|hosts| hosts.are_several());
        let Some(hosts) = several else {
            let acquired = self.pool.acquire().await;
            return match acquired {
                Ok(connection) => Ok(self.session(connection, read_only)),
                Err(sqlx::Error::PoolTimedOut) => Err(match self.connect_error().await {
                    Some(refused) => sqlx::Error::Io(refused),
                    None => sqlx::Error::PoolTimedOut,
                }),
                Err(e) => Err(e),
            };
        };
        if hosts.is_lost()
            && let Ok(found) = hosts.find(self.connect_timeout).await
        {
            self.pool.set_connect_options(found);
        }
        let mut acquiring = std::pin::pin!(self.pool.acquire());
        loop {
            tokio::select! {
                biased;
                acquired = &mut acquiring => {
                    if matches!(acquired, Err(sqlx::Error::Io(_))) {
                        hosts.lose();
                    }
                    return Ok(self.session(acquired?, read_only));
                }
                // After a fail-over another host may be the primary. The pool reads
                // its options again at each attempt.
                () = tokio::time::sleep(SLOW_ACQUIRE) => {
                    if self.connect_error().await.is_some()
                        && let Ok(found) = hosts.find(self.connect_timeout).await
                    {
                        self.pool.set_connect_options(found);
                    }
                }
            }
        }
    }

    fn session(&self, connection: PoolConnection<Postgres>, read_only: u64) -> Session {
        Session {
            connection,
            doubts: Arc::clone(&self.doubts),
            read_only,
        }
    }

    /// The error of connecting to the server's port, if that fails.
    async fn connect_error(&self) -> Option<std::io::Error> {
        let options = self.pool.connect_options();
        if options.get_socket().is_some() {
            return None;
        }
        let connecting = TcpStream::connect((options.get_host(), options.get_port()));
        match timeout(self.connect_timeout, connecting).await {
            Ok(Ok(_)) => None,
            Ok(Err(e)) => Some(refused(&options, e.kind())),
            Err(_) => Some(refused(&options, std::io::ErrorKind::TimedOut)),
        }
    }
}

impl Doubts {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            ended: AtomicU64::new(0),
            read_only: AtomicU64::new(0),
        }
    }
}

fn refused(options: &PgConnectOptions, kind: std::io::ErrorKind) -> std::io::Error {
    let (host, port) = (options.get_host(), options.get_port());
    let what = match kind {
        std::io::ErrorKind::ConnectionRefused => "nothing listens at",
        std::io::ErrorKind::TimedOut => "no answer in time from",
        _ => "no connection can be made to",
    };
    std::io::Error::new(kind, format!("{what} {host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_doubt_covers_what_was_opened_before_it_and_nothing_later() {
        let doubts = Doubts::new();
        let opened = Instant::now();
        assert!(!doubts.covers(Doubt::Ended, Some(opened)));
        doubts.raise(Doubt::Ended);
        assert!(doubts.covers(Doubt::Ended, Some(opened)));
        // `None` is a session of unknown age.
        assert!(doubts.covers(Doubt::Ended, None));
        assert!(!doubts.covers(Doubt::ReadOnly, Some(opened)));
        let later = Instant::now() + Duration::from_millis(1);
        assert!(!doubts.covers(Doubt::Ended, Some(later)));
    }
}
