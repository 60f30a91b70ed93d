//! Pages of a whole collection: `SCAN` over each primary.
//!
//! `SCAN` returns every key that stays on one server, as long as that server is not
//! restarted. So the cursor of a collection scan contains the servers of the cluster and
//! the run id of the current one. The scan ends with an error if they have changed, or
//! while a slot is being moved.

use std::fmt::Write as _;
use std::sync::Arc;

use redis::{ServerErrorKind, Value, pipe};
use store_core::{Error, ErrorKind, Partition, Record, RecordKey, Records, Result, Retry, Scan};

use crate::error::{BACKEND, Effect, Failure, from_redis};
use crate::node::Node;
use crate::scan::MAX_BYTES;
use crate::servers::Servers;
use crate::setup::field;
use crate::shared::Shared;
use crate::wire::{array, record, text, unexpected};

/// The maximum `COUNT` of one `SCAN`.
const MAX_STEP: usize = 1024;

/// The `COUNT` of the first `SCAN`. On a small server it covers all keys.
const FIRST_STEP: usize = 256;

/// How many names that did not fit on the page a cursor may contain.
const MAX_LEFT: usize = 32;

/// How many records one request reads.
const READ_TOGETHER: usize = 64;

/// The position of a collection scan.
#[derive(Clone, Debug, Default, PartialEq)]
struct Place {
    /// A digest of the cluster's topology at the beginning; empty for a single server.
    cluster: String,
    /// The current server, by its name in the cluster.
    server: String,
    /// The run id of that server; empty before the first step on it.
    run: String,
    /// The cursor of `SCAN` on that server.
    cursor: u64,
    /// Partitions and ids that were found and are not returned yet.
    left: Vec<(String, String)>,
    /// All servers have been scanned.
    done: bool,
}

pub(crate) async fn page(shared: &Shared, scan: &Scan, prefix: &str) -> Result<Records> {
    let servers = shared.servers()?;
    let mut place = match scan.position() {
        // A client can put any name into its cursor.
        Some(position) => Place::parse(position)
            .filter(|place| place.left.iter().all(|(p, id)| scan.selects(p, id)))
            .ok_or_else(|| Error::invalid("the cursor was altered; pass it as it was returned"))?,
        None => Place::default(),
    };
    let mut items: Vec<Record> = Vec::new();
    let at_first = if scan.position().is_none() {
        FIRST_STEP
    } else {
        1
    };
    let (mut room, mut count) = (MAX_BYTES, scan.page_size().max(at_first));
    loop {
        while !place.left.is_empty() && items.len() < scan.page_size() && room > 0 {
            let most = READ_TOGETHER.min(scan.page_size() - items.len());
            let names: Vec<_> = place.left.drain(..most.min(place.left.len())).collect();
            let node = find(&servers, &place).await?;
            for record in read(shared, scan, &node, names).await? {
                room = room.saturating_sub(record.body().size());
                items.push(record);
            }
        }
        if place.left.is_empty() && place.cursor == 0 && !place.run.is_empty() {
            place.go_on(&servers);
        }
        if place.done && place.left.is_empty() {
            return Ok(Records::last(items));
        }
        if !items.is_empty() && (items.len() == scan.page_size() || room == 0) {
            let next = Some(scan.cursor(place.to_bytes()));
            return Ok(Records::new(items, next));
        }
        let wanted = scan.page_size() - items.len();
        let node = find(&servers, &place).await?;
        let before = place.clone();
        step(shared, scan, prefix, &servers, &node, &mut place, count).await?;
        if place.left.len() > wanted + MAX_LEFT && count > wanted {
            // More names than a cursor should contain: repeat the step with a smaller
            // count.
            (place, count) = (before, wanted);
        } else if place.left.is_empty() {
            count = (count * 2).min(MAX_STEP);
        }
    }
}

impl Place {
    /// Continues with the next server, if there is one.
    fn go_on(&mut self, servers: &Servers) {
        let next = match servers {
            Servers::One(_) => None,
            Servers::Cluster(cluster) => {
                let nodes = cluster.primaries();
                let later = nodes.iter().filter(|node| node.name > self.server);
                later.map(|node| node.name.clone()).min()
            }
        };
        match next {
            Some(server) => {
                (self.server, self.run, self.cursor) = (server, String::new(), 0);
            }
            None => self.done = true,
        }
    }

    /// The fields, each ended by a NUL, which no name contains.
    fn to_bytes(&self) -> Vec<u8> {
        let mut text = String::new();
        let fields = [&self.cluster, &self.server, &self.run];
        for field in fields {
            text.push_str(field);
            text.push('\0');
        }
        write!(text, "{}\0{}\0", self.cursor, u8::from(self.done))
            .expect("writing to a string cannot fail");
        for (partition, id) in &self.left {
            write!(text, "{partition}\0{id}\0").expect("writing to a string cannot fail");
        }
        text.into_bytes()
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?.strip_suffix('\0')?;
        let mut fields = text.split('\0').map(String::from);
        let mut place = Self {
            cluster: fields.next()?,
            server: fields.next()?,
            run: fields.next()?,
            cursor: fields.next()?.parse().ok()?,
            done: fields.next()? == "1",
            left: Vec::new(),
        };
        while let Some(partition) = fields.next() {
            place.left.push((partition, fields.next()?));
        }
        Some(place)
    }
}

