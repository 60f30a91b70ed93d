//! What people see of how identities belong together. Each family has a view of its own.

use crate::backend::view::{Column, Kind, RelatedField, Value, View};
use crate::iam::layout::{INLINE_POLICIES, MEMBERS, ROSTERS};

const PARTITION: Column = Column::new(
    "tenant_partition",
    Kind::Text,
    Value::Partition,
    "The partition of the tenant.",
);

/// The name of the entity whose incarnation is the part of the id at `$position`.
macro_rules! name_of {
    ($position:expr, $field:expr) => {
        Value::Related(&RelatedField {
            collection: ROSTERS,
            id: Value::IdPart($position),
            field: $field,
        })
    };
}

/// Attachments, inline policies and memberships.
pub(crate) const VIEWS: &[View] = &[
    View::new(
        "attachments",
        ROSTERS,
        "Which policies are attached to which principals.",
        &[
            PARTITION,
            Column::new("principal", Kind::Text, Value::Field("name"), PRINCIPAL),
            Column::new(
                "principal_kind",
                Kind::Text,
                Value::Field("kind"),
                PRINCIPAL_KIND,
            ),
            Column::new(
                "policy_name",
                Kind::Text,
                Value::Element,
                "The name of the policy.",
            ),
        ],
    )
    .each("held.attached_policies"),
    View::new(
        "inline_policies",
        INLINE_POLICIES,
        "Inline policies. Without a principal: left by a deleted one, to be swept.",
        &[
            PARTITION,
            Column::new("principal", Kind::Text, name_of!(1, "name"), PRINCIPAL),
            Column::new(
                "principal_kind",
                Kind::Text,
                name_of!(1, "kind"),
                PRINCIPAL_KIND,
            ),
            Column::field("policy_name", Kind::Text, "The name of the policy."),
            Column::field("policy_document", Kind::Text, "The document."),
        ],
    ),
    View::new(
        "memberships",
        MEMBERS,
        "Which users are in which groups. Without a user or a group: left by a deleted \
         one, to be swept.",
        &[
            PARTITION,
            Column::new(
                "user_name",
                Kind::Text,
                name_of!(2, "name"),
                "The name of the user.",
            ),
            Column::new(
                "group_name",
                Kind::Text,
                name_of!(1, "name"),
                "The name of the group.",
            ),
        ],
    ),
];

const PRINCIPAL: &str = "The name of the user, group or role; null if it was deleted.";
const PRINCIPAL_KIND: &str = "Whether the principal is a user, a group or a role.";
