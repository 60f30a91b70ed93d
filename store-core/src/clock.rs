//! Time, as the store sees it.
//!
//! One [`Clock`] decides whether a record has expired and how far a bucket has
//! refilled. It is injected when a backend is opened, so that a test can move
//! time by hand with [`ManualClock`] instead of sleeping. Leases, back-off and
//! deadlines are about how long something takes, not about what time it is:
//! they use tokio's time.

use std::fmt;
use std::ops::{Add, Sub};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use tokio::sync::watch;

/// A moment: whole nanoseconds since the Unix epoch, never negative, at most
/// `i64::MAX` (April of 2262), so that every backend can hold it exactly.
///
/// Arithmetic saturates at both ends. Serialized as RFC 3339 text with
/// nanoseconds, which people can read and which loses no digit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The Unix epoch.
    pub const EPOCH: Self = Self(0);
    /// The last moment that can be expressed.
    pub const MAX: Self = Self(i64::MAX);

    /// The moment `nanos` nanoseconds after the epoch; past [`Self::MAX`] it saturates.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(if nanos > i64::MAX as u64 {
            i64::MAX
        } else {
            nanos as i64
        })
    }

    /// The moment `millis` milliseconds after the epoch; past [`Self::MAX`] it saturates.
    pub const fn from_millis(millis: u64) -> Self {
        Self::from_nanos(millis.saturating_mul(1_000_000))
    }

    /// The moment `seconds` seconds after the epoch; past [`Self::MAX`] it saturates.
    pub const fn from_seconds(seconds: u64) -> Self {
        Self::from_nanos(seconds.saturating_mul(1_000_000_000))
    }

    /// Nanoseconds since the epoch.
    pub const fn as_nanos(self) -> u64 {
        self.0 as u64
    }

    /// Whole milliseconds since the epoch, rounded down.
    pub const fn as_millis(self) -> u64 {
        self.0 as u64 / 1_000_000
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn as_seconds(self) -> u64 {
        self.0 as u64 / 1_000_000_000
    }

    /// How long after `earlier` this is; zero if it is not after it.
    pub const fn since(self, earlier: Self) -> Duration {
        let nanos = self.0.saturating_sub(earlier.0);
        Duration::from_nanos(if nanos < 0 { 0 } else { nanos as u64 })
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        let nanos = i64::try_from(rhs.as_nanos()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, rhs: Duration) -> Self {
        let nanos = i64::try_from(rhs.as_nanos()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(nanos).max(0))
    }
}

impl From<SystemTime> for Timestamp {
    /// Moments before the epoch become the epoch.
    #[inline]
    fn from(time: SystemTime) -> Self {
        Self::from_nanos(nanos(time.duration_since(UNIX_EPOCH).unwrap_or_default()))
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        UNIX_EPOCH + Duration::from_nanos(time.as_nanos())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_nanos((*self).into()).fmt(f)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        parse_rfc3339(&text).ok_or_else(|| {
            de::Error::custom("expected a time as RFC 3339 text, from 1970 to April of 2262")
        })
    }
}

impl std::str::FromStr for Timestamp {
    type Err = crate::Error;
    /// The moment that this RFC 3339 text names, in UTC (`Z`) or with an offset.
    fn from_str(text: &str) -> crate::Result<Self> {
        parse_rfc3339(text).ok_or_else(|| {
            crate::Error::invalid(
                "a time is written as 2030-01-31T12:00:00Z or with an offset such as +02:00, \
                 and is from 1970 to April of 2262",
            )
        })
    }
}

/// `None` for another form and for a moment that cannot be expressed: it is
/// never replaced by the nearest one that can.
fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    if let Some(local) = text.strip_suffix(['Z', 'z']) {
        return moment(local, 0);
    }
    // The offset is the last six bytes: `+02:00`.
    let (local, offset) = text.split_at_checked(text.len().checked_sub(6)?)?;
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let number = |digits: &str, limit: i64| {
        let good = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit());
        let number: i64 = good.then(|| digits.parse().ok())??;
        (number < limit).then_some(number)
    };
    let seconds = number(hours, 24)? * 3600 + number(minutes, 60)? * 60;
    match offset.as_bytes()[0] {
        b'+' => moment(local, -seconds),
        b'-' => moment(local, seconds),
        _ => None,
    }
}

/// The moment `shift` seconds after a time in UTC.
fn moment(utc: &str, shift: i64) -> Option<Timestamp> {
    let time = humantime::parse_rfc3339(&format!("{utc}Z")).ok()?;
    let nanos = time.duration_since(UNIX_EPOCH).ok()?.as_nanos();
    let nanos = i128::try_from(nanos).ok()? + i128::from(shift) * 1_000_000_000;
    i64::try_from(nanos)
        .ok()
        .filter(|nanos| *nanos >= 0)
        .map(Timestamp)
}

/// Tells the time and waits for it.
#[async_trait]
pub trait Clock: Send + Sync + fmt::Debug {
    /// The time now. Two calls may go backwards, as a machine's clock may.
    fn now(&self) -> Timestamp;

    /// Returns once [`Clock::now`] has reached `deadline`; at once if it has.
    /// Dropping the future costs nothing.
    async fn sleep_until(&self, deadline: Timestamp);
}

/// The machine's clock.
///
/// Between two readings of the machine's wall clock it counts on by the
/// monotonic clock, which is quicker to read and never steps. The wall clock
/// is read again once a millisecond of that count: a step of the machine's
/// clock is noticed within a millisecond of running time.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

/// For how many nanoseconds the wall clock is counted on.
const COUNTED_ON: u64 = 1_000_000;

/// Where the count began.
static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
/// The wall clock less the count, when both were last read; wrapping.
static OFFSET: AtomicU64 = AtomicU64::new(0);
/// Up to which count that offset serves.
static SERVES_UNTIL: AtomicU64 = AtomicU64::new(0);