/// The node of the current server; of the first one before the first step.
async fn find(servers: &Servers, place: &Place) -> Result<Arc<Node>> {
    match servers {
        Servers::One(node) => Ok(Arc::clone(node)),
        Servers::Cluster(cluster) => {
            if place.server.is_empty() {
                // Servers that joined in the meantime must be scanned too.
                cluster.look_again().await.map_err(failed)?;
            }
            let nodes = cluster.primaries();
            let found = match &*place.server {
                "" => nodes.iter().min_by(|a, b| a.name.cmp(&b.name)),
                name => nodes.iter().find(|node| node.name == name),
            };
            found.cloned().ok_or_else(changed)
        }
    }
}

fn failed(e: Failure) -> Error {
    from_redis(e, Effect::Repeatable, "scan")
}

/// One `SCAN` on `node`; the names that it finds are added to `place`.
async fn step(
    shared: &Shared,
    scan: &Scan,
    prefix: &str,
    servers: &Servers,
    node: &Node,
    place: &mut Place,
    count: usize,
) -> Result<()> {
    let collection = scan.in_collection();
    let mut commands = pipe();
    commands.cmd("INFO").arg("server");
    if servers.is_cluster() {
        commands.cmd("CLUSTER").arg("NODES");
    }
    commands
        .cmd("SCAN")
        .arg(place.cursor)
        .arg("MATCH")
        .arg(shared.names.pattern(collection, prefix, scan.prefix()))
        .arg("COUNT")
        .arg(count);
    let mut answers = node.send_all(&commands).await.map_err(failed)?.into_iter();
    let mut answer = || answers.next().ok_or_else(unexpected);

    let info = text(answer()?)?;
    let run = field(&info, "run_id").unwrap_or_default();
    if !place.run.is_empty() && place.run != run {
        return Err(changed());
    }
    place.run = run.into();
    if let Servers::Cluster(cluster) = servers {
        let known = cluster.primaries();
        let seen = topology(&text(answer()?)?, &known)?;
        if !place.cluster.is_empty() && place.cluster != seen {
            return Err(changed());
        }
        place.cluster = seen;
        place.server = node.name.clone();
    }
    let mut found = array(answer()?)?.into_iter();
    let (Some(cursor), Some(keys)) = (found.next(), found.next()) else {
        return Err(unexpected());
    };
    place.cursor = text(cursor)?.parse().map_err(|_| unexpected())?;
    for key in array(keys)? {
        // All keys of the store are valid UTF-8, so this is another program's key.
        let Ok(key) = text(key) else { continue };
        let Some((partition, id)) = shared.names.parse(collection, &key) else {
            continue;
        };
        let name = (partition.as_str().to_owned(), id.to_owned());
        let matches = name.0.starts_with(prefix) && id.starts_with(scan.prefix());
        if matches && !place.left.contains(&name) {
            place.left.push(name);
        }
    }
    Ok(())
}

/// A short digest of the primaries and their slots in `CLUSTER NODES`.
fn topology(nodes: &str, known: &[Arc<Node>]) -> Result<String> {
    let mut primaries: Vec<String> = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    for line in nodes.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let [name, _, flags, _, _, _, epoch, _, slots @ ..] = &fields[..] else {
            continue;
        };
        if slots.iter().any(|slot| slot.starts_with('[')) {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "the cluster is moving slots, and a collection scan could miss records; begin it \
                 again when the slots have been moved",
            )
            .with_retry(Retry::Safe)
            .with_backend(BACKEND));
        }
        if flags.contains("master") && !slots.is_empty() {
            primaries.push(format!("{name} {epoch} {}", slots.join(" ")));
            names.push(name);
        }
    }
    names.sort_unstable();
    let mut expected: Vec<&str> = known.iter().map(|node| &*node.name).collect();
    expected.sort_unstable();
    if names != expected {
        return Err(changed());
    }
    primaries.sort();
    Ok(format!("{:016x}", fnv(&primaries.join("\n"))))
}

/// The FNV-1a hash. It only distinguishes topologies, so it need not be cryptographic.
fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn changed() -> Error {
    Error::new(
        ErrorKind::Superseded,
        "a server was restarted or the cluster has changed since the collection scan began, so \
         it could miss records; begin it again without a cursor",
    )
    .with_backend(BACKEND)
}

/// The records of these names that exist and have not expired.
async fn read(
    shared: &Shared,
    scan: &Scan,
    node: &Node,
    names: Vec<(String, String)>,
) -> Result<Vec<Record>> {
    let mut found = Vec::with_capacity(names.len());
    let mut commands = pipe();
    for (partition, id) in names {
        let at = (
            Partition::new(partition)?,
            RecordKey::new(scan.in_collection(), id)?,
        );
        commands.cmd("GET").arg(shared.names.record(at.1.at(&at.0)));
        found.push(at);
    }
    let values: Vec<Value> = node.send_all(&commands).await.map_err(|e| match e.kind() {
        // The slot of a name in a cursor has moved to another server.
        redis::ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::Ask) => changed(),
        _ => failed(e),
    })?;
    let now = shared.now();
    let mut records = Vec::with_capacity(values.len());
    for ((partition, key), value) in found.iter().zip(values) {
        let record = record(value, partition, key)?;
        records.extend(record.filter(|record| !record.is_expired(now)));
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_parsed_back_and_an_altered_one_is_refused() {
        let place = Place {
            cluster: "00ff".into(),
            server: "b0".into(),
            run: "91ab".into(),
            cursor: u64::MAX,
            left: vec![("p".into(), String::new()), (String::new(), "é".into())],
            done: false,
        };
        let bytes = place.to_bytes();
        assert_eq!(Place::parse(&bytes), Some(place));
        for cut in 1..bytes.len() {
            // Must not panic. A truncated name may be valid.
            let _ = Place::parse(&bytes[..cut]);
        }
        assert_eq!(Place::parse(b""), None);
        assert_eq!(Place::parse(&[0xff, 0]), None);
    }
}
