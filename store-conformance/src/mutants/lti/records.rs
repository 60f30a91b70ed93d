//! Mistakes in how LTI data is stored as records.

use serde_json::Value;
use store_core::secret::{Sealed, Secret};
use store_core::{Batch, Change, Error, Expect, Record, Result};

use crate::cases::lti::records::{cases, old_ring};
use crate::mutants::Mutant;
use crate::mutants::altered::{committing, edited, reading, rewritten, unexpiring};
use crate::suite::Suite;

macro_rules! mutant {
    ($name:literal, $killed_by:literal, $below:expr) => {
        Mutant {
            name: $name,
            contract: "lti",
            killed_by: $killed_by,
            suite: || Suite::new("lti", $below, cases()),
        }
    };
}

/// All of them.
pub(super) fn all() -> Vec<Mutant> {
    vec![
        mutant!(
            "a deletion does not expect the default that it read",
            "a_default_that_moves_during_a_deletion_is_right",
            committing(without_the_default)
        ),
        mutant!(
            "sealing a token again drops its expiry",
            "a_resealed_secret_expires_as_it_did_before",
            committing(without_an_expiry)
        ),
        mutant!(
            "a deletion deletes the first fifty of each page of deployments",
            "a_registration_of_more_than_a_hundred_deployments_is_deleted_whole",
            committing(fifty_at_most)
        ),
        mutant!(
            "a private key in clear text is used as if it were sealed",
            "a_stored_secret_in_clear_text_is_never_used",
            reading(trusting)
        ),
    ]
}

fn without_the_default(batch: &Batch) -> Result<Batch> {
    let mut altered = Batch::new(batch.partition().clone(), batch.now());
    let mut items = batch.items().iter();
    let deletes = items.any(|item| matches!(item.change(), Change::Delete));
    for item in batch.items() {
        let is_default = item.key().collection().name() == "lti_defaults";
        let expect = match deletes && is_default {
            true => Expect::Any,
            false => item.expect(),
        };
        altered.item(item.key().clone(), expect, item.change().clone())?;
    }
    Ok(altered)
}

fn without_an_expiry(batch: &Batch) -> Result<Batch> {
    rewritten(batch, |item| {
        let is_token = item.key().collection().name() == "lti_tokens";
        let replaces = matches!(item.expect(), Expect::Version(_));
        Some(match is_token && replaces {
            true => unexpiring(item),
            false => item.change().clone(),
        })
    })
}

fn fifty_at_most(batch: &Batch) -> Result<Batch> {
    let mut altered = Batch::new(batch.partition().clone(), batch.now());
    for item in batch.items().iter().take(50) {
        altered.item(item.key().clone(), item.expect(), item.change().clone())?;
    }
    Ok(altered)
}

/// Seals what is in clear text, so that it opens.
fn trusting(record: Record) -> Option<Record> {
    let clear = record.decode::<Value>().ok();
    let clear = clear.and_then(|body| body["private_key"].as_str().map(Secret::new));
    let (Some(clear), "lti_keys") = (clear, record.key().collection().name()) else {
        return Some(record);
    };
    let sealed = || {
        let sealed = Sealed::seal(&old_ring()?, record.at(), "private_key", &clear)?;
        serde_json::to_value(sealed).map_err(|_| Error::corrupt("a sealed text is JSON"))
    };
    let trusted = edited(&record, |fields| {
        fields.insert("private_key".into(), sealed()?);
        Ok(())
    });
    Some(trusted.expect("it is an object"))
}
