//! Lists of keys.

use std::sync::Arc;

use crate::api_keys::data::{KeyEntry, KeyId, StoredKey};
use crate::api_keys::records::names::{
    API_KEY_HINTS, API_KEY_IDS, API_KEYS, PARTITIONS, StoredHint, StoredId, partition_of_id,
    tenant_partition,
};
use crate::api_keys::records::{RecordApiKeys, entry};
use crate::api_keys::store::ListKeys;
use crate::error::Result;
use crate::key::RecordRef;
use crate::record::Record;
use crate::scan::{MAX_PAGE, Page, Scan};

/// Where a list found a key's id.
struct Lead {
    id: KeyId,
    /// The hint that led there; `None` if it was the id's own record.
    hint: Option<Arc<StoredHint>>,
}

impl RecordApiKeys {
    pub(super) async fn list_keys(&self, query: &ListKeys) -> Result<Page<KeyEntry>> {
        let mut cursor = query.cursor().cloned();
        loop {
            let mut scan = match query.tenant() {
                Some(tenant) => Scan::partition(API_KEY_HINTS, tenant_partition(tenant)?),
                None => Scan::collection(API_KEY_IDS, PARTITIONS),
            }
            .limit(query.page_size())?;
            if let Some(cursor) = &cursor {
                scan = scan.after(cursor)?;
            }
            let page = self.records.scan(&scan).await?;
            let items = self.follow(query, leads(&page.items)?).await?;
            // Leads that lead nowhere may fill a page, which must not be empty.
            if !items.is_empty() || page.next.is_none() {
                return Ok(Page::new(items, page.next));
            }
            cursor = page.next;
        }
    }

    /// How many keys are still digested under this key of the ring. It walks
    /// over all of them: for an operator, not for a request.
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
    async fn follow(&self, query: &ListKeys, leads: Vec<Lead>) -> Result<Vec<KeyEntry>> {
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
        let mut pointed = Vec::new();
        for (place, pointer) in places.iter().zip(self.records.get_many(&at).await?) {
            if let Some(pointer) = pointer {
                pointed.push((place, pointer.decode::<StoredId>()?));
            }
        }
        let at = pointed
            .iter()
            .map(|((_, partition), pointer)| {
                RecordRef::new(partition.as_str(), API_KEYS, &pointer.digest)
            })
            .collect::<Result<Vec<_>>>()?;
        let mut keys = Vec::new();
        for (((lead, _), _), record) in pointed.iter().zip(self.records.get_many(&at).await?) {
            // A key that was re-digested between the two requests is elsewhere.
            let record = match record {
                Some(record) if record.decode::<StoredKey>()?.id == lead.id => Some(record),
                _ => self.find_by_id(&lead.id).await?,
            };
            if let Some(record) = record
                && lead.is_believed(query, &record)?
            {
                keys.push(entry(&record)?);
            }
        }
        Ok(keys)
    }
}

impl Lead {
    /// A hint counts if the key itself says so.
    fn is_believed(&self, query: &ListKeys, record: &Record) -> Result<bool> {
        let key = record.decode::<StoredKey>()?;
        Ok(match &self.hint {
            Some(hint) => {
                key.hint.as_ref() == Some(&hint.hint)
                    && key.data.tenant.as_deref() == query.tenant()
            }
            None => true,
        })
    }
}

fn leads(records: &[Record]) -> Result<Vec<Lead>> {
    records
        .iter()
        .map(|record| {
            if record.at().collection() == API_KEY_IDS {
                let id = KeyId::new(record.id())?;
                return Ok(Lead { id, hint: None });
            }
            let hint = record.decode::<StoredHint>()?;
            Ok(Lead {
                id: hint.id.clone(),
                hint: Some(hint),
            })
        })
        .collect()
}
