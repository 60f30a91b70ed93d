//! Lists of keys.

use crate::api_keys::data::{KeyEntry, KeyId, StoredKey};
use crate::api_keys::records::names::{
    API_KEY_HINTS, API_KEY_IDS, API_KEYS, PARTITIONS, StoredId, partition_of_id, tenant_partition,
};
use crate::api_keys::records::readable::{Readable, id_of};
use crate::api_keys::records::{RecordApiKeys, entry};
use crate::api_keys::store::ListKeys;
use crate::error::Result;
use crate::key::RecordRef;
use crate::page::{MAX_PAGE, Page, Unreadable};
use crate::record::Record;
use crate::scan::Scan;

/// Where a list found a key's id.
struct Lead {
    id: KeyId,
    /// The hint that led there; `None` if it was the id's own record.
    hint: Option<String>,
}

impl RecordApiKeys {
    pub(super) async fn list_keys(&self, query: &ListKeys) -> Result<Page<KeyEntry>> {
        let mut request = query.page_request().clone();
        let all = match query.tenant() {
            Some(tenant) => Scan::partition(API_KEY_HINTS, tenant_partition(tenant)?),
            None => Scan::collection(API_KEY_IDS, PARTITIONS),
        };
        loop {
            let page = self.records.scan(&all.clone().page(&request)?).await?;
            let mut found = self.follow(query, leads(&page.items)).await?;
            found.next = page.next;
            // Leads that lead nowhere may fill a page, which must not be empty.
            match found.next {
                Some(next) if found.is_empty() => request = request.after(next),
                next => {
                    found.next = next;
                    return Ok(found);
                }
            }
        }
    }

    /// How many keys are still digested under this key of the ring. It scans
    /// all of them: for an operator, not for a request.
    ///
    /// # Errors
    /// The store's own.
    pub async fn count_under(&self, ring_key: &str) -> Result<u64> {
        let scan = Scan::collection(API_KEYS, PARTITIONS)
            .id_prefix(format!("{ring_key}."))
            .limit(MAX_PAGE)?;
        let mut page = self.records.scan(&scan).await?;
        let mut count = page.items.len() as u64;
        while let Some(cursor) = page.next {
            page = self.records.scan(&scan.clone().after(&cursor)?).await?;
            count += page.items.len() as u64;
        }
        Ok(count)
    }

    /// The keys that `leads` lead to, in two requests. A lead that leads
    /// nowhere is left out.
    async fn follow(&self, query: &ListKeys, leads: Vec<Lead>) -> Result<Page<KeyEntry>> {
        let mut places = Vec::new();
        for lead in leads {
            if let Some(partition) = partition_of_id(&lead.id) {
                places.push((lead, partition));
            }
        }
        let at = places
            .iter()
            .map(|(lead, partition)| {
                RecordRef::new(partition.as_str(), API_KEY_IDS, lead.id.as_str())
            })
            .collect::<Result<Vec<_>>>()?;
        let (mut pointed, mut at_keys, mut damaged) = (Vec::new(), Vec::new(), Vec::new());
        let pointers = self.records.get_many(&at).await?;
        let pointers: Vec<_> = pointers
            .iter()
            .map(|pointer| Some(pointer.as_ref()?.decode::<StoredId>().ok()))
            .collect();
        for ((lead, partition), pointer) in places.iter().zip(&pointers) {
            let Some(pointer) = pointer else { continue };
            let at = pointer.as_ref().and_then(|pointer| {
                RecordRef::new(partition.as_str(), API_KEYS, &pointer.digest).ok()
            });
            match at {
                Some(at) => {
                    pointed.push(lead);
                    at_keys.push(at);
                }
                None => damaged.push(lead),
            }
        }
        let mut page = Page::last(Vec::new());
        for (lead, record) in pointed.iter().zip(self.records.get_many(&at_keys).await?) {
            // A key that was re-digested between the two requests is elsewhere.
            let record = match record {
                Some(record) if id_of(&record).is_none_or(|id| id == lead.id) => Some(record),
                _ => self.find_by_id(&lead.id).await?,
            };
            lead.add(query, record, &mut page)?;
        }
        for lead in damaged {
            let record = self.find_by_id(&lead.id).await?;
            lead.add(query, record, &mut page)?;
        }
        Ok(page)
    }
}

impl Lead {
    /// Adds the key that was found to the page.
    fn add(
        &self,
        query: &ListKeys,
        record: Option<Record>,
        page: &mut Page<KeyEntry>,
    ) -> Result<()> {
        let Some(record) = record else { return Ok(()) };
        match record.decode::<StoredKey>() {
            Ok(key) => {
                if self.is_valid(query, key.data.tenant.as_deref(), key.hint.as_deref()) {
                    page.items.push(entry(&record)?);
                }
            }
            Err(error) => {
                // What cannot be read of it does not exclude it.
                let key = Readable::of(&record);
                let tenant = key.tenant().or(query.tenant());
                let hint = key.hint().or(self.hint.as_deref());
                if self.is_valid(query, tenant, hint) {
                    let unreadable = Unreadable::new(self.id.as_str(), error)?;
                    page.unreadable.push(unreadable);
                }
            }
        }
        Ok(())
    }

    /// A hint counts only if the key itself names it.
    fn is_valid(&self, query: &ListKeys, tenant: Option<&str>, hint: Option<&str>) -> bool {
        self.hint.is_none() || (hint == self.hint.as_deref() && tenant == query.tenant())
    }
}

/// Everything that a lead says is in the record's name, so a damaged body hides
/// no key.
fn leads(records: &[Record]) -> Vec<Lead> {
    let lead = |record: &Record| {
        if record.at().collection() == API_KEY_IDS {
            let id = KeyId::new(record.id()).ok()?;
            return Some(Lead { id, hint: None });
        }
        let (id, hint) = record.id().split_once('.')?;
        Some(Lead {
            id: KeyId::new(id).ok()?,
            hint: Some(hint.into()),
        })
    };
    records.iter().filter_map(lead).collect()
}
