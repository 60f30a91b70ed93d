//! Conversions between [`Timestamp`] and the types of other crates.
//!
//! Moments before 1970 or after April of 2262 are refused, never moved.

#[cfg(any(feature = "jiff", feature = "time", feature = "chrono"))]
mod conversions {
    use crate::clock::Timestamp;
    use crate::error::{Error, Result};

    fn from_nanos(nanos: impl TryInto<i64>) -> Result<Timestamp> {
        let nanos = nanos.try_into().ok();
        let nanos = nanos.and_then(|nanos| u64::try_from(nanos).ok());
        nanos
            .map(Timestamp::from_nanos)
            .ok_or_else(|| Error::invalid("a time is from 1970 to April of 2262"))
    }

    #[cfg(feature = "jiff")]
    mod of_jiff {
        use super::*;

        impl TryFrom<jiff::Timestamp> for Timestamp {
            type Error = Error;

            fn try_from(time: jiff::Timestamp) -> Result<Self> {
                from_nanos(time.as_nanosecond())
            }
        }

        impl From<Timestamp> for jiff::Timestamp {
            fn from(time: Timestamp) -> Self {
                // Every timestamp is within jiff's range, which ends in 9999.
                Self::from_nanosecond(time.as_nanos().into()).unwrap_or(Self::MAX)
            }
        }
    }

    #[cfg(feature = "time")]
    mod of_time {
        use super::*;

        impl TryFrom<time::OffsetDateTime> for Timestamp {
            type Error = Error;

            fn try_from(time: time::OffsetDateTime) -> Result<Self> {
                from_nanos(time.unix_timestamp_nanos())
            }
        }

        impl From<Timestamp> for time::OffsetDateTime {
            fn from(time: Timestamp) -> Self {
                Self::UNIX_EPOCH + std::time::Duration::from_nanos(time.as_nanos())
            }
        }
    }

    #[cfg(feature = "chrono")]
    mod of_chrono {
        use super::*;

        impl TryFrom<chrono::DateTime<chrono::Utc>> for Timestamp {
            type Error = Error;

            fn try_from(time: chrono::DateTime<chrono::Utc>) -> Result<Self> {
                let nanos = time.timestamp_nanos_opt();
                from_nanos(nanos.map_or(-1, |nanos| nanos))
            }
        }

        impl From<Timestamp> for chrono::DateTime<chrono::Utc> {
            fn from(time: Timestamp) -> Self {
                // A timestamp is at most `i64::MAX` nanoseconds.
                Self::from_timestamp_nanos(time.as_nanos().cast_signed())
            }
        }
    }
}

#[cfg(all(test, any(feature = "jiff", feature = "time", feature = "chrono")))]
mod tests {
    use crate::clock::Timestamp;

    macro_rules! round_trips {
        ($name:ident, $type:ty) => {
            #[test]
            fn $name() {
                for nanos in [0, 1_893_456_000_123_456_789, i64::MAX as u64] {
                    let time = Timestamp::from_nanos(nanos);
                    let other = <$type>::from(time);
                    assert_eq!(Timestamp::try_from(other).unwrap(), time);
                }
                let early = <$type>::from(Timestamp::EPOCH) - std::time::Duration::from_nanos(1);
                assert!(Timestamp::try_from(early).is_err());
            }
        };
    }

    #[cfg(feature = "jiff")]
    round_trips!(a_time_survives_jiff_to_the_nanosecond, jiff::Timestamp);
    #[cfg(feature = "time")]
    round_trips!(a_time_survives_time_to_the_nanosecond, time::OffsetDateTime);
    #[cfg(feature = "chrono")]
    round_trips!(
        a_time_survives_chrono_to_the_nanosecond,
        chrono::DateTime<chrono::Utc>
    );
}
