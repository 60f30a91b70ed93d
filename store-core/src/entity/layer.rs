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
    /// // Users, with a line for each deletion.
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::error::Error;
    use crate::layers::{Forwarded, Layered};

    #[derive(Clone, Debug, Serialize, Deserialize)]
    struct Thing;

    impl Entity for Thing {
        type Key = ();
        type Within = ();
        type Filter = ();

        fn key(&self) {}
    }

    /// Records the address of the future of its last `get`.
    #[derive(Debug, Default)]
    struct Bottom {
        future: AtomicUsize,
    }

    fn address<T: ?Sized>(of: &T) -> usize {
        std::ptr::from_ref(of).cast::<()>().addr()
    }

    #[async_trait]
    impl EntityStore<Thing> for Bottom {
        async fn create(&self, thing: Thing) -> Result<Arc<Thing>> {
            Ok(Arc::new(thing))
        }

        fn get<'life0, 'life1, 'async_trait>(
            &'life0 self,
            key: &'life1 (),
        ) -> Forwarded<'async_trait, Result<Option<Arc<Thing>>>>
        where
            'life0: 'async_trait,
            'life1: 'async_trait,
            Self: 'async_trait,
        {
            let future: Forwarded<'async_trait, _> = Box::pin(async move {
                // Borrowed, so that the future is not of size zero.
                let () = *key;
                Ok(Some(Arc::new(Thing)))
            });
            self.future.store(address(&*future), Ordering::Relaxed);
            future
        }

        async fn update(&self, _: &(), _: Edit<'_, Thing>) -> Result<Arc<Thing>> {
            Err(Error::not_found("there is none"))
        }

        async fn delete(&self, _: &()) -> Result<()> {
            Ok(())
        }

        async fn list(&self, _: &(), _: &Listing<Thing>) -> Result<Page<Arc<Thing>>> {
            Ok(Page::last(Vec::new()))
        }
    }

    /// Refuses deletions and forwards everything else.
    #[derive(Debug)]
    struct Protected(Arc<dyn EntityStore<Thing>>);

    impl Layered for Protected {
        type Inner = dyn EntityStore<Thing>;

        fn inner(&self) -> &Self::Inner {
            &*self.0
        }
    }

    #[async_trait]
    impl EntityLayer<Thing> for Protected {
        async fn delete(&self, (): &()) -> Result<()> {
            Err(Error::invalid("it is protected"))
        }
    }

    #[tokio::test]
    async fn a_layer_changes_what_it_implements_and_forwards_the_futures_of_the_rest() {
        let bottom = Arc::new(Bottom::default());
        let layered = Protected(Arc::new(Protected(Arc::clone(&bottom) as _)));
        let layered: &dyn EntityStore<Thing> = &layered;
        let future = layered.get(&());
        assert_eq!(
            address(&*future),
            bottom.future.load(Ordering::Relaxed),
            "the future was put into another box"
        );
        assert!(future.await.expect("it is forwarded").is_some());
        layered.create(Thing).await.expect("it is forwarded");
        layered.delete(&()).await.expect_err("it is protected");
    }
}
