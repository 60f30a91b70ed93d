//! What can be read of a record whose application's part cannot be decoded:
//! what the record itself is, and to what it belongs. Each field is read on its
//! own, and the rest is skipped without recursion.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::record::{Record, Version};

fn read<T: DeserializeOwned + Default + Clone + Send + Sync + 'static>(record: &Record) -> T {
    record
        .decode::<T>()
        .map(|read| (*read).clone())
        .unwrap_or_default()
}

#[derive(Clone, Default, Deserialize, Serialize)]
struct Incarnation {
    incarnation: Option<Version>,
}

/// What distinguishes a stored registration from a later one of the same names. A
/// registration that does not say is taken for one of its own commit.
pub(super) fn incarnation(record: &Record) -> Version {
    read::<Incarnation>(record)
        .incarnation
        .unwrap_or_else(|| record.version())
}

#[derive(Clone, Default, Deserialize, Serialize)]
struct Owner {
    registration: Option<Version>,
}

/// The registration to which a stored deployment belongs.
pub(super) fn owner(record: &Record) -> Option<Version> {
    read::<Owner>(record).registration
}

#[derive(Clone, Default, Deserialize, Serialize)]
struct Names {
    issuer: String,
    client_id: String,
}

/// Issuer and client id of a stored registration, as far as they can be read.
pub(super) fn name(record: &Record) -> String {
    let names = read::<Names>(record);
    match names.issuer.is_empty() {
        true => format!("{} {}", record.partition().as_str(), record.id()),
        false => format!("{} {}", names.issuer, names.client_id),
    }
}

#[derive(Clone, Default, Deserialize, Serialize)]
struct Deployment {
    deployment_id: String,
}

/// The id of a stored deployment, as far as it can be read.
pub(super) fn deployment(record: &Record) -> String {
    match read::<Deployment>(record).deployment_id {
        id if id.is_empty() => record.id().to_owned(),
        id => id,
    }
}
