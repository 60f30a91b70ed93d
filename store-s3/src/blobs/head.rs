//! The format of a pointer's object: a line of JSON, followed by the content if that is
//! small.
//!
//! ```text
//! {"store":1,"bucket":"notes","request":"…","inline":true,"object":{"format":1,"key":"today",…}}
//! bread, salt
//! ```

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use store_core::blobs::Pointer;
use store_core::blobs::engine::{Place, Stored};
use store_core::body::{Format, read_json};
use store_core::{Error, Result, Version};

use crate::error::{BACKEND, corrupt};
use crate::objects::{ETag, Found};

#[derive(Serialize, Deserialize)]
struct Head<P> {
    store: Format<1>,
    bucket: String,
    /// Makes the object unique, so that finding it proves that exactly this put was
    /// executed.
    request: Version,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    inline: bool,
    object: P,
}

/// A pointer, and the bucket that it belongs to.
pub(super) struct Decoded {
    pub(super) of: Box<str>,
    pub(super) stored: Stored<ETag>,
}

impl Decoded {
    /// The pointer, if it belongs to `place`.
    pub(super) fn at(self, place: &Place) -> Result<Stored<ETag>> {
        if *self.of != *place.bucket().as_str() || self.stored.pointer.key() != place.key() {
            return Err(corrupt(
                "an object under the name of one pointer contains another pointer",
            ));
        }
        Ok(self.stored)
    }
}

/// The object for a pointer, with its content if that is stored with it.
pub(super) fn encode(place: &Place, pointer: &mut Pointer) -> Bytes {
    let inline = pointer.take_inline();
    let head = Head {
        store: Format,
        bucket: place.bucket().as_str().into(),
        request: Version::unique(),
        inline: inline.is_some(),
        object: &*pointer,
    };
    let room = 1024 + inline.as_ref().map_or(0, Bytes::len);
    let mut object = BytesMut::with_capacity(room);
    serde_json::to_writer((&mut object).writer(), &head)
        .expect("the value contains only texts and numbers");
    object.put_u8(b'\n');
    if let Some(bytes) = inline {
        object.put_slice(&bytes);
        pointer.set_inline(bytes);
    }
    object.freeze()
}

/// Decodes an object of `size` bytes, of which `found` contains the first ones; `None` if
/// its head is longer than `found`.
pub(super) fn decode(found: &Found, size: u64) -> Result<Option<Decoded>> {
    let malformed =
        || corrupt("an object does not have the format of a pointer; was it changed by hand?");
    let Some(end) = found.bytes.iter().position(|byte| *byte == b'\n') else {
        return match (found.bytes.len() as u64) < size {
            true => Ok(None),
            false => Err(malformed()),
        };
    };
    let of_backend = |error: Error| error.with_backend(BACKEND);
    let head: Head<Pointer> = read_json(&found.bytes[..end]).map_err(of_backend)?;
    let mut pointer = head.object;
    let expected = match (head.inline, pointer.content()) {
        (false, _) => 0,
        (true, Some(content)) => content.size,
        (true, None) => return Err(malformed()),
    };
    if (end as u64 + 1).checked_add(expected) != Some(size) {
        return Err(malformed());
    }
    if head.inline {
        let rest = found.bytes.slice(end + 1..);
        match rest.len() as u64 == expected {
            true => pointer.set_inline(rest),
            false => pointer.leave_unread(),
        }
    }
    pointer.check().map_err(of_backend)?;
    Ok(Some(Decoded {
        of: head.bucket.into(),
        stored: Stored {
            token: ETag::clone(&found.etag),
            pointer: Arc::new(pointer),
        },
    }))
}

/// Decodes a whole object, which must be the pointer of `place`.
pub(super) fn decode_at(place: &Place, found: &Found) -> Result<Stored<ETag>> {
    let decoded = decode(found, found.bytes.len() as u64)?;
    decoded
        .ok_or_else(|| corrupt("an object does not have the format of a pointer"))?
        .at(place)
}
