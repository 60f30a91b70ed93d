//! R1: no name reaches another's record.

use std::collections::{BTreeMap, BTreeSet};

use store_core::key::MAX_NAME;
use store_core::{Batch, Body, Collection, Expect, Partition, RecordKey, RecordRef, Scan};

use super::tools::{Given, OTHERS, Space, THINGS, ids, key, pages};
use crate::suite::CaseResult;
use crate::{Case, case};

use store_core::RecordStore;

pub(super) fn cases() -> Vec<Case<dyn RecordStore>> {
    vec![
        case!(no_two_ids_share_a_record, "R1", "47"),
        case!(no_two_partitions_share_a_record, "R1", "47"),
        case!(a_partition_and_an_id_never_run_into_each_other, "R1", "47"),
        case!(collections_do_not_mix, "R1"),
        case!(two_namespaces_never_see_each_other, "10"),
        case!(an_id_prefix_is_literal, "R1", "R5", "18"),
        case!(a_partition_prefix_is_literal, "R1", "18"),
        case!(no_name_decides_what_an_error_is, "R1", "R7"),
    ]
}

#[rustfmt::skip]
/// Names that some encoding, pattern, path or collation would confuse.
pub(super) fn strange_names() -> Vec<String> {
    let short = [
        "", "a", "A", "b", "a ", " a", " ", "a\t", "\n", "\u{1}", "\u{7f}", "\"", "'", "`", "';--",
        "/", "//", "a/", "/a", "a/b", "a//b", ".", "..", "../a", "a/../b", "./a", ".meta.json",
        "a.meta.json", ":", "::", "a:b", "a:", ":a", "#", "a#b", "{", "}", "{}", "}{", "{a}",
        "{a}b", "a{b}", "%", "a%", "%a", "%%", "%2F", "%25", "a%2Fb", "_", "a_", "_a", "__",
        "\\", "a\\", "\\%", "\\\\", "*", "a*", "?", "a?", "[", "]", "[a]", "[a-z]", "^a", "$",
        "~", "+", "a+b", "&", "=", ";", ",", "|", "<", ">", "null", "0", "00", "007", "1e3", "-",
        "é", "e\u{301}", "É", "ß", "ss", "ı", "i", "I", "İ", "ﬁ", "fi", "\u{a0}", "\u{200b}",
        "\u{feff}", "\u{202e}a", "日本", "\u{d7ff}", "\u{e000}", "\u{fffd}", "\u{ffff}",
        "\u{10000}", "\u{10ffff}", "🦀", "👩\u{200d}👧", "🇩🇪",
    ];
    let long = [
        "x".repeat(MAX_NAME),
        "x".repeat(MAX_NAME - 1),
        format!("{}y", "x".repeat(MAX_NAME - 1)),
        "é".repeat(MAX_NAME / 2),
        format!("{}%", "/".repeat(MAX_NAME - 1)),
        "\u{10ffff}".repeat(MAX_NAME / 4),
    ];
    short.into_iter().map(String::from).chain(long).collect()
}

/// Writes the odd names as ids, each with its index in the list as its number.
async fn put_strange(space: &Space, names: &[String]) -> CaseResult {
    for (chunk, names) in names.chunks(50).enumerate() {
        let mut batch = space.batch();
        for (i, name) in names.iter().enumerate() {
            batch.put(key(name)?, Expect::Absent, Body::json(chunk * 50 + i)?)?;
        }
        space.first.commit(&batch).await?;
    }
    Ok(())
}

async fn no_two_ids_share_a_record(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let names = strange_names();
    put_strange(&space, &names).await?;
    let at: Vec<_> = names
        .iter()
        .map(|id| RecordRef::new("p", THINGS, id))
        .collect::<Result<_, _>>()?;
    let found = space.second.get_many(&at).await?;
    for (i, record) in found.iter().enumerate() {
        let record = record.as_ref().ok_or(format!("{:?} is lost", names[i]))?;
        assert_eq!(*record.decode::<usize>()?, i, "{:?}", names[i]);
        assert_eq!(record.id(), names[i]);
        assert_eq!(record.partition().as_str(), "p");
    }
    for index in [0, 5, 22, 40, 50] {
        space.delete(&names[index]).await?;
        assert!(space.record(&names[index]).await?.is_none());
    }
    let left = ids(&*space.first, space.scan()).await?;
    assert_eq!(
        left.len(),
        names.len() - 5,
        "a delete removed other records"
    );
    Ok(())
}

