//! The macro that completes the declaration of a family.

/// Makes a struct with a field `meta: Meta` an entity of tenants.
///
/// The struct and an `impl` of [`TenantEntity`](crate::iam::TenantEntity) are the
/// declaration of a family; this macro adds what all families have in common:
///
/// - [`Entity`](crate::entity::Entity), with the tenant and the name as the key;
/// - `Deref` and `DerefMut` to [`Meta`](crate::entity::Meta), so that the common
///   fields can be used as if they were its own: `badge.name`, `badge.tags` …;
/// - `arn`, `provider_arns`, and setters for a new entity, such as `with_id`.
///
/// After a colon it takes the traits that the family has besides:
/// [`WithPath`](crate::entity::WithPath) (which adds `with_path`) and
/// [`Principal`](crate::iam::Principal). `; filter = F` names the type by which
/// lists of the family can be filtered.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use store_core::Collection;
/// use store_core::entity::Meta;
/// use store_core::iam::{Family, TenantEntity, tenant_entity};
///
/// #[derive(Clone, Debug, Serialize, Deserialize)]
/// struct Badge {
///     #[serde(flatten)]
///     meta: Meta,
///     color: String,
/// }
///
/// tenant_entity!(Badge: WithPath, Principal);
///
/// impl TenantEntity for Badge {
///     const FAMILY: Family = Family::new("badge", Collection::new("badges"), "BADG");
/// }
///
/// let badge = Badge { meta: Meta::new("front door"), color: "red".into() };
/// assert_eq!(badge.with_path("/doors/").path, "/doors/");
/// ```
#[macro_export]
macro_rules! tenant_entity {
    ($entity:ident $(: $($part:ident),+)? $(; filter = $filter:ty)?) => {
        impl $crate::entity::Entity for $entity {
            type Key = $crate::entity::Key<Self>;
            type Within = $crate::entity::TenantPath;
            type Filter = $crate::tenant_entity!(@filter $($filter)?);

            fn key(&self) -> Self::Key {
                self.meta.key()
            }
        }

        impl ::std::ops::Deref for $entity {
            type Target = $crate::entity::Meta;

            fn deref(&self) -> &Self::Target {
                &self.meta
            }
        }

        impl ::std::ops::DerefMut for $entity {
            fn deref_mut(&mut self) -> &mut Self::Target {
                &mut self.meta
            }
        }

        #[allow(dead_code)]
        impl $entity {
            /// Its ARN. It ends in the id, so a rename does not change it.
            pub fn arn(&self) -> $crate::entity::Arn {
                $crate::iam::TenantEntity::arn(self)
            }

            /// Its ARNs at the clouds that it is mapped to.
            pub fn provider_arns(&self) -> Vec<String> {
                $crate::iam::TenantEntity::provider_arns(self)
            }

            /// Sets an id instead of a generated one.
            pub fn with_id(mut self, id: impl Into<String>) -> Self {
                self.meta.id = id.into();
                self
            }

            /// Adds a tag.
            pub fn with_tag(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
                self.meta.tags.insert(name.into(), value.into());
                self
            }

            /// Adds a cloud that it is mapped to.
            pub fn with_provider(mut self, provider: $crate::entity::Provider) -> Self {
                self.meta.providers.push(provider);
                self
            }

            /// Sets the date of creation, for an entity that comes from elsewhere.
            pub fn created_at(mut self, date: $crate::Timestamp) -> Self {
                self.meta.create_date = date;
                self
            }

            /// Sets the tenant. A handle of a tenant does this itself.
            pub fn in_tenant(mut self, tenant: &$crate::entity::TenantPath) -> Self {
                self.meta.tenant_id = tenant.clone();
                self
            }
        }

        $($($crate::tenant_entity!(@part $part $entity);)+)?
    };
    (@filter) => { () };
    (@filter $filter:ty) => { $filter };
    (@part WithPath $entity:ident) => {
        impl $crate::entity::WithPath for $entity {}

        #[allow(dead_code)]
        impl $entity {
            /// Sets the path, which begins and ends with `/`.
            pub fn with_path(mut self, path: impl Into<String>) -> Self {
                self.meta.path = path.into();
                self
            }
        }
    };
    (@part Principal $entity:ident) => {
        impl $crate::iam::Principal for $entity {}
    };
}

pub use tenant_entity;
