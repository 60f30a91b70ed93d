//! Layers over stores of entities.

use std::sync::Arc;

use crate::entity::{Edit, Entity, EntityStore, Listing};
use crate::error::Result;
use crate::layers::layered;
use crate::page::Page;

layered! {
    /// A layer over an [`EntityStore`], and by that an `EntityStore` itself. See
    /// the [module](crate::layers).
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use async_trait::async_trait;
    /// use store_core::Result;
    /// use store_core::entity::{EntityLayer, EntityStore, Key};
    /// use store_core::iam::User;
    /// use store_core::layers::Layered;
    ///
    /// /// Users, with a line for each deletion.
    /// #[derive(Debug)]
    /// struct Logged(Arc<dyn EntityStore<User>>);
    ///
    /// impl Layered for Logged {
    ///     type Inner = dyn EntityStore<User>;
    ///
    ///     fn inner(&self) -> &Self::Inner {
    ///         &*self.0
    ///     }
    /// }
    ///
    /// #[async_trait]
    /// impl EntityLayer<User> for Logged {
    ///     async fn delete(&self, key: &Key<User>) -> Result<()> {
    ///         println!("deleting {key:?}");
    ///         self.0.delete(key).await
    ///     }
    /// }
    ///
    /// fn logged(users: Arc<dyn EntityStore<User>>) -> Arc<dyn EntityStore<User>> {
    ///     Arc::new(Logged(users))
    /// }
    /// ```
    [E: Entity] EntityLayer as EntityLayer<E>: [] over EntityStore<E>;
    async fn create[](entity: E) -> Result<Arc<E>>;
    async fn get['life1](key: &'life1 <E as Entity>::Key) -> Result<Option<Arc<E>>>;
    async fn get_by_id['life1, 'life2](
        within: &'life1 <E as Entity>::Within,
        id: &'life2 str
    ) -> Result<Option<Arc<E>>>;
    async fn update['life1, 'life2](
        key: &'life1 <E as Entity>::Key,
        edit: Edit<'life2, E>
    ) -> Result<Arc<E>>;
    async fn delete['life1](key: &'life1 <E as Entity>::Key) -> Result<()>;
    async fn list['life1, 'life2](
        within: &'life1 <E as Entity>::Within,
        listing: &'life2 Listing<E>
    ) -> Result<Page<Arc<E>>>;
}