/// Words by which servers and drivers report errors.
const ERROR_WORDS: [&str; 20] = [
    "NoSuchBucket",
    "NoSuchKey",
    "AccessDenied",
    "SlowDown",
    "<Code>NoSuchBucket</Code>",
    "status code: 404",
    "status code: 409",
    "Server returned non-2xx status code: 503 Slow Down: ",
    "invalid peer certificate",
    "READONLY",
    "MOVED 1 127.0.0.1:6379",
    "BUSY",
    "NOSCRIPT",
    "OOM command not allowed",
    "duplicate key value violates unique constraint",
    "40001",
    "cached plan must not change result type",
    "ConditionalCheckFailed",
    "ValidationException",
    "ResourceNotFoundException",
];

async fn no_name_decides_what_an_error_is(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    for name in ERROR_WORDS {
        let name_of = |error: &store_core::Error| format!("{name}: {error:?}");
        assert!(space.record(name).await?.is_none(), "{name}");
        for round in 0..2 {
            let mut create = space.batch();
            create.put(key(name)?, Expect::Absent, Body::json(round)?)?;
            let created = space.first.commit(&create).await;
            match (round, created) {
                (0, Ok(_)) => {}
                (_, Err(error)) => assert!(error.conflict().is_some(), "{}", name_of(&error)),
                (_, Ok(_)) => panic!("{name} was created twice"),
            }
        }
        assert_eq!(space.number(name).await?, Some(0), "{name}");
        let mut batch = Batch::new(Partition::new(name)?, space.now());
        batch.put(key(name)?, Expect::Present, Body::json(1)?)?;
        let error = space.first.commit(&batch).await;
        let error = error.expect_err("there is none in that partition");
        assert!(error.conflict().is_some(), "{}", name_of(&error));
    }
    Ok(())
}

async fn no_two_partitions_share_a_record(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let names = strange_names();
    for (i, name) in names.iter().enumerate() {
        let mut batch = Batch::new(Partition::new(name)?, space.now());
        batch.put(key("same")?, Expect::Absent, Body::json(i)?)?;
        space.first.commit(&batch).await?;
    }
    let at: Vec<_> = names
        .iter()
        .map(|partition| RecordRef::new(partition, THINGS, "same"))
        .collect::<Result<_, _>>()?;
    for (i, record) in space.second.get_many(&at).await?.iter().enumerate() {
        let record = record.as_ref().ok_or(format!("{:?} is lost", names[i]))?;
        assert_eq!(*record.decode::<usize>()?, i, "{:?}", names[i]);
        assert_eq!(record.partition().as_str(), names[i]);
    }
    for name in names.iter().step_by(7) {
        let scan = Scan::partition(THINGS, Partition::new(name)?);
        let pages = pages(&*space.second, scan).await?;
        let found: Vec<_> = pages.iter().flatten().collect();
        assert_eq!(found.len(), 1, "{name:?}");
        assert_eq!(found[0].partition().as_str(), name);
    }
    Ok(())
}

async fn a_partition_and_an_id_never_run_into_each_other(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let mut pairs = BTreeSet::from([
        ("a".to_owned(), String::new()),
        (String::new(), "a".to_owned()),
        ("things".to_owned(), "things".to_owned()),
    ]);
    for separator in [
        ":", "/", "#", "|", "{", "}", "%", "\u{1}", ".", "-", "_", " ",
    ] {
        pairs.insert((format!("a{separator}b"), "c".into()));
        pairs.insert(("a".into(), format!("b{separator}c")));
        pairs.insert((format!("a{separator}"), "c".into()));
        pairs.insert(("a".into(), format!("{separator}c")));
    }
    for (i, (partition, id)) in pairs.iter().enumerate() {
        let mut batch = Batch::new(Partition::new(partition)?, space.now());
        batch.put(key(id)?, Expect::Absent, Body::json(i)?)?;
        space
            .first
            .commit(&batch)
            .await
            .map_err(|error| format!("({partition:?}, {id:?}) met another's record: {error}"))?;
    }
    for (i, (partition, id)) in pairs.iter().enumerate() {
        let found = space.second.get(RecordRef::new(partition, THINGS, id)?);
        let found = found
            .await?
            .ok_or(format!("({partition:?}, {id:?}) is lost"))?;
        assert_eq!(*found.decode::<usize>()?, i, "({partition:?}, {id:?})");
    }
    Ok(())
}

