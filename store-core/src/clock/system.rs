//! The system clock.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;

use super::{Clock, Timestamp};

/// The system clock.
///
/// It reads the wall clock once a millisecond. In between it adds the time of the
/// monotonic clock, which is faster to read and never steps. A step of the wall
/// clock is therefore noticed within a millisecond of running time.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

/// For how many nanoseconds one reading of the wall clock is used.
const VALID_FOR: u64 = 1_000_000;

/// The origin of the monotonic count.
static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
/// The wall clock minus the count at the last reading of both; wrapping.
static OFFSET: AtomicU64 = AtomicU64::new(0);
/// The count until which that offset is valid.
static VALID_UNTIL: AtomicU64 = AtomicU64::new(0);

/// A reading that took longer than this, in nanoseconds, is not shared: the offset
/// would be wrong by as much.
const READ_WITHIN: u64 = 100_000;

/// Reads the wall clock and shares the offset, unless this thread was interrupted
/// during the reading. A thread that reads the two numbers while they change gets
/// the old or the new offset, and both are valid.
#[cold]
fn read_wall_clock(before: u64) -> Timestamp {
    let wall = Timestamp::from(SystemTime::now());
    let after = nanos(BEGIN.elapsed());
    if after - before < READ_WITHIN {
        OFFSET.store(wall.as_nanos().wrapping_sub(after), Ordering::Relaxed);
        VALID_UNTIL.store(after + VALID_FOR, Ordering::Release);
    }
    wall
}

/// 64 bits suffice for 584 years; 128 would cost most of a reading.
fn nanos(duration: Duration) -> u64 {
    let seconds = duration.as_secs().saturating_mul(1_000_000_000);
    seconds.saturating_add(u64::from(duration.subsec_nanos()))
}

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let count = nanos(BEGIN.elapsed());
        if count < VALID_UNTIL.load(Ordering::Acquire) {
            let offset = OFFSET.load(Ordering::Relaxed);
            Timestamp::from_nanos(offset.wrapping_add(count))
        } else {
            read_wall_clock(count)
        }
    }

    async fn sleep_until(&self, deadline: Timestamp) {
        // In slices, so that a step of the wall clock is noticed.
        const SLICE: Duration = Duration::from_secs(60);
        loop {
            let left = deadline.since(self.now());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(SLICE)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_is_the_wall_clock_to_a_millisecond() {
        let mut last = Timestamp::EPOCH;
        let mut readings = 0u32;
        let begin = Instant::now();
        // Through several readings of the wall clock.
        while begin.elapsed() < Duration::from_millis(20) {
            let before = Timestamp::from(SystemTime::now());
            let now = SystemClock.now();
            let after = Timestamp::from(SystemTime::now());
            let slack = Duration::from_millis(1);
            assert!(before - slack <= now && now <= after + slack, "{now}");
            assert!(last - slack <= now);
            last = now;
            readings += 1;
        }
        assert!(readings > 1);
    }
}
