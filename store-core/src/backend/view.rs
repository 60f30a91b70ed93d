//! Views: the columns in which a person sees the records of a collection.
//!
//! A contract declares its views beside its collections. A backend with a query language
//! makes them, as PostgreSQL does for psql, so that a new contract or family needs no
//! change there. [`collections::views`](crate::collections::views) lists them.

use std::borrow::Cow;

use crate::key::Collection;

/// The view of one collection: a row for each record, with the expired ones that were
/// not swept yet.
#[derive(Clone, Debug)]
pub struct View {
    /// Its name: letters, digits and underscores.
    pub name: &'static str,
    /// What a row is.
    pub comment: &'static str,
    /// The collection whose records it shows.
    pub collection: Collection,
    /// The path of an array in the body, if there is a row for each of its elements
    /// instead of one for each record.
    pub each: Option<&'static str>,
    /// The columns, in order.
    pub columns: Cow<'static, [Column]>,
}

impl View {
    /// A view with a row for each record of `collection`.
    pub const fn new(
        name: &'static str,
        collection: Collection,
        comment: &'static str,
        columns: &'static [Column],
    ) -> Self {
        Self {
            name,
            comment,
            collection,
            each: None,
            columns: Cow::Borrowed(columns),
        }
    }

    /// A row for each element of the array at this path of the body.
    pub const fn each(mut self, path: &'static str) -> Self {
        self.each = Some(path);
        self
    }
}

/// A column of a [`View`].
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its name: letters, digits and underscores.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Its value.
    pub value: Value,
    /// What the value means.
    pub comment: &'static str,
}

impl Column {
    /// A column of this value.
    pub const fn new(name: &'static str, kind: Kind, value: Value, comment: &'static str) -> Self {
        Self {
            name,
            kind,
            value,
            comment,
        }
    }

    /// The field of the body at this path. The column is named after the last part of
    /// the path.
    pub const fn field(name: &'static str, kind: Kind, comment: &'static str) -> Self {
        Self::new(name, kind, Value::Field(name), comment)
    }

    /// The time from which the record counts as absent.
    pub const EXPIRED_AFTER: Self = Self::new(
        "expired_after",
        Kind::Time,
        Value::Expiry,
        "The record counts as absent from this time on; null if it never expires.",
    );
}

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// A number.
    Number,
    /// True or false.
    Boolean,
    /// A time, which the body has as RFC 3339 text.
    Time,
    /// JSON, as it is stored.
    Json,
}

/// Where the value of a column comes from. It is null where the record has none.
#[derive(Clone, Copy, Debug)]
pub enum Value {
    /// The body's field at this path: names with dots between them.
    Field(&'static str),
    /// The same, and this value if there is none.
    FieldOr(&'static str, &'static str),
    /// How many elements the body's array at this path has.
    Length(&'static str),
    /// Whether the body has a field at this path.
    Exists(&'static str),
    /// The element of [`View::each`].
    Element,
    /// The partition.
    Partition,
    /// The part of the id at this position, from 1, where `/` separates the parts.
    IdPart(u8),
    /// The time at which the record expires.
    Expiry,
    /// This text.
    Literal(&'static str),
    /// A value of another record in the same partition.
    Related(&'static RelatedField),
    /// Whether both values are there and equal.
    Equal(&'static [Value; 2]),
}

/// A field of another record in the same partition.
#[derive(Clone, Copy, Debug)]
pub struct RelatedField {
    /// The other record's collection.
    pub collection: Collection,
    /// The other record's id.
    pub id: Value,
    /// The path of the field in its body.
    pub field: &'static str,
}
