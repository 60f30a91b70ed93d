//! Bugs that break the promises of `records`.

use super::Saboteur;

/// All of them.
pub fn all() -> Vec<Saboteur> {
    Vec::new()
}
