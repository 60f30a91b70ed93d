//! Retries of writes that lost a race.

use std::time::Duration;

use crate::backend::event;
use crate::chance::random_below;
use crate::error::{Conflict, Error, ErrorKind, Result};

/// After how many attempts a compare-and-swap loop fails as `Contended`. All its pauses
/// together take 1.8 s on average and 3.6 s at most, so that a caller gets an answer
/// within an ordinary timeout.
pub const MAX_ATTEMPTS: u32 = 64;

/// The attempts of one compare-and-swap loop.
///
/// ```
/// # use store_core::backend::Attempts;
/// # async fn swap() -> store_core::Result<Option<u32>> { Ok(Some(1)) }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> store_core::Result<()> {
/// let mut attempts = Attempts::new();
/// let swapped = loop {
///     if let Some(swapped) = swap().await? {
///         break swapped;
///     }
///     attempts.failed().await?;
/// };
/// # assert_eq!(swapped, 1);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Attempts {
    failed: u32,
    most: u32,
}

impl Attempts {
    /// Before the first of [`MAX_ATTEMPTS`].
    pub fn new() -> Self {
        Self::at_most(MAX_ATTEMPTS)
    }

    /// Before the first of `most` attempts.
    pub fn at_most(most: u32) -> Self {
        Self { failed: 0, most }
    }

    /// Another client was faster: waits before the next attempt, see [`back_off`].
    ///
    /// # Errors
    /// `Contended` after the last attempt.
    pub async fn failed(&mut self) -> Result<()> {
        match self.again().await {
            true => Ok(()),
            false => Err(contended()),
        }
    }

    /// The commit of this attempt failed: waits before the next attempt if it lost a
    /// race, and returns what [`lost_race`] does.
    ///
    /// # Errors
    /// `error` itself if it is another one; `Contended` after the last attempt.
    pub async fn lost(&mut self, error: Error) -> Result<Option<Conflict>> {
        let conflict = lost_race(error)?;
        self.failed().await?;
        Ok(conflict)
    }

    /// An attempt failed for another reason: waits before the next one, and returns
    /// false without waiting if that was the last.
    pub async fn again(&mut self) -> bool {
        self.failed += 1;
        if self.failed >= self.most {
            return false;
        }
        back_off(self.failed - 1).await;
        true
    }
}

impl Default for Attempts {
    fn default() -> Self {
        Self::new()
    }
}

/// The conflict of a commit that lost a race, with the current records. `None` if the
/// store itself gave up among many writers: it wrote nothing, and the records must be
/// read again.
///
/// # Errors
/// `error` itself if it is another one.
pub fn lost_race(error: Error) -> Result<Option<Conflict>> {
    if error.is(ErrorKind::Contended) {
        return Ok(None);
    }
    error.into_conflict().map(Some)
}

/// Waits a random time after the failed attempt number `attempt`, counted from
/// zero: nothing at first, then up to a bound that doubles to 64 ms.
pub async fn back_off(attempt: u32) {
    event::retry("another client was faster; trying again", attempt + 1);
    if attempt < 2 {
        tokio::task::yield_now().await;
        return;
    }
    let bound = 1u64 << (attempt - 2).min(6);
    tokio::time::sleep(Duration::from_micros(random_below(bound * 1000))).await;
}

/// The error of a loop that failed [`MAX_ATTEMPTS`] times.
pub fn contended() -> Error {
    Error::new(
        ErrorKind::Contended,
        format!(
            "others changed the record {MAX_ATTEMPTS} times or more before this call could; \
             nothing was written, try again later or spread the load over more keys"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_loop_gives_up_as_contended_after_the_last_attempt() {
        let mut attempts = Attempts::new();
        for _ in 1..MAX_ATTEMPTS {
            attempts.failed().await.expect("there are attempts left");
        }
        let error = attempts.failed().await.expect_err("that was the last");
        assert_eq!(error.kind(), ErrorKind::Contended);
    }
}
