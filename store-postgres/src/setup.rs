//! Creates the schema, or migrates an older one.

use std::fmt::Write as _;

use sqlx::postgres::PgConnection;
use sqlx::{Connection, PgPool, Row};
use store_core::{Collection, Error, ErrorKind, Result};

use crate::config::config;
use crate::error::{BACKEND, Effect, from_sqlx};
use crate::sql::{Schema, Table};
use crate::views;

/// The migrations, in order. A released one never changes. `{schema}` is replaced.
const MIGRATIONS: &[(&str, &str)] = &[
    ("records", include_str!("../migrations/0001_records.sql")),
    ("commit", include_str!("../migrations/0002_commit.sql")),
    ("buckets", include_str!("../migrations/0003_buckets.sql")),
    ("sweep", include_str!("../migrations/0004_sweep.sql")),
    ("changes", include_str!("../migrations/0005_changes.sql")),
    // The views are created again after the last migration, when every table exists.
    // After a change of a view, add a migration without text.
    ("views", ""),
];

/// The options of `setup`.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) schema: Schema,
    pub(crate) collections: Vec<Collection>,
    pub(crate) grant_to: Option<String>,
    /// `None` leaves the schema unchanged; likewise below.
    pub(crate) change_notice: Option<bool>,
    pub(crate) unlogged_transient: Option<bool>,
}

/// A declared collection.
#[derive(Debug)]
struct DeclaredCollection {
    name: String,
    kind: String,
    announces: bool,
}

/// The configuration of a schema, before or after `setup`.
#[derive(Debug, Default)]
pub(crate) struct State {
    collections: Vec<DeclaredCollection>,
    pub(crate) unlogged_transient: bool,
}

impl Plan {
    /// Migrates the schema, unless it is up to date.
    pub(crate) async fn run(self, pool: PgPool) -> Result<State> {
        // Runs in a separate task, so that a dropped future does not leave a
        // transaction open on a connection of the pool.
        let task = tokio::spawn(async move {
            let mut connection = pool.acquire().await.map_err(setup_failed)?;
            if let Some(state) = self.done(&mut connection).await? {
                return Ok(state);
            }
            self.migrate(&mut connection).await
        });
        task.await.unwrap_or_else(|_| {
            Err(config(
                "the runtime shut down during setup; run setup again",
            ))
        })
    }

    /// The SQL that `setup` executes in a database without this schema.
    pub(crate) fn sql(&self) -> Result<String> {
        let made = self.text(false, 0, &State::default())?;
        Ok(format!("BEGIN;\n{made}COMMIT;\n"))
    }

    /// The schema's state, if it is up to date. Reading it needs no right to change the
    /// schema.
    async fn done(&self, connection: &mut PgConnection) -> Result<Option<State>> {
        if self.grant_to.is_some() || self.version(connection).await? < MIGRATIONS.len() {
            return Ok(None);
        }
        let state = self.state(connection).await?;
        let is_done = self.steps(&state)?.is_empty() && !self.lacks_views(connection).await?;
        Ok(is_done.then_some(state))
    }

