//! Checks that a store's results are correct while its connection is cut repeatedly.
//!
//! [`ride`] runs calls through any [`Store`] behind a [`Proxy`](crate::proxy::Proxy), and
//! checks the results through a second handle without a proxy. Acknowledged writes must
//! be found. Calls that failed with `Retry::Safe` or `Never` must not have been applied.
//! Only calls that failed with `Retry::Ambiguous` may or may not have been applied.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use store_core::backend::gcra;
use store_core::limits::{Quota, QuotaSet, Take};
use store_core::lti::{Lti, NonceCheck, Registration};
use store_core::secret::KeyRing;
use store_core::{Batch, Body, Collection, ErrorKind, Partition, RecordKey, Result, Retry, Store};
use tokio::task::JoinSet;

use crate::suite::CaseResult;

/// The collection of its records, for a store whose collections must be declared.
pub const COLLECTION: Collection = Collection::new("things");

const BURST: u32 = 1_000_000;

/// The number of results of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Writes that were acknowledged.
    pub acknowledged: u64,
    /// Calls that may have written.
    pub ambiguous: u64,
    /// Calls that failed and wrote nothing.
    pub failed: u64,
    /// Nonces that were raced for.
    pub nonces: u64,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} writes acknowledged, {} ambiguous, {} failed; {} nonces raced for",
            self.acknowledged, self.ambiguous, self.failed, self.nonces
        )
    }
}

struct Ride {
    store: Store,
    lti: Lti,
    platform: Arc<Registration>,
    quotas: QuotaSet,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    figures: Figures,
    /// Tokens that were certainly taken, and tokens that may have been.
    taken: u64,
    maybe_taken: u64,
    /// For each counter, how often it was certainly incremented, and how often it may
    /// have been.
    raised: HashMap<u64, (u64, u64)>,
    /// How often each nonce was accepted.
    accepted: HashMap<String, u32>,
}

