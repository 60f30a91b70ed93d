//! Pages: a list of names, and the records of them, some at a time.

use futures_util::future::BoxFuture;
use store_core::key::MAX_NAME;
use store_core::{Error, Partition, Record, RecordKey, RecordRef, Records, Result, Scan, Scope};

use crate::keys::just_before;
use crate::objects::{Found, Objects, path};
use crate::shared::Shared;
use crate::together::together;
use crate::wire;

/// The most bytes of records on one page, but for its first record.
const ROOM: usize = 8 << 20;

/// How many records are read before their size is looked at.
const AT_ONCE: usize = 32;

pub(crate) async fn page(shared: &Shared, scan: &Scan) -> Result<Records> {
    // No name is longer than the longest, or holds a NUL.
    let impossible = |prefix: &str| prefix.len() > MAX_NAME || prefix.contains('\0');
    let partitions = match scan.scope() {
        Scope::Partition(_) => "",
        Scope::Partitions(prefix) => prefix,
    };
    if impossible(scan.prefix()) || impossible(partitions) {
        return Ok(Records::last(Vec::new()));
    }
    let collection = scan.in_collection().name();
    let names = shared.names();
    let (folder, prefix) = match scan.scope() {
        Scope::Partition(of) => {
            let of = of.as_str();
            let prefix = names.record_of(collection, of, scan.prefix());
            (names.partition(collection, of), prefix)
        }
        Scope::Partitions(of) => (
            names.collection(collection),
            names.partitions(scan.in_collection(), of),
        ),
    };
    let walk = Walk {
        shared,
        scan,
        folder,
        prefix,
    };
    walk.page().await
}

struct Walk<'a> {
    shared: &'a Shared,
    scan: &'a Scan,
    folder: String,
    /// What every name that can matter begins with.
    prefix: String,
}

impl Walk<'_> {
    async fn page(&self) -> Result<Records> {
        let size = self.scan.page_size();
        let mut after = match self.scan.position_text()? {
            Some(position) => Some(self.position(position)?),
            None => just_before(&self.prefix),
        };
        let mut page: Vec<(String, Record)> = Vec::new();
        let mut room = ROOM;
        loop {
            let (names, more) = self
                .shared
                .bucket()
                .list(&self.folder, after.as_deref())
                .await?;
            after = names.last().cloned();
            let past = |name: &str| name > &*self.prefix && !name.starts_with(&self.prefix);
            let more = more && !after.as_deref().is_some_and(past);
            let mut names = names
                .into_iter()
                .filter(|name| name.starts_with(&self.prefix));
            loop {
                // One more than asked for tells whether there is more.
                let wanted = (size + 1 - page.len()).min(AT_ONCE);
                let some: Vec<String> = names.by_ref().take(wanted).collect();
                if some.is_empty() {
                    break;
                }
                let mut all: Vec<BoxFuture<'_, _>> = Vec::with_capacity(some.len());
                for name in some {
                    all.push(Box::pin(self.record(name)));
                }
                for (name, record) in together(all).await? {
                    let Some(record) = record else { continue };
                    let bytes = record.body().size();
                    if page.len() == size || (bytes > room && !page.is_empty()) {
                        return Ok(self.cut(page));
                    }
                    room = room.saturating_sub(bytes);
                    page.push((name, record));
                }
            }
            if !more {
                return Ok(Records::last(page.into_iter().map(|(_, r)| r).collect()));
            }
        }
    }

    /// Where to go on. A forged cursor may hold anything.
    fn position(&self, position: &str) -> Result<String> {
        let name = format!("{}/{position}", self.folder);
        path(&name).map_err(|_| {
            Error::invalid("the cursor was not made by this list; pass one that it returned")
        })?;
        Ok(name)
    }

    /// A page after which there is more.
    fn cut(&self, page: Vec<(String, Record)>) -> Records {
        let last = page.last().map_or("", |(name, _)| name);
        let position = &last[(self.folder.len() + 1).min(last.len())..];
        let next = Some(self.scan.cursor(position));
        let items = page.into_iter().map(|(_, record)| record).collect();
        Records { items, next }
    }

    /// The record of that name, if it is there and asked for.
    async fn record(&self, name: String) -> Result<(String, Option<Record>)> {
        let Some(found) = self.shared.bucket().get(&name).await? else {
            return Ok((name, None));
        };
        let record = self.of(found).await?;
        Ok((name, record))
    }

    async fn of(&self, found: Found) -> Result<Option<Record>> {
        let named = wire::decode(&found.bytes)?;
        let asked = named.id.starts_with(self.scan.prefix())
            && match self.scan.scope() {
                Scope::Partition(of) => named.partition == of.as_str(),
                Scope::Partitions(prefix) => named.partition.starts_with(&**prefix),
            };
        if !asked {
            return Ok(None);
        }
        let collection = self.scan.in_collection();
        let partition = Partition::new(&named.partition)?;
        let key = RecordKey::new(collection, &named.id)?;
        let at = RecordRef::new(&named.partition, collection, &named.id)?;
        let current = self.shared.protocol.understand(at, Some(found)).await?;
        current.record_of(&partition, &key, self.shared.now())
    }
}
