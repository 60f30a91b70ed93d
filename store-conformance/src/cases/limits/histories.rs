//! Linearizability: recorded histories of one key must have an order that explains them.

use std::hash::{Hash, Hasher};

use super::*;
use store_core::limits::{Bucket, RateLimitStoreExt, State};
use store_core::{Retry, Timestamp};
use tokio::task::JoinSet;

use crate::history::{Dice, Model, Outcome, Recorder, check};

/// How many callers, and how many calls of each, a history has in the suite.
const CALLERS: usize = 6;
const CALLS: usize = 8;

pub(super) async fn racing_calls_have_an_order_that_explains_them(harness: Limits) -> CaseResult {
    calls_have_an_order(harness, CALLERS, CALLS, 0).await?;
    Ok(())
}

/// Lets `callers` make `each` calls over both handles, of one key with three quotas:
/// takes, closures, peeks, resets and deletes. Then it searches for an order in which the
/// pure functions give the same answers, and returns how many calls were checked. Each
/// `seed` gives another history.
///
/// # Errors
/// The calls that no order explains, or the store's own error.
pub async fn calls_have_an_order(
    harness: Limits,
    callers: usize,
    each: usize,
    seed: u64,
) -> Result<usize, Box<dyn std::error::Error + Send + Sync>> {
    let opened = harness.open(()).await?;
    // The store's clock does not move, so nothing expires, and an answer depends only on
    // the time in the call.
    let key = Arc::new(Key::new(opened.clock.now())?);
    let recorder = Arc::new(Recorder::new());
    let mut running = JoinSet::new();
    for caller in 0..callers {
        let store = Arc::clone([&opened.first, &opened.second][caller % 2]);
        let (key, recorder) = (Arc::clone(&key), Arc::clone(&recorder));
        let mut dice = Dice::new(seed.wrapping_mul(1_000).wrapping_add(caller as u64));
        running.spawn(async move {
            for _ in 0..each {
                let call = Call::draw(&mut dice, key.now);
                let begun = recorder.begin(caller, "key", call);
                match key.make(&store, call).await {
                    Ok(answer) => recorder.end(begun, Outcome::Answered(answer)),
                    Err(error) if error.retry() == Retry::Ambiguous => {
                        recorder.end(begun, Outcome::Unknown);
                    }
                    Err(error) if error.retry() == Retry::Safe => {
                        recorder.end(begun, Outcome::Failed);
                    }
                    Err(error) => return Err(error),
                }
                tokio::task::yield_now().await;
            }
            Ok(())
        });
    }
    for outcome in running.join_all().await {
        outcome?;
    }
    let recorder = Arc::into_inner(recorder).expect("all callers are done");
    let checked = check(&*key, &recorder.finish()).map_err(|violation| violation.to_string())?;
    Ok(checked)
}

/// A call, with the time that its caller read.
#[derive(Clone, Copy, Debug)]
enum Call {
    /// From the first so many quotas.
    Take {
        quotas: usize,
        tokens: u32,
        at: Timestamp,
    },
    /// A closure that takes one token of this quota, if there is one.
    Spend {
        quota: usize,
        at: Timestamp,
    },
    Peek,
    Reset {
        quota: usize,
    },
    Delete,
}