/// How long reading the wall clock may take for others to count on from it: the
/// offset is wrong by as much.
const READ_WITHIN: u64 = 100_000;

/// Reads the wall clock, and lets others count on from there, unless this
/// thread was interrupted meanwhile. Whoever meets the two numbers half changed
/// gets one offset or the other, both good.
#[cold]
fn read_wall_clock(before: u64) -> Timestamp {
    let wall = Timestamp::from(SystemTime::now());
    let after = nanos(BEGIN.elapsed());
    if after - before < READ_WITHIN {
        OFFSET.store(wall.as_nanos().wrapping_sub(after), Ordering::Relaxed);
        SERVES_UNTIL.store(after + COUNTED_ON, Ordering::Release);
    }
    wall
}

/// In 64 bits: enough for 584 years, and most of the cost if it were 128.
fn nanos(duration: Duration) -> u64 {
    let seconds = duration.as_secs().saturating_mul(1_000_000_000);
    seconds.saturating_add(u64::from(duration.subsec_nanos()))
}

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let count = nanos(BEGIN.elapsed());
        if count < SERVES_UNTIL.load(Ordering::Acquire) {
            let offset = OFFSET.load(Ordering::Relaxed);
            Timestamp::from_nanos(offset.wrapping_add(count))
        } else {
            read_wall_clock(count)
        }
    }

    async fn sleep_until(&self, deadline: Timestamp) {
        // In slices, so that a step of the machine's clock is noticed.
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

/// A clock that moves only when told to. Clones share one time.
///
/// ```
/// use std::time::Duration;
/// use store_core::{Clock, ManualClock, Timestamp};
///
/// let clock = ManualClock::new(Timestamp::from_seconds(1_000));
/// clock.advance(Duration::from_secs(5));
/// assert_eq!(clock.now(), Timestamp::from_seconds(1_005));
/// ```
#[derive(Clone, Debug)]
pub struct ManualClock {
    time: Arc<watch::Sender<Timestamp>>,
}

impl ManualClock {
    /// A clock that stands at `start`.
    pub fn new(start: Timestamp) -> Self {
        Self {
            time: Arc::new(watch::Sender::new(start)),
        }
    }

    /// Moves the time forward by `by` and wakes whoever slept until then.
    pub fn advance(&self, by: Duration) {
        self.time.send_modify(|time| *time = *time + by);
    }

    /// Sets the time, backwards too.
    pub fn set(&self, to: Timestamp) {
        self.time.send_replace(to);
    }
}

impl Default for ManualClock {
    /// A clock that stands at a round moment in 2030.
    fn default() -> Self {
        Self::new(Timestamp::from_seconds(1_893_456_000))
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.time.borrow()
    }

    async fn sleep_until(&self, deadline: Timestamp) {
        let mut time = self.time.subscribe();
        // The sender lives as long as `self` is borrowed, so this cannot fail.
        let _ = time.wait_for(|now| *now >= deadline).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_survives_serialization_to_the_nanosecond() {
        let time = Timestamp::from_nanos(1_893_456_000_123_456_789);
        let text = serde_json::to_string(&time).unwrap();
        assert_eq!(text, "\"2030-01-01T00:00:00.123456789Z\"");
        assert_eq!(serde_json::from_str::<Timestamp>(&text).unwrap(), time);
        let max = serde_json::to_string(&Timestamp::MAX).unwrap();
        assert_eq!(
            serde_json::from_str::<Timestamp>(&max).unwrap(),
            Timestamp::MAX
        );
    }

    #[test]
    fn a_time_with_an_offset_is_the_same_moment_in_utc() {
        let utc: Timestamp = "2029-12-31T22:00:00Z".parse().unwrap();
        for text in [
            "2030-01-01T00:00:00+02:00",
            "2029-12-31T20:30:00-01:30",
            "2029-12-31T22:00:00.000+00:00",
        ] {
            assert_eq!(text.parse::<Timestamp>().unwrap(), utc, "{text}");
            let json = serde_json::to_string(text).unwrap();
            assert_eq!(serde_json::from_str::<Timestamp>(&json).unwrap(), utc);
        }
    }

    #[test]
    fn a_moment_that_cannot_be_expressed_is_refused_and_not_moved() {
        for text in [
            "9999-12-31T23:59:59Z",
            "2262-04-11T23:47:16.854775808Z",
            "1970-01-01T00:00:00+00:01",
            "1969-12-31T23:59:59Z",
            "2030-01-01T00:00:00",
            "2030-01-01T00:00:00+24:00",
            "2030-01-01T00:00:00+2:00",
            "2030-01-01T00:00:00+0200",
            "2030-01-01",
            "+02:00",
            "ü",
            "",
        ] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
        let last = "2262-04-12T01:47:16.854775807+02:00";
        assert_eq!(last.parse::<Timestamp>().unwrap(), Timestamp::MAX);
    }

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        assert_eq!(Timestamp::MAX + Duration::MAX, Timestamp::MAX);
        assert_eq!(Timestamp::EPOCH - Duration::MAX, Timestamp::EPOCH);
        assert_eq!(Timestamp::EPOCH.since(Timestamp::MAX), Duration::ZERO);
    }

    #[test]
    fn the_machines_clock_is_the_wall_clock_to_a_millisecond() {
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

    #[tokio::test]
    async fn a_sleeper_wakes_when_the_time_is_moved() {
        let clock = ManualClock::default();
        let deadline = clock.now() + Duration::from_secs(3600);
        let sleeper = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep_until(deadline).await }
        });
        clock.advance(Duration::from_secs(3600));
        sleeper.await.unwrap();
    }
}
