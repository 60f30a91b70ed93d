//! Quotas and durations as text.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::error::{Error, Result};
use crate::limits::{Quota, QuotaSet};

/// Rounded up, so that a client that waits that long is not too early.
pub(super) fn whole_seconds(duration: Duration) -> u64 {
    duration
        .as_secs()
        .saturating_add(u64::from(duration.subsec_nanos() > 0))
}

/// A duration in its two largest units, rounded up: `34 min 40 s`, `99 ms`.
pub(super) struct ForPeople(pub(super) Duration);

impl fmt::Display for ForPeople {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_nanos().div_ceil(1_000_000);
        if millis < 1000 {
            return write!(f, "{millis} ms");
        }
        let seconds = whole_seconds(self.0);
        const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];
        let first = UNITS.iter().position(|(unit, _)| seconds >= *unit);
        let first = first.unwrap_or(UNITS.len() - 1);
        let Some((small, second)) = UNITS.get(first + 1) else {
            return write!(f, "{seconds} s");
        };
        // Rounded up to the smaller unit, which may carry into the larger one.
        let rounded = seconds.div_ceil(*small).saturating_mul(*small);
        let (large, name) = UNITS[first];
        write!(f, "{} {name}", rounded / large)?;
        match rounded % large / small {
            0 => Ok(()),
            rest => write!(f, " {rest} {second}"),
        }
    }
}

const SECOND: u64 = 1_000_000_000;

/// Units of intervals, the first name of each being the one that is written.
const UNITS: [(&[&str], u64); 6] = [
    (&["d", "day", "days"], 86_400 * SECOND),
    (&["h", "hour", "hours"], 3600 * SECOND),
    (&["min", "minute", "minutes"], 60 * SECOND),
    (&["s", "sec", "second", "seconds"], SECOND),
    (&["ms"], 1_000_000),
    (&["ns"], 1),
];

/// `15min`, or `min` for one of them.
fn interval(text: &str) -> Option<Duration> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (count, unit) = text.split_at(digits);
    let count: u64 = if count.is_empty() {
        1
    } else {
        count.parse().ok()?
    };
    let unit = unit.trim();
    let (_, nanos) = UNITS.iter().find(|(names, _)| names.contains(&unit))?;
    Some(Duration::from_nanos(count.checked_mul(*nanos)?))
}

/// `100/min, burst 20, max 5, named api`: the rate, and any of the rest.
impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = u64::try_from(self.interval().as_nanos()).unwrap_or(u64::MAX);
        let whole = |(_, unit): &&(&[&str], u64)| nanos.is_multiple_of(*unit);
        let (names, unit) = UNITS.iter().find(whole).unwrap_or(&UNITS[5]);
        write!(f, "{}/", self.rate())?;
        if nanos != *unit {
            write!(f, "{}", nanos / unit)?;
        }
        f.write_str(names[0])?;
        if self.burst() != self.rate() {
            write!(f, ", burst {}", self.burst())?;
        }
        if let Some(max) = self.stated_max_tokens() {
            write!(f, ", max {max}")?;
        }
        if self.name() != "default" {
            write!(f, ", named {}", self.name())?;
        }
        Ok(())
    }
}

impl FromStr for Quota {
    type Err = Error;

    /// Reads `RATE/INTERVAL`, then any of `burst N`, `max N` and `named NAME`,
    /// separated by commas. An interval is `ms`, `s`, `min`, `h` or `d`, with a
    /// number before it for several: `1000/15min`.
    ///
    /// ```
    /// use store_core::limits::Quota;
    ///
    /// let quota: Quota = "100/min, burst 20, named api".parse()?;
    /// assert_eq!(quota, Quota::per_minute(100)?.with_burst(20)?.named("api")?);
    /// assert_eq!(quota.to_string(), "100/min, burst 20, named api");
    /// # Ok::<(), store_core::Error>(())
    /// ```
    fn from_str(text: &str) -> Result<Self> {
        let mut parts = text.split(',').map(str::trim);
        let (rate, per) = parts
            .next()
            .and_then(|rate| rate.split_once('/'))
            .ok_or_else(malformed)?;
        let rate = rate.trim().parse().map_err(|_| malformed())?;
        let interval = interval(per.trim()).ok_or_else(malformed)?;
        let mut quota = Self::new(rate, interval)?;
        let mut max_tokens = None;
        for part in parts {
            let (word, value) = part.split_once(' ').ok_or_else(malformed)?;
            let value = value.trim();
            let number = || value.parse::<u32>().map_err(|_| malformed());
            match word {
                "burst" => quota = quota.with_burst(number()?)?,
                "max" => max_tokens = Some(number()?),
                "named" => quota = quota.named(value)?,
                _ => return Err(malformed()),
            }
        }
        // Last, because it is compared with the burst.
        match max_tokens {
            Some(max) => quota.with_max_tokens(max),
            None => Ok(quota),
        }
    }
}

