//! Mistakes in how API keys are stored as records, and in the handle over them.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use store_core::api_keys::{ApiKey, ApiKeyLayer, ApiKeyStore, ApiKeys, KeyFormat, Lookup};
use store_core::secret::KeyRing;
use store_core::{Batch, Change, Record, Result};

use crate::cases::api_keys::{handle, record_cases, rings};
use crate::mutants::altered::{committing, edited, reading, rewritten, unexpiring};
use crate::mutants::{Mutant, sound};
use crate::suite::{Case, Suite};

macro_rules! mutant {
    ($name:literal, $killed_by:literal, $below:expr) => {
        Mutant {
            name: $name,
            contract: "api_keys",
            killed_by: $killed_by,
            suite: || Suite::new("api_keys", $below, record_cases()),
        }
    };
}

/// A mistake above the records: the case runs over what `$with` makes.
macro_rules! above {
    ($name:literal, $killed_by:literal, $case:path, $with:expr) => {
        Mutant {
            name: $name,
            contract: "api_keys",
            killed_by: $killed_by,
            suite: || {
                let case = Case::new($killed_by, &[], |given| Box::pin($case(given, $with)));
                let backend = Arc::clone(sound().backend_harness());
                Suite::new("api_keys", backend, vec![case])
            },
        }
    };
}

/// All of them.
pub(super) fn all() -> Vec<Mutant> {
    vec![
        mutant!(
            "reads a key of a later format as if it knew the format",
            "a_key_of_a_later_format_is_an_error_and_never_a_yes",
            reading(of_any_format)
        ),
        mutant!(
            "does not compare its key ring with the stored fingerprints",
            "a_wrong_key_ring_is_a_configuration_error",
            reading(without_fingerprints)
        ),
        mutant!(
            "drops the expiry of a key when it digests the key again",
            "a_redigested_key_expires_in_its_time",
            committing(without_an_expiry)
        ),
        above!(
            "looks for keys under the first two keys of a ring",
            "a_ring_of_several_keys_finds_counts_and_moves_keys_of_each",
            rings::finds_counts_and_moves,
            two_at_most
        ),
        above!(
            "finds only keys of the current prefix",
            "keys_of_a_former_prefix_are_still_found",
            handle::former_prefixes,
            of_one_prefix
        ),
    ]
}

fn of_any_format(record: Record) -> Option<Record> {
    if record.key().collection().name() != "api_keys" {
        return Some(record);
    }
    let known = edited(&record, |fields| {
        fields.insert("format".into(), 1.into());
        Ok(())
    });
    Some(known.expect("a key is stored as an object"))
}

fn without_fingerprints(record: Record) -> Option<Record> {
    (record.key().collection().name() != "key_rings").then_some(record)
}

fn without_an_expiry(batch: &Batch) -> Result<Batch> {
    let mut items = batch.items().iter();
    let moves = items.any(|item| matches!(item.change(), Change::Delete));
    rewritten(batch, |item| {
        Some(match moves {
            true => unexpiring(item),
            false => item.change().clone(),
        })
    })
}

fn two_at_most(names: &[&str]) -> Result<KeyRing> {
    rings::ring(&names[..names.len().min(2)])
}

struct OfOnePrefix {
    inner: Arc<dyn ApiKeyStore>,
    prefix: &'static str,
}

impl fmt::Debug for OfOnePrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OfOnePrefix").finish_non_exhaustive()
    }
}

#[async_trait]
impl ApiKeyLayer for OfOnePrefix {
    fn inner(&self) -> &dyn ApiKeyStore {
        &*self.inner
    }

    async fn get_key(&self, key: &ApiKey) -> Result<Lookup> {
        match key.expose().strip_prefix(self.prefix) {
            Some(rest) if rest.starts_with('_') => self.inner.get_key(key).await,
            _ => Ok(Lookup::Unknown),
        }
    }
}

fn of_one_prefix(keys: ApiKeys, prefix: &'static str) -> Result<ApiKeys> {
    let keys = keys.with_format(KeyFormat::new(prefix)?);
    let inner = Arc::clone(keys.store());
    Ok(keys.with_store(Arc::new(OfOnePrefix { inner, prefix })))
}
