//! Lists of entities, filtered by path and by the family's own filter.

use std::sync::Arc;

use crate::entity::{Listing, TenantPath, partition};
use crate::error::Result;
use crate::iam::{RecordEntities, TenantEntity};
use crate::page::{Cursor, Page};
use crate::record::Record;
use crate::scan::Scan;

/// How many records are read at a time when only some of them match.
const CHUNK: usize = 200;

impl RecordEntities {
    /// Entities sort by name, so a filtered list reads past those that do not
    /// match. A page is as full as it can be, and has a cursor only if more
    /// entities match.
    pub(super) async fn list_entities<E: TenantEntity>(
        &self,
        tenant: &TenantPath,
        listing: &Listing<E>,
    ) -> Result<Page<Arc<E>>> {
        let all = Scan::partition(E::FAMILY.collection, partition(tenant)?);
        // Binds the cursor to the whole query, not only to its scan.
        let narrowed = format!("{}\0{:?}", listing.prefix(), listing.family_filter());
        let query = all
            .clone()
            .id_prefix(narrowed)
            .page(listing.page_request())?;
        let from = query.position_text()?;
        let mut from = from.map(str::parse::<Cursor>).transpose()?;
        let limit = query.page_size();
        let mut chunk = limit;
        let mut items: Vec<Arc<E>> = Vec::new();
        loop {
            let mut scan = all.clone().limit(chunk)?;
            if let Some(cursor) = &from {
                scan = scan.after(cursor)?;
            }
            let page = self.records().scan(&scan).await?;
            let room = limit - items.len();
            let (shown, overflow) = show(&page.items, listing, room)?;
            if let Some(overflow) = overflow {
                // More than fit: read again up to the last one that fits, for its cursor.
                chunk = overflow;
                continue;
            }
            items.extend(shown);
            let Some(cursor) = page.next else {
                return Ok(Page::last(items));
            };
            if items.len() == limit {
                let more = self.any_after(&all, &cursor, listing).await?;
                let next = more.then(|| query.cursor(cursor.to_string()));
                return Ok(Page::new(items, next));
            }
            from = Some(cursor);
            chunk = CHUNK.max(limit - items.len());
        }
    }

    /// Whether anything that matches comes after `cursor`.
    async fn any_after<E: TenantEntity>(
        &self,
        all: &Scan,
        cursor: &Cursor,
        listing: &Listing<E>,
    ) -> Result<bool> {
        let mut from = cursor.clone();
        loop {
            let page = self
                .records()
                .scan(&all.clone().limit(CHUNK)?.after(&from)?)
                .await?;
            if !show(&page.items, listing, usize::MAX)?.0.is_empty() {
                return Ok(true);
            }
            match page.next {
                Some(cursor) => from = cursor,
                None => return Ok(false),
            }
        }
    }
}

/// Those of `records` that match; if they are more than `room`, how many records
/// contain exactly `room` of them.
fn show<E: TenantEntity>(
    records: &[Record],
    listing: &Listing<E>,
    room: usize,
) -> Result<(Vec<Arc<E>>, Option<usize>)> {
    let mut shown = Vec::new();
    let mut end = 0;
    for (index, record) in records.iter().enumerate() {
        let entity = record.decode::<E>()?;
        if !entity.meta().path.starts_with(listing.prefix())
            || !entity.passes(listing.family_filter())
        {
            continue;
        }
        if shown.len() == room {
            return Ok((shown, Some(end)));
        }
        shown.push(entity);
        end = index + 1;
    }
    Ok((shown, None))
}