fn malformed() -> Error {
    Error::invalid(
        "a quota is written as RATE/INTERVAL with any of `burst N`, `max N` and `named NAME` \
         after commas, such as `100/min, burst 20` or `1000/15min, named api`; several quotas \
         are separated by semicolons",
    )
}

/// The quotas, separated by semicolons.
impl fmt::Display for QuotaSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, quota) in self.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            fmt::Display::fmt(quota, f)?;
        }
        Ok(())
    }
}

impl FromStr for QuotaSet {
    type Err = Error;

    /// Reads quotas separated by semicolons.
    ///
    /// ```
    /// use store_core::limits::QuotaSet;
    ///
    /// let quotas: QuotaSet = "10/s, named second; 1000/h, named hour".parse()?;
    /// assert_eq!(quotas.len(), 2);
    /// assert_eq!(quotas.to_string(), "10/s, named second; 1000/h, named hour");
    /// # Ok::<(), store_core::Error>(())
    /// ```
    fn from_str(text: &str) -> Result<Self> {
        let quotas: Result<Vec<Quota>> = text.split(';').map(str::parse).collect();
        Self::new(quotas?)
    }
}

/// As its text.
impl Serialize for Quota {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// From its text.
impl<'de> Deserialize<'de> for Quota {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse()
            .map_err(|e: Error| de::Error::custom(e.message()))
    }
}

/// As its text.
impl Serialize for QuotaSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// From its text, or from a list of quotas.
impl<'de> Deserialize<'de> for QuotaSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected quotas as a text or a list of texts")]
        enum Either {
            Text(String),
            List(Vec<String>),
        }
        let read = match Either::deserialize(deserializer)? {
            Either::Text(text) => text.parse(),
            Either::List(list) => {
                let quotas: Result<Vec<Quota>> = list.iter().map(|text| text.parse()).collect();
                quotas.and_then(Self::new)
            }
        };
        read.map_err(|e| de::Error::custom(e.message()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_rounded_up_to_its_two_largest_units() {
        for (millis, text) in [
            (0, "0 ms"),
            (99, "99 ms"),
            (1_000, "1 s"),
            (1_001, "2 s"),
            (59_500, "1 min"),
            (2_080_824 - 824, "34 min 40 s"),
            (2_080_001, "34 min 41 s"),
            (3_600_001, "1 h 1 min"),
            (86_400_000 * 2 - 1, "2 d"),
            (86_400_000 + 1, "1 d 1 h"),
        ] {
            let shown = ForPeople(Duration::from_millis(millis)).to_string();
            assert_eq!(shown, text, "{millis}");
        }
        assert_eq!(ForPeople(Duration::from_nanos(1)).to_string(), "1 ms");
        assert_eq!(whole_seconds(Duration::from_nanos(1)), 1);
        assert_eq!(whole_seconds(Duration::ZERO), 0);
        assert_eq!(whole_seconds(Duration::MAX), u64::MAX);
    }

    #[test]
    fn a_quota_survives_its_text() {
        for text in [
            "1/s",
            "100/min, burst 20",
            "1000/15min, burst 50, max 5, named hourly",
            "3/7d",
            "5/36h, named a-b_c.d",
            "7/250ms",
            "1/90s",
        ] {
            let quota: Quota = text.parse().unwrap();
            assert_eq!(quota.to_string(), text);
            let json = serde_json::to_string(&quota).unwrap();
            assert_eq!(serde_json::from_str::<Quota>(&json).unwrap(), quota);
        }
        let same: Quota = " 100 / minute , named a , burst 20 ".parse().unwrap();
        assert_eq!(same.to_string(), "100/min, burst 20, named a");
    }

    #[test]
    fn a_quota_of_another_form_is_refused_and_not_quoted() {
        for text in [
            "",
            "hunter2",
            "100",
            "100/",
            "100/hunter2",
            "-1/s",
            "1.5/s",
            "100/min, hunter2",
            "100/min, burst",
            "100/min, burst x",
            "100/min,, burst 2",
            "99999999999999999999/s",
            "1/99999999999999999999d",
            "1/18446744073709551615d",
            "0/s",
            "1/s, max 2",
        ] {
            let error = text.parse::<Quota>().unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        assert!("1/s; 2/s".parse::<QuotaSet>().is_err(), "one name twice");
        assert!("".parse::<QuotaSet>().is_err());
    }

    #[test]
    fn quotas_are_read_from_a_text_or_a_list() {
        let text: QuotaSet = serde_json::from_str(r#""10/s, named a; 5/d""#).unwrap();
        let list: QuotaSet = serde_json::from_str(r#"["10/s, named a", "5/d"]"#).unwrap();
        assert_eq!(text, list);
        let json = serde_json::to_string(&text).unwrap();
        assert_eq!(serde_json::from_str::<QuotaSet>(&json).unwrap(), text);
    }
}
