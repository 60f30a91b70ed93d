//! Sends a batch as one call of the script that writes records, or, if it creates one
//! large record, as a transaction in which no script copies the record.

use redis::{Cmd, ServerErrorKind, Value};
use store_core::backend::change_messages;
use store_core::batch::Item;
use store_core::error::FailedItem;
use store_core::{Batch, Change, Collection, Conflict, Error, Expect, Result};

use crate::config::Strict;
use crate::error::{BACKEND, Effect, from_redis};
use crate::shared::{Script, Shared};
use crate::wire::{Pair, Stored, array, integer, record, unexpected};

/// A new record of at least this many bytes is not written by the script, which would
/// copy it twice.
const LARGE: usize = 16 << 10;

/// Sends `batch` once.
pub(crate) async fn send(shared: &Shared, batch: &Batch) -> Result<()> {
    let request = Request::of(shared, batch)?;
    if create_large(shared, &request).await? {
        return Ok(());
    }
    let script = Script {
        lua: &shared.scripts.commit,
        keys: &request.keys,
        arguments: &|command| request.write(command),
        size: request.size(),
    };
    let effect = match batch
        .items()
        .iter()
        .any(|item| !matches!(item.change(), Change::Check))
    {
        true => Effect::Write,
        false => Effect::Repeatable,
    };
    let answer = match strict(shared, batch) {
        Some(strict) => shared.run_strictly("commit", script, strict).await?,
        None => shared.run("commit", effect, script).await?,
    };
    match answer {
        Value::Nil => Ok(()),
        failed => Err(conflict(batch, array(failed)?)?),
    }
}

/// Creates the one record of the request, if it is large, needs no replicas and is not
/// announced; returns whether it did. If it did not, nothing was written: the key
/// exists, perhaps as an expired record, which only the script can see, or another
/// server has the slot.
async fn create_large(shared: &Shared, request: &Request<'_>) -> Result<bool> {
    let [item] = request.batch.items() else {
        return Ok(false);
    };
    let [Some((stored, life))] = &request.puts[..] else {
        return Ok(false);
    };
    let announced = shared.announces && item.key().collection().is_cacheable();
    let is_new = matches!(item.expect(), Expect::Absent);
    if !is_new || stored.len() < LARGE || announced || strict(shared, request.batch).is_some() {
        return Ok(false);
    }
    let [record, ..] = &request.keys[..] else {
        return Ok(false);
    };
    let mut set = Cmd::with_capacity(6, stored.len() + record.len() + 40);
    set.arg("SET").arg(record).arg(stored).arg("NX");
    if let Some(life) = life {
        set.arg("PX").arg(*life);
    }
    let id = item.key().id();
    let index = Script {
        lua: &shared.scripts.index,
        keys: &request.keys,
        arguments: &|command| {
            command.arg(id);
        },
        size: 1024,
    };
    let mut both = redis::pipe();
    both.atomic().add_command(set);
    // The script is sent as text. If the server did not know its digest, only the `SET`
    // would run.
    both.add_command(index.command(false)).ignore();
    let servers = shared.servers()?;
    match servers.send_all(servers.slot(record), &both).await {
        Ok(answers) => Ok(answers.first().is_some_and(|answer| *answer != Value::Nil)),
        Err(e) if e.kind() == redis::ErrorKind::Server(ServerErrorKind::ExecAbort) => Ok(false),
        Err(e) if !e.was_sent() => Ok(false),
        Err(e) => Err(from_redis(e, Effect::Write, "commit")),
    }
}

/// How many replicas must confirm this batch, if any.
pub(crate) fn strict(shared: &Shared, batch: &Batch) -> Option<Strict> {
    let is_strict = |item: &Item| {
        item.key().collection().is_single_use() && !matches!(item.change(), Change::Check)
    };
    shared
        .strict
        .filter(|_| batch.items().iter().any(is_strict))
}

