//! The operations that every family has.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::entity::Listing;
use crate::error::{Error, ErrorKind, Result};
use crate::page::{Items, Page};

/// The most tags on one entity.
pub const MAX_TAGS: usize = 50;

/// Tags: a value for each name.
pub type Tags = BTreeMap<String, String>;

/// A stored thing with a key.
pub trait Entity: Clone + Debug + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The key that identifies an entity.
    type Key: Clone + Debug + Send + Sync;
    /// What a list is restricted to: usually a tenant.
    type Within: Clone + Debug + Send + Sync;
    /// What else a list can be filtered by; `()` for most families.
    type Filter: Clone + Debug + Default + Send + Sync;

    /// Its key.
    fn key(&self) -> Self::Key;
}

/// An entity with a path, by whose prefix lists can be narrowed.
pub trait WithPath: Entity {}

/// A change to an entity in place. It may run again on a newer state, so it
/// must have no other effect; if it returns an error, nothing changes.
pub type Edit<'a, E> = &'a (dyn Fn(&mut E) -> Result<()> + Send + Sync);

/// Stores one family of entities.
///
/// # What an implementer promises
/// - The same rules for every family: creating a key that exists is
///   `AlreadyExists`, and of several concurrent creations one succeeds;
///   updating, renaming or deleting a missing key is `NotFound`; reading it is
///   `None`.
/// - An update loses no concurrent change, never changes the key, and never
///   changes what the store itself maintains (ids, dates of creation, counts).
/// - A list covers exactly what it names, in bytewise order of key, and neither
///   skips nor repeats an entity that exists throughout. A page with a cursor
///   is never empty; a page without one is the last.
/// - An entity that is created under a deleted key inherits nothing.
/// - An outage is an error, never an absence.
#[async_trait]
pub trait EntityStore<E: Entity>: Send + Sync + Debug {
    /// Creates an entity and returns it as stored.
    async fn create(&self, entity: E) -> Result<Arc<E>>;

    /// The entity under `key`.
    async fn get(&self, key: &E::Key) -> Result<Option<Arc<E>>>;

    /// The entity of this id. `Unsupported` if the store cannot look it up.
    async fn get_by_id(&self, within: &E::Within, id: &str) -> Result<Option<Arc<E>>> {
        let _ = (within, id);
        Err(Error::unsupported(
            "this store does not look entities up by id; list them instead",
        ))
    }

    /// Changes an entity in place, atomically, and returns it as stored. An edit
    /// that changes nothing writes nothing.
    async fn update(&self, key: &E::Key, edit: Edit<'_, E>) -> Result<Arc<E>>;

    /// Deletes an entity with everything that depends on it.
    async fn delete(&self, key: &E::Key) -> Result<()>;

    /// One page of the entities within `within`.
    async fn list(&self, within: &E::Within, listing: &Listing<E>) -> Result<Page<Arc<E>>>;
}

/// An entity that has tags.
pub trait Tagged: Entity {
    /// Its tags.
    fn tags(&self) -> &Tags;
    /// Its tags, mutable.
    fn tags_mut(&mut self) -> &mut Tags;
}

/// Conveniences over any [`EntityStore`].
#[async_trait]
pub trait EntityStoreExt<E: Entity>: EntityStore<E> {
    /// Sets tags and leaves the others as they are. Setting a tag to the value
    /// that it has changes nothing.
    ///
    /// # Errors
    /// `LimitExceeded` if there would be more than [`MAX_TAGS`]; `NotFound`.
    async fn tag(&self, key: &E::Key, tags: Tags) -> Result<()>
    where
        E: Tagged,
    {
        let add = |entity: &mut E| {
            let all = entity.tags_mut();
            all.extend(tags.clone());
            check_tags(all)
        };
        self.update(key, &add).await.map(drop)
    }

    /// Removes tags by name. Removing an absent one changes nothing.
    ///
    /// # Errors
    /// `NotFound` if there is no such entity.
    async fn untag(&self, key: &E::Key, names: &[&str]) -> Result<()>
    where
        E: Tagged,
    {
        let remove = |entity: &mut E| {
            entity
                .tags_mut()
                .retain(|name, _| !names.contains(&name.as_str()));
            Ok(())
        };
        self.update(key, &remove).await.map(drop)
    }

    /// The tags, in order of name.
    ///
    /// # Errors
    /// `NotFound` if there is no such entity.
    async fn tags(&self, key: &E::Key) -> Result<Tags>
    where
        E: Tagged,
    {
        let found = self.get(key).await?;
        found.map(|entity| entity.tags().clone()).ok_or_else(absent)
    }

    /// Every entity within `within`, read page by page. For lists that fit in
    /// memory.
    ///
    /// # Errors
    /// As [`EntityStore::list`].
    async fn list_all(&self, within: &E::Within, listing: Listing<E>) -> Result<Vec<Arc<E>>> {
        let mut entities = self.list_stream(within, listing);
        let mut all = Vec::new();
        while let Some(entity) = entities.next().await {
            all.push(entity?);
        }
        Ok(all)
    }

    /// The entities of this page and of all after it. See [`EntityStore::list`].
    fn list_stream(&self, within: &E::Within, listing: Listing<E>) -> Items<'_, Arc<E>> {
        let within = within.clone();
        listing.page_request().clone().stream(move |page| {
            let (within, listing) = (within.clone(), listing.clone().page(page));
            async move { self.list(&within, &listing).await }
        })
    }
}

impl<E: Entity, S: EntityStore<E> + ?Sized> EntityStoreExt<E> for S {}

/// Rejects more than [`MAX_TAGS`] tags, and names or values that are too long.
pub(crate) fn check_tags(tags: &Tags) -> Result<()> {
    if tags.len() > MAX_TAGS {
        return Err(Error::new(
            ErrorKind::LimitExceeded,
            format!("an entity has at most {MAX_TAGS} tags; remove one first"),
        ));
    }
    if tags
        .iter()
        .any(|(name, value)| name.is_empty() || name.len() > 512 || value.len() > 1024)
    {
        return Err(Error::invalid(
            "a tag's name is 1 to 512 bytes and its value at most 1024; shorten it",
        ));
    }
    Ok(())
}

pub(crate) fn absent() -> Error {
    Error::not_found("there is no such entity; check the tenant and the name")
}
