//! The format of a record's object: a line of JSON, followed by the unchanged body.
//!
//! ```text
//! {"store":1,"collection":"users","partition":"acme","id":"alice","record":{"version":"…","body":"json","length":16}}
//! {"name":"Alice"}
//! ```
//!
//! A deleted record leaves a tombstone, which does not repeat its name:
//!
//! ```text
//! {"store":1,"deleted":"0f3c…","request":"2f0c…"}
//! ```
//!
//! It is shorter than any other object, so that it can be recognized by its size in a
//! list, without a read. While a commit of several records holds a record, the object
//! contains `intent` instead of `record`: the transaction, and the record before and
//! after it, whose bodies follow in that order. Within an intent, the body of a deleted
//! record is `none`.

use bytes::{BufMut, Bytes, BytesMut};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use store_core::body::{Encoded, Format, read_json};
use store_core::{
    Body, Partition, Record, RecordKey, RecordRef, Result, Timestamp, Token, Version,
};

use crate::error::{BACKEND, corrupt};

/// The maximum size of an object that a token contains in addition to its ETag.
const CARRIED: usize = 16 * 1024;

/// A record's state. [`Content::None`] means that it was deleted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Image {
    pub(crate) version: Version,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) content: Content,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Content {
    None,
    Json(Bytes),
    Bytes(Bytes),
}

/// The content of a record's object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Stored {
    Record(Image),
    Intent(Intent),
}

/// A record that a transaction holds: its state before and after the transaction.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Intent {
    pub(crate) transaction: Version,
    /// `None` if there was no object.
    pub(crate) before: Option<Image>,
    /// `None` if the transaction only checks the record.
    pub(crate) after: Option<Image>,
}

impl Image {
    /// The state after a put, or without a body after a delete.
    pub(crate) fn new(
        version: Version,
        expires_at: Option<Timestamp>,
        body: Option<&Body>,
    ) -> Result<Self> {
        let content = match body.map(Body::encoded).transpose()? {
            None => Content::None,
            Some(Encoded::Json(json)) => Content::Json(json),
            Some(Encoded::Bytes(bytes)) => Content::Bytes(bytes),
        };
        Ok(Self {
            version,
            expires_at,
            content,
        })
    }

    /// A deleted record.
    pub(crate) fn deleted(version: Version) -> Self {
        Self {
            version,
            expires_at: None,
            content: Content::None,
        }
    }

    pub(crate) fn is_deleted(&self) -> bool {
        self.content == Content::None
    }

    /// As [`Record::is_expired`].
    pub(crate) fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// The record, unless it was deleted or has expired.
    pub(crate) fn record(
        &self,
        partition: &Partition,
        key: &RecordKey,
        now: Timestamp,
    ) -> Result<Option<Record>> {
        let body = match &self.content {
            _ if self.is_expired(now) => return Ok(None),
            Content::None => return Ok(None),
            Content::Json(json) => Body::from_json(json.clone()),
            Content::Bytes(bytes) => Body::bytes(bytes.clone())?,
        };
        Ok(Some(Record::new(
            partition.clone(),
            key.clone(),
            self.version,
            self.expires_at,
            body,
        )))
    }

