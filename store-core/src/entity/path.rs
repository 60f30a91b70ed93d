//! The place of a tenant in its tree.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::error::{Error, Result};
use crate::key::Partition;

/// The partition of a tenant's identities.
pub(crate) fn partition(tenant: &TenantPath) -> Result<Partition> {
    Partition::new(format!("iam/{tenant}"))
}

/// The most levels of tenants.
pub const MAX_DEPTH: usize = 10;

/// The path of a tenant: the numbers of its ancestors from the root down, then
/// its own number, as in `1/2/3`. Cheap to clone.
///
/// A number is a `u64` in its shortest decimal form: `18446744073709551615` is
/// valid, `007` and `+5` are not. Paths sort bytewise, as lists do. Ancestry is
/// decided by whole numbers: `1/2` is not an ancestor of `1/23`.
///
/// ```
/// use store_core::tenants::TenantPath;
/// # fn main() -> store_core::Result<()> {
/// let team: TenantPath = "1/2/3".parse()?;
/// let company: TenantPath = "1".parse()?;
/// assert!(company.is_ancestor_of(&team));
/// assert_eq!(team.parent().unwrap().child(7)?.to_string(), "1/2/7");
/// assert!("1/02".parse::<TenantPath>().is_err());
/// # Ok(()) }
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantPath(Arc<str>);

impl TenantPath {
    /// The root of a tree of its own.
    pub fn root(number: u64) -> Self {
        Self(number.to_string().into())
    }

    /// The child of this number.
    ///
    /// # Errors
    /// `InvalidInput` below [`MAX_DEPTH`].
    pub fn child(&self, number: u64) -> Result<Self> {
        if self.depth() == MAX_DEPTH {
            return Err(too_deep());
        }
        Ok(Self(format!("{}/{number}", self.0).into()))
    }

    /// The tenant above; `None` for a root.
    pub fn parent(&self) -> Option<Self> {
        let (parent, _) = self.0.rsplit_once('/')?;
        Some(Self(parent.into()))
    }

    /// The tenants above, the root first, without this one.
    pub fn ancestors(&self) -> Vec<Self> {
        let ends = self.0.match_indices('/');
        ends.map(|(end, _)| Self(self.0[..end].into())).collect()
    }

    /// True if `other` is below this one, at any depth; not of itself.
    pub fn is_ancestor_of(&self, other: &Self) -> bool {
        other
            .0
            .strip_prefix(&*self.0)
            .is_some_and(|rest| rest.starts_with('/'))
    }

    /// No tenant yet: what a new entity carries until the handle that creates it
    /// sets its tenant. Not valid in a store.
    pub(crate) fn unassigned() -> Self {
        Self("".into())
    }

    /// Whether this is [`TenantPath::unassigned`].
    pub(crate) fn is_unassigned(&self) -> bool {
        self.0.is_empty()
    }

    /// The numbers, the root's first.
    pub fn numbers(&self) -> impl Iterator<Item = u64> {
        self.0.split('/').filter_map(|part| part.parse().ok())
    }

    /// Its own number.
    pub fn number(&self) -> u64 {
        self.numbers().last().unwrap_or_default()
    }

    /// How many levels: 1 for a root.
    pub fn depth(&self) -> usize {
        1 + self.0.matches('/').count()
    }

    /// The text form.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first number, as text: what names the tree.
    pub(crate) fn tree(&self) -> &str {
        self.0.split_once('/').map_or(&*self.0, |(root, _)| root)
    }
}

fn too_deep() -> Error {
    Error::invalid(format!("a tenant is at most {MAX_DEPTH} levels deep"))
}

impl FromStr for TenantPath {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let shortest = |part: &str| {
            part.parse::<u64>()
                .is_ok_and(|number| number.to_string() == part)
        };
        if !text.split('/').all(shortest) {
            return Err(Error::invalid(
                "a tenant's path is whole numbers joined by `/`, each without sign or leading \
                 zeros, such as 1/2/3",
            ));
        }
        let path = Self(text.into());
        if path.depth() > MAX_DEPTH {
            return Err(too_deep());
        }
        Ok(path)
    }
}

impl fmt::Display for TenantPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TenantPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for TenantPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for TenantPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse()
            .map_err(|_| de::Error::custom("expected a tenant's path such as 1/2/3"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> TenantPath {
        text.parse().unwrap()
    }

    #[test]
    fn only_the_shortest_form_of_a_u64_is_a_number() {
        assert_eq!(path("0/18446744073709551615").number(), u64::MAX);
        for wrong in [
            "",
            "/",
            "1/",
            "/1",
            "1//2",
            "+5",
            "-1",
            "007",
            "00",
            "1/ 2",
            "1.0",
            "a",
            "１",
            "18446744073709551616",
            "1/2/3/4/5/6/7/8/9/10/11",
        ] {
            assert!(wrong.parse::<TenantPath>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn ancestry_is_decided_by_whole_numbers() {
        assert!(path("1/2").is_ancestor_of(&path("1/2/3")));
        assert!(path("1").is_ancestor_of(&path("1/2/3")));
        assert!(!path("1/2").is_ancestor_of(&path("1/23")));
        assert!(!path("1/2").is_ancestor_of(&path("1/2")));
        assert!(!path("1/2").is_ancestor_of(&path("1")));
        assert_eq!(path("1/2/3").ancestors(), [path("1"), path("1/2")]);
        assert!(path("1").ancestors().is_empty() && path("1").parent().is_none());
    }

    #[test]
    fn the_longest_path_fits_a_partition() {
        let mut deepest = TenantPath::root(u64::MAX);
        while let Ok(deeper) = deepest.child(u64::MAX) {
            deepest = deeper;
        }
        assert_eq!(deepest.depth(), MAX_DEPTH);
        assert!(partition(&deepest).is_ok());
    }
}
