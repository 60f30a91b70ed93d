//! The hosts of a URL, and which of them to connect to.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use store_core::Result;
use store_core::backend::event;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::error::{Effect, from_sqlx};

/// Which servers a store may use, as in libpq's `target_session_attrs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The first that answers.
    Any,
    /// The first on which a session can write.
    ReadWrite,
    /// The first that is not in recovery.
    Primary,
}

/// One server, or several of which one is the primary.
#[derive(Debug)]
pub(crate) struct Hosts {
    options: Vec<PgConnectOptions>,
    target: Target,
    /// Whether the host in use may no longer be suitable.
    lost: AtomicBool,
    /// The host in use. One caller searches for it while the others wait for the lock.
    in_use: Mutex<Option<PgConnectOptions>>,
}

impl Hosts {
    /// Contains at least one host.
    pub(crate) fn new(options: Vec<PgConnectOptions>, target: Target) -> Self {
        Self {
            options,
            target,
            lost: AtomicBool::new(true),
            in_use: Mutex::new(None),
        }
    }

    /// The same hosts with their options changed.
    pub(crate) fn map(
        self,
        change: impl Fn(PgConnectOptions) -> Result<PgConnectOptions>,
    ) -> Result<Self> {
        let options = self
            .options
            .into_iter()
            .map(change)
            .collect::<Result<_>>()?;
        Ok(Self { options, ..self })
    }

    pub(crate) fn first(&self) -> &PgConnectOptions {
        &self.options[0]
    }

    /// Whether a host has to be chosen or checked.
    pub(crate) fn are_several(&self) -> bool {
        self.options.len() > 1 || self.target != Target::Any
    }

    pub(crate) fn lose(&self) {
        self.lost.store(true, Ordering::Release);
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// The first host that answers within `patience` and fits the target.
    pub(crate) async fn find(&self, patience: Duration) -> Result<PgConnectOptions, sqlx::Error> {
        let mut last = self.in_use.lock().await;
        if !self.is_lost()
            && let Some(found) = &*last
        {
            return Ok(found.clone());
        }
        let mut unfit = None;
        for options in &self.options {
            match timeout(patience, self.fits(options)).await {
                Ok(Ok(true)) => {
                    event::detour("a server was chosen among several hosts");
                    self.lost.store(false, Ordering::Release);
                    *last = Some(options.clone());
                    return Ok(options.clone());
                }
                // A server that replies but does not fit is the more helpful error.
                Ok(Ok(false)) => unfit = Some(none_fits()),
                Ok(Err(e)) => unfit = Some(unfit.unwrap_or(e)),
                Err(_) => unfit = Some(unfit.unwrap_or(sqlx::Error::PoolTimedOut)),
            }
        }
        Err(unfit.unwrap_or(sqlx::Error::PoolTimedOut))
    }

    async fn fits(&self, options: &PgConnectOptions) -> Result<bool, sqlx::Error> {
        let mut connection = PgConnection::connect_with(options).await?;
        let query = match self.target {
            Target::Any => "SELECT true",
            Target::ReadWrite => "SELECT current_setting('transaction_read_only') = 'off'",
            Target::Primary => "SELECT NOT pg_catalog.pg_is_in_recovery()",
        };
        let fits = sqlx::query_scalar(query).fetch_one(&mut connection).await;
        // The check is complete, so an error on closing does not matter.
        let closed = connection.close().await;
        let closed = closed.map_err(|e| from_sqlx(e, Effect::Repeatable, "close"));
        event::ignore("a connection for a check was not closed cleanly", closed);
        fits
    }
}

fn none_fits() -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::other(
        "the servers that answer are standbys or read-only; see target_session_attrs",
    ))
}