impl Call {
    fn draw(dice: &mut Dice, now: Timestamp) -> Self {
        // Callers do not agree on the time.
        let at = now + Duration::from_millis(dice.below(700) as u64);
        match dice.below(20) {
            0..10 => Self::Take {
                quotas: 1 + dice.below(3),
                tokens: 1 + dice.below(3) as u32,
                at,
            },
            10..14 => Self::Spend {
                quota: dice.below(3),
                at,
            },
            14..17 => Self::Peek,
            17..19 => Self::Reset {
                quota: dice.below(3),
            },
            _ => Self::Delete,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Answer {
    Decided(Decision),
    Left(Option<Tokens>),
    /// Each quota's state; when it expires is the store's to say.
    Seen([Option<State>; 3]),
    Done,
}

/// The state under a key in the model.
#[derive(Clone, Debug, Default, PartialEq)]
struct Held(Bucket);

/// No token is `NaN`: none survives being written.
impl Eq for Held {}

impl Hash for Held {
    fn hash<H: Hasher>(&self, to: &mut H) {
        for entry in self.0.entries() {
            entry.quota.hash(to);
            match entry.state {
                State::Tat(tat) => tat.hash(to),
                State::Tokens(tokens) => (tokens.tokens.to_bits(), tokens.last_refill).hash(to),
            }
        }
    }
}

/// A key, by its quotas.
#[derive(Debug)]
struct Key {
    /// The first, the first two, all three.
    limiters: [QuotaSet; 3],
    /// The store's time.
    now: Timestamp,
}

impl Key {
    fn new(now: Timestamp) -> Result<Self> {
        let quotas = [
            Quota::per_second(4)?.with_burst(6)?.named("a")?,
            Quota::new(7, SECOND * 3)?.with_burst(9)?.named("b")?,
            Quota::new(90, SECOND * 60)?.with_burst(12)?.named("c")?,
        ];
        let first = |n: usize| QuotaSet::new(quotas[..n].to_vec());
        Ok(Self {
            limiters: [first(1)?, first(2)?, first(3)?],
            now,
        })
    }

    fn quota(&self, index: usize) -> &Quota {
        &self.limiters[2][index]
    }

    fn take(&self, quotas: usize, tokens: u32, at: Timestamp) -> Result<Take<'_>> {
        Take::new("key", &self.limiters[quotas - 1], tokens, at)
    }

    fn seen(&self, bucket: &Bucket) -> [Option<State>; 3] {
        [0, 1, 2].map(|index| bucket.state(self.quota(index).name()))
    }

    async fn make(&self, store: &Handle, call: Call) -> Result<Answer> {
        let key = super::key("key");
        Ok(match call {
            Call::Take { quotas, tokens, at } => {
                Answer::Decided(store.take(&self.take(quotas, tokens, at)?).await?)
            }
            Call::Spend { quota, at } => {
                let spend = |before, quota: &Quota, _| one_less(before, quota, at);
                let left = store.update_tokens(key, self.quota(quota), spend).await?;
                Answer::Left(left)
            }
            Call::Peek => Answer::Seen(self.seen(&store.peek(key).await?.unwrap_or_default())),
            Call::Reset { quota } => {
                let quotas = QuotaSet::from(self.quota(quota).clone());
                store.reset(key, &quotas).await?;
                Answer::Done
            }
            Call::Delete => {
                store.delete(key).await?;
                Answer::Done
            }
        })
    }
}

impl Model for Key {
    type State = Held;
    type Call = Call;
    type Answer = Answer;

    fn initial(&self) -> Held {
        Held::default()
    }

    fn step(&self, state: &Held, call: &Call) -> (Held, Answer) {
        let mut bucket = state.0.clone();
        let answer = match *call {
            Call::Take { quotas, tokens, at } => {
                let take = self.take(quotas, tokens, at).expect("it was made before");
                Answer::Decided(take.apply(&mut bucket))
            }
            Call::Spend { quota, at } => {
                let quota = self.quota(quota);
                let before = bucket.tokens(quota, self.now);
                if let Some(after) = one_less(before, quota, at) {
                    bucket.set_tokens(quota, after, self.now);
                }
                Answer::Left(bucket.tokens(quota, self.now))
            }
            Call::Peek => Answer::Seen(self.seen(&bucket)),
            Call::Reset { quota } => {
                bucket.remove(self.quota(quota).name());
                Answer::Done
            }
            Call::Delete => {
                bucket = Bucket::default();
                Answer::Done
            }
        };
        (Held(bucket), answer)
    }
}