    fn bytes(&self) -> &[u8] {
        match &self.content {
            Content::None => &[],
            Content::Json(bytes) | Content::Bytes(bytes) => bytes,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Head {
    store: Format<1>,
    collection: String,
    partition: String,
    id: String,
    /// Makes the object unique, where nothing else does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request: Option<Version>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    record: Option<State>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    intent: Option<States>,
}

#[derive(Serialize, Deserialize)]
struct States {
    transaction: Version,
    before: Option<State>,
    after: Option<State>,
}

#[derive(Serialize, Deserialize)]
struct State {
    version: Version,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    body: Kind,
    length: usize,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    None,
    Json,
    Bytes,
}

impl From<&Image> for State {
    fn from(image: &Image) -> Self {
        Self {
            version: image.version,
            expires_at: image.expires_at,
            body: match image.content {
                Content::None => Kind::None,
                Content::Json(_) => Kind::Json,
                Content::Bytes(_) => Kind::Bytes,
            },
            length: image.bytes().len(),
        }
    }
}

impl State {
    /// Builds the image, and removes its body from the front of `rest`.
    fn image(self, rest: &mut Bytes) -> Option<Image> {
        if self.length > rest.len() {
            return None;
        }
        let bytes = rest.split_to(self.length);
        Some(Image {
            version: self.version,
            expires_at: self.expires_at,
            content: match self.body {
                Kind::None => Content::None,
                Kind::Json => Content::Json(bytes),
                Kind::Bytes => Content::Bytes(bytes),
            },
        })
    }
}

/// A record's name in full, as its object contains it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Name<'a> {
    pub(crate) collection: &'a str,
    pub(crate) partition: &'a str,
    pub(crate) id: &'a str,
}

impl<'a> From<RecordRef<'a>> for Name<'a> {
    fn from(at: RecordRef<'a>) -> Self {
        Self {
            collection: at.collection().name(),
            partition: at.partition(),
            id: at.id(),
        }
    }
}

/// The object of the record of that name.
pub(crate) fn encode<'a>(at: impl Into<Name<'a>>, stored: &Stored) -> Bytes {
    object(at.into(), stored, None)
}

/// The same with a unique id, so that finding the object proves that exactly this request
/// was executed, and not another one of the same commit.
pub(crate) fn encode_once<'a>(at: impl Into<Name<'a>>, image: Image) -> Bytes {
    object(at.into(), &Stored::Record(image), Some(Version::unique()))
}

/// The maximum size of a tombstone in bytes. Every other object is larger.
pub(crate) const MAX_TOMBSTONE: u64 = 110;

/// The object of a record that was deleted by the commit or transaction with this id.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tombstone {
    store: Format<1>,
    deleted: Version,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request: Option<Version>,
}

impl Tombstone {
    fn encode(&self) -> Bytes {
        let mut object = serde_json::to_vec(self).expect("the value contains only texts");
        object.push(b'\n');
        object.into()
    }

    fn decode(object: &Bytes) -> Option<Self> {
        let is_short = object.len() as u64 <= MAX_TOMBSTONE && object.ends_with(b"\n");
        is_short.then(|| serde_json::from_slice(object).ok())?
    }
}

fn object(at: Name<'_>, stored: &Stored, request: Option<Version>) -> Bytes {
    if let Stored::Record(image) = stored
        && image.is_deleted()
    {
        let tombstone = Tombstone {
            store: Format,
            deleted: image.version,
            request,
        };
        return tombstone.encode();
    }
    let mut head = Head {
        store: Format,
        collection: at.collection.into(),
        partition: at.partition.into(),
        id: at.id.into(),
        request,
        record: None,
        intent: None,
    };
    let images: [Option<&Image>; 2] = match stored {
        Stored::Record(image) => {
            head.record = Some(image.into());
            [Some(image), None]
        }
        Stored::Intent(intent) => {
            head.intent = Some(States {
                transaction: intent.transaction,
                before: intent.before.as_ref().map(State::from),
                after: intent.after.as_ref().map(State::from),
            });
            [intent.before.as_ref(), intent.after.as_ref()]
        }
    };
    let bodies = || images.iter().flatten().map(|image| image.bytes());
    let room = 1024 + bodies().map(<[u8]>::len).sum::<usize>();
    let mut object = BytesMut::with_capacity(room);
    serde_json::to_writer((&mut object).writer(), &head)
        .expect("the value contains only texts and numbers");
    object.put_u8(b'\n');
    for body in bodies() {
        object.put_slice(body);
    }
    object.freeze()
}

/// The name and the content of a record's object. A tombstone's names are empty.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) collection: String,
    pub(crate) partition: String,
    pub(crate) id: String,
    pub(crate) stored: Stored,
}

