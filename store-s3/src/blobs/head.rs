//! What a pointer's object says: a line of JSON, and after it the content if
//! that is small.
//!
//! ```text
//! {"store":1,"bucket":"notes","request":"…","inline":true,"object":{"format":1,"key":"today",…}}
//! bread, salt
//! ```

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use store_core::blobs::Pointer;
use store_core::{Result, Version};

use super::Place;
use crate::error::corrupt;
use crate::objects::{ETag, Found};
use crate::wire::FORMAT;

/// An object as it was found.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) etag: ETag,
    pub(super) pointer: Pointer,
    pub(super) inline: Inline,
}

/// The published object's content, as far as it is with its pointer.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Inline {
    /// It is not: it has objects of its own, or there is none.
    Elsewhere,
    Here(Bytes),
    /// It is, and only the pointer was read.
    Unread,
}

#[derive(Serialize, Deserialize)]
struct Head<P> {
    store: u32,
    bucket: String,
    /// Makes the object like no other: whoever finds it knows that this very
    /// put was done.
    request: Version,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    inline: bool,
    object: P,
}

/// The object for a pointer, with its content if that is here.
pub(super) fn encode(place: &Place, pointer: &Pointer, inline: Option<&Bytes>) -> Bytes {
    let head = Head {
        store: FORMAT,
        bucket: place.bucket.as_str().into(),
        request: Version::unique(),
        inline: inline.is_some(),
        object: pointer,
    };
    let content = inline.map_or(&[][..], |bytes| bytes);
    let mut object = BytesMut::with_capacity(1024 + content.len());
    serde_json::to_writer((&mut object).writer(), &head).expect("texts and numbers");
    object.put_u8(b'\n');
    object.put_slice(content);
    object.freeze()
}

/// What an object of `size` bytes says, of which `found` are the first; `None`
/// if its head is longer than that.
pub(super) fn decode(found: &Found, size: u64) -> Result<Option<(Box<str>, Known)>> {
    let malformed = || corrupt("an object is not of a pointer's form; was it changed by hand?");
    let Some(end) = found.bytes.iter().position(|byte| *byte == b'\n') else {
        return match (found.bytes.len() as u64) < size {
            true => Ok(None),
            false => Err(malformed()),
        };
    };
    let head: Head<Pointer> =
        serde_json::from_slice(&found.bytes[..end]).map_err(|_| malformed())?;
    if head.store > FORMAT {
        return Err(corrupt(
            "an object was written by a later release; update this program",
        ));
    }
    head.object.check()?;
    let expected = match (head.inline, head.object.content()) {
        (false, _) => 0,
        (true, Some(content)) => content.size,
        (true, None) => return Err(malformed()),
    };
    let rest = found.bytes.slice(end + 1..);
    if end as u64 + 1 + expected != size {
        return Err(malformed());
    }
    let inline = match head.inline {
        false => Inline::Elsewhere,
        true if rest.len() as u64 == expected => Inline::Here(rest),
        true => Inline::Unread,
    };
    let known = Known {
        etag: ETag::clone(&found.etag),
        pointer: head.object,
        inline,
    };
    Ok(Some((head.bucket.into(), known)))
}

/// The same, of a whole object, which must be `place`'s.
pub(super) fn decode_at(place: &Place, found: &Found) -> Result<Known> {
    let size = found.bytes.len() as u64;
    let known = decode(found, size)?.ok_or_else(|| corrupt("an object has no end"))?;
    is_of(place, known)
}

/// What was found, if it is `place`'s.
pub(super) fn is_of(place: &Place, (bucket, known): (Box<str>, Known)) -> Result<Known> {
    if *bucket != *place.bucket.as_str() || *known.pointer.key() != *place.key {
        return Err(corrupt("an object under one name is another's"));
    }
    Ok(known)
}
