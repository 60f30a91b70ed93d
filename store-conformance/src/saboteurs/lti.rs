//! Bugs that break the promises of `lti`.

use super::Saboteur;

/// All of them.
pub fn all() -> Vec<Saboteur> {
    Vec::new()
}
