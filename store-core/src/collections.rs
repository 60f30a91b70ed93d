//! The collections of the contracts, their views for people, and the flags that a store was set up with.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::backend::view::View;
use crate::body::{Body, Format};
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Collection, Partition, RecordKey};
use crate::record_store::RecordStore;
use crate::update::{Decided, RecordStoreExt};

/// The flags of each collection that `setup` has seen, in one record.
const FLAGS: Collection = Collection::new("collection_flags");

/// All collections in which the contracts store records, for a backend that must
/// know them before they are used.
///
/// ```
/// let all = store_core::collections::all();
/// assert!(all.iter().any(|collection| collection.name() == "api_keys"));
/// ```
pub fn all() -> Vec<Collection> {
    let all: &[&[Collection]] = &[
        &[FLAGS],
        #[cfg(feature = "limits")]
        &[crate::limits::BUCKETS],
        #[cfg(feature = "blobs")]
        &[
            crate::blobs::BLOBS,
            crate::blobs::BLOB_CHUNKS,
            crate::blobs::BLOB_RECLAIM,
        ],
        #[cfg(feature = "api-keys")]
        &[
            crate::api_keys::API_KEYS,
            crate::api_keys::API_KEY_IDS,
            crate::api_keys::API_KEY_HINTS,
            crate::api_keys::KEY_RINGS,
        ],
        #[cfg(feature = "lti")]
        crate::lti::COLLECTIONS,
        #[cfg(feature = "identity")]
        crate::tenants::COLLECTIONS,
        #[cfg(feature = "identity")]
        crate::iam::COLLECTIONS,
        #[cfg(feature = "identity")]
        &families().map(|family| family.collection()),
    ];
    all.concat()
}

/// The views of all collections that people look at.
///
/// ```
/// let views = store_core::collections::views();
/// assert!(views.iter().any(|view| view.name == "api_keys"));
/// ```
pub fn views() -> Vec<View> {
    let views: &[&[View]] = &[
        #[cfg(feature = "blobs")]
        &[crate::blobs::VIEW],
        #[cfg(feature = "api-keys")]
        &[crate::api_keys::VIEW],
        #[cfg(feature = "lti")]
        crate::lti::VIEWS,
        #[cfg(feature = "identity")]
        &[crate::tenants::VIEW],
        #[cfg(feature = "identity")]
        crate::iam::VIEWS,
        #[cfg(feature = "identity")]
        &families().map(|family| family.view()),
    ];
    views.concat()
}

#[cfg(feature = "identity")]
fn families() -> [crate::iam::Family; 5] {
    use crate::iam::{AccessKey, Group, Policy, Role, TenantEntity, User};
    [
        User::FAMILY,
        Group::FAMILY,
        Role::FAMILY,
        Policy::FAMILY,
        AccessKey::FAMILY,
    ]
}

/// The collection of the contracts that has this name, with its flags.
///
/// ```
/// use store_core::collections;
/// assert!(collections::find("lti_nonces").is_some_and(|c| c.is_single_use()));
/// assert!(collections::find("invoices").is_none());
/// ```
pub fn find(name: &str) -> Option<Collection> {
    all().into_iter().find(|known| known.name() == name)
}

#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
struct StoredFlags {
    format: Format<1>,
    /// By collection, the names of its flags.
    flags: BTreeMap<String, String>,
}

/// Compares the flags of collections with those that were stored before, and
/// stores those of new ones: for the `setup` of a backend, once its records can
/// be used. One read if all are known.
///
/// # Errors
/// `Config` if the flags of one differ, with nothing written; the store's own.
pub async fn register(records: &dyn RecordStore, declared: &[Collection]) -> Result<()> {
    let (partition, key) = place()?;
    records
        .update(&partition, &key, |record| {
            let stored = record.map(|record| record.decode::<StoredFlags>());
            let stored = stored.transpose()?.unwrap_or_default();
            let mut next = (*stored).clone();
            for collection in declared {
                collection.check_flags()?;
                let flags = collection.flags();
                match next.flags.get(collection.name()) {
                    Some(found) if *found == flags => {}
                    Some(found) => return Err(stored_otherwise(collection.name(), found, &flags)),
                    None => drop(next.flags.insert(collection.name().into(), flags)),
                }
            }
            if next == *stored {
                return Ok(Decided::Keep(()));
            }
            Ok(Decided::Put(Body::json(next)?, None, ()))
        })
        .await
}

fn place() -> Result<(Partition, RecordKey)> {
    Ok((
        Partition::new("collection_flags")?,
        RecordKey::new(FLAGS, "all")?,
    ))
}

fn stored_otherwise(name: &str, found: &str, declared: &str) -> Error {
    Error::new(
        ErrorKind::Config,
        format!(
            "the collection `{name}` was set up as [{found}] and is declared as [{declared}]; \
             nothing was written. Declare it as before, or use another name: programs that \
             disagree on flags would lose each other's records"
        ),
    )
    .with_operation("setup")
}
