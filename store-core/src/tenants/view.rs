//! What people see of tenants.

use crate::backend::view::{Column, Kind, Value, View};
use crate::tenants::records::NODES;

pub(crate) const VIEW: View = View::new(
    "tenants",
    NODES,
    "Tenants.",
    &[
        Column::field("id", Kind::Text, "The path of the tenant."),
        Column::field(
            "parent_id",
            Kind::Text,
            "The path of the tenant above; null for a root.",
        ),
        Column::field("name", Kind::Text, "Its name."),
        Column::field(
            "organization",
            Kind::Text,
            "The organization that it belongs to.",
        ),
        Column::field("tenant_type", Kind::Text, "The kind of tenant."),
        Column::field("status", Kind::Text, "Its status."),
        Column::field("quota_mode", Kind::Text, "How the quotas apply."),
        Column::field("quotas", Kind::Json, "Its quotas."),
        Column::field(
            "max_child_depth",
            Kind::Number,
            "How many levels of tenants may be below it.",
        ),
        Column::field(
            "can_create_sub_tenants",
            Kind::Boolean,
            "Whether tenants may be created below it.",
        ),
        Column::field(
            "admin_principals",
            Kind::Json,
            "Which principals administer it.",
        ),
        Column::field("metadata", Kind::Json, "The application's own fields."),
        Column::field("created_at", Kind::Time, "When it was created."),
        Column::new(
            "being_deleted",
            Kind::Boolean,
            Value::Exists("deleting"),
            "Whether a deletion has begun and is not complete.",
        ),
    ],
);
