//! The names of the store's objects in a bucket.
//!
//! ```text
//! records/users/=acme/=alice      a record
//! transactions/0f…                a commit of several records, while it is in progress
//! blobs/=reports/=2030.2Fq1..csv  the pointer of an object, and its content if that is small
//! content/0f…/0                   larger content
//! reclaim/17f0….0f….u             a note of content that may have to be freed, named by the time
//! setup                           the result of `setup`
//! ```
//!
//! Each name begins with the store's prefix. An id and a partition are one segment each,
//! `=` and then the name, so that no segment is empty, `.` or `..`. A character that a
//! segment must not contain is escaped as a lead character and a code:
//!
//! | characters | written as |
//! |---|---|
//! | controls, space, `!` | `!01` to `!1F`, `!20`, `!21` |
//! | `.` | `..` |
//! | `/` | `.2F` |
//! | `~`, delete | `~7E`, `~7F` |
//! | U+FFFD to U+FFFF | U+FFFD and the last digit |
//! | all others | themselves |
//!
//! The lead character sorts like the characters that it escapes, so encoded names have
//! the same bytewise order as the names. No code is a prefix of another, so encodings of
//! different names differ, and the encoding of a prefix is a prefix of the encoding. S3
//! lists names in the order of their UTF-8 bytes, which is therefore the order of ids.
//!
//! S3 accepts keys of up to 1024 bytes. An encoded id of 255 bytes may have 766 bytes, so
//! a long partition is truncated and followed by its digest. Partitions need no order,
//! and the record contains its partition in full.

use data_encoding::BASE32_NOPAD;
use sha2::{Digest, Sha256};
use store_core::{Collection, RecordRef, Result, Version};

use crate::error::config;

/// The maximum length of a store's prefix, with which no key is longer than 1024 bytes.
pub(crate) const MAX_PREFIX: usize = 60;

/// The maximum length of an encoded partition name that is used without truncation.
const VERBATIM: usize = 120;

/// How many bytes of a longer name precede its digest. The digest has 52 bytes, so a name
/// with a digest is longer than [`VERBATIM`], and no verbatim name can equal it.
const CUT: usize = 80;

/// The names of all objects of one store.
#[derive(Clone, Debug)]
pub(crate) struct Namespace {
    /// Empty, or ending in a slash.
    prefix: String,
}

impl Namespace {
    /// The namespace below `prefix`, which may have several segments or none.
    pub(crate) fn new(prefix: &str) -> Result<Self> {
        let prefix = prefix.trim_matches('/');
        let fits = |segment: &str| {
            !matches!(segment, "" | "." | "..")
                && segment
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        };
        if prefix.is_empty() {
            return Ok(Self {
                prefix: String::new(),
            });
        }
        if prefix.len() > MAX_PREFIX || !prefix.split('/').all(fits) {
            return Err(config(
                "a prefix is at most 60 letters, digits, dashes, underscores, dots and slashes; \
                 no part of it is empty or dots alone",
            ));
        }
        Ok(Self {
            prefix: format!("{prefix}/"),
        })
    }

    pub(crate) fn record(&self, at: RecordRef<'_>) -> String {
        self.record_of(at.collection().name(), at.partition(), at.id())
    }

    /// The same for a collection of which only the name is known.
    pub(crate) fn record_of(&self, collection: &str, partition: &str, id: &str) -> String {
        let mut name = self.partition(collection, partition);
        name.push_str("/=");
        encode(&mut name, id);
        name
    }

    /// The folder of a collection's records in one partition.
    pub(crate) fn partition(&self, collection: &str, partition: &str) -> String {
        let mut name = self.collection(collection);
        name.push_str("/=");
        name.push_str(&shortened(partition));
        name
    }

    /// The folder of a collection.
    pub(crate) fn collection(&self, collection: &str) -> String {
        format!("{}/{collection}", self.records())
    }

    /// The folder of all records.
    pub(crate) fn records(&self) -> String {
        format!("{}records", self.prefix)
    }

    /// The prefix of the names of a collection's records whose partition begins with
    /// `prefix`. Other names may have it too.
    pub(crate) fn partitions(&self, collection: Collection, prefix: &str) -> String {
        let mut name = self.collection(collection.name());
        name.push_str("/=");
        let mut encoded = String::new();
        encode(&mut encoded, prefix);
        name.push_str(cut(&encoded, CUT));
        name
    }

