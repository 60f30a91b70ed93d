//! R6: every store returns what was put, to the last byte and digit.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store_core::batch::{MAX_BATCH, MAX_ITEMS};
use store_core::body::{MAX_BODY, MAX_NESTING};
use store_core::key::MAX_NAME;
use store_core::{
    Batch, Body, ErrorKind, Expect, Partition, Record, RecordKey, RecordRef, RecordStore,
};

use super::tools::{Given, Space, THINGS, key, number};
use crate::suite::CaseResult;
use crate::{Case, case};

pub(super) fn cases() -> Vec<Case<dyn RecordStore>> {
    vec![
        case!(any_bytes_are_returned_unchanged, "R6"),
        case!(every_json_value_is_returned_unchanged, "R6", "4"),
        case!(a_value_nested_to_the_bound_can_be_read, "R6"),
        case!(numbers_keep_every_digit, "R6", "37"),
        case!(a_number_keeps_its_value_and_not_its_spelling, "R6", "37"),
        case!(a_body_that_was_read_can_be_written_again, "R6"),
        case!(every_character_comes_back, "R6"),
        case!(bytes_and_values_are_not_confused, "R6"),
        case!(names_and_bodies_may_be_as_large_as_promised, "R6"),
        case!(a_commit_may_be_as_large_as_promised, "R6"),
        case!(what_is_over_a_limit_is_refused_before_it_is_sent, "R6"),
        case!(many_reads_keep_order_gaps_and_duplicates, "R5"),
    ]
}

/// Writes `body` through one handle and reads it back through the other, by a
/// get and by a scan.
pub(super) async fn through(space: &Space, body: Body) -> Result<Vec<Record>, store_core::Error> {
    let mut batch = space.batch();
    batch.put(key("a")?, Expect::Any, body)?;
    space.first.commit(&batch).await?;
    let mut found: Vec<Record> = space.record("a").await?.into_iter().collect();
    found.extend(space.second.scan(&space.scan()).await?.items);
    assert_eq!(found.len(), 2, "written and not found");
    assert!(found.iter().all(|r| r.version() == batch.version()));
    Ok(found)
}

async fn any_bytes_are_returned_unchanged(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let every: Vec<u8> = (0..=255).collect();
    let large: Vec<u8> = (0..MAX_BODY).map(|i| (i * 31 % 251) as u8).collect();
    for bytes in [
        vec![],
        vec![0],
        every,
        b"{\"looks\":\"like JSON\"}".to_vec(),
        b"\xff\xfe not UTF-8".to_vec(),
        large,
    ] {
        for record in through(&space, Body::bytes(bytes.clone())?).await? {
            let found = record.body().as_bytes().ok_or("bytes became a value")?;
            assert!(*found == bytes, "{} bytes changed", bytes.len());
            assert_eq!(record.body().size(), bytes.len());
        }
    }
    Ok(())
}

async fn every_json_value_is_returned_unchanged(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    for value in [
        json!(null),
        json!(true),
        json!(false),
        json!(""),
        json!("text"),
        json!([]),
        json!({}),
        json!([[], {}, "", null, false, 0]),
        json!({"": "", "z": 1, "a": {"z": [], "a": {}}, "A": null, "with space": [1, [2, [3]]]}),
        json!({"scopes": ["read", "write"], "1": 1, "01": "1", "true": true, "null": null}),
        json!({"id": "x", "key": "y", "version": 3, "expires_at": "z", "body": {"body": []}}),
        json!([
            "2030-01-01T00:00:00Z",
            "0123",
            "1e3",
            "NaN",
            "{}",
            "\"quoted\"",
            "\\u0041"
        ]),
    ] {
        for record in through(&space, Body::json(value.clone())?).await? {
            assert_eq!(*record.decode::<Value>()?, value);
        }
    }
    Ok(())
}

/// `depth` arrays and objects around a text.
fn nested(depth: usize) -> Value {
    (0..depth).fold(json!("bottom"), |inner, i| {
        if i % 2 == 0 {
            json!([inner])
        } else {
            json!({ "in": inner })
        }
    })
}

