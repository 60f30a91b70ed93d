//! The text of each statement. All names are qualified by the schema.

use std::sync::Arc;

use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};
use store_core::{Collection, Error, ErrorKind, Result};

/// The name of a schema. It contains only characters that need no escaping.
#[derive(Clone, Debug)]
pub(crate) struct Schema(Arc<str>);

impl Schema {
    pub(crate) fn new(name: &str) -> Result<Self> {
        let ok = !name.is_empty()
            && name.len() <= 48
            && !name.starts_with("pg_")
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && name
                .bytes()
                .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'));
        if !ok {
            return Err(Error::new(
                ErrorKind::Config,
                "a schema's name is a lower-case letter and at most 47 more letters, \
                 digits and underscores, and does not start with pg_",
            ));
        }
        Ok(Self(name.into()))
    }

    /// Unquoted.
    pub(crate) fn name(&self) -> &str {
        &self.0
    }

    /// Quoted, since a schema may be called `user`.
    fn quoted(&self) -> String {
        format!("\"{}\"", self.0)
    }

    /// `text` with `{schema}` replaced.
    pub(crate) fn in_text(&self, text: &str) -> String {
        text.replace("{schema}", &self.quoted())
    }
}

/// The tables of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Table {
    Records,
    Chunks,
    Transient,
}

impl Table {
    pub(crate) const ALL: [Self; 3] = [Self::Records, Self::Chunks, Self::Transient];

    /// The table that stores a collection's records.
    pub(crate) fn of(collection: Collection) -> Self {
        if collection.is_chunks() {
            Self::Chunks
        } else if collection.is_transient() {
            Self::Transient
        } else {
            Self::Records
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::Chunks => "chunks",
            Self::Transient => "transient",
        }
    }
}

/// The only name that is inserted into a statement's text is the schema's, whose
/// characters are checked; all values are bound.
pub(crate) fn safe(text: &Arc<str>) -> SqlStr {
    AssertSqlSafe(Arc::clone(text)).into_sql_str()
}

/// A page is cut after this many bytes of bodies, but has at least one record.
pub(crate) const MAX_PAGE_BYTES: i64 = 4 << 20;

/// The statements on one table.
#[derive(Debug)]
pub(crate) struct Statements {
    pub(crate) get: Arc<str>,
    pub(crate) get_many: Arc<str>,
    pub(crate) scan: Arc<str>,
    pub(crate) scan_after: Arc<str>,
    pub(crate) collection_scan: Arc<str>,
    pub(crate) collection_scan_after: Arc<str>,
    pub(crate) commit: Arc<str>,
    pub(crate) commit_all: Arc<str>,
}

const COLUMNS: &str = "r.version, r.expires_at, r.body, r.bytes";

const ALIVE: &str = "(r.expires_at IS NULL OR r.expires_at >";

impl Statements {
    fn new(schema: &Schema, table: Table) -> Self {
        let (schema, name) = (schema.quoted(), table.name());
        let from = format!("FROM {schema}.{name} AS r");
        // The last column is the number of records that were found, of which the
        // page may be a part.
        let page = |columns: &str, conditions: &str, order: &str, limit: &str| {
            format!(
                "SELECT {columns}, r.found FROM (\
                 SELECT r.*, count(*) OVER () AS found, \
                 sum(r.size) OVER (ORDER BY {order} ROWS UNBOUNDED PRECEDING) - r.size AS before \
                 FROM (SELECT r.* {from} WHERE r.collection = $1 AND {conditions} \
                 ORDER BY {order} LIMIT {limit}) AS r) AS r \
                 WHERE r.before < {MAX_PAGE_BYTES} ORDER BY {order}"
            )
        };
        let scan = |lower: &str| {
            page(
                &format!("{COLUMNS}, r.id"),
                &format!("r.partition = $2 AND r.id {lower} $3 AND r.id < $4 AND {ALIVE} $5)"),
                "r.id",
                "$6",
            )
        };
        let collection_scan = |lower: &str| {
            page(
                &format!("{COLUMNS}, r.id, r.partition"),
                &format!(
                    "{lower} AND r.partition < $4 AND r.id >= $5 AND r.id < $6 AND {ALIVE} $7)"
                ),
                "r.partition, r.id",
                "$8",
            )
        };
        Self {
            get: format!(
                "SELECT {COLUMNS} {from} WHERE r.collection = $1 AND r.partition = $2 \
                 AND r.id = $3 AND {ALIVE} $4)"
            )
            .into(),
            get_many: many(&schema, &[table]).into(),
            scan: scan(">=").into(),
            scan_after: scan(">").into(),
            // The two forms bind the same values, so both must use `$3`.
            collection_scan: collection_scan("(r.partition, r.id) >= ($2, $3)").into(),
            collection_scan_after: collection_scan("(r.partition, r.id) > ($2, $3)").into(),
            // The first column is the index of the batch's only item.
            commit: format!(
                "SELECT 0, {COLUMNS} FROM {schema}.commit_to_{name}\
                 ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) AS r"
            )
            .into(),
            commit_all: format!(
                "SELECT r.item, {COLUMNS} FROM {schema}.commit_all_to_{name}\
                 ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 0) AS r"
            )
            .into(),
        }
    }
}

