//! The keys of records and limits in Redis.
//!
//! ```text
//! store:{acme}:users:alice    a record, a string
//! store:{acme}:users          the ids of a partition's collection, a sorted set
//! store/expiry:{acme}:users   when those of them that expire are removed, a sorted set
//! store/limit:{user:7}        the buckets of a rate limit's key, a hash
//! ```
//!
//! Only the text between the braces decides a key's slot, so a partition is in one
//! slot. Inside, `%` and `}` are escaped as in a URL, and the empty partition is `%`. A
//! namespace contains no brace, slash or colon, and a collection's name no colon, so
//! different names have different keys.

use store_core::{Collection, Error, ErrorKind, Partition, RecordRef, Result};

use crate::error::BACKEND;

/// How many slots a cluster has.
pub(crate) const SLOTS: usize = 16_384;

/// The prefix that separates the keys of one store from others on the same server.
#[derive(Clone, Debug)]
pub(crate) struct Namespace(String);

impl Namespace {
    pub(crate) fn new(name: &str) -> Result<Self> {
        let ok = (1..=48).contains(&name.len())
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if !ok {
            return Err(Error::new(
                ErrorKind::Config,
                "a namespace is 1 to 48 letters, digits, dashes, underscores and dots",
            )
            .with_backend(BACKEND));
        }
        Ok(Self(name.into()))
    }

    pub(crate) fn record(&self, at: RecordRef<'_>) -> String {
        let mut key = self.ids(at.partition(), at.collection());
        key.push(':');
        key.push_str(at.id());
        key
    }

    /// The sorted set of a collection's ids.
    pub(crate) fn ids(&self, partition: &str, collection: Collection) -> String {
        let name = collection.name();
        let mut key = String::with_capacity(self.0.len() + partition.len() + name.len() + 5);
        key.push_str(&self.0);
        self.finish(key, partition, name)
    }

    /// The sorted set of the times at which the records of these ids are removed.
    pub(crate) fn deadlines(&self, partition: &str, collection: Collection) -> String {
        let name = collection.name();
        self.finish(format!("{}/expiry", self.0), partition, name)
    }

    fn finish(&self, mut key: String, partition: &str, collection: &str) -> String {
        key.push_str(":{");
        escape(&mut key, partition);
        key.push_str("}:");
        key.push_str(collection);
        key
    }

    pub(crate) fn limit(&self, limit_key: &str) -> String {
        let mut key = String::with_capacity(self.0.len() + limit_key.len() + 9);
        key.push_str(&self.0);
        key.push_str("/limit:{");
        escape(&mut key, limit_key);
        key.push('}');
        key
    }

    /// The channel on which changes are announced.
    pub(crate) fn channel(&self) -> String {
        format!("{}/changes", self.0)
    }

    /// A pattern for `SCAN`. It matches every record of the collection whose partition
    /// and id have these prefixes. It may match other keys too, which
    /// [`Namespace::parse`] recognizes.
    pub(crate) fn pattern(&self, collection: Collection, partitions: &str, ids: &str) -> String {
        let mut prefix = String::new();
        if !partitions.is_empty() {
            escape(&mut prefix, partitions);
        }
        let literal = |text: &str| {
            let mut pattern = String::with_capacity(text.len());
            for c in text.chars() {
                if matches!(c, '*' | '?' | '[' | ']' | '\\') {
                    pattern.push('\\');
                }
                pattern.push(c);
            }
            pattern
        };
        format!(
            "{}:{{{}*}}:{}:{}*",
            self.0,
            literal(&prefix),
            collection.name(),
            literal(ids)
        )
    }

    /// Partition and id of a record's key; `None` for a key of another kind.
    pub(crate) fn parse<'k>(
        &self,
        collection: Collection,
        key: &'k str,
    ) -> Option<(Partition, &'k str)> {
        let rest = key.strip_prefix(&*self.0)?.strip_prefix(":{")?;
        let (partition, rest) = rest.split_once('}')?;
        let rest = rest.strip_prefix(':')?.strip_prefix(collection.name())?;
        let id = rest.strip_prefix(':')?;
        Some((Partition::new(unescape(partition)?).ok()?, id))
    }
}

fn escape(key: &mut String, name: &str) {
    if name.is_empty() {
        // Redis treats an empty hash tag as no tag.
        key.push('%');
    }
    if !name.contains(['%', '}']) {
        key.push_str(name);
        return;
    }
    for c in name.chars() {
        match c {
            '%' => key.push_str("%25"),
            '}' => key.push_str("%7D"),
            c => key.push(c),
        }
    }
}

fn unescape(tag: &str) -> Option<String> {
    if tag == "%" {
        return Some(String::new());
    }
    let mut parts = tag.split('%');
    let mut name = String::from(parts.next()?);
    for part in parts {
        let (code, rest) = part.split_at_checked(2)?;
        name.push(match code {
            "25" => '%',
            "7D" => '}',
            _ => return None,
        });
        name.push_str(rest);
    }
    Some(name)
}

/// The slot of a key of this module.
pub(crate) fn slot(key: &str) -> u16 {
    let tag = key
        .split_once('{')
        .and_then(|(_, rest)| rest.split_once('}'))
        .map_or(key, |(tag, _)| tag);
    crc16(tag.as_bytes()) % SLOTS as u16
}

/// CRC-16/XMODEM, as Redis Cluster specifies.
fn crc16(bytes: &[u8]) -> u16 {
    const TABLE: [u16; 256] = table();
    bytes.iter().fold(0, |crc, byte| {
        (crc << 8) ^ TABLE[usize::from((crc >> 8) as u8 ^ byte)]
    })
}

const fn table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = (i as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            let carry = crc & 0x8000 != 0;
            crc <<= 1;
            if carry {
                crc ^= 0x1021;
            }
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const THINGS: Collection = Collection::new("things");
    const THINGS_MORE: Collection = Collection::new("things_more");

    fn namespace() -> Namespace {
        Namespace::new("store").unwrap()
    }

    #[test]
    fn different_names_have_different_keys_and_each_is_parsed_back() {
        let names = [
            "",
            "%",
            "}",
            "{",
            "%25",
            "%7D",
            "a",
            "a}",
            "a}:things:b",
            ":",
            "a:b",
        ];
        let mut keys = HashSet::new();
        let space = namespace();
        for partition in names {
            for collection in [THINGS, THINGS_MORE] {
                assert!(keys.insert(space.ids(partition, collection)));
                assert!(keys.insert(space.deadlines(partition, collection)));
                for id in names {
                    let at = RecordRef::new(partition, collection, id).unwrap();
                    let key = space.record(at);
                    let (found, found_id) = space.parse(collection, &key).unwrap();
                    assert_eq!((found.as_str(), found_id), (partition, id));
                    assert_eq!(slot(&key), slot(&space.ids(partition, collection)));
                    assert!(keys.insert(key));
                }
            }
            assert!(keys.insert(space.limit(partition)));
        }
    }

    #[test]
    fn a_slot_is_computed_as_the_specification_says() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(slot("foo"), 12_182);
        assert_eq!(slot("x:{foo}:y"), 12_182);
    }

    #[test]
    fn a_pattern_matches_a_prefix_literally() {
        assert_eq!(
            namespace().pattern(THINGS, "a*}", "b?["),
            r"store:{a\*%7D*}:things:b\?\[*"
        );
    }

    #[test]
    fn a_namespace_with_a_separator_is_refused() {
        assert!(Namespace::new("store-1").is_ok());
        for name in ["", "a:b", "a{", "a}", "a/b", "ä"] {
            assert!(Namespace::new(name).is_err(), "{name}");
        }
    }
}