    /// Whether a view is missing that this role may create: the program that ran the last
    /// migration was compiled without its contract.
    async fn lacks_views(&self, connection: &mut PgConnection) -> Result<bool> {
        let lacking = format!(
            "SELECT has_schema_privilege(to_regnamespace('{{schema}}')::oid, 'CREATE') AND EXISTS (
                SELECT FROM unnest(string_to_array('{}', ' ')) AS v (name)
                WHERE to_regclass('{{schema}}.' || v.name) IS NULL)",
            views::names().join(" ")
        );
        self.fetch(&lacking, connection).await
    }

    /// How many migrations were applied.
    async fn version(&self, connection: &mut PgConnection) -> Result<usize> {
        let exists: bool = self
            .fetch(
                "SELECT to_regclass('{schema}.migrations') IS NOT NULL",
                connection,
            )
            .await?;
        if !exists {
            return Ok(0);
        }
        let made: i64 = self
            .fetch(
                "SELECT coalesce(max(version), 0) FROM {schema}.migrations",
                connection,
            )
            .await?;
        let made = usize::try_from(made).unwrap_or(usize::MAX);
        if made > MIGRATIONS.len() {
            return Err(Error::new(
                ErrorKind::Config,
                format!(
                    "the schema has version {made}, but this program knows only {}; \
                     a newer program created it, so upgrade this program",
                    MIGRATIONS.len()
                ),
            )
            .with_backend(BACKEND));
        }
        Ok(made)
    }

    async fn state(&self, connection: &mut PgConnection) -> Result<State> {
        let text = "SELECT name, kind, announces FROM {schema}.collections";
        let rows: Vec<(String, String, bool)> =
            sqlx::query_as(sqlx::AssertSqlSafe(self.schema.in_text(text)))
                .fetch_all(&mut *connection)
                .await
                .map_err(setup_failed)?;
        let known = |(name, kind, announces)| DeclaredCollection {
            name,
            kind,
            announces,
        };
        let collections = rows.into_iter().map(known).collect();
        let text = "SELECT EXISTS (SELECT FROM pg_class WHERE relpersistence = 'u'
            AND oid = to_regclass('{schema}.transient'))";
        Ok(State {
            collections,
            unlogged_transient: self.fetch(text, connection).await?,
        })
    }

    /// The statements that bring `state` to the declared configuration. Collection names
    /// need no escaping.
    fn steps(&self, state: &State) -> Result<Vec<String>> {
        let mut steps = Vec::new();
        let mut announcing = false;
        // Unless the option is set, an added collection is announced if others are.
        let others = state.collections.iter().any(|known| known.announces);
        let notice = self.change_notice.unwrap_or(others);
        let mut declared = self.collections.clone();
        declared.sort();
        declared.dedup();
        for collection in declared {
            let name = collection.name();
            let kind = Table::of(collection).name();
            let known = state.collections.iter().find(|known| known.name == name);
            if let Some(known) = known.filter(|known| known.kind != kind) {
                return Err(config(format!(
                    "the collection `{name}` was declared with other flags before: its records \
                     are in the table `{}`, not in `{kind}`; declare it as before",
                    known.kind
                )));
            }
            let announces = known.is_some_and(|known| known.announces);
            let wanted = match (known, self.change_notice) {
                (Some(_), None) => announces,
                _ => notice && collection.is_cacheable(),
            };
            if known.is_none() || announces != wanted {
                announcing |= announces != wanted;
                steps.push(format!(
                    "INSERT INTO {{schema}}.collections (name, kind, announces) \
                     VALUES ('{name}', '{kind}', {wanted}) \
                     ON CONFLICT (name) DO UPDATE SET announces = excluded.announces;"
                ));
            }
        }
        if announcing {
            steps.push("SELECT {schema}.apply_announcing();".into());
        }
        let unlogged = self.unlogged_transient.unwrap_or(state.unlogged_transient);
        if unlogged != state.unlogged_transient {
            let persistence = if unlogged { "UNLOGGED" } else { "LOGGED" };
            steps.push(format!(
                "ALTER TABLE {{schema}}.transient SET {persistence};"
            ));
        }
        Ok(steps)
    }

    /// The statements that migrate from version `made` and `state` to the declared
    /// configuration. They create the schema unless it exists.
    fn text(&self, exists: bool, made: usize, state: &State) -> Result<String> {
        let mut text = String::from("SET LOCAL client_min_messages = warning;\n");
        if !exists {
            text.push_str("CREATE SCHEMA {schema};\n");
        }
        text.push_str(include_str!("../migrations/0000_migrations.sql"));
        for (index, (name, step)) in MIGRATIONS.iter().enumerate().skip(made) {
            let version = index + 1;
            text.push_str(step);
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "INSERT INTO {{schema}}.migrations (version, name) VALUES ({version}, '{name}');"
            );
        }
        text.push_str(&self.steps(state)?.join("\n"));
        text.push('\n');
        text.push_str(&views::statements());
        let mut text = self.schema.in_text(&text);
        if let Some(role) = &self.grant_to {
            let grants = self
                .schema
                .in_text(include_str!("../migrations/grants.sql"));
            let quoted = format!("\"{}\"", role.replace('"', "\"\""));
            text.push_str(&grants.replace("{role}", &quoted));
        }
        Ok(text)
    }

    async fn migrate(&self, connection: &mut PgConnection) -> Result<State> {
        let mut transaction = connection.begin().await.map_err(setup_failed)?;
        // Many processes may start at the same time: one migrates, the others then
        // find nothing to do.
        self.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended('{schema}', 1))",
            &mut transaction,
        )
        .await?;
        // Looked up first: a role may own the schema without the right to create
        // others.
        let exists: bool = self
            .fetch(
                "SELECT to_regnamespace('{schema}') IS NOT NULL",
                &mut transaction,
            )
            .await?;
        let made = match exists {
            true => self.version(&mut transaction).await?,
            false => 0,
        };
        let state = match made {
            0 => State::default(),
            _ => self.state(&mut transaction).await?,
        };
        let text = self.text(exists, made, &state)?;
        sqlx::raw_sql(sqlx::AssertSqlSafe(text))
            .execute(&mut *transaction)
            .await
            .map_err(setup_failed)?;
        let state = self.state(&mut transaction).await?;
        transaction.commit().await.map_err(setup_failed)?;
        Ok(state)
    }

    async fn execute(&self, text: &str, connection: &mut PgConnection) -> Result<()> {
        sqlx::raw_sql(sqlx::AssertSqlSafe(self.schema.in_text(text)))
            .execute(connection)
            .await
            .map(drop)
            .map_err(setup_failed)
    }

    async fn fetch<T>(&self, text: &str, connection: &mut PgConnection) -> Result<T>
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
    {
        sqlx::query(sqlx::AssertSqlSafe(self.schema.in_text(text)))
            .fetch_one(connection)
            .await
            .and_then(|row| row.try_get(0))
            .map_err(setup_failed)
    }
}

/// The error of a failed setup, which may always be repeated.
fn setup_failed(e: sqlx::Error) -> Error {
    from_sqlx(e, Effect::Repeatable, "setup")
}