async fn collections_do_not_mix(harness: Given) -> CaseResult {
    // One name is a prefix of another, and some ids look like names.
    const LONGER: Collection = Collection::new("things_more");
    let collections = [THINGS, OTHERS, LONGER];
    let space = Space::open(&harness).await?;
    let mut batch = space.batch();
    let mut expected = BTreeMap::new();
    for (i, collection) in collections.into_iter().enumerate() {
        for id in ["same", "_more", "more", "others"] {
            let number = expected.len();
            expected.insert((i, id), number);
            let key = RecordKey::new(collection, id)?;
            batch.put(key, Expect::Absent, Body::json(number)?)?;
        }
    }
    space.first.commit(&batch).await?;
    let mut delete = space.batch();
    delete.delete(RecordKey::new(OTHERS, "same")?, Expect::Present)?;
    space.first.commit(&delete).await?;
    expected.remove(&(1, "same"));
    for (i, collection) in collections.into_iter().enumerate() {
        let scan = Scan::partition(collection, space.partition.clone());
        let found = pages(&*space.second, scan).await?;
        let found: BTreeMap<_, _> = found
            .iter()
            .flatten()
            .map(|r| Ok(((i, r.id()), *r.decode::<usize>()?)))
            .collect::<store_core::Result<_>>()?;
        let of_this = expected.iter().filter(|((at, _), _)| *at == i);
        let of_this: BTreeMap<_, _> = of_this.map(|(k, v)| (*k, *v)).collect();
        assert_eq!(found, of_this, "in {collection:?}");
    }
    Ok(())
}

async fn two_namespaces_never_see_each_other(harness: Given) -> CaseResult {
    let (one, other) = (Space::open(&harness).await?, Space::open(&harness).await?);
    one.put("a", 1).await?;
    assert!(other.record("a").await?.is_none(), "seen by a get");
    assert!(ids(&*other.first, other.scan()).await?.is_empty());
    let everything = Scan::collection(THINGS, "");
    assert!(ids(&*other.first, everything).await?.is_empty());
    let mut batch = other.batch();
    batch.put(key("a")?, Expect::Absent, Body::json(2)?)?;
    other.first.commit(&batch).await?;
    other.delete("a").await?;
    assert_eq!(
        one.number("a").await?,
        Some(1),
        "deleted through another namespace"
    );
    Ok(())
}

async fn an_id_prefix_is_literal(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let mut names = strange_names();
    names.extend(["axb", "a_b", "a%b", "a*b", "abc", "aXb"].map(String::from));
    put_strange(&space, &names).await?;
    for prefix in [
        "",
        "a",
        "A",
        "%",
        "a%",
        "_",
        "a_",
        "\\",
        "a\\",
        "*",
        "a*",
        "[",
        "[a",
        "{",
        "{a",
        "/",
        "..",
        "e",
        "é",
        "\u{ffff}",
        "\u{10ffff}",
        "x",
        "nothing starts with this",
        "?",
        " ",
        "^",
    ] {
        let mut expected: Vec<_> = names.iter().filter(|n| n.starts_with(prefix)).collect();
        expected.sort();
        let found = ids(&*space.second, space.scan().id_prefix(prefix)).await?;
        assert!(found.iter().eq(expected), "prefix {prefix:?}: {found:?}");
    }
    Ok(())
}

async fn a_partition_prefix_is_literal(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let names = [
        "a", "a%", "a%b", "axb", "a_", "a_b", "a\\b", "a*", "b", "A", "[a]", "",
    ];
    for name in names {
        let mut batch = Batch::new(Partition::new(name)?, space.now());
        batch.put(key("x1")?, Expect::Any, Body::json(1)?)?;
        batch.put(key("y1")?, Expect::Any, Body::json(1)?)?;
        space.first.commit(&batch).await?;
    }
    for prefix in ["", "a", "a%", "a_", "a\\", "a*", "[", "A", "z"] {
        let expected: BTreeSet<_> = names
            .into_iter()
            .filter(|n| n.starts_with(prefix))
            .collect();
        let scan = Scan::collection(THINGS, prefix).id_prefix("x").limit(2)?;
        let pages = pages(&*space.second, scan).await?;
        let found: BTreeSet<_> = pages
            .iter()
            .flatten()
            .inspect(|record| assert_eq!(record.id(), "x1"))
            .map(|record| record.partition().as_str())
            .collect();
        assert_eq!(found, expected, "prefix {prefix:?}");
    }
    Ok(())
}
