//! Views that show the records of the contracts in columns, for use with psql.
//!
//! The store does not read these views, and `setup` creates them again. Each is generated
//! from what the contract declares, see [`collections::views`].

use std::fmt::Write;

use store_core::backend::view::{Kind, Value, View};
use store_core::collections;

use crate::sql::Table;

/// The statements that create every view, with `{schema}` for the schema.
pub(crate) fn statements() -> String {
    let mut text = String::from(include_str!("../migrations/rate_limits.sql"));
    for view in collections::views() {
        create(&mut text, &view);
    }
    text
}

/// The names of the generated views.
pub(crate) fn names() -> Vec<&'static str> {
    collections::views().iter().map(|view| view.name).collect()
}

/// Writing to a String cannot fail.
fn create(text: &mut String, view: &View) {
    let name = view.name;
    let _ = writeln!(text, "DROP VIEW IF EXISTS {{schema}}.{name};");
    let columns: Vec<_> = view
        .columns
        .iter()
        .map(|column| {
            format!(
                "    {} AS {}",
                of_kind(column.value, column.kind),
                column.name
            )
        })
        .collect();
    let _ = write!(
        text,
        "CREATE VIEW {{schema}}.{name} AS SELECT\n{}\nFROM {} AS r",
        columns.join(",\n"),
        records(view.collection)
    );
    if let Some(path) = view.each {
        let array = json(path);
        let _ = write!(text, ", json_array_elements_text({array}) AS e (element)");
    }
    let _ = writeln!(text, ";");
    let _ = writeln!(
        text,
        "COMMENT ON VIEW {{schema}}.{name} IS {};",
        quoted(view.comment)
    );
    for column in &*view.columns {
        let _ = writeln!(
            text,
            "COMMENT ON COLUMN {{schema}}.{name}.{} IS {};",
            column.name,
            quoted(column.comment)
        );
    }
}

/// The records of a collection, as a table.
fn records(collection: store_core::Collection) -> String {
    format!(
        "(SELECT * FROM {{schema}}.{} WHERE collection = {})",
        Table::of(collection).name(),
        quoted(collection.name())
    )
}

/// A value with the type of its column.
fn of_kind(value: Value, kind: Kind) -> String {
    match (value, kind) {
        (Value::Field(path), Kind::Json) => json(path),
        (Value::Expiry | Value::Exists(_) | Value::Length(_) | Value::Equal(_), _) => scalar(value),
        (_, Kind::Text | Kind::Json) => scalar(value),
        (_, Kind::Number) => format!("({})::numeric", scalar(value)),
        (_, Kind::Boolean) => format!("({})::boolean", scalar(value)),
        (_, Kind::Time) => format!("({})::timestamptz", scalar(value)),
    }
}

/// A value as text, unless it has another type.
fn scalar(value: Value) -> String {
    match value {
        Value::Field(path) => field("r", path),
        Value::FieldOr(path, other) => format!("coalesce({}, {})", field("r", path), quoted(other)),
        Value::Length(path) => format!("json_array_length(coalesce({}, '[]'))", json(path)),
        Value::Exists(path) => format!("({} IS NOT NULL)", json(path)),
        Value::Element => "e.element".into(),
        Value::Partition => "r.partition".into(),
        Value::IdPart(position) => format!("split_part(r.id, '/', {position})"),
        Value::Expiry => "{schema}.moment(r.expires_at)".into(),
        Value::Literal(text) => quoted(text),
        Value::Related(other) => format!(
            "(SELECT {} FROM {} AS o WHERE o.partition = r.partition AND o.id = {})",
            field("o", other.field),
            records(other.collection),
            scalar(other.id)
        ),
        Value::Equal([one, other]) => {
            format!("coalesce({} = {}, false)", scalar(*one), scalar(*other))
        }
    }
}

/// The JSON at a path of the body.
fn json(path: &str) -> String {
    let steps: String = path
        .split('.')
        .map(|name| format!("->{}", quoted(name)))
        .collect();
    format!("r.body{steps}")
}

/// The text at a path of the body of `table`.
fn field(table: &str, path: &str) -> String {
    let (above, last) = match path.rsplit_once('.') {
        Some((above, last)) => (above.split('.').collect(), last),
        None => (Vec::new(), path),
    };
    let steps: String = above
        .iter()
        .map(|name| format!("->{}", quoted(name)))
        .collect();
    format!("{table}.body{steps}->>{}", quoted(last))
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
