//! Kills the server in the middle of everything, again and again, and counts
//! what it acknowledged.
//!
//! [`survive`] works over any [`Store`] and any [`Victim`]. Workers commit pairs
//! of records, take tokens, replace objects and race for nonces, all at once;
//! once enough of each was acknowledged, the victim is killed and started
//! again, and then everything acknowledged must be there, nothing may be there
//! by half, and no nonce may have been accepted twice.
//!
//! What this proves, and what not: a killed process loses what it kept to
//! itself, so an answer that was given too early, a log that was not yet
//! written and a write by halves are found. The operating system lives on and
//! keeps what was handed to it, so a missing `fsync` is not found: that takes
//! a cut of power.

mod work;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use store_core::{Collection, Store};
use tokio::task::JoinSet;

use crate::suite::CaseResult;
use work::Work;

/// The collections of the pairs. The store must know them, if it has to be told.
pub const COLLECTIONS: [Collection; 2] = [work::LEFT, work::RIGHT];

/// How long a restarted server may take until it answers.
const PATIENCE: Duration = Duration::from_secs(60);

/// What can be killed and comes back.
pub trait Victim: Send {
    /// Ends it without a word.
    ///
    /// # Errors
    /// If it lives still.
    fn kill(&mut self) -> Result<(), String>;

    /// Starts it again, on what it had written.
    ///
    /// # Errors
    /// What it said, if it does not come back.
    fn restart(&mut self) -> Result<(), String>;
}

#[cfg(feature = "servers")]
impl Victim for crate::servers::Server {
    fn kill(&mut self) -> Result<(), String> {
        let killed = crate::servers::Server::kill(self);
        killed.then_some(()).ok_or("it is not ours to kill".into())
    }

    fn restart(&mut self) -> Result<(), String> {
        crate::servers::Server::restart(self)
    }
}

/// How much is asked of the victim.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How often it is killed.
    pub cycles: u64,
    /// How many work at once.
    pub workers: u64,
    /// How much of each kind must have been acknowledged since it came back,
    /// at least, before it is killed again. The number varies with the cycle, so
    /// that it is killed at ever other moments.
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

/// What was acknowledged in all, and found again.
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
    /// Calls that were cut off: they may have happened, or not.
    pub cut: u64,
    /// From the first to the last.
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
/// The store's clock must stand still
/// ([`ManualClock`](store_core::ManualClock)), or tokens flow in; it must wait
/// long enough for a server that restarts; [`COLLECTIONS`] must be declared.
/// Needs a runtime of several threads: the victim may block one.
///
/// # Errors
/// The first thing that was acknowledged and is not there, is there by half, or
/// was accepted twice; or that the victim does not come back.
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
        // What was under way ends, one way or the other.
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

/// Connections of before fail once each.
async fn answers(store: &Store) -> CaseResult {
    let begin = Instant::now();
    while let Err(error) = store.records().ping().await {
        if begin.elapsed() > PATIENCE {
            return Err(format!("it came back and does not answer: {error}").into());
        }
        tokio::task::yield_now().await;
    }
    Ok(())
}
