//! Notices of changes: a connection of its own that listens, as long as the
//! store is open.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use store_core::changes::{ChangeSender, Changes, Notice};
use store_core::{Collection, Error, Partition, RecordKey, Result, Version};
use tokio::sync::Mutex;

use crate::config::config;
use crate::error::{BACKEND, Effect, from_sqlx, timed_out};
use crate::shared::Shared;
use crate::sql::Schema;
use store_core::backend::{Background, Stop};

/// After so long a silence the server is asked for a sign of life: a line that
/// broke without a word would stay silent for ever.
const SILENCE: Duration = Duration::from_secs(20);

/// How long that sign, or anything else that proves the line, may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long to wait before the next attempt to connect: doubled from the first
/// to the last.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// What a listener says to itself begins so; no collection's name does.
const PROBE: &str = "?";

/// Hears of changes for all who ask this store.
#[derive(Debug)]
pub(crate) struct Listener {
    place: Place,
    /// What may be told of. Others' notices are of no use here.
    collections: Arc<[Collection]>,
    sender: Arc<ChangeSender>,
    running: Mutex<Option<Background>>,
}

/// Where to listen.
#[derive(Clone, Debug)]
struct Place {
    options: PgConnectOptions,
    channel: String,
    acquire_timeout: Duration,
}

impl Listener {
    pub(crate) fn new(
        options: PgConnectOptions,
        acquire_timeout: Duration,
        schema: &Schema,
        collections: &[Collection],
    ) -> Self {
        let cacheable = collections.iter().copied().filter(|c| c.is_cacheable());
        Self {
            place: Place {
                options,
                channel: format!("store_changes/{}", schema.name()),
                acquire_timeout,
            },
            collections: cacheable.collect(),
            sender: Arc::default(),
            running: Mutex::new(None),
        }
    }

    /// All changes committed from the answer on. The first call connects.
    pub(crate) async fn subscribe(&self, shared: &Shared) -> Result<Changes> {
        let mut running = self.running.lock().await;
        shared.check_open()?;
        if running.is_none() {
            self.check_announced(shared).await?;
            let mut line = Line::open(&self.place).await?;
            line.prove(shared).await?;
            let heard = Heard {
                collections: Arc::clone(&self.collections),
                sender: Arc::clone(&self.sender),
            };
            let place = self.place.clone();
            *running = Some(Background::start(|stop| listen(place, line, heard, stop)));
        }
        Ok(self.sender.subscribe())
    }

    /// A schema that was never asked to tell would be silent for ever.
    async fn check_announced(&self, shared: &Shared) -> Result<()> {
        let text = shared
            .schema
            .in_text("SELECT name FROM {schema}.collections WHERE announces");
        let mut connection = shared.connection("changes").await?;
        let query = sqlx::query_scalar(sqlx::AssertSqlSafe(text)).fetch_all(&mut *connection);
        let announced: Vec<String> = shared.answer("changes", Effect::Repeatable, query).await?;
        let is_silent = |c: &Collection| !announced.iter().any(|name| name == c.name());
        if self.collections.iter().any(is_silent) {
            return Err(config(
                "the schema does not tell of all changes yet; run setup of a store with \
                 PostgresBuilder::change_notice(true) once, as the schema's owner",
            ));
        }
        Ok(())
    }

    /// Ends what was subscribed, and the connection.
    pub(crate) async fn close(&self) {
        let mut running = self.running.lock().await;
        if let Some(running) = running.take() {
            running.stop().await;
        }
        self.sender.end();
    }
}

/// A connection that listens.
struct Line {
    listener: PgListener,
    channel: String,
    /// Its own, of one connection; a broken one is never used again.
    _pool: PgPool,
}

impl Line {
    async fn open(place: &Place) -> Result<Self> {
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(place.acquire_timeout)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(place.options.clone());
        let listen = async {
            let mut listener = PgListener::connect_with(&pool).await?;
            listener.eager_reconnect(false);
            listener.listen(&place.channel).await?;
            Ok(listener)
        };
        let listener = listen
            .await
            .map_err(|e| from_sqlx(e, Effect::Repeatable, "changes"))?;
        Ok(Self {
            listener,
            channel: place.channel.clone(),
            _pool: pool,
        })
    }

