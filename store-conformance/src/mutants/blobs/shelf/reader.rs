//! Reading from a shelf.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use store_core::Result;
use store_core::blobs::BlobReader;

use super::{Flaw, Name, Shelf, superseded};

const PIECE: u64 = 64 * 1024;

#[derive(Debug)]
pub(super) struct Reader {
    pub(super) shelf: Shelf,
    pub(super) name: Name,
    pub(super) content: u64,
    pub(super) left: Range<u64>,
}

#[async_trait]
impl BlobReader for Reader {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        let state = self.shelf.state()?;
        if self.left.is_empty() {
            return Ok(None);
        }
        let mut content = self.content;
        if self.shelf.has(Flaw::FollowsTheNewest)
            && let Some(object) = state.objects.get(&self.name)
        {
            content = object.content;
        }
        let to = self.left.end.min(self.left.start + PIECE);
        let piece = state
            .contents
            .get(&content)
            .and_then(|bytes| bytes.get(self.left.start as usize..to as usize));
        match piece {
            Some(piece) => {
                self.left.start = to;
                Ok(Some(Bytes::copy_from_slice(piece)))
            }
            None if self.shelf.has(Flaw::EndsWhereContentIsGone) => Ok(None),
            None => Err(superseded()),
        }
    }
}
