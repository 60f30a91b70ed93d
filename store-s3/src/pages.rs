//! Pages of a list: lists names, and reads several of the objects at a time.

use futures_util::future::BoxFuture;
use store_core::{Error, Result};

use crate::keys::just_before;
use crate::objects::path;
use crate::parallel::parallel;
use crate::shared::Shared;
use crate::wire::MAX_TOMBSTONE;

/// The maximum bytes of the items on one page; the first item may be larger.
const ROOM: usize = 8 << 20;

/// How many objects are read at a time before their sizes are added up.
const READ_TOGETHER: usize = 32;

/// A list of the names in a folder that begin with `prefix`. `prefix` includes the
/// folder.
pub(crate) struct Listing<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) folder: String,
    pub(crate) prefix: String,
}

/// Some items, and the position after which there are more.
pub(crate) struct Found<T> {
    pub(crate) items: Vec<T>,
    pub(crate) next: Option<String>,
}

impl<'a> Listing<'a> {
    /// At most `size` items after `position`. `read` returns the item under a name and
    /// its size in bytes, or `None` if the query does not include it.
    pub(crate) async fn page<'r, T: Send>(
        &self,
        position: Option<&str>,
        size: usize,
        read: impl Fn(String) -> BoxFuture<'r, Result<Option<(T, usize)>>> + Sync,
    ) -> Result<Found<T>> {
        let mut after = match position {
            Some(position) => Some(self.after(position)?),
            None => just_before(&self.prefix),
        };
        let (mut items, mut last, mut room) = (Vec::new(), String::new(), ROOM);
        loop {
            let bucket = self.shared.bucket();
            let (listed, more) = bucket.list_sizes(&self.folder, after.as_deref()).await?;
            after = listed.last().map(|one| one.name.clone());
            let past = |name: &str| name > &*self.prefix && !name.starts_with(&self.prefix);
            let more = more && !after.as_deref().is_some_and(past);
            let mut names = listed
                .into_iter()
                // Tombstones are recognized by their size, so that they cost no request.
                .filter(|one| one.size > MAX_TOMBSTONE)
                .map(|one| one.name)
                .filter(|name| name.starts_with(&self.prefix));
            loop {
                // One item more than requested shows whether there is another page.
                let wanted = (size + 1 - items.len()).min(READ_TOGETHER);
                let some: Vec<String> = names.by_ref().take(wanted).collect();
                if some.is_empty() {
                    break;
                }
                let all = some.iter().map(|name| read(name.clone())).collect();
                for (name, found) in some.iter().zip(parallel(all).await?) {
                    let Some((item, bytes)) = found else { continue };
                    if items.len() == size || (bytes > room && !items.is_empty()) {
                        let next = Some(self.position(&last));
                        return Ok(Found { items, next });
                    }
                    room = room.saturating_sub(bytes);
                    items.push(item);
                    last.clone_from(name);
                }
            }
            if !more {
                return Ok(Found { items, next: None });
            }
        }
    }

    /// The name at a position. A cursor comes from outside and may be forged.
    fn after(&self, position: &str) -> Result<String> {
        let name = format!("{}/{position}", self.folder);
        path(&name).map_err(|_| {
            Error::invalid("the cursor was not returned by this list; pass one that was")
        })?;
        Ok(name)
    }

    fn position(&self, name: &str) -> String {
        name[(self.folder.len() + 1).min(name.len())..].to_owned()
    }
}
