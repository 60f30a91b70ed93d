//! What people see of API keys.

use crate::api_keys::records::API_KEYS;
use crate::backend::view::{Column, Kind, Value, View};

/// By public id. A key's secret is not stored.
pub(crate) const VIEW: View = View::new(
    "api_keys",
    API_KEYS,
    "API keys by their public ids. Their secrets are not stored.",
    &[
        Column::field("id", Kind::Text, "The public id."),
        Column::field("tenant", Kind::Text, "The tenant of the key."),
        Column::field("label", Kind::Text, "The application's name for the key."),
        Column::new(
            "enabled",
            Kind::Boolean,
            Value::FieldOr("enabled", "true"),
            "Whether the key is accepted.",
        ),
        Column::field("permissions", Kind::Json, "What the key may do."),
        Column::field("created_at", Kind::Time, "When it was created."),
        Column::field(
            "expires_at",
            Kind::Time,
            "The key is refused from this time on; null if it never expires.",
        ),
        Column::field("extra", Kind::Json, "The application's own fields."),
        Column::EXPIRED_AFTER,
    ],
);