    /// The collection in a record's name.
    pub(crate) fn collection_in<'n>(&self, name: &'n str) -> Option<&'n str> {
        let rest = name.strip_prefix(&*self.records())?.strip_prefix('/')?;
        Some(rest.split_once('/')?.0)
    }

    pub(crate) fn transactions(&self) -> String {
        format!("{}transactions", self.prefix)
    }

    pub(crate) fn transaction(&self, id: Version) -> String {
        format!("{}/{id}", self.transactions())
    }

    /// The folder of the pointers of a bucket's objects.
    pub(crate) fn pointers(&self, bucket: &str) -> String {
        format!("{}blobs/={}", self.prefix, shortened(bucket))
    }

    /// The pointer of the object of that id.
    pub(crate) fn pointer(&self, bucket: &str, id: &str) -> String {
        let mut name = self.pointers(bucket);
        name.push_str("/=");
        encode(&mut name, id);
        name
    }

    /// One of the objects that contain the content of a generation.
    pub(crate) fn content(&self, generation: Version, index: u64) -> String {
        format!("{}content/{generation}/{index}", self.prefix)
    }

    /// The folder of notes.
    pub(crate) fn notes(&self) -> String {
        format!("{}reclaim", self.prefix)
    }

    /// A note. The names of notes sort by the time at which they are due.
    pub(crate) fn note(&self, name: &str) -> String {
        format!("{}/{name}", self.notes())
    }

    /// The time in a note's name; `None` if it is not of that form.
    pub(crate) fn due_of(&self, name: &str) -> Option<u64> {
        let rest = name.strip_prefix(&*self.notes())?.strip_prefix('/')?;
        u64::from_str_radix(rest.split_once('.')?.0, 16).ok()
    }

    /// The result of `setup`.
    pub(crate) fn setup(&self) -> String {
        format!("{}setup", self.prefix)
    }

    /// The folder in which `setup` tests the server.
    pub(crate) fn probe(&self, id: Version) -> String {
        format!("{}probe/{id}", self.prefix)
    }
}

/// A name that sorts before all names with `prefix`, and close to them: the position at
/// which a list starts.
pub(crate) fn just_before(prefix: &str) -> Option<String> {
    let last = prefix.chars().next_back()?;
    let before = match last {
        // A path of the driver must not contain U+007F or `~`.
        '\u{7f}' | '\u{80}' => '}',
        // There are no characters between the surrogates.
        '\u{e000}' => '\u{d7ff}',
        last => char::from_u32(u32::from(last).checked_sub(1)?)?,
    };
    let rest = &prefix[..prefix.len() - last.len_utf8()];
    Some(format!("{rest}{before}\u{10fffd}"))
}

/// The content of a segment after its `=`.
fn shortened(name: &str) -> String {
    let mut encoded = String::new();
    encode(&mut encoded, name);
    if encoded.len() <= VERBATIM {
        return encoded;
    }
    let digest = BASE32_NOPAD.encode(&Sha256::digest(name.as_bytes()));
    format!("{}{}", cut(&encoded, CUT), digest.to_ascii_lowercase())
}

/// The longest prefix of `text` of at most `max` bytes that ends at a character.
fn cut(text: &str, max: usize) -> &str {
    let whole = (0..=max.min(text.len())).rev();
    let end = whole.into_iter().find(|&at| text.is_char_boundary(at));
    &text[..end.unwrap_or(0)]
}

