//! Pages of a bucket's objects.

use futures_util::future::BoxFuture;
use store_core::blobs::{BlobEntry, BlobList};
use store_core::page::Page;
use store_core::scan::Scope;
use store_core::{Error, Result};

use super::Blobs;
use crate::walk::Walk;

/// What an entry counts for, whatever its metadata: entries are small.
const ENTRY: usize = 1024;

impl Blobs {
    pub(super) async fn list(&self, list: &BlobList) -> Result<Page<BlobEntry>> {
        let asked = list.to_scan()?;
        let Scope::Partition(bucket) = asked.scope() else {
            return Err(Error::invalid("a list of objects names one bucket"));
        };
        let (names, bucket) = (self.shared.names(), bucket.as_str());
        if list.id_prefix().contains('\0') {
            return Ok(Page::last(Vec::new()));
        }
        let walk = Walk {
            shared: &self.shared,
            folder: names.pointers(bucket),
            prefix: names.pointer(bucket, list.id_prefix()),
        };
        let prefix = asked.prefix();
        let read = |name: String| -> BoxFuture<'_, _> {
            Box::pin(async move {
                let entry = self.entry(&name, bucket, prefix).await?;
                Ok(entry.map(|entry| (entry, ENTRY)))
            })
        };
        let page = walk.page(asked.position_text()?, asked.page_size(), read);
        let found = page.await?;
        Ok(Page::new(
            found.items,
            found.next.map(|position| asked.cursor(position)),
        ))
    }

    /// The published object whose pointer has that name, if it is asked for.
    async fn entry(&self, name: &str, bucket: &str, prefix: &str) -> Result<Option<BlobEntry>> {
        let Some((of, known)) = self.first(name).await? else {
            return Ok(None);
        };
        let key = known.pointer.key();
        let asked = *of == *bucket && key.starts_with(prefix);
        let stat = known.pointer.stat().filter(|_| asked);
        Ok(stat.map(|stat| BlobEntry {
            key: key.to_owned(),
            stat,
        }))
    }
}
