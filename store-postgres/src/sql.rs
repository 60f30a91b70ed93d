//! The text of each statement, made once for a collection. All names are
//! qualified by the schema.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};
use store_core::{Collection, Error, ErrorKind, Result};

/// A schema's name, of letters that need no escaping.
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

    /// As it was given.
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

/// The table of a collection.
pub(crate) fn table(collection: Collection) -> String {
    format!("records_{}", collection.name())
}

/// Nothing but the schema's and the collections' names, whose letters are
/// checked, is put into a statement's text; values are bound.
pub(crate) fn safe(text: &Arc<str>) -> SqlStr {
    AssertSqlSafe(Arc::clone(text)).into_sql_str()
}

/// The function that commits one record of a collection.
fn commit_function(collection: Collection) -> String {
    format!("commit_to_{}", collection.name())
}

/// Whether the server's message says that this collection's table or one of
/// its functions is missing.
pub(crate) fn is_missing(message: &str, collection: Collection) -> bool {
    let name = collection.name();
    let functions = ["commit_to", "check_in", "write_to"];
    message.contains(&format!("{}\"", table(collection)))
        || functions
            .iter()
            .any(|f| message.contains(&format!("{f}_{name}(")))
}

/// What is sent about one collection.
#[derive(Debug)]
pub(crate) struct Statements {
    pub(crate) get: Arc<str>,
    pub(crate) get_many: Arc<str>,
    pub(crate) scan: Arc<str>,
    pub(crate) scan_after: Arc<str>,
    pub(crate) walk: Arc<str>,
    pub(crate) walk_after: Arc<str>,
    pub(crate) commit: Arc<str>,
}

const COLUMNS: &str = "r.version, r.expires_at, r.body, r.bytes";

impl Statements {
    fn new(schema: &Schema, collection: Collection) -> Self {
        let from = format!("FROM {}.{} AS r", schema.quoted(), table(collection));
        let alive = "(r.expires_at IS NULL OR r.expires_at >";
        let scan = |lower: &str| {
            format!(
                "SELECT {COLUMNS}, r.id {from} WHERE r.partition = $1 AND r.id {lower} $2 \
                 AND r.id < $3 AND {alive} $4) ORDER BY r.id LIMIT $5"
            )
        };
        let walk = |lower: &str| {
            format!(
                "SELECT {COLUMNS}, r.id, r.partition {from} WHERE {lower} AND r.partition < $3 \
                 AND r.id >= $4 AND r.id < $5 AND {alive} $6) \
                 ORDER BY r.partition, r.id LIMIT $7"
            )
        };
        Self {
            get: format!(
                "SELECT {COLUMNS} {from} WHERE r.partition = $1 AND r.id = $2 AND {alive} $3)"
            )
            .into(),
            get_many: many(schema, &[collection]).into(),
            scan: scan(">=").into(),
            scan_after: scan(">").into(),
            // Both forms bind the same values, so `$2` is there in both.
            walk: walk("(r.partition, r.id) >= ($1, $2)").into(),
            walk_after: walk("(r.partition, r.id) > ($1, $2)").into(),
            // The number of the batch's one item comes first.
            commit: format!(
                "SELECT 0, {COLUMNS} FROM {}.{}($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) AS r",
                schema.quoted(),
                commit_function(collection)
            )
            .into(),
        }
    }
}

/// A read of several records: one branch for each collection, numbered.
pub(crate) fn many(schema: &Schema, collections: &[Collection]) -> String {
    let branch = |(number, collection): (usize, &Collection)| {
        format!(
            "SELECT {COLUMNS}, w.item FROM unnest($1, $2, $3, $4) AS w (item, source, partition, id) \
             JOIN {}.{} AS r ON r.partition = w.partition AND r.id = w.id \
             WHERE w.source = {number} AND (r.expires_at IS NULL OR r.expires_at > $5)",
            schema.quoted(),
            table(*collection)
        )
    };
    let branches: Vec<_> = collections.iter().enumerate().map(branch).collect();
    branches.join(" UNION ALL ")
}

/// Made when a collection is first used; as many as the program declares.
#[derive(Debug, Default)]
pub(crate) struct StatementCache(RwLock<HashMap<Collection, Arc<Statements>>>);

impl StatementCache {
    pub(crate) fn of(&self, schema: &Schema, collection: Collection) -> Arc<Statements> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(statements) = known.get(&collection) {
            return Arc::clone(statements);
        }
        drop(known);
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let made = || Arc::new(Statements::new(schema, collection));
        Arc::clone(known.entry(collection).or_insert_with(made))
    }
}

/// The least text greater than every name that starts with `prefix`.
///
/// The order of UTF-8 is that of its characters, so the last one is replaced by
/// the next; where there is none, the one before it.
pub(crate) fn after_prefix(prefix: &str) -> String {
    let mut text = prefix.to_owned();
    while let Some(last) = text.pop() {
        // Skips the surrogates, which are no characters.
        if let Some(next) = (last..=char::MAX).nth(1) {
            text.push(next);
            return text;
        }
    }
    // Longer than any name, of the greatest character.
    char::MAX.to_string().repeat(64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefixs_bound_is_above_all_that_start_with_it_and_below_all_else() {
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
