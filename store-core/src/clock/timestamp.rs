//! Moments.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A moment: whole nanoseconds since the Unix epoch, never negative, at most
/// `i64::MAX` (April of 2262), so that every backend can store it exactly.
///
/// Arithmetic saturates at both ends. It is serialized as RFC 3339 text with
/// nanoseconds. The features `jiff`, `time` and `chrono` add conversions to and
/// from the types of those crates.
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
        Self::EPOCH + time.duration_since(UNIX_EPOCH).unwrap_or_default()
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
    /// The moment that this RFC 3339 text denotes, in UTC (`Z`) or with an offset.
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
}
