//! The secret itself.

use std::fmt;
use std::str::FromStr;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::error::{Error, Result};

/// The longest API key, in bytes.
pub const MAX_API_KEY: usize = 256;

/// The shortest API key that may be inserted, in bytes. Shorter ones can still
/// be looked up: they are unknown.
pub const MIN_STRONG_KEY: usize = 20;

/// How many bits [`ApiKey::require_strong`] must be able to count. Fewer than
/// 1 in 100 000 keys of 20 random letters and digits count for less, and fewer
/// still of 32 random hexadecimal digits.
const MIN_COUNTED_BITS: f64 = 40.0;

/// An API key, as a client presents it: a secret.
///
/// It is of 1 to [`MAX_API_KEY`] visible ASCII characters, so that it fits any
/// header and any store. It is never shown by `Debug`, has no `Display` and no
/// `Serialize`, is compared in constant time and cleared from memory when
/// dropped. [`ApiKey::expose`] is the one way to its text.
///
/// ```
/// use store_core::api_keys::ApiKey;
///
/// let key = ApiKey::parse("acme_Zr2kq8FhV0a7LxT3mWn5")?;
/// assert_eq!(format!("{key:?}"), "ApiKey(…)");
/// assert!(ApiKey::parse("not a key").is_err());
/// # Ok::<(), store_core::Error>(())
/// ```
#[derive(Clone)]
pub struct ApiKey(Zeroizing<String>);

impl ApiKey {
    /// The key of this text.
    ///
    /// # Errors
    /// `InvalidInput` if it is empty, longer than [`MAX_API_KEY`] bytes or holds
    /// anything but visible ASCII. The text is not quoted.
    pub fn parse(text: impl AsRef<str>) -> Result<Self> {
        let text = text.as_ref();
        let good =
            (1..=MAX_API_KEY).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        if !good {
            return Err(Error::invalid(
                "an API key is 1 to 256 visible ASCII characters without spaces; \
                 check how it was copied",
            ));
        }
        Ok(Self(Zeroizing::new(text.into())))
    }

    /// The key in the value of a header: the key itself, or `Bearer KEY`, with
    /// any spaces and tabs around it.
    ///
    /// ```
    /// use store_core::api_keys::ApiKey;
    ///
    /// let key = ApiKey::parse("acme_Zr2kq8FhV0a7LxT3mWn5")?;
    /// assert_eq!(ApiKey::from_header("Bearer acme_Zr2kq8FhV0a7LxT3mWn5")?, key);
    /// assert_eq!(ApiKey::from_header(" acme_Zr2kq8FhV0a7LxT3mWn5 ")?, key);
    /// # Ok::<(), store_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`ApiKey::parse`], and if there is a scheme and no key.
    pub fn from_header(value: impl AsRef<str>) -> Result<Self> {
        let key = key_in_header(value.as_ref());
        if key.eq_ignore_ascii_case("bearer") {
            return Err(Error::invalid(
                "the header names the scheme `Bearer` and no key; send `Bearer KEY`",
            ));
        }
        Self::parse(key)
    }

    /// The secret text: for a header, a digest, or a look-up in a table of your
    /// own. Never log it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Refuses a key that is certainly weak. Every store calls it before it inserts a
    /// key.
    ///
    /// It wants [`MIN_STRONG_KEY`] characters and counts what they could carry
    /// at most, from how often each one occurs; a repeated block counts once,
    /// and a run such as `abcd` or `1111` as little. This proves only weakness: a
    /// sentence that can be guessed passes. Generate keys with a
    /// [`KeyFormat`](crate::api_keys::KeyFormat) where you can.
    ///
    /// # Errors
    /// `InvalidInput`, saying what to do instead.
    pub fn require_strong(&self) -> Result<()> {
        if self.0.len() < MIN_STRONG_KEY || counted_bits(self.0.as_bytes()) < MIN_COUNTED_BITS {
            return Err(Error::invalid(
                "this API key is easy to guess; use at least 20 random characters, \
                 or let the key be generated",
            ));
        }
        Ok(())
    }
}

