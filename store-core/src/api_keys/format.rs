//! Generated keys: a prefix that people recognise, random bits, a checksum.

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::api_keys::ApiKey;
use crate::error::{Error, ErrorKind, Result};

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// 30 characters of 62 kinds: 178 bits.
const RANDOM: usize = 30;

/// 62⁶ is a little less than 2³⁶.
const CHECKSUM: usize = 6;

const MAX_PREFIX: usize = 24;

/// The form of the keys that an application hands out: `PREFIX_RANDOMCHECKSUM`.
///
/// - The prefix shows people and secret scanners which service issued it.
/// - 30 random characters carry 178 bits.
/// - 6 characters of checksum over all before them distinguish a mistyped or
///   truncated key from an unknown one without asking any store. The checksum is no
///   protection: anyone can compute it.
///
/// ```
/// use store_core::api_keys::KeyFormat;
///
/// let format = KeyFormat::new("acme")?;
/// let key = format.generate();
/// assert!(key.expose().starts_with("acme_"));
/// assert_eq!(format.parse(key.expose())?, key);
///
/// let mistyped = key.expose().replace(char::is_numeric, "x") + "x";
/// assert!(format.parse(&mistyped).is_err());
/// # Ok::<(), store_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFormat {
    /// With the underscore that ends it.
    prefix: String,
}

impl KeyFormat {
    /// Keys that start with `prefix` and an underscore.
    ///
    /// # Errors
    /// `Config` unless the prefix is 1 to 24 lower-case letters, digits and
    /// underscores, the first one a letter.
    pub fn new(prefix: &str) -> Result<Self> {
        let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        let good = (1..=MAX_PREFIX).contains(&prefix.len())
            && prefix.starts_with(|c: char| c.is_ascii_lowercase())
            && prefix.bytes().all(known);
        if !good {
            return Err(Error::new(
                ErrorKind::Config,
                "a key's prefix is a lower-case letter and at most 23 lower-case letters, \
                 digits and underscores",
            ));
        }
        Ok(Self {
            prefix: format!("{prefix}_"),
        })
    }

    /// A new key that was never issued before.
    ///
    /// # Panics
    /// If the operating system has no random bytes to give.
    pub fn generate(&self) -> ApiKey {
        let length = self.prefix.len() + RANDOM + CHECKSUM;
        let mut text = Zeroizing::new(String::with_capacity(length));
        text.push_str(&self.prefix);
        while text.len() < self.prefix.len() + RANDOM {
            let mut bytes = Zeroizing::new([0u8; RANDOM]);
            getrandom::fill(&mut *bytes).expect("the operating system gives random bytes");
            let left = self.prefix.len() + RANDOM - text.len();
            // 248 is the largest multiple of 62 in a byte: each character is as likely.
            let usable = bytes.iter().filter(|&&byte| byte < 248).take(left);
            usable.for_each(|&byte| text.push(char::from(ALPHABET[usize::from(byte % 62)])));
        }
        let checksum = checksum(&text);
        checksum
            .iter()
            .for_each(|&byte| text.push(char::from(byte)));
        ApiKey::parse(&*text).expect("prefix and alphabet are visible ASCII")
    }

    /// The key of this text, which must be of this form.
    ///
    /// # Errors
    /// `InvalidInput` if prefix, length or checksum are wrong: it was mistyped
    /// or truncated, or another service issued it. There is no query.
    pub fn parse(&self, text: &str) -> Result<ApiKey> {
        let key = ApiKey::parse(text)?;
        let good = self.claims(text)
            && text.len() == self.prefix.len() + RANDOM + CHECKSUM
            && text.as_bytes()[text.len() - CHECKSUM..] == checksum(&text[..text.len() - CHECKSUM]);
        if !good {
            return Err(Error::invalid(
                "this is not an API key of this service: prefix, length or checksum are wrong; \
                 check that it was copied whole",
            ));
        }
        Ok(key)
    }

    /// Whether `text` starts as keys of this form do, and so must be one. A
    /// text with another underscore after the prefix is a key of a longer
    /// prefix: `sk` does not claim `sk_live_…`.
    pub fn claims(&self, text: &str) -> bool {
        let rest = text.strip_prefix(&self.prefix);
        rest.is_some_and(|rest| !rest.contains('_'))
    }
}

impl Default for KeyFormat {
    /// Keys that start with `key_`.
    fn default() -> Self {
        Self {
            prefix: "key_".into(),
        }
    }
}

fn checksum(text: &str) -> [u8; CHECKSUM] {
    let hash = Sha256::digest(text);
    let mut number = u64::from_be_bytes(std::array::from_fn(|i| hash[i]));
    std::array::from_fn(|_| {
        let digit = ALPHABET[(number % 62) as usize];
        number /= 62;
        digit
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_key_is_new_strong_and_of_its_form() {
        let format = KeyFormat::new("acme").unwrap();
        let keys: std::collections::HashSet<_> = (0..1_000)
            .map(|_| {
                let key = format.generate();
                assert_eq!(key.expose().len(), "acme_".len() + 36);
                assert!(key.require_strong().is_ok());
                assert_eq!(format.parse(key.expose()).unwrap(), key);
                key.expose().to_owned()
            })
            .collect();
        assert_eq!(keys.len(), 1_000);
    }

    #[test]
    fn every_mistyped_character_is_noticed() {
        let format = KeyFormat::default();
        let key = format.generate();
        let text = key.expose();
        for (at, right) in text.bytes().enumerate() {
            for wrong in ALPHABET.iter().copied().filter(|&wrong| wrong != right) {
                let mut bytes = text.as_bytes().to_vec();
                bytes[at] = wrong;
                assert!(format.parse(std::str::from_utf8(&bytes).unwrap()).is_err());
            }
        }
        assert!(format.parse(&text[..text.len() - 1]).is_err());
        assert!(format.parse(&format!("{text}0")).is_err());
    }

    #[test]
    fn a_released_key_is_understood_for_ever() {
        let text = "key_000000000000000000000000000000GELfvX";
        assert!(KeyFormat::default().parse(text).is_ok());
    }

    #[test]
    fn a_prefix_does_not_claim_the_keys_of_a_longer_one() {
        let (short, long) = (
            KeyFormat::new("sk").unwrap(),
            KeyFormat::new("sk_live").unwrap(),
        );
        let (of_short, of_long) = (short.generate(), long.generate());
        assert!(short.claims(of_short.expose()) && !short.claims(of_long.expose()));
        assert!(long.claims(of_long.expose()) && !long.claims(of_short.expose()));
    }

    #[test]
    fn an_odd_prefix_is_refused() {
        for wrong in ["", "Acme", "1a", "a-b", "ü", &"a".repeat(25)] {
            assert!(KeyFormat::new(wrong).is_err(), "{wrong}");
        }
        assert!(KeyFormat::new("sk_live").is_ok());
    }
}
