//! Pages of a whole collection: a scan of the table in parallel segments.
//!
//! The cursor contains the position in each segment. So all pages of a scan use the
//! number of segments of its first page, even if the store is opened with another number
//! later.

use std::collections::HashMap;

use futures_util::future::try_join_all;
use store_core::{Record, Records, Result, Scan};

use crate::error::{Effect, from_sdk};
use crate::scan::{PAGE_BYTES, forged};
use crate::shared::Shared;
use crate::wire::{self, ALIVE, Item, PK, SK};

/// The maximum number of segments, which limits the size of a cursor.
pub(crate) const MAX_SEGMENTS: u32 = 16;

/// Where the scan of a segment continues.
#[derive(Clone, Debug, PartialEq)]
enum Place {
    Begin,
    /// After the item of this partition key and sort key.
    After(String, String),
    End,
}

/// The request for one segment.
struct Ask {
    segment: u32,
    of: u32,
    start: Option<Item>,
    /// The maximum number of items that the server evaluates.
    limit: usize,
}

pub(crate) async fn page(shared: &Shared, scan: &Scan, partitions: &str) -> Result<Records> {
    let mut places = match scan.position() {
        Some(position) => decode(position).ok_or_else(forged)?,
        None => vec![Place::Begin; shared.segments as usize],
    };
    let mut found: Vec<Record> = Vec::new();
    let share = scan.page_size().div_ceil(places.len());
    // Each segment evaluates its share of the page, and more if it finds few records.
    let mut factor = 1;
    let mut size = 0;
    while found.len() < scan.page_size()
        && size < PAGE_BYTES
        && places.iter().any(|place| *place != Place::End)
    {
        let asked = places
            .iter()
            .enumerate()
            .filter(|(_, place)| **place != Place::End)
            .map(|(segment, place)| Ask {
                segment: u32::try_from(segment).unwrap_or_default(),
                of: u32::try_from(places.len()).unwrap_or_default(),
                start: place.key(),
                limit: share * factor,
            });
        let answers = try_join_all(asked.map(|ask| part(shared, scan, partitions, ask))).await?;
        let mut few = true;
        for (segment, (records, end)) in answers {
            let room = (scan.page_size() - found.len()).min(records.len());
            few &= records.len() < share / 2 + 1;
            places[segment as usize] = match records.get(room) {
                // Records that do not fit on this page are read again for the next page.
                Some(_) if room == 0 => continue,
                Some(_) => Place::of(&records[room - 1]),
                None => end,
            };
            let records = records.into_iter().take(room);
            found.extend(records.inspect(|record| size += record.body().size()));
        }
        if few {
            factor = (factor * 4).min(1 << 20);
        }
    }
    let ended = places.iter().all(|place| *place == Place::End);
    let next = (!ended).then(|| scan.cursor(encode(&places)));
    Ok(Records::new(found, next))
}

/// Some of one segment's records, and where its scan continues.
async fn part(
    shared: &Shared,
    scan: &Scan,
    partitions: &str,
    ask: Ask,
) -> Result<(u32, (Vec<Record>, Place))> {
    let collection = scan.in_collection();
    let values = HashMap::from([
        (
            ":partitions".into(),
            wire::text(wire::partition_key(partitions)),
        ),
        (
            ":prefix".into(),
            wire::text(wire::sort_key(collection, scan.prefix())),
        ),
        (":now".into(), wire::time(shared.now())),
    ]);
    let answer = shared
        .reading()?
        .scan()
        .table_name(&shared.table)
        .consistent_read(true)
        .segment(i32::try_from(ask.segment).unwrap_or_default())
        .total_segments(i32::try_from(ask.of).unwrap_or(1))
        .filter_expression(format!(
            "begins_with(pk, :partitions) AND begins_with(sk, :prefix) AND {ALIVE}"
        ))
        .set_expression_attribute_values(Some(values))
        .set_exclusive_start_key(ask.start)
        .limit(i32::try_from(ask.limit).unwrap_or(i32::MAX))
        .send()
        .await
        .map_err(|e| from_sdk(e, Effect::Repeatable, "scan"))?;
    let end = match answer.last_evaluated_key {
        Some(key) => Place::from_key(&key).ok_or_else(wire::malformed)?,
        None => Place::End,
    };
    let mut records = Vec::new();
    for item in answer.items.unwrap_or_default() {
        records.extend(wire::named(item, collection)?);
    }
    Ok((ask.segment, (records, end)))
}

impl Place {
    /// After this record.
    fn of(record: &Record) -> Self {
        let (pk, sk) = wire::names(record.at());
        Self::After(pk, sk)
    }

    fn from_key(key: &Item) -> Option<Self> {
        let part = |name| key.get(name)?.as_s().ok().cloned();
        Some(Self::After(part(PK)?, part(SK)?))
    }

    fn key(&self) -> Option<Item> {
        match self {
            Self::After(pk, sk) => Some(wire::key_of(pk, sk)),
            Self::Begin | Self::End => None,
        }
    }
}

/// Each place is encoded as a letter. `After` is followed by its two keys, each preceded
/// by its length in two bytes.
fn encode(places: &[Place]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for place in places {
        match place {
            Place::Begin => bytes.push(b'b'),
            Place::End => bytes.push(b'e'),
            Place::After(pk, sk) => {
                bytes.push(b'a');
                for part in [pk, sk] {
                    // DynamoDB's keys are at most 2048 bytes.
                    bytes.extend_from_slice(&(part.len() as u16).to_be_bytes());
                    bytes.extend_from_slice(part.as_bytes());
                }
            }
        }
    }
    bytes
}

/// `None` if [`encode`] cannot have written it.
fn decode(mut bytes: &[u8]) -> Option<Vec<Place>> {
    fn part(bytes: &mut &[u8]) -> Option<String> {
        let (length, rest) = bytes.split_first_chunk::<2>()?;
        let (text, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        *bytes = rest;
        String::from_utf8(text.into()).ok()
    }
    let mut places = Vec::new();
    while let Some((kind, rest)) = bytes.split_first() {
        bytes = rest;
        places.push(match kind {
            b'b' => Place::Begin,
            b'e' => Place::End,
            b'a' => Place::After(part(&mut bytes)?, part(&mut bytes)?),
            _ => return None,
        });
    }
    let is_key = |place: &Place| match place {
        Place::After(pk, sk) => {
            !pk.is_empty() && pk.len() <= 2048 && !sk.is_empty() && sk.len() <= 1024
        }
        Place::Begin | Place::End => true,
    };
    let is_number = (1..=MAX_SEGMENTS as usize).contains(&places.len());
    (is_number && places.iter().all(is_key)).then_some(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_reads_back_and_a_malformed_one_is_refused() {
        let places = [
            Place::Begin,
            Place::After("r:p\u{e4}".into(), "things:a:b".into()),
            Place::End,
        ];
        let encoded = encode(&places);
        assert_eq!(decode(&encoded).unwrap(), places);
        for end in 2..encoded.len() - 1 {
            assert!(decode(&encoded[..end]).is_none(), "{end}");
        }
        for forged in [&b""[..], b"x", &[b'b'; 17], b"a\0\0\0\x01z"] {
            assert!(decode(forged).is_none(), "{forged:?}");
        }
    }
}