/// Runs `workers` tasks of `rounds` rounds each through `store`, whose connection may be
/// cut at any time. The clock of both handles must not advance
/// ([`ManualClock`](store_core::ManualClock)).
///
/// # Errors
/// The error of a call through the handle without a proxy.
///
/// # Panics
/// At the first wrong result, and if no call succeeded.
pub async fn ride(
    store: &Store,
    whole: &Store,
    workers: u64,
    rounds: u64,
) -> Result<Figures, Box<dyn std::error::Error + Send + Sync>> {
    let ring = KeyRing::random();
    let platform = Registration::from_json(
        r#"{"issuer":"https://platform.example.org","client_id":"tool","auth_endpoint":
        "https://platform.example.org/auth","jwks_uri":"https://platform.example.org/jwks"}"#,
    )?;
    let direct: Lti = Lti::new(whole, &ring);
    let ride = Arc::new(Ride {
        platform: direct.store().upsert_registration(platform).await?,
        lti: Lti::new(store, &ring),
        store: store.clone(),
        // The clock does not advance, so the bucket does not refill.
        quotas: QuotaSet::new([Quota::per_second(BURST)?])?,
        seen: Mutex::default(),
    });
    let mut tasks = JoinSet::new();
    for worker in 0..workers {
        let ride = Arc::clone(&ride);
        tasks.spawn(async move {
            for round in 0..rounds {
                ride.take().await?;
                ride.raise(worker % 2).await?;
                ride.nonce(&format!("{worker}-{round}")).await?;
            }
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    ride.verify(whole).await?;
    let seen = ride.seen();
    assert!(
        seen.figures.acknowledged > 0 && !seen.accepted.is_empty(),
        "nothing was acknowledged or accepted, which proves nothing: {}",
        seen.figures
    );
    Ok(seen.figures)
}

/// Whether a call wrote; `None` if it is unknown.
fn wrote<T>(answer: &Result<T>) -> Option<bool> {
    match answer {
        Ok(_) => Some(true),
        Err(error) if error.retry() == Retry::Ambiguous => None,
        Err(_) => Some(false),
    }
}

impl Ride {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(seen: &mut Seen, wrote: Option<bool>) {
        match wrote {
            Some(true) => seen.figures.acknowledged += 1,
            Some(false) => seen.figures.failed += 1,
            None => seen.figures.ambiguous += 1,
        }
    }

    /// A take is never sent twice, and a take whose reply is lost is ambiguous.
    async fn take(&self) -> CaseResult {
        let take = Take::new("storm", &self.quotas, 1, self.store.now())?;
        let answer = self.store.limits().take(&take).await;
        let mut seen = self.seen();
        match wrote(&answer) {
            Some(true) => seen.taken += 1,
            None => seen.maybe_taken += 1,
            Some(false) => {}
        }
        Self::count(&mut seen, wrote(&answer));
        Ok(())
    }

    /// Adds one to a counter, by compare-and-swap.
    async fn raise(&self, counter: u64) -> CaseResult {
        let (partition, key) = counter_at(counter)?;
        loop {
            let Ok(found) = self.store.records().get(key.at(&partition)).await else {
                continue;
            };
            let number = match &found {
                Some(record) => *record.decode::<u64>()?,
                None => 0,
            };
            let mut batch = Batch::new(partition.clone(), self.store.now());
            batch.put(key.clone(), found.as_ref(), Body::json(number + 1)?)?;
            let answer = self.store.records().commit(&batch).await;
            if answer.as_ref().is_err_and(|e| e.is(ErrorKind::Conflict)) {
                continue;
            }
            let mut seen = self.seen();
            let raised = seen.raised.entry(counter).or_default();
            match wrote(&answer) {
                Some(true) => raised.0 += 1,
                None => raised.1 += 1,
                Some(false) => {}
            }
            Self::count(&mut seen, wrote(&answer));
            return Ok(());
        }
    }

    /// Three tasks race for a nonce; each repeats its call until it gets a reply.
    async fn nonce(&self, name: &str) -> CaseResult {
        let stored = self.lti.store().store_nonce(name, &self.platform).await;
        if stored.is_err() {
            return Ok(());
        }
        let check = || async {
            for _ in 0..20 {
                let check = self.lti.store().validate_nonce(name, &self.platform).await;
                match check {
                    Ok(NonceCheck::Accepted) => {
                        *self.seen().accepted.entry(name.into()).or_default() += 1;
                        return;
                    }
                    Ok(_) => return,
                    Err(_) => {}
                }
            }
        };
        tokio::join!(check(), check(), check());
        self.seen().figures.nonces += 1;
        Ok(())
    }

    async fn verify(&self, whole: &Store) -> CaseResult {
        let take = Take::new("storm", &self.quotas, 1, whole.now())?;
        let bucket = whole.limits().peek(take.key()).await?.unwrap_or_default();
        let quota = self.quotas.iter().next().ok_or("one quota")?;
        let left = gcra::remaining(quota, bucket.tat(quota), take.now());
        let missing = u64::from(BURST - left);
        let raised = {
            let seen = self.seen();
            assert!(
                (seen.taken..=seen.taken + seen.maybe_taken).contains(&missing),
                "{missing} tokens are missing; {} were taken, and perhaps {} more",
                seen.taken,
                seen.maybe_taken
            );
            let twice = seen.accepted.values().filter(|times| **times > 1);
            assert_eq!(twice.count(), 0, "nonces accepted twice");
            seen.raised.clone()
        };
        for (counter, (surely, perhaps)) in raised {
            let (partition, key) = counter_at(counter)?;
            let found = whole.records().get(key.at(&partition)).await?;
            let number = match found {
                Some(record) => *record.decode::<u64>()?,
                None => 0,
            };
            assert!(
                (surely..=surely + perhaps).contains(&number),
                "counter {counter} is {number}; raised {surely} times, and perhaps {perhaps} more"
            );
        }
        Ok(())
    }
}

fn counter_at(counter: u64) -> Result<(Partition, RecordKey)> {
    let partition = Partition::new(format!("storm {counter}"))?;
    Ok((partition, RecordKey::new(COLLECTION, "counter")?))
}
