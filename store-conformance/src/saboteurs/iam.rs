//! Bugs that break the promises of `iam`.

use super::Saboteur;

/// All of them.
pub fn all() -> Vec<Saboteur> {
    Vec::new()
}
