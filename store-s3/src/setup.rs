//! Tests with concurrent requests whether a server has the properties on which the store
//! relies.

use bytes::Bytes;
use futures_util::future::{BoxFuture, join_all};
use serde::{Deserialize, Serialize};
use store_core::backend::contended;
use store_core::body::{Format, read_json};
use store_core::{Error, ErrorKind, Result, Version};

use crate::error::{BACKEND, config, is_lost};
use crate::keys::Namespace;
use crate::objects::{ETag, Objects, Precondition, PutResult};

/// How many puts race for one object.
const RACERS: usize = 32;

/// How many races of each kind there are.
const ROUNDS: usize = 4;

/// How many objects are listed.
const LISTED: usize = 8;

/// The result, stored beside the records.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Marker {
    store: Format<1>,
    /// The property that the server lacks, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fault: Option<Fault>,
    /// Whether the server has an atomic conditional `DELETE`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    removes: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Fault {
    IgnoresCreate,
    IgnoresReplace,
    RefusesReplace,
    RacesCreate,
    RacesReplace,
    ListsInNoOrder,
}

impl Fault {
    fn text(self) -> &'static str {
        match self {
            Self::IgnoresCreate => "overwrites an object despite If-None-Match",
            Self::IgnoresReplace => "overwrites an object despite If-Match",
            Self::RefusesReplace => "refuses a put whose If-Match holds",
            Self::RacesCreate => {
                "executes several puts with If-None-Match that are sent concurrently"
            }
            Self::RacesReplace => "executes several puts with If-Match that are sent concurrently",
            Self::ListsInNoOrder => {
                "does not list new objects immediately and in order, like directory buckets (S3 \
                 Express One Zone)"
            }
        }
    }
}

impl Marker {
    pub(crate) fn decode(object: &[u8]) -> Result<Self> {
        read_json(object).map_err(|error| error.with_backend(BACKEND))
    }

    fn encode(&self) -> Bytes {
        serde_json::to_vec(self)
            .expect("the value contains only texts and numbers")
            .into()
    }

    /// Whether the server offers an atomic `DELETE` with `If-Match`.
    pub(crate) fn removes(&self) -> bool {
        self.removes
    }

    /// Refuses a server that failed the test.
    pub(crate) fn check(&self, place: &str) -> Result<()> {
        let Some(fault) = self.fault else {
            return Ok(());
        };
        Err(config(format!(
            "{place} cannot be used for a store: it {}; use another server. If the server was \
             changed, remove the object `setup` below the store's prefix",
            fault.text()
        )))
    }
}

/// Stores the result, unless another process has stored one.
pub(crate) async fn store(objects: &dyn Objects, name: &str, marker: &Marker) -> Result<()> {
    if put(objects, name, &Precondition::NotExists, marker.encode())
        .await?
        .is_some()
    {
        return Ok(());
    }
    // Another process was first, or a server ignores the condition.
    let found = objects.get(name).await?;
    found.map(drop).ok_or_else(contended)
}

/// Tests the server, in a folder that is removed afterwards.
pub(crate) async fn probe(objects: &dyn Objects, names: &Namespace) -> Result<Marker> {
    let mut fault = None;
    for _ in 0..ROUNDS {
        let name = names.probe(Version::unique());
        let found = race(objects, &name).await;
        objects.delete(&name).await?;
        fault = found?;
        if fault.is_some() {
            break;
        }
    }
    if fault.is_none() && !lists_in_order(objects, names).await? {
        fault = Some(Fault::ListsInNoOrder);
    }
    let removes = fault.is_none() && removes(objects, names).await?;
    Ok(Marker {
        store: Format,
        fault,
        removes,
    })
}

