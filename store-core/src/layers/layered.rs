//! Layers over the stores of entities, whose traits have a type parameter.
//!
//! One type may be a store of users and of groups, so a layer over it is one type
//! too: it names the store under it once, with [`Layered`], and implements one
//! trait of layers for each trait of stores. A trait of layers alone, generic over
//! the family, would not do: another crate could implement it for a store of this
//! one, so the compiler must refuse the blanket implementation (E0119).

use std::fmt::Debug;

/// A layer over the stores of entities: names the store under it.
///
/// The layer then implements [`EntityLayer`](crate::entity::EntityLayer) and those
/// of [`TenantLayer`](crate::tenants::TenantLayer),
/// [`PrincipalLayer`](crate::iam::PrincipalLayer),
/// [`MembershipLayer`](crate::iam::MembershipLayer),
/// [`IamLayer`](crate::iam::IamLayer) and
/// [`CredentialLayer`](crate::iam::CredentialLayer) that it needs, each with the
/// calls that it changes.
pub trait Layered: Send + Sync + Debug {
    /// The store under this layer.
    type Inner: ?Sized + Send + Sync + 'static;

    /// The store under this layer.
    fn inner(&self) -> &Self::Inner;
}

/// Declares the trait of a store's layers, and implements the store for them.
macro_rules! layered {
    (
        $(#[$doc:meta])*
        [$($generic:ident: $bound:ident)?] $layer:ident as $whole:path: [$($base:path),*]
            over $store:path;
        $(async fn $call:ident[$($life:lifetime),*]($($arg:ident: $type:ty),*) -> $answer:ty;)*
        $(impl { $($own:item)* })?
    ) => {
        $(#[$doc])*
        pub trait $layer<$($generic: $bound)?>: $crate::layers::Layered $(+ $base)*
        where
            Self::Inner: $store,
        {
            $(
                #[doc = concat!("As `", stringify!($call), "` of the store.")]
                fn $call<'life0, $($life,)* 'async_trait>(
                    &'life0 self,
                    $($arg: $type),*
                ) -> $crate::layers::Forwarded<'async_trait, $answer>
                where
                    'life0: 'async_trait,
                    $($life: 'async_trait,)*
                    Self: 'async_trait,
                {
                    <Self::Inner as $store>::$call(self.inner(), $($arg),*)
                }
            )*
        }

        #[deny(clippy::missing_trait_methods)]
        impl<$($generic: $bound,)? L> $store for L
        where
            L: $crate::layers::Layered + $whole,
            L::Inner: $store,
        {
            $(
                fn $call<'life0, $($life,)* 'async_trait>(
                    &'life0 self,
                    $($arg: $type),*
                ) -> $crate::layers::Forwarded<'async_trait, $answer>
                where
                    'life0: 'async_trait,
                    $($life: 'async_trait,)*
                    Self: 'async_trait,
                {
                    <L as $whole>::$call(self, $($arg),*)
                }
            )*

            $($($own)*)?
        }
    };
}

pub(crate) use layered;
