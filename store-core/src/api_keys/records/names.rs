//! Where the records of a key are.

use data_encoding::BASE32_NOPAD;
use serde::{Deserialize, Serialize};

use crate::api_keys::data::{KeyFormatNumber, KeyId, StoredKey};
use crate::api_keys::key::ApiKey;
use crate::body::{Body, Format, Unknown};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::hint::Hint;
use crate::key::{Collection, Partition, RecordKey, bounded};
use crate::secret::{Digest, bucket};

/// The keys, each named by a digest of its secret.
pub const API_KEYS: Collection = Collection::new("api_keys").cacheable();

/// Where the key of a public id is; in the key's partition.
pub const API_KEY_IDS: Collection = Collection::new("api_key_ids").cacheable();

/// Which keys a tenant may have; in the tenant's partition. A hint's name is
/// never used again.
pub const API_KEY_HINTS: Collection = Collection::new("api_key_hints").single_use();

/// Also what the digests are derived for. Part of what is stored.
pub(super) const PURPOSE: &str = "api keys";

/// What all partitions of keys start with.
pub(super) const PARTITIONS: &str = "api_keys/";

fn bucket_partition(hex: &str) -> Result<Partition> {
    Partition::new(format!("{PARTITIONS}{hex}"))
}

/// The partition of a secret: the same under every ring.
pub(super) fn partition_of(key: &ApiKey) -> Result<Partition> {
    bucket_partition(&bucket_hex(key))
}

fn bucket_hex(key: &ApiKey) -> String {
    format!("{:04x}", bucket(PURPOSE, key.expose().as_bytes()))
}

/// A new public id: the partition's four digits and 128 random bits, so that
/// the id alone leads to the partition.
pub(super) fn new_id(key: &ApiKey) -> Result<KeyId> {
    KeyId::new(format!("{}{}", bucket_hex(key), random_text()))
}

/// The partition that an id of ours leads to; `None` for anything else.
pub(super) fn partition_of_id(id: &KeyId) -> Option<Partition> {
    let hex = id.as_str().get(..4)?;
    let ours = hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    ours.then(|| bucket_partition(hex).ok())?
}

pub(super) fn key_at(digest: &Digest) -> Result<RecordKey> {
    RecordKey::new(API_KEYS, digest.as_str())
}

pub(super) fn id_at(id: &KeyId) -> Result<RecordKey> {
    RecordKey::new(API_KEY_IDS, id.as_str())
}

/// Where a tenant's hints are.
pub(super) fn tenant_partition(tenant: &str) -> Result<Partition> {
    Partition::new(bounded(&format!("api_key_tenants/{tenant}")))
}

/// A hint: the key's id and the name that the key knows it by.
pub(super) fn hint_at(id: &KeyId, hint: &str) -> Result<RecordKey> {
    RecordKey::new(API_KEY_HINTS, format!("{id}.{hint}"))
}

/// 128 random bits.
pub(super) fn random_text() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    BASE32_NOPAD.encode(&bytes).to_ascii_lowercase()
}

/// Leads from a public id to the key's record in the same partition.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct StoredId {
    pub(super) format: KeyFormatNumber,
    /// The id of the key's record.
    pub(super) digest: String,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

impl StoredId {
    pub(super) fn body(digest: &str) -> Result<Body> {
        Body::json(Self {
            format: Format,
            digest: digest.into(),
            unknown: Unknown::new(),
        })
    }
}

/// Says that a tenant may have a key; the key itself has the last word.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct StoredHint {
    pub(super) format: KeyFormatNumber,
    pub(super) id: KeyId,
    pub(super) hint: String,
    pub(super) written_at: Timestamp,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

/// The hint that a key of this tenant and id names, if it names one.
pub(super) fn hint_of(
    tenant: Option<&str>,
    id: &KeyId,
    hint: Option<&str>,
) -> Result<Option<Hint>> {
    let (Some(tenant), Some(hint)) = (tenant, hint) else {
        return Ok(None);
    };
    Ok(Some(Hint {
        partition: tenant_partition(tenant)?,
        key: hint_at(id, hint)?,
    }))
}

impl StoredKey {
    pub(super) fn hint(&self) -> Result<Option<Hint>> {
        hint_of(self.data.tenant.as_deref(), &self.id, self.hint.as_deref())
    }
}