    /// Says something by a connection of the store's and waits to hear it. A
    /// pooler may give another session to each transaction; LISTEN is then
    /// granted, and nothing is ever heard. So it is with another database.
    async fn prove(&mut self, shared: &Shared) -> Result<()> {
        let word = format!("{PROBE}{:?}", Version::unique());
        let mut connection = shared.connection("changes").await?;
        let say = sqlx::query("SELECT pg_notify($1, $2)")
            .bind(&self.channel)
            .bind(&word)
            .execute(&mut *connection);
        shared.answer("changes", Effect::Repeatable, say).await?;
        let heard = async {
            while let Some(notice) = self.listener.try_recv().await? {
                if notice.payload() == word {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        match tokio::time::timeout(PATIENCE.min(shared.timeout()), heard).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(timed_out(Effect::Repeatable, "changes")),
            Ok(Err(e)) => Err(from_sqlx(e, Effect::Repeatable, "changes")),
            Err(_) => Err(config(
                "nothing is heard where the store listens: through a pooler in transaction \
                 mode, or in another database; name the server itself in PostgresBuilder::listener_url",
            )),
        }
    }

    /// Passes on what is heard, until the line is lost.
    async fn hear(&mut self, heard: &Heard) {
        loop {
            match tokio::time::timeout(SILENCE, self.listener.try_recv()).await {
                Ok(Ok(Some(notice))) => heard.pass_on(notice.payload()),
                Ok(Ok(None) | Err(_)) => return,
                Err(_) => {
                    let sign = sqlx::query("SELECT 1").execute(&mut self.listener);
                    match tokio::time::timeout(PATIENCE, sign).await {
                        Ok(Ok(_)) => {}
                        _ => return,
                    }
                }
            }
        }
    }
}

/// Listens for as long as the store is open. Whoever subscribed is told of a
/// gap when the line is lost, and once more when notices are heard again.
async fn listen(place: Place, mut line: Line, heard: Heard, mut stop: Stop) {
    loop {
        tokio::select! {
            () = stop.requested() => return,
            () = line.hear(&heard) => {}
        }
        heard.sender.send(Notice::Gap);
        let mut pause = PAUSES.0;
        line = loop {
            let opened = tokio::select! {
                () = stop.requested() => return,
                opened = Line::open(&place) => opened,
            };
            if let Ok(line) = opened {
                break line;
            }
            if stop.within(pause).await {
                return;
            }
            pause = (pause * 2).min(PAUSES.1);
        };
        heard.sender.send(Notice::Gap);
    }
}

/// What becomes of a notice.
struct Heard {
    collections: Arc<[Collection]>,
    sender: Arc<ChangeSender>,
}

impl Heard {
    fn pass_on(&self, notice: &str) {
        if notice.starts_with(PROBE) {
            return;
        }
        match self.read(notice) {
            Ok(Some((partition, key))) => self.sender.send(Notice::Changed { partition, key }),
            Ok(None) => {}
            // Of a newer program perhaps, or of a person: what it means is not known.
            Err(_) => self.sender.send(Notice::Gap),
        }
    }

    /// The record that a notice names; `None` for a collection that this store
    /// does not know.
    fn read(&self, notice: &str) -> Result<Option<(Partition, RecordKey)>> {
        let parts = || {
            let (collection, rest) = notice.split_once('/')?;
            let (octets, names) = rest.split_once('/')?;
            let (partition, id) = names.split_at_checked(octets.parse().ok()?)?;
            Some((collection, partition, id))
        };
        let unknown = || Error::corrupt("a notice of another form").with_backend(BACKEND);
        let (name, partition, id) = parts().ok_or_else(unknown)?;
        let known = self.collections.iter().find(|c| c.name() == name);
        known
            .map(|&collection| Ok((Partition::new(partition)?, RecordKey::new(collection, id)?)))
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THINGS: Collection = Collection::new("things").cacheable();

    #[tokio::test]
    async fn what_is_not_understood_is_a_gap_and_never_a_panic() {
        let heard = Heard {
            collections: [THINGS].into(),
            sender: Arc::default(),
        };
        let mut changes = heard.sender.subscribe();
        let long = format!("things/0/{}", "x".repeat(256));
        let notices = [
            "",
            "things",
            "things/1",
            "things/x/ab",
            "things/9/ab",
            "things/1/é",
            "things/-1/a",
            &long,
        ];
        for notice in notices {
            heard.pass_on(notice);
            assert_eq!(changes.next().await, Some(Notice::Gap), "{notice}");
        }
        heard.pass_on("?its own word");
        heard.pass_on("others/1/ab");
        heard.pass_on("things/2/a/b/c");
        let told = Notice::Changed {
            partition: Partition::new("a/").expect("short"),
            key: RecordKey::new(THINGS, "b/c").expect("short"),
        };
        assert_eq!(changes.next().await, Some(told));
    }
}
