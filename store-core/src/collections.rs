//! The collections in which the contracts keep their records, for a backend
//! that must know them before they are used, to make a table for each.

use crate::key::Collection;
use crate::limits::BUCKETS;

/// All of them.
///
/// ```
/// assert!(store_core::collections::ALL.iter().any(|c| c.name() == "buckets"));
/// ```
pub const ALL: &[Collection] = &[BUCKETS];
