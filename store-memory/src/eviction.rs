//! What a take does when the maximum number of buckets is in use.

use std::str::FromStr;

use serde::Deserialize;
use store_core::{Error, Result};

/// What a take under a new key does while as many buckets as
/// [`max_buckets`](crate::MemoryBuilder::max_buckets) are in use and none is
/// full again.
#[doc(alias = "eviction policy")]
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BucketEviction {
    /// It is refused with `LimitExceeded`: no key gets more than its quota, but
    /// a client that can choose keys can exclude new ones.
    #[default]
    Refuse,
    /// Of a few buckets, the one that will be full first is deleted. New keys are served,
    /// and the key of the deleted bucket gets back at most the tokens that it used.
    /// Choose this if refusing new clients is worse.
    ForgetFullest,
}

/// Parses `refuse` or `forget_fullest`, as in a URL.
impl FromStr for BucketEviction {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "refuse" => Ok(Self::Refuse),
            "forget_fullest" => Ok(Self::ForgetFullest),
            _ => Err(Error::invalid(
                "bucket eviction is `refuse` or `forget_fullest`",
            )),
        }
    }
}