/// A batch as keys and arguments.
struct Request<'a> {
    batch: &'a Batch,
    keys: Vec<String>,
    /// Each collection that is written to, and the index of its sorted set of ids in
    /// `keys`.
    collections: Vec<(Collection, usize)>,
    /// For each put the stored value, and the milliseconds until it expires.
    puts: Vec<Option<(Stored, Option<u64>)>>,
    /// The channel and the messages that announce it.
    notices: Option<(String, Vec<String>)>,
}

impl<'a> Request<'a> {
    fn of(shared: &Shared, batch: &'a Batch) -> Result<Self> {
        let items = batch.items();
        let mut keys: Vec<String> = (0..items.len())
            .map(|index| shared.names.record(batch.at(index)))
            .collect();
        let mut collections: Vec<(Collection, usize)> = Vec::new();
        let mut puts = Vec::with_capacity(items.len());
        for item in items {
            let put = match item.change() {
                Change::Check => {
                    puts.push(None);
                    continue;
                }
                Change::Delete => None,
                Change::Put { body, expires_at } => Some((
                    Stored::new(batch.version(), *expires_at, body)?,
                    expires_at.map(|at| shared.life_ms(at, batch.now())),
                )),
            };
            puts.push(put);
            let collection = item.key().collection();
            if !collections.iter().any(|(known, _)| *known == collection) {
                let partition = batch.partition().as_str();
                keys.push(shared.names.ids(partition, collection));
                keys.push(shared.names.deadlines(partition, collection));
                collections.push((collection, keys.len() - 1));
            }
        }
        Ok(Self {
            batch,
            keys,
            collections,
            puts,
            notices: shared
                .announces
                .then(|| (shared.names.channel(), change_messages(batch))),
        })
    }

    /// The index in `keys` of a collection's sorted set of ids.
    fn place(&self, collection: Collection) -> usize {
        let mut known = self.collections.iter();
        known
            .find(|(known, _)| *known == collection)
            .map_or(0, |(_, place)| *place)
    }

    fn size(&self) -> usize {
        let keys: usize = self.keys.iter().map(String::len).sum();
        let puts = self.puts.iter().flatten().map(|(stored, _)| stored.len());
        keys * 2 + puts.sum::<usize>() + self.keys.len() * 80
    }

    fn write(&self, command: &mut Cmd) {
        let now = Pair::from(self.batch.now());
        command.arg(now).arg(self.puts.len());
        for (item, put) in self.batch.items().iter().zip(&self.puts) {
            match item.expect() {
                Expect::Any => command.arg("*"),
                Expect::Absent => command.arg("-"),
                Expect::Present => command.arg("+"),
                Expect::Version(version) => command.arg(version.to_string()),
            };
            match (item.change(), put) {
                (Change::Check, _) => {
                    command.arg("c");
                    continue;
                }
                (Change::Put { .. }, Some((_, Some(life)))) => command.arg(*life),
                (Change::Put { .. }, _) => command.arg("p"),
                (Change::Delete, _) => command.arg("d"),
            };
            command.arg(self.place(item.key().collection()));
            if let Some((stored, _)) = put {
                command.arg(stored);
            }
        }
        if let Some((channel, messages)) = &self.notices {
            command.arg(channel).arg(messages);
        }
    }
}

fn conflict(batch: &Batch, failed: Vec<Value>) -> Result<Error> {
    let mut items = Vec::with_capacity(failed.len() / 2);
    let mut failed = failed.into_iter();
    while let (Some(place), Some(current)) = (failed.next(), failed.next()) {
        let index = usize::try_from(integer(&place)? - 1)
            .ok()
            .filter(|index| *index < batch.items().len())
            .ok_or_else(unexpected)?;
        let current = record(current, batch.partition(), batch.items()[index].key())?;
        items.push(FailedItem::new(index, batch.at(index), current));
    }
    Ok(Error::from_conflict(Conflict::new(items))
        .with_backend(BACKEND)
        .with_operation("commit"))
}
