//! What people see of objects.

use crate::backend::view::{Column, Kind, Value, View};
use crate::blobs::BLOBS;

pub(crate) const VIEW: View = View::new(
    "objects",
    BLOBS,
    "Streamed objects. Without bytes: being written, or deleted.",
    &[
        Column::new(
            "partition",
            Kind::Text,
            Value::Partition,
            "The partition of the bucket.",
        ),
        Column::field("key", Kind::Text, "The key."),
        Column::new(
            "bytes",
            Kind::Number,
            Value::Field("published.content.size"),
            "The size of the published content.",
        ),
        Column::new(
            "tag",
            Kind::Text,
            Value::Field("published.metadata.tag"),
            "The tag of the content.",
        ),
        Column::new(
            "attributes",
            Kind::Json,
            Value::Field("published.metadata.attributes"),
            "The application's own attributes.",
        ),
        Column::new(
            "published_at",
            Kind::Time,
            Value::Field("published.published_at"),
            "When the content was published.",
        ),
        Column::new(
            "generation",
            Kind::Text,
            Value::Field("published.content.generation"),
            "Identifies the published content.",
        ),
        Column::new(
            "writes_open",
            Kind::Number,
            Value::Length("uploads"),
            "How many writes have begun and are not complete.",
        ),
        Column::EXPIRED_AFTER,
    ],
);