/// Whether a `DELETE` with `If-Match` is refused after the object changed, and whether of
/// a concurrent `DELETE` and replacement of the same state exactly one succeeds.
async fn removes(objects: &dyn Objects, names: &Namespace) -> Result<bool> {
    for round in 0..ROUNDS {
        let name = names.probe(Version::unique());
        let found = race_removal(objects, &name, round).await;
        objects.delete(&name).await?;
        match found {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(error) if is_refused(&error) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// Whether the server does not support the request, or does not allow it.
fn is_refused(error: &Error) -> bool {
    [ErrorKind::Unsupported, ErrorKind::PermissionDenied].contains(&error.kind())
}

async fn race_removal(objects: &dyn Objects, name: &str, round: usize) -> Result<bool> {
    let first = put(objects, name, &Precondition::NotExists, "first".into()).await?;
    let Some(first) = first else {
        return Ok(false);
    };
    let second = put(
        objects,
        name,
        &Precondition::Matches(first.clone()),
        "second".into(),
    )
    .await?;
    let Some(second) = second else {
        return Ok(false);
    };
    if objects.remove(name, &first).await? || objects.get(name).await?.is_none() {
        return Ok(false);
    }
    let mut racers: Vec<BoxFuture<'_, Result<bool>>> = Vec::new();
    for racer in 0..RACERS {
        racers.push(match racer % 2 == round % 2 {
            true => Box::pin(objects.remove(name, &second)),
            false => Box::pin(async {
                let bytes = Bytes::from_static(b"third");
                let third =
                    put(objects, name, &Precondition::Matches(second.clone()), bytes).await?;
                Ok(third.is_some())
            }),
        });
    }
    let done: Result<Vec<bool>> = join_all(racers).await.into_iter().collect();
    // The content of each put is unique, so that each racer can recognize its own.
    let done = done?;
    let done = |is_removal: bool| {
        let of = done.iter().enumerate();
        of.filter(|(racer, done)| **done && (racer % 2 == round % 2) == is_removal)
            .count()
    };
    let is_there = objects.get(name).await?.is_some();
    Ok(match (done(true), done(false)) {
        (1, 0) => !is_there,
        (0, puts) => puts > 0 && is_there,
        _ => false,
    })
}

/// Races of creates and of replacements for one object.
async fn race(objects: &dyn Objects, name: &str) -> Result<Option<Fault>> {
    let created = winners(objects, name, &Precondition::NotExists, "created").await?;
    let etag = match created.len() {
        // All puts were refused or received no reply, and none was executed.
        0 => return Err(contended()),
        1 => etag(objects, name).await?,
        _ => return Ok(Some(Fault::RacesCreate)),
    };
    if put(objects, name, &Precondition::NotExists, "again".into())
        .await?
        .is_some()
    {
        return Ok(Some(Fault::IgnoresCreate));
    }
    let stale = Precondition::Matches(etag.clone());
    match winners(objects, name, &stale, "replaced").await?.len() {
        0 => return Ok(Some(Fault::RefusesReplace)),
        1 => {}
        _ => return Ok(Some(Fault::RacesReplace)),
    }
    if put(objects, name, &stale, "late".into()).await?.is_some() {
        return Ok(Some(Fault::IgnoresReplace));
    }
    Ok(None)
}

/// Whether a list contains new objects immediately and in order.
async fn lists_in_order(objects: &dyn Objects, names: &Namespace) -> Result<bool> {
    let folder = names.probe(Version::unique());
    // The objects are put in another order than that of their names.
    let mut all: Vec<String> = (0..LISTED)
        .map(|i| format!("{folder}/{}", i * 3 % LISTED))
        .collect();
    for name in &all {
        put(objects, name, &Precondition::NotExists, "listed".into()).await?;
    }
    let (listed, _) = objects.list(&folder, None).await?;
    for name in &all {
        objects.delete(name).await?;
    }
    all.sort();
    Ok(listed == all)
}

/// The ETags of those of many concurrent puts that were acknowledged.
async fn winners(
    objects: &dyn Objects,
    name: &str,
    when: &Precondition,
    what: &str,
) -> Result<Vec<ETag>> {
    let puts = (0..RACERS).map(|racer| {
        let bytes = Bytes::from(format!("{what} by {racer}"));
        put(objects, name, when, bytes)
    });
    let all: Result<Vec<_>> = join_all(puts).await.into_iter().collect();
    Ok(all?.into_iter().flatten().collect())
}

/// One racer's put, and its ETag if it succeeded. Under this load a server may not reply,
/// or may report a conflict although there is none. Then, as in a commit, the object that
/// is found decides.
async fn put(
    objects: &dyn Objects,
    name: &str,
    when: &Precondition,
    bytes: Bytes,
) -> Result<Option<ETag>> {
    let mut last: Option<Error> = None;
    for attempt in 0..8 {
        let refused = match objects.put(name, when, bytes.clone()).await {
            Ok(PutResult::Written(etag)) => return Ok(Some(etag)),
            Ok(PutResult::Refused) => true,
            Ok(PutResult::Busy) => false,
            Err(lost) if is_lost(&lost) => {
                last = Some(lost);
                true
            }
            Err(error) => return Err(error),
        };
        if refused {
            let found = objects.get(name).await?;
            if let Some(found) = found.as_ref().filter(|found| found.bytes == bytes) {
                return Ok(Some(found.etag.clone()));
            }
            if last.is_none() && !when.holds(found.as_ref()) {
                return Ok(None);
            }
        }
        objects.pause(attempt + 4).await;
    }
    // A put is refused as busy because of another one, so one that is still busy has
    // lost.
    last.map_or(Ok(None), Err)
}

async fn etag(objects: &dyn Objects, name: &str) -> Result<ETag> {
    let found = objects.get(name).await?;
    found
        .map(|found| found.etag)
        .ok_or_else(|| config("the server does not return an object that was just put"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_read_back_and_refuses_by_name() {
        let good = Marker {
            store: Format,
            fault: None,
            removes: true,
        };
        assert_eq!(Marker::decode(&good.encode()).expect("just made"), good);
        assert!(good.check("here").is_ok());
        let bad = Marker {
            store: Format,
            fault: Some(Fault::RacesReplace),
            removes: false,
        };
        let bad = Marker::decode(&bad.encode()).expect("just made");
        let error = bad.check("http://there/bucket").expect_err("it is bad");
        assert!(error.message().starts_with("http://there/bucket cannot"));
        assert!(Marker::decode(b"{\"store\":2}").is_err());
    }

    /// Markers as release 0.1 stores them, which every later release must read.
    #[test]
    fn the_stored_forms_of_this_release_are_read() {
        let marker = |fault, removes| Marker {
            store: Format,
            fault,
            removes,
        };
        let mut forms = vec![
            ("{\"store\":1}".to_owned(), marker(None, false)),
            ("{\"store\":1,\"removes\":true}".into(), marker(None, true)),
        ];
        for (name, fault) in [
            ("ignores_create", Fault::IgnoresCreate),
            ("ignores_replace", Fault::IgnoresReplace),
            ("refuses_replace", Fault::RefusesReplace),
            ("races_create", Fault::RacesCreate),
            ("races_replace", Fault::RacesReplace),
            ("lists_in_no_order", Fault::ListsInNoOrder),
        ] {
            let form = format!("{{\"store\":1,\"fault\":\"{name}\"}}");
            forms.push((form, marker(Some(fault), false)));
        }
        for (form, marker) in forms {
            assert_eq!(marker.encode(), form);
            let read = Marker::decode(form.as_bytes()).expect("a stored form");
            assert_eq!(read, marker);
        }
    }
}
