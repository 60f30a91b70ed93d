//! The names of a tenant's entities.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;

use crate::entity::TenantPath;
use crate::error::{Error, Result};

/// The longest name of an entity, in bytes.
pub const MAX_ENTITY_NAME: usize = 1024;

/// The longest path of an entity, in bytes.
pub const MAX_PATH: usize = 1024;

/// The key of an `E`: the full tenant path, and a name. Two tenants that share
/// a leaf share nothing else. Every character of a name is literal.
pub struct Key<E> {
    tenant: TenantPath,
    name: String,
    family: PhantomData<fn() -> E>,
}

impl<E> Key<E> {
    /// The key of `name` in `tenant`.
    pub fn new(tenant: &TenantPath, name: impl Into<String>) -> Self {
        Self {
            tenant: tenant.clone(),
            name: name.into(),
            family: PhantomData,
        }
    }

    /// The tenant.
    pub fn tenant(&self) -> &TenantPath {
        &self.tenant
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl<E> Clone for Key<E> {
    fn clone(&self) -> Self {
        Self::new(&self.tenant, self.name.clone())
    }
}

impl<E> PartialEq for Key<E> {
    fn eq(&self, other: &Self) -> bool {
        self.tenant == other.tenant && self.name == other.name
    }
}

impl<E> Eq for Key<E> {}

impl<E> Hash for Key<E> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.tenant.hash(state);
        self.name.hash(state);
    }
}

impl<E> fmt::Debug for Key<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:?}", self.tenant, self.name)
    }
}

/// Refuses a name that is empty, too long, or not what people can tell apart.
pub(crate) fn check_name(name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::invalid(
            "a name is empty; give it at least one character",
        ));
    }
    if name.len() > MAX_ENTITY_NAME {
        return Err(Error::invalid(format!(
            "a name is {} bytes long and may be {MAX_ENTITY_NAME}; shorten it",
            name.len()
        )));
    }
    if name.contains(char::is_control) {
        return Err(Error::invalid(
            "a name contains a control character, such as a line break; remove it",
        ));
    }
    if name.trim() != name {
        return Err(Error::invalid(
            "a name begins or ends with a blank; remove the blank",
        ));
    }
    Ok(())
}

/// Refuses a path that does not begin and end with `/`.
pub(crate) fn check_path(path: &str) -> Result<()> {
    let whole = path.starts_with('/') && path.ends_with('/');
    if !whole || path.len() > MAX_PATH || path.contains(char::is_control) {
        return Err(Error::invalid(format!(
            "a path begins and ends with `/`, is at most {MAX_PATH} bytes long and contains no \
             control character; `/` alone is the usual one"
        )));
    }
    Ok(())
}
