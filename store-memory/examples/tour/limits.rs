//! Takes from a quota until it denies.

use store_core::Store;
use store_core::limits::{Decision, Quota, RateLimiter};

use crate::screen::{Screen, duration};
use crate::{Tour, must, said};

pub async fn chapter(screen: &Screen, store: &Store) -> Tour {
    screen.chapter("Rate limits");
    let quota = Quota::per_second(2).and_then(|quota| quota.with_burst(3));
    let limiter = RateLimiter::new(store, quota.map_err(said)?);
    let mut taken = 0;
    let wait = loop {
        match limiter.take("acme", 1).await.map_err(said)? {
            Decision::Allowed { remaining, .. } => {
                taken += 1;
                screen.yes(
                    &format!("call {taken} allowed"),
                    format!("{remaining} left"),
                );
            }
            Decision::Denied { retry_after, .. } => break retry_after,
        }
        must(taken <= 3, "a burst of three allows three")?;
    };
    must(taken == 3, "a burst of three allows three")?;
    screen.no("call 4 denied", format!("try again in {}", duration(wait)));

    let deadline = limiter.now() + wait * 2;
    let waited = limiter.wait("acme", 1, deadline).await.map_err(said)?;
    must(
        waited.is_allowed(),
        "a request after the stated wait is allowed",
    )?;
    screen.yes(
        "waited as long as stated, and was allowed",
        format!("after {}", duration(wait)),
    );
    Ok(())
}
