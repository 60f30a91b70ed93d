//! Bugs that break the promises of `api_keys`.

use super::Saboteur;

/// All of them.
pub fn all() -> Vec<Saboteur> {
    Vec::new()
}