async fn a_value_nested_to_the_bound_can_be_read(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    for record in through(&space, Body::json(nested(MAX_NESTING))?).await? {
        assert!(*record.decode::<Value>()? == nested(MAX_NESTING));
        // Some levels more around it can still be read.
        let wrapped = json!({"wrapped": [&*record.decode::<Value>()?]}).to_string();
        assert!(serde_json::from_str::<Value>(&wrapped).is_ok());
    }
    Ok(())
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Numbers {
    unsigned: Vec<u64>,
    signed: Vec<i64>,
    floats: Vec<f64>,
}

async fn numbers_keep_every_digit(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let numbers = || Numbers {
        unsigned: vec![
            0,
            1,
            1 << 53,
            (1 << 53) + 1,
            i64::MAX as u64 + 1,
            u64::MAX - 1,
            u64::MAX,
        ],
        signed: vec![0, -1, i64::MIN, i64::MIN + 1, -(1 << 53) - 1, i64::MAX],
        floats: vec![
            0.0,
            1.0,
            -1.5,
            0.1,
            0.1 + 0.2,
            1.0 / 3.0,
            1e15,
            1e16,
            1e21,
            1e22,
            123_456_789.123_456_79,
            f64::MAX,
            f64::MIN,
            f64::MIN_POSITIVE,
            5e-324,
            f64::EPSILON,
            2.5e-7,
            9_007_199_254_740_993.0,
            99.999_999_999_999_99,
            std::f64::consts::PI,
        ],
    };
    for record in through(&space, Body::json(numbers())?).await? {
        let found = record.decode::<Numbers>()?;
        assert_eq!(found.unsigned, numbers().unsigned);
        assert_eq!(found.signed, numbers().signed);
        for (found, put) in found.floats.iter().zip(numbers().floats) {
            assert_eq!(found.to_bits(), put.to_bits(), "{put:e} became {found:e}");
        }
        assert_eq!(found.floats.len(), numbers().floats.len());
    }
    Ok(())
}

/// A decoded value may turn `1e3` into `1000` and lose the sign of a zero.
async fn a_number_keeps_its_value_and_not_its_spelling(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let numbers = [-0.0, 0.0, 1e3, -1e3, 1e15, 1e16, 1e22, 1e300, 1e-7, 1e-300];
    for record in through(&space, Body::json(numbers.to_vec())?).await? {
        let values = record.decode::<Vec<Value>>()?;
        let values: Vec<_> = values.iter().map(Value::as_f64).collect();
        assert_eq!(values, numbers.map(Some));
        let floats = record.decode::<Vec<f64>>()?;
        assert_eq!(*floats, numbers);
    }
    Ok(())
}

/// A server that prints numbers in full would return more than a body may have.
async fn a_body_that_was_read_can_be_written_again(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let large = Body::json(vec![1e308_f64; MAX_BODY / 7])?;
    for record in through(&space, large.clone()).await? {
        assert_eq!(record.body().size(), large.size());
        let mut batch = space.batch();
        batch.put(record.key().clone(), Expect::Present, record.body().clone())?;
        space.second.commit(&batch).await?;
        let again = space.record("a").await?.ok_or("written again and lost")?;
        assert!(again.decode::<Vec<f64>>()?.iter().all(|n| *n == 1e308));
    }
    Ok(())
}

async fn every_character_comes_back(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    // Every character of the first planes' edges, every control but NUL, and
    // some of everything between.
    let mut text: String = ('\u{1}'..='\u{2ff}').collect();
    text.extend((0x300..=0x10_ffff).step_by(997).filter_map(char::from_u32));
    text.push_str("\u{2028}\u{2029}\u{d7ff}\u{e000}\u{fdd0}\u{fffe}\u{ffff}\u{10000}\u{10ffff}");
    text.push_str("e\u{301}é \u{feff}\u{202e}👩\u{200d}👧 \\u0000 \\\\ \"/\"");
    let fields = BTreeMap::from([
        (text.clone(), text.clone()),
        ("é".into(), "1".into()),
        ("e\u{301}".into(), "2".into()),
    ]);
    for record in through(&space, Body::json(fields.clone())?).await? {
        assert!(*record.decode::<BTreeMap<String, String>>()? == fields);
    }
    Ok(())
}

async fn bytes_and_values_are_not_confused(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    for record in through(&space, Body::bytes("[1]")?).await? {
        assert!(record.body().as_bytes().is_some());
        let error = record.decode::<Value>().expect_err("bytes are no value");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
    for record in through(&space, Body::json([1])?).await? {
        assert!(record.body().as_bytes().is_none());
        assert_eq!(*record.decode::<Vec<u8>>()?, [1]);
    }
    Ok(())
}

async fn names_and_bodies_may_be_as_large_as_promised(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let longest = |c: char| c.to_string().repeat(MAX_NAME / c.len_utf8());
    for c in ['x', '/', '%', 'é', '\u{ffff}', '\u{10ffff}'] {
        let (partition, key) = (Partition::new(longest(c))?, key(longest(c))?);
        let mut batch = Batch::new(partition.clone(), space.now());
        let text = "x".repeat(MAX_BODY - 2);
        batch.put(key.clone(), Expect::Absent, Body::json(text.clone())?)?;
        space.first.commit(&batch).await?;
        let found = space.second.get(key.at(&partition)).await?;
        let found = found.ok_or(format!("lost under names of {c:?}"))?;
        assert!(*found.decode::<String>()? == text);
        assert_eq!(found.body().size(), MAX_BODY);
        let mut batch = Batch::new(partition.clone(), space.now());
        batch.delete(key.clone(), &found)?;
        space.first.commit(&batch).await?;
        assert!(space.second.get(key.at(&partition)).await?.is_none());
    }
    Ok(())
}

async fn a_commit_may_be_as_large_as_promised(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let mut batch = space.batch();
    let share = MAX_BATCH / MAX_ITEMS - 4;
    for i in 0..MAX_ITEMS {
        let body = Body::bytes(vec![i as u8; share])?;
        batch.put(key(format!("{i:04}"))?, Expect::Absent, body)?;
    }
    assert!(batch.size() > MAX_BATCH - 100);
    space.first.commit(&batch).await?;
    let found = space.second.scan(&space.scan().limit(MAX_ITEMS)?).await?;
    for (i, record) in found.items.iter().enumerate() {
        let bytes = record.body().as_bytes().ok_or("bytes were written")?;
        assert!(bytes.len() == share && bytes.iter().all(|b| *b == i as u8));
    }
    let left = super::tools::ids(&*space.second, space.scan()).await?;
    assert_eq!(left.len(), MAX_ITEMS);
    let mut checks = space.batch();
    for i in 0..MAX_ITEMS {
        checks.delete(key(format!("{i:04}"))?, Expect::Version(batch.version()))?;
    }
    space.second.commit(&checks).await?;
    assert!(space.first.scan(&space.scan()).await?.items.is_empty());
    Ok(())
}

async fn what_is_over_a_limit_is_refused_before_it_is_sent(harness: Given) -> CaseResult {
    // Core refuses these while they are made; no store ever meets them.
    let space = Space::open(&harness).await?;
    let mut full = space.batch();
    for i in 0..MAX_ITEMS {
        full.check(key(i.to_string())?, Expect::Any)?;
    }
    let mut twice = space.batch();
    twice.check(key("a")?, Expect::Any)?;
    // Deep enough that recursion over it would overflow the stack.
    let bottomless = (0..100_000).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
    for refused in [
        key("x".repeat(MAX_NAME + 1)).map(drop),
        key("a\0b").map(drop),
        Partition::new("é".repeat(MAX_NAME / 2 + 1)).map(drop),
        Partition::new("\0").map(drop),
        RecordRef::new("\0", THINGS, "a").map(drop),
        Body::json("x".repeat(MAX_BODY - 1)).map(drop),
        Body::bytes(vec![0; MAX_BODY + 1]).map(drop),
        Body::replacement("a\0b").map(drop),
        Body::json(f64::NAN).map(drop),
        Body::json(nested(MAX_NESTING + 1)).map(drop),
        Body::json(bottomless).map(drop),
        Body::replacement(Twice::new()).map(drop),
        Body::replacement(Renamed { a: 1, b: 2 }).map(drop),
        full.check(key("one more")?, Expect::Any).map(drop),
        twice.delete(key("a")?, Expect::Any).map(drop),
    ] {
        let error = refused.expect_err("over a limit");
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }
    space.first.commit(&full).await?;
    Ok(())
}

/// Serializes one name twice.
#[derive(Serialize)]
struct Twice {
    role: &'static str,
    #[serde(flatten)]
    more: BTreeMap<&'static str, &'static str>,
}

/// The same, by its derived fields alone.
#[derive(Serialize)]
struct Renamed {
    a: u8,
    #[serde(rename = "a")]
    b: u8,
}

impl Twice {
    fn new() -> Self {
        Self {
            role: "reader",
            more: BTreeMap::from([("role", "admin")]),
        }
    }
}

async fn many_reads_keep_order_gaps_and_duplicates(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    for (id, number) in [("a", 1), ("b", 2), ("c", 3)] {
        space.put(id, number).await?;
    }
    let elsewhere = Partition::new("q")?;
    let mut batch = Batch::new(elsewhere.clone(), space.now());
    batch.put(key("a")?, Expect::Any, Body::json(4)?)?;
    space.first.commit(&batch).await?;
    let keys: Vec<RecordKey> = ["c", "nothing", "a", "c", "b", "nothing", "a"]
        .iter()
        .map(key)
        .collect::<Result<_, _>>()?;
    let mut at: Vec<_> = keys.iter().map(|key| key.at(&space.partition)).collect();
    at.push(keys[2].at(&elsewhere));
    let found = space.second.get_many(&at).await?;
    let numbers: Vec<Option<u64>> = found
        .iter()
        .map(|record| record.as_ref().map(number).transpose())
        .collect::<Result<_, _>>()?;
    let expected = [
        Some(3),
        None,
        Some(1),
        Some(3),
        Some(2),
        None,
        Some(1),
        Some(4),
    ];
    assert_eq!(numbers, expected);
    Ok(())
}