/// The key in the value of a header, without its scheme and outer blanks. No
/// key holds a blank, so a scheme is never part of one.
pub(super) fn key_in_header(value: &str) -> &str {
    let blank = [' ', '\t'];
    let value = value.trim_matches(blank);
    match value.split_once(blank) {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => key.trim_matches(blank),
        _ => value,
    }
}

/// An upper bound on the entropy of `text`, in bits.
fn counted_bits(text: &[u8]) -> f64 {
    let period = (1..=text.len() / 2)
        .find(|&period| text.iter().zip(&text[period..]).all(|(a, b)| a == b))
        .unwrap_or(text.len());
    let block = &text[..period];
    let mut counts = [0u32; 256];
    for &byte in block {
        counts[usize::from(byte)] += 1;
    }
    let length = block.len() as f64;
    let per_character: f64 = counts
        .iter()
        .filter(|&&count| count > 0)
        .map(|&count| {
            let share = f64::from(count) / length;
            -share * share.log2()
        })
        .sum();
    let steps = block
        .windows(2)
        .filter(|pair| pair[0].abs_diff(pair[1]) <= 1);
    per_character * (length - steps.count() as f64)
}

impl PartialEq for ApiKey {
    /// In time that depends on the lengths alone.
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for ApiKey {}

impl FromStr for ApiKey {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    fn strong(text: &str) -> bool {
        ApiKey::parse(text).unwrap().require_strong().is_ok()
    }

    #[test]
    fn a_key_is_visible_ascii_of_bounded_length() {
        assert!(ApiKey::parse("x".repeat(MAX_API_KEY)).is_ok());
        for wrong in [
            "",
            "a b",
            "a\n",
            "a\0b",
            "schlüssel",
            &"x".repeat(MAX_API_KEY + 1),
        ] {
            let error = ApiKey::parse(wrong).unwrap_err();
            assert!(error.is(crate::ErrorKind::InvalidInput));
        }
    }

    #[test]
    fn a_header_is_read_with_or_without_its_scheme() {
        let key = ApiKey::parse("some-key").unwrap();
        for value in [
            "some-key",
            "Bearer some-key",
            "bearer some-key",
            "BEARER   some-key ",
            "\tBearer\tsome-key",
            "  some-key  ",
        ] {
            assert_eq!(ApiKey::from_header(value).unwrap(), key, "{value:?}");
        }
        for wrong in ["", " ", "Bearer", "bearer ", "Basic some-key", "Bearer a b"] {
            assert!(ApiKey::from_header(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn weak_keys_are_refused() {
        for weak in [
            "secret",
            "0123456789012345678901234567890",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "passwordpasswordpassword",
            "abcdefghijklmnopqrstuvwxyz0123456789",
            "zyxwvutsrqponmlkjihgfedcba",
            "ababababababababababababababababab",
            "0000000000000000000000000000000000001",
        ] {
            assert!(!strong(weak), "{weak}");
        }
    }

    #[test]
    fn random_keys_of_the_usual_forms_are_accepted() {
        for good in [
            "9f86d081884c7d659a2feaa0c55ad015",
            "6fa459ea-ee8a-3ca4-894e-db77e160355e",
            "Zr2kq8FhV0a7LxT3mWn5",
            "sk_live_4eC39HqLyjWDarjtT1zdp7dc",
        ] {
            assert!(strong(good), "{good}");
        }
    }

    #[test]
    fn hexadecimal_keys_without_a_pattern_are_not_called_weak() {
        // Digests of numbers: the same in every run, and without a pattern.
        for number in 0..20_000u32 {
            let digest = Sha256::digest(number.to_be_bytes());
            let key = data_encoding::HEXLOWER.encode(&digest[..16]);
            assert!(strong(&key), "{key}");
        }
    }
}
