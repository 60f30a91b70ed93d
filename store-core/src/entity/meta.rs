//! The fields that every entity of a tenant has.

use serde::{Deserialize, Serialize};

use crate::body::{Format, Unknown};
use crate::clock::Timestamp;
use crate::entity::{Incarnation, Key, Provider, Tags, TenantPath};

/// The instance that ARNs name if no other is configured.
pub const DEFAULT_INSTANCE: &str = "main";

/// The fields that every entity of a tenant has. An entity embeds them:
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use store_core::entity::Meta;
///
/// #[derive(Clone, Debug, Serialize, Deserialize)]
/// struct Badge {
///     #[serde(flatten)]
///     meta: Meta,
///     color: String,
/// }
/// let badge = Badge { meta: Meta::new("front door"), color: "red".into() };
/// # let _ = badge;
/// ```
///
/// The store sets `tenant_id`, `incarnation` and `instance`. It sets `id` and
/// `create_date` if the caller leaves them empty. After creation none of these
/// changes; the name changes only by a rename.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Meta {
    /// The format that the record is written in.
    #[serde(default)]
    pub format: Format<1>,
    /// The tenant that the entity belongs to.
    pub tenant_id: TenantPath,
    /// The name: unique within the family and the tenant.
    pub name: String,
    /// The id: unique within the family and the tenant, never changed.
    pub id: String,
    /// The path, for lists by prefix.
    #[serde(default = "root", skip_serializing_if = "is_root")]
    pub path: String,
    /// When it was created.
    pub create_date: Timestamp,
    /// Its tags.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
    /// The clouds that it is mapped to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub providers: Vec<Provider>,
    /// The instance that its ARN names.
    #[serde(default = "instance", skip_serializing_if = "is_default_instance")]
    pub instance: String,
    /// Identifies this life of the name.
    pub incarnation: Incarnation,
    /// The principal that owns it, for a family of credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Incarnation>,
    /// Fields that this version does not know.
    #[serde(flatten)]
    pub unknown: Unknown,
}

impl Meta {
    /// The fields of a new entity of this name, with the path `/`.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            format: Format,
            tenant_id: TenantPath::unassigned(),
            name: name.into(),
            id: String::new(),
            path: root(),
            create_date: Timestamp::EPOCH,
            tags: Tags::new(),
            providers: Vec::new(),
            instance: instance(),
            incarnation: Incarnation::NONE,
            owner: None,
            unknown: Unknown::new(),
        }
    }

    /// The key of the entity.
    pub fn key<E>(&self) -> Key<E> {
        Key::new(&self.tenant_id, &self.name)
    }
}

fn root() -> String {
    "/".into()
}

fn is_root(path: &String) -> bool {
    path == "/"
}

fn instance() -> String {
    DEFAULT_INSTANCE.into()
}

fn is_default_instance(instance: &String) -> bool {
    instance == DEFAULT_INSTANCE
}