/// A read of several records: one branch for each table.
fn many(schema: &str, tables: &[Table]) -> String {
    let branch = |table: &Table| {
        let (name, number) = (table.name(), *table as i32);
        format!(
            "SELECT {COLUMNS}, w.item \
             FROM unnest($1, $2, $3, $4, $5) AS w (item, source, collection, partition, id) \
             JOIN {schema}.{name} AS r ON r.collection = w.collection \
             AND r.partition = w.partition AND r.id = w.id \
             WHERE w.source = {number} AND {ALIVE} $6)"
        )
    };
    let branches: Vec<_> = tables.iter().map(branch).collect();
    branches.join(" UNION ALL ")
}

/// The text of every statement on records.
#[derive(Debug)]
pub(crate) struct AllStatements {
    tables: [Statements; 3],
    /// A commit and a read across tables.
    pub(crate) commit_many: Arc<str>,
    pub(crate) get_many: Arc<str>,
}

impl AllStatements {
    pub(crate) fn new(schema: &Schema) -> Self {
        let quoted = schema.quoted();
        Self {
            tables: Table::ALL.map(|table| Statements::new(schema, table)),
            commit_many: format!(
                "SELECT r.item, {COLUMNS} FROM {quoted}.commit_many\
                 ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) AS r"
            )
            .into(),
            get_many: many(&quoted, &Table::ALL).into(),
        }
    }

    pub(crate) fn on(&self, table: Table) -> &Statements {
        &self.tables[table as usize]
    }
}

/// The smallest text greater than every name that starts with `prefix`.
///
/// UTF-8 sorts like the sequence of its characters, so the last character is replaced by
/// the next one. If it has no next one, it is removed and the character before it is
/// replaced.
pub(crate) fn after_prefix(prefix: &str) -> String {
    let mut text = prefix.to_owned();
    while let Some(last) = text.pop() {
        // Skips the surrogates, which are not characters.
        if let Some(next) = (last..=char::MAX).nth(1) {
            text.push(next);
            return text;
        }
    }
    // Longer than any name, and all of the greatest character.
    char::MAX.to_string().repeat(64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_of_a_prefix_is_above_its_names_and_below_all_greater_ones() {
        for prefix in [
            "",
            "a",
            "a%",
            "\u{7f}",
            "\u{d7ff}",
            "é\u{10ffff}",
            "\u{10ffff}",
        ] {
            let bound = after_prefix(prefix);
            for suffix in ["", "a", "\u{10ffff}\u{10ffff}"] {
                assert!(format!("{prefix}{suffix}") < bound, "{prefix:?} {suffix:?}");
            }
        }
        assert_eq!(after_prefix("a"), "b");
        assert_eq!(after_prefix("\u{d7ff}"), "\u{e000}");
        assert_eq!(after_prefix("é\u{10ffff}"), "ê");
    }

    #[test]
    fn a_schema_that_would_need_quoting_is_refused() {
        assert!(Schema::new("store").is_ok());
        for name in ["", "Store", "a-b", "a\"b", "1a", "pg_store", "a;b"] {
            assert!(Schema::new(name).is_err(), "{name}");
        }
    }
}
