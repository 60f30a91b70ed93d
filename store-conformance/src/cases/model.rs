//! What the model-based cases of all contracts share.
//!
//! Such a case makes random calls, one after the other, through two handles on one
//! namespace, and compares each answer with the answer of a plain model in memory.
//! Every choice follows from a seed. A failure shows the seed and the calls that led to
//! it. With `STORE_MODEL_SEED=N` in the environment, every such case runs with that seed
//! alone, and with `STORE_MODEL_CALLS=N` it makes that many calls.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use data_encoding::BASE64URL_NOPAD;
use store_core::{Cursor, Error, ErrorKind, ManualClock, Page, PageRequest, Result};

use crate::harness::Opened;
use crate::history::Dice;
use crate::suite::{CaseResult, panic_text};

/// How many seeds each case runs.
const SEEDS: u64 = 3;

/// How many calls it makes for each seed.
const CALLS: usize = 160;

/// How many of the last calls a failure shows.
const SHOWN: usize = 25;

/// A plain model of a contract, and the store that must answer as it does.
#[async_trait]
pub(crate) trait Model: Send {
    /// Makes one random call, and panics if the answer is not the model's.
    async fn call(&mut self, random: &mut Random) -> CaseResult;
}

/// Runs `compare` for each seed, with the number of calls to make.
pub(crate) async fn for_each_seed<F>(compare: impl Fn(u64, usize) -> F) -> CaseResult
where
    F: Future<Output = CaseResult>,
{
    let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
    let calls = number("STORE_MODEL_CALLS").map_or(CALLS, |calls| calls as usize);
    if let Some(seed) = number("STORE_MODEL_SEED") {
        return compare(seed, calls).await;
    }
    for seed in 0..SEEDS {
        compare(seed, calls).await?;
    }
    Ok(())
}

/// Makes `calls` random calls that follow from `seed`.
pub(crate) async fn run(mut model: impl Model, seed: u64, calls: usize) -> CaseResult {
    let mut random = Random::new(seed);
    for _ in 0..calls {
        let answer = match panics(model.call(&mut random)).await {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => error.to_string(),
            Err(panic) => panic,
        };
        let made = random.calls.len();
        let shown = random.calls[made.saturating_sub(SHOWN)..].join("\n  ");
        let message = format!(
            "{answer}\nafter {made} calls; STORE_MODEL_SEED={seed} repeats them. The last:\n  {shown}"
        );
        return Err(message.into());
    }
    Ok(())
}

/// The output of a future, or the text of its panic.
async fn panics<T>(future: impl Future<Output = T>) -> Result<T, String> {
    let mut future = pin!(future);
    poll_fn(
        |cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Err(panic) => Poll::Ready(Err(panic_text(&*panic))),
        },
    )
    .await
}

/// The random choices of a run, and the calls that it has made.
pub(crate) struct Random {
    dice: Dice,
    calls: Vec<String>,
}

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            dice: Dice::new(seed),
            calls: Vec::new(),
        }
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.dice.below(bound)
    }

    /// True in `percent` of a hundred cases.
    pub(crate) fn chance(&mut self, percent: u8) -> bool {
        self.dice.chance(percent)
    }

    /// One of these.
    pub(crate) fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    /// One of these, if there are any.
    pub(crate) fn pick_any<T: Clone>(&mut self, of: impl IntoIterator<Item = T>) -> Option<T> {
        let all: Vec<T> = of.into_iter().collect();
        (!all.is_empty()).then(|| self.pick(&all))
    }

    /// Random text that looks like a secret.
    pub(crate) fn secret(&mut self) -> String {
        format!("{:016x}{:016x}", self.dice.roll(), self.dice.roll())
    }

    /// Records the call that is about to be made.
    pub(crate) fn note(&mut self, call: impl Into<String>) {
        self.calls.push(call.into());
    }

    /// One of the two handles.
    pub(crate) fn handle<S: ?Sized>(&mut self, opened: &Opened<S>) -> Arc<S> {
        Arc::clone(match self.below(2) {
            0 => &opened.first,
            _ => &opened.second,
        })
    }

    /// Moves the clock forward by up to `most`.
    pub(crate) fn advance(&mut self, clock: &ManualClock, most: Duration) {
        let by = most.mul_f64(self.below(1001) as f64 / 1000.0);
        self.note(format!("the clock moves by {by:?}"));
        clock.advance(by);
    }

    /// A cursor of the same query as `genuine` with a position that the store did not
    /// give: cut, changed, made up, or one of `names`.
    pub(crate) fn forge(&mut self, genuine: &Cursor, names: &[&str]) -> Result<Cursor> {
        let text = genuine.to_string();
        let mut bytes = BASE64URL_NOPAD
            .decode(text.as_bytes())
            .map_err(|_| Error::corrupt("a cursor is not base64url"))?;
        // A cursor begins with what binds it to its query.
        let query = bytes.len().min(8);
        match self.below(4) {
            0 => bytes.truncate(query + self.below(bytes.len() - query + 1)),
            1 => {
                let at = self.below(bytes.len());
                bytes[at] ^= 1 << self.below(8);
            }
            2 => {
                bytes.truncate(query);
                bytes.extend_from_slice(self.pick(names).as_bytes());
            }
            _ => {
                bytes.truncate(query);
                let length = self.below(40);
                bytes.extend((0..length).map(|_| self.dice.roll() as u8));
            }
        }
        self.note(format!(
            "a list continues after the forged position {bytes:?}"
        ));
        BASE64URL_NOPAD.encode(&bytes).parse()
    }
}

/// What a forged cursor leads to: nothing if it is refused as invalid input, or else
/// the items of the page, of which each must belong to the query.
pub(crate) fn after_forged<T>(answer: Result<Page<T>>) -> Result<Vec<T>> {
    match answer {
        Ok(page) => Ok(page.items),
        // `Superseded`: it names a server, or a state of a cluster, that there is not.
        Err(error) if [ErrorKind::InvalidInput, ErrorKind::Superseded].contains(&error.kind()) => {
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}

/// Reads a list page by page, of at most `limit` items each.
pub(crate) async fn all_pages<T, F>(
    limit: usize,
    mut list: impl FnMut(PageRequest) -> F,
) -> Result<Vec<T>>
where
    F: Future<Output = Result<Page<T>>>,
{
    let (mut items, request) = (Vec::new(), PageRequest::new().limit(limit)?);
    let mut next = request.clone();
    for _ in 0..1000 {
        let page = list(next).await?;
        assert!(page.items.len() <= limit, "a page is larger than asked for");
        items.extend(page.items);
        match page.next {
            Some(cursor) => next = request.clone().after(cursor),
            None => return Ok(items),
        }
    }
    panic!("the list does not end");
}

/// The kind of error, or `None`: for comparing whether and how a call failed.
pub(crate) fn failure<T>(answer: &Result<T>) -> Option<ErrorKind> {
    answer.as_ref().err().map(Error::kind)
}
