//! What people see of launches.

use crate::backend::view::{Column, Kind, RelatedField, Value, View};
use crate::lti::records::deployments::DEPLOYMENTS;
use crate::lti::records::keys::KEYS;
use crate::lti::records::nonces::NONCES;
use crate::lti::records::registrations::{DEFAULT, DEFAULTS, REGISTRATIONS};

pub(crate) const VIEWS: &[View] = &[
    View::new(
        "lti_registrations",
        REGISTRATIONS,
        "LTI registrations, each with the application's own record.",
        &[
            Column::field("issuer", Kind::Text, "The issuer of the platform."),
            Column::field(
                "client_id",
                Kind::Text,
                "The client id of the registration.",
            ),
            Column::field("record", Kind::Json, "The application's own record."),
            Column::new(
                "is_default",
                Kind::Boolean,
                Value::Equal(&[Value::Field("client_id"), DEFAULT_CLIENT]),
                "Whether a login that names the issuer alone means it.",
            ),
        ],
    ),
    View::new(
        "lti_deployments",
        DEPLOYMENTS,
        "LTI deployments, each with the application's own record.",
        &[
            Column::field("issuer", Kind::Text, "The issuer of the platform."),
            Column::field(
                "client_id",
                Kind::Text,
                "The client id of the registration.",
            ),
            Column::field("deployment_id", Kind::Text, "The id of the deployment."),
            Column::field("record", Kind::Json, "The application's own record."),
        ],
    ),
    View::new(
        "lti_nonces",
        NONCES,
        "Nonces of LTI launches, used ones too until they are swept.",
        &[
            Column::field("issuer", Kind::Text, "The issuer of the platform."),
            Column::field("nonce", Kind::Text, "The nonce of the launch."),
            Column::field("expires_at", Kind::Time, "It is refused from this time on."),
            Column::field(
                "used_at",
                Kind::Time,
                "When it was used; null if it was not.",
            ),
            Column::EXPIRED_AFTER,
        ],
    ),
    View::new(
        "lti_tool_keys",
        KEYS,
        "The tool's signing keys, without their private halves.",
        &[
            Column::field("kid", Kind::Text, "The id of the key."),
            Column::field(
                "active",
                Kind::Boolean,
                "Whether the key signs; an inactive one is only published.",
            ),
            Column::field("public", Kind::Json, "The public half of the key."),
            Column::field("created_at", Kind::Time, "When it was created."),
        ],
    ),
];

/// The client id of the issuer's default registration.
const DEFAULT_CLIENT: Value = Value::Related(&RelatedField {
    collection: DEFAULTS,
    id: Value::Literal(DEFAULT),
    field: "client_id",
});
