//! The schema: making it, and bringing an older one up to date.

use sqlx::postgres::PgConnection;
use sqlx::{Connection, PgPool, Row};
use store_core::lti::NONCES;
use store_core::{Collection, Error, ErrorKind, Result};

use crate::config::config;
use crate::error::{BACKEND, Effect, from_sqlx};
use crate::sql::Schema;

/// In order; a released one never changes. `{schema}` is replaced.
const MIGRATIONS: &[(&str, &str)] = &[
    ("records", include_str!("../migrations/0001_records.sql")),
    ("commit", include_str!("../migrations/0002_commit.sql")),
    ("buckets", include_str!("../migrations/0003_buckets.sql")),
    ("sweep", include_str!("../migrations/0004_sweep.sql")),
    ("changes", include_str!("../migrations/0005_changes.sql")),
    // The views are made anew after the last step, once every table is there; a
    // change to them is a step without text.
    ("views", ""),
];

/// What `setup` does, and for whom.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) schema: Schema,
    pub(crate) collections: Vec<Collection>,
    pub(crate) grant_to: Option<String>,
    /// Unsaid, the schema stays as it is; likewise below.
    pub(crate) change_notice: Option<bool>,
    pub(crate) unlogged_nonces: Option<bool>,
}

/// What `setup` finds of a schema, or leaves behind.
#[derive(Debug)]
pub(crate) struct State {
    /// Each collection that has a table, and whether its changes are told.
    collections: Vec<(String, bool)>,
    pub(crate) unlogged_nonces: bool,
}

impl Plan {
    /// Brings the schema up to date, unless it is.
    pub(crate) async fn run(self, pool: PgPool) -> Result<State> {
        // In a task of its own, which a caller that gives up does not cancel: a
        // transaction must not stay open on a connection of the pool.
        let task = tokio::spawn(async move {
            let mut connection = pool.acquire().await.map_err(before)?;
            if let Some(state) = self.done(&mut connection).await? {
                return Ok(state);
            }
            self.migrate(&mut connection).await?;
            self.state(&mut connection).await
        });
        task.await
            .unwrap_or_else(|_| Err(config("setup was stopped with the runtime; start it again")))
    }

    /// The state if there is nothing to do, which any role may find out.
    async fn done(&self, connection: &mut PgConnection) -> Result<Option<State>> {
        if self.grant_to.is_some() || self.version(connection).await? < MIGRATIONS.len() {
            return Ok(None);
        }
        let state = self.state(connection).await?;
        Ok(self.steps(&state).is_empty().then_some(state))
    }

    /// How many migrations were made.
    async fn version(&self, connection: &mut PgConnection) -> Result<usize> {
        let there: bool = self
            .fetch(
                "SELECT to_regclass('{schema}.migrations') IS NOT NULL",
                connection,
            )
            .await?;
        if !there {
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
                    "the schema is of version {made} and this program knows {}; \
                     a newer program made it, run a newer version here too",
                    MIGRATIONS.len()
                ),
            )
            .with_backend(BACKEND));
        }
        Ok(made)
    }

    async fn state(&self, connection: &mut PgConnection) -> Result<State> {
        let text = "SELECT name, announces FROM {schema}.collections";
        let collections = sqlx::query_as(sqlx::AssertSqlSafe(self.schema.in_text(text)))
            .fetch_all(&mut *connection)
            .await
            .map_err(before)?;
        let text = "SELECT EXISTS (SELECT FROM pg_class WHERE relpersistence = 'u'
            AND oid = to_regclass('{schema}.records_lti_nonces'))";
        Ok(State {
            collections,
            unlogged_nonces: self.fetch(text, connection).await?,
        })
    }

    /// The statements that make of `state` what is declared. Names need no
    /// escaping.
    fn steps(&self, state: &State) -> Vec<String> {
        let mut steps = Vec::new();
        // Tables that are added tell if the others do, unless it is said.
        let told = state.collections.iter().any(|(_, announces)| *announces);
        let tells = self.change_notice.unwrap_or(told);
        for collection in &self.collections {
            let name = collection.name();
            let known = state.collections.iter().find(|(known, _)| known == name);
            if known.is_none() {
                let chunks = collection.is_chunks();
                steps.push(format!(
                    "SELECT {{schema}}.create_collection('{name}', {chunks})"
                ));
            }
            let announces = known.is_some_and(|(_, announces)| *announces);
            let wanted = match (known, self.change_notice) {
                (Some(_), None) => announces,
                _ => tells && collection.is_cacheable(),
            };
            if announces != wanted {
                steps.push(format!(
                    "SELECT {{schema}}.set_announcing('{name}', {wanted})"
                ));
            }
        }
        let unlogged = self.unlogged_nonces.unwrap_or(state.unlogged_nonces);
        if unlogged != state.unlogged_nonces {
            let kept = if unlogged { "UNLOGGED" } else { "LOGGED" };
            steps.push(format!(
                "ALTER TABLE {{schema}}.records_{} SET {kept}",
                NONCES.name()
            ));
        }
        steps
    }

    async fn migrate(&self, connection: &mut PgConnection) -> Result<()> {
        let mut transaction = connection.begin().await.map_err(before)?;
        // Twenty processes may start at once: one migrates, the others find it done.
        self.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended('{schema}', 1))",
            &mut transaction,
        )
        .await?;
        // Asked first: a role may own the schema without the right to make others.
        let there: bool = self
            .fetch(
                "SELECT to_regnamespace('{schema}') IS NOT NULL",
                &mut transaction,
            )
            .await?;
        if !there {
            self.execute("CREATE SCHEMA {schema}", &mut transaction)
                .await?;
        }
        self.execute(
            include_str!("../migrations/0000_migrations.sql"),
            &mut transaction,
        )
        .await?;
        let made = self.version(&mut transaction).await?;
        for (index, (name, text)) in MIGRATIONS.iter().enumerate().skip(made) {
            self.execute(text, &mut transaction).await?;
            let record = self
                .schema
                .in_text("INSERT INTO {schema}.migrations (version, name) VALUES ($1, $2)");
            sqlx::query(sqlx::AssertSqlSafe(record))
                .bind(index as i64 + 1)
                .bind(*name)
                .execute(&mut *transaction)
                .await
                .map_err(before)?;
        }
        let state = self.state(&mut transaction).await?;
        for step in self.steps(&state) {
            self.execute(&step, &mut transaction).await?;
        }
        self.execute(include_str!("../migrations/views.sql"), &mut transaction)
            .await?;
        if let Some(role) = &self.grant_to {
            let grants = self
                .schema
                .in_text(include_str!("../migrations/grants.sql"));
            let quoted = format!("\"{}\"", role.replace('"', "\"\""));
            self.execute(&grants.replace("{role}", &quoted), &mut transaction)
                .await?;
        }
        transaction.commit().await.map_err(before)
    }

    async fn execute(&self, text: &str, connection: &mut PgConnection) -> Result<()> {
        sqlx::raw_sql(sqlx::AssertSqlSafe(self.schema.in_text(text)))
            .execute(connection)
            .await
            .map(drop)
            .map_err(before)
    }

    async fn fetch<T>(&self, text: &str, connection: &mut PgConnection) -> Result<T>
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
    {
        sqlx::query(sqlx::AssertSqlSafe(self.schema.in_text(text)))
            .fetch_one(connection)
            .await
            .and_then(|row| row.try_get(0))
            .map_err(before)
    }
}

/// Setup may be repeated whatever became of it.
fn before(e: sqlx::Error) -> Error {
    from_sqlx(e, Effect::Repeatable, "setup")
}
