//! Bugs that break the promises of `tenants`.

use super::Saboteur;

/// All of them.
pub fn all() -> Vec<Saboteur> {
    Vec::new()
}
