//! Kills the server repeatedly during concurrent calls, and checks everything that it
//! acknowledged.
//!
//! [`survive`] works over any [`Store`] and any [`Victim`]. Workers concurrently commit
//! pairs of records, take tokens, replace objects and race for nonces. When enough calls
//! of each kind were acknowledged, the victim is killed and restarted. Then every
//! acknowledged write must be found, no write may be applied in part, and no nonce may
//! have been accepted twice.
//!
//! A killed process loses the data that is only in its memory. So this test detects a
//! write that was acknowledged too early, a log that was not written, and a partial
//! write. The operating system keeps running, with all data that was written to it. So
//! this test does not detect a missing `fsync`, which only a power failure shows.

mod work;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use store_core::{Collection, Store};
use tokio::task::JoinSet;

use crate::suite::CaseResult;
use work::Work;

/// The collections of the pairs, for a store whose collections must be declared.
pub const COLLECTIONS: [Collection; 2] = [work::LEFT, work::RIGHT];

/// The time within which a restarted server must answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that can be killed and restarted.
pub trait Victim: Send {
    /// Kills it without warning.
    ///
    /// # Errors
    /// If the server still runs.
    fn kill(&mut self) -> Result<(), String>;

    /// Starts it again with the data that it had written.
    ///
    /// # Errors
    /// Its output, if it does not start.
    fn restart(&mut self) -> Result<(), String>;
}

#[cfg(feature = "servers")]
impl Victim for crate::servers::Server {
    fn kill(&mut self) -> Result<(), String> {
        let killed = crate::servers::Server::kill(self);
        killed
            .then_some(())
            .ok_or("this process did not start it, so it must not kill it".into())
    }

    fn restart(&mut self) -> Result<(), String> {
        crate::servers::Server::restart(self)
    }
}

/// The length and load of the test.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How often the server is killed.
    pub cycles: u64,
    /// How many workers run at the same time.
    pub workers: u64,
    /// The minimum number of acknowledged operations of each kind between a restart and
    /// the next kill. The actual number varies, so that each kill happens at another
    /// point.
    pub least: u64,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            cycles: 5,
            workers: 4,
            least: 3,
        }
    }
}

/// The acknowledged operations, all of which were found after the crashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// How often the server was killed.
    pub cycles: u64,
    /// Commits of two records.
    pub commits: u64,
    /// Tokens that were taken.
    pub takes: u64,
    /// Objects that were published.
    pub objects: u64,
    /// Nonces that were raced for and accepted once.
    pub nonces: u64,
    /// Calls without a reply, which may or may not have been applied.
    pub cut: u64,
    /// The duration of the whole run.
    pub elapsed: Duration,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} crashes in {:.1} s; acknowledged and found again: {} commits, {} takes, {} objects, \
             {} nonces accepted once; {} calls cut off",
            self.cycles,
            self.elapsed.as_secs_f64(),
            self.commits,
            self.takes,
            self.objects,
            self.nonces,
            self.cut
        )
    }
}

/// Runs the plan.
///
/// ```no_run
/// use store_core::Store;
/// use store_conformance::crash::{Plan, Victim, survive};
///
/// # type Error = Box<dyn std::error::Error + Send + Sync>;
/// # async fn soak(store: Store, mut server: impl Victim) -> Result<(), Error> {
/// let plan = Plan { cycles: 50, ..Plan::default() };
/// println!("{}", survive(&store, &mut server, plan).await?);
/// # Ok(())
/// # }
/// ```
///
/// The store's clock must not advance ([`ManualClock`](store_core::ManualClock)), or
/// buckets refill. Its timeout must be longer than a restart of the server.
/// [`COLLECTIONS`] must be declared. The runtime must have several threads, because the
/// victim may block one.
///
/// # Errors
/// An error if an acknowledged operation is missing, applied in part, or accepted twice,
/// or if the server does not restart.
pub async fn survive(
    store: &Store,
    victim: &mut dyn Victim,
    plan: Plan,
) -> Result<Figures, Box<dyn std::error::Error + Send + Sync>> {
    let begin = Instant::now();
    let work = Arc::new(Work::new(store.clone()).await?);
    for cycle in 0..plan.cycles {
        let enough = plan.least + cycle * 7 % 11;
        let mut workers = JoinSet::new();
        work.begin();
        for worker in 0..plan.workers {
            workers.spawn(Arc::clone(&work).everything(cycle, worker));
        }
        work.acknowledged_each(enough)
            .await
            .map_err(|error| format!("before crash {cycle}: {error}"))?;
        tokio::task::block_in_place(|| victim.kill())?;
        work.stop();
        tokio::task::block_in_place(|| victim.restart())?;
        // Calls that were in progress may succeed or fail.
        while let Some(ended) = workers.join_next().await {
            ended?;
        }
        answers(store).await?;
        let verified = work.verify().await;
        verified.map_err(|error| format!("after crash {cycle}: {error}"))?;
    }
    work.verify_all_nonces().await?;
    Ok(Figures {
        cycles: plan.cycles,
        elapsed: begin.elapsed(),
        ..work.figures()
    })
}

/// Waits until the server answers. Each connection from before the crash fails once.
async fn answers(store: &Store) -> CaseResult {
    let begin = Instant::now();
    while let Err(error) = store.records().ping().await {
        if begin.elapsed() > PATIENCE {
            return Err(format!("it restarted but does not answer: {error}").into());
        }
        tokio::task::yield_now().await;
    }
    Ok(())
}