/// Appends `name`, encoded.
pub(crate) fn encode(to: &mut String, name: &str) {
    const HEX: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F',
    ];
    let hex = |to: &mut String, lead: char, c: char| {
        let code = c as usize;
        to.extend([lead, HEX[code >> 4 & 15], HEX[code & 15]]);
    };
    for c in name.chars() {
        match c {
            '\0'..='!' => hex(to, '!', c),
            '.' => to.push_str(".."),
            '/' => hex(to, '.', c),
            '~' | '\x7f' => hex(to, '~', c),
            '\u{fffd}'..='\u{ffff}' => to.extend(['\u{fffd}', HEX[c as usize & 15]]),
            c => to.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const THINGS: Collection = Collection::new("things");

    fn space() -> Namespace {
        Namespace::new("app/store").expect("a valid prefix")
    }

    /// Every character that is special, its neighbours, and some beyond ASCII.
    fn characters() -> Vec<char> {
        let mut all: Vec<char> = ('\x01'..='\u{81}').collect();
        all.extend([
            'ä',
            '\u{d7ff}',
            '\u{e000}',
            '\u{fffc}',
            '\u{fffd}',
            '\u{fffe}',
            '\u{ffff}',
            '𝄞',
            '\u{10ffff}',
        ]);
        all
    }

    fn names() -> Vec<String> {
        let characters = characters();
        let one = characters.iter().map(char::to_string);
        let two = characters
            .iter()
            .flat_map(|a| characters.iter().map(move |b| format!("{a}{b}")));
        let odd = ["", "..", "../x", "a//b", "a/", "/", "=", "a..2F", "!20"].map(String::from);
        one.chain(two).chain(odd).collect()
    }

    #[test]
    fn encoded_names_sort_as_names_do_and_differ_where_they_differ() {
        let mut names = names();
        names.sort_unstable();
        names.dedup();
        let encoded: Vec<String> = names
            .iter()
            .map(|name| {
                let at = RecordRef::new("p", THINGS, name).expect("no NUL");
                space().record(at)
            })
            .collect();
        for (pair, of) in encoded.windows(2).zip(names.windows(2)) {
            assert!(pair[0] < pair[1], "{of:?} {pair:?}");
        }
    }

    #[test]
    fn an_encoded_prefix_is_a_prefix_and_a_list_begins_before_it() {
        for name in names() {
            for end in (0..=name.len()).filter(|&end| name.is_char_boundary(end)) {
                let at = RecordRef::new("p", THINGS, &name).expect("no NUL");
                let prefix = space().record_of("things", "p", &name[..end]);
                assert!(space().record(at).starts_with(&prefix), "{name:?} {end}");
                assert!(just_before(&prefix).expect("not empty") < prefix);
                let partition = space().record_of("things", &name, "x");
                assert!(partition.starts_with(&space().partitions(THINGS, &name[..end])));
            }
        }
    }

    #[test]
    fn a_list_of_any_prefix_begins_at_a_path_of_the_driver() {
        let all = ('\x01'..='\u{10010}').chain('\u{10fff0}'..='\u{10ffff}');
        for c in all.filter(|c| *c != '\0') {
            let prefix = space().record_of("things", "p", &c.to_string());
            let before = just_before(&prefix).expect("not empty");
            assert!(before < prefix, "{c:?}");
            let path = object_store::path::Path::parse(&before);
            assert_eq!(path.expect("a path").as_ref(), before, "{c:?}");
            // The list includes every name with the prefix.
            assert!(!before.starts_with(&prefix), "{c:?}");
        }
    }

    #[test]
    fn every_name_is_a_path_of_the_driver_that_keeps_it() {
        for name in names() {
            let full = space().record_of("things", &name, &name);
            let path = object_store::path::Path::parse(&full).expect("a path");
            assert_eq!(path.as_ref(), full);
        }
    }

    #[test]
    fn no_partition_reaches_anothers_record_however_long() {
        let mut seen = HashSet::new();
        for c in ["a", " ", "ä", "𝄞", "/", "."] {
            for n in 1..=255 / c.len() {
                let name = c.repeat(n);
                for id in ["", "b", "=b", "/=b"] {
                    let full = space().record_of("things", &name, id);
                    assert_eq!(space().collection_in(&full), Some("things"));
                    assert!(seen.insert(full.clone()));
                }
                // The text of its digest form, used as a name, is another name.
                let digest = shortened(&name);
                if digest.len() > VERBATIM && name.len() <= 255 {
                    assert!(seen.insert(space().record_of("things", &digest, "")));
                }
            }
        }
    }

    #[test]
    fn the_longest_names_fit() {
        let space = Namespace::new(&"p".repeat(MAX_PREFIX)).expect("just fits");
        let collection = "c".repeat(48);
        for c in ["a", " ", "ä", "€", "\u{ffff}", "𝄞"] {
            let longest = c.repeat(255 / c.len());
            let record = space.record_of(&collection, &longest, &longest);
            assert!(record.len() <= 1024, "{}", record.len());
        }
    }

    #[test]
    fn a_prefix_that_could_reach_elsewhere_is_refused() {
        for good in ["", "/", "app", "/app/store/", "a.b-c_d"] {
            assert!(Namespace::new(good).is_ok(), "{good}");
        }
        let long = "p".repeat(MAX_PREFIX + 1);
        for bad in ["a//b", "..", "a/./b", "a b", "ä", "=", &long] {
            assert!(Namespace::new(bad).is_err(), "{bad}");
        }
    }
}