impl Named {
    pub(crate) fn name(&self) -> Name<'_> {
        Name {
            collection: &self.collection,
            partition: &self.partition,
            id: &self.id,
        }
    }
}

/// Decodes JSON that this crate wrote. A newer format is an error that says to upgrade.
fn read<T: DeserializeOwned>(json: &[u8]) -> Result<T> {
    read_json(json).map_err(|error| error.with_backend(BACKEND))
}

pub(crate) fn decode(object: &Bytes) -> Result<Named> {
    if let Some(tombstone) = Tombstone::decode(object) {
        return Ok(Named {
            collection: String::new(),
            partition: String::new(),
            id: String::new(),
            stored: Stored::Record(Image::deleted(tombstone.deleted)),
        });
    }
    let malformed =
        || corrupt("an object does not have the format of a record; was it changed by hand?");
    let end = object.iter().position(|byte| *byte == b'\n');
    let end = end.ok_or_else(malformed)?;
    let head: Head = read(&object[..end])?;
    let mut rest = object.slice(end + 1..);
    let mut image = |state: Option<State>| match state {
        None => Ok(None),
        Some(state) => state.image(&mut rest).map(Some).ok_or_else(malformed),
    };
    let record = image(head.record)?;
    let stored = match (record, head.intent) {
        (Some(image), None) => Stored::Record(image),
        (None, Some(states)) => Stored::Intent(Intent {
            transaction: states.transaction,
            before: image(states.before)?,
            after: image(states.after)?,
        }),
        _ => return Err(malformed()),
    };
    if !rest.is_empty() {
        return Err(malformed());
    }
    Ok(Named {
        collection: head.collection,
        partition: head.partition,
        id: head.id,
        stored,
    })
}

/// Decodes the object of the record at `at`.
pub(crate) fn decode_at(at: RecordRef<'_>, object: &Bytes) -> Result<Stored> {
    let named = decode(object).map_err(|error| error.with_key(at))?;
    let is_tombstone = matches!(&named.stored, Stored::Record(image) if image.is_deleted());
    if !is_tombstone && named.name() != at.into() {
        return Err(
            corrupt("an object under the name of one record contains another record").with_key(at),
        );
    }
    Ok(named.stored)
}

/// An ETag, and the object with that ETag unless it is large: a commit with this
/// token then saves a read.
pub(crate) fn token(etag: &str, object: &Bytes) -> Token {
    let carried = match object.len() {
        0..=CARRIED => &object[..],
        _ => &[],
    };
    [etag.as_bytes(), b"\n", carried].concat().into()
}

/// The ETag and the object that a token contains.
pub(crate) fn open_token(token: &Token) -> Option<(&str, Bytes)> {
    let end = token.iter().position(|byte| *byte == b'\n')?;
    let etag = std::str::from_utf8(&token[..end]).ok()?;
    match &token[end + 1..] {
        [] => None,
        object => Some((etag, Bytes::copy_from_slice(object))),
    }
}

/// A commit of several records.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Transaction {
    store: Format<1>,
    pub(crate) state: Verdict,
    pub(crate) partition: String,
    pub(crate) version: Version,
    pub(crate) items: Vec<Member>,
}

/// A record of a transaction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Member {
    pub(crate) collection: String,
    pub(crate) id: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    Pending,
    Committed,
    Aborted,
}

impl Transaction {
    pub(crate) fn new(partition: &Partition, version: Version, items: Vec<Member>) -> Self {
        Self {
            store: Format,
            state: Verdict::Pending,
            partition: partition.as_str().into(),
            version,
            items,
        }
    }

    /// The same, decided.
    pub(crate) fn decided(&self, state: Verdict) -> Self {
        Self {
            state,
            ..self.clone()
        }
    }

    pub(crate) fn encode(&self) -> Bytes {
        serde_json::to_vec(self)
            .expect("the value contains only texts and numbers")
            .into()
    }

    pub(crate) fn decode(object: &[u8]) -> Result<Self> {
        read(object)
    }
}

#[cfg(test)]
mod tests;
