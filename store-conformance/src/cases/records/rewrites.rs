//! R6: a rewrite preserves the fields that the writer does not know.
//!
//! During a rolling upgrade an older process rewrites what a newer one stored.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store_core::body::{Format, Unknown};
use store_core::transaction::transact;
use store_core::{
    Body, Decided, Error, ErrorKind, Expect, Record, RecordStore, RecordStoreExt, Result,
};

use super::bodies::through;
use super::tools::{Given, Space, key};
use crate::suite::CaseResult;
use crate::{Case, case};

pub(super) fn cases() -> Vec<Case<dyn RecordStore>> {
    vec![
        case!(
            a_rewrite_preserves_fields_that_the_type_does_not_know,
            "R6",
            "5"
        ),
        case!(
            a_replacement_removes_every_field_it_does_not_have,
            "R6",
            "5"
        ),
        case!(a_put_over_a_value_of_another_type_is_refused, "R6", "5"),
        case!(flattened_unknown_fields_survive_a_rewrite, "R6", "5"),
        case!(a_newer_format_is_refused_by_its_number, "R6", "5"),
    ]
}

/// What the older process knows of a record.
#[derive(Serialize, Deserialize)]
struct Counted {
    count: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    #[serde(default)]
    inner: Inner,
}

#[derive(Default, Serialize, Deserialize)]
struct Inner {
    size: u64,
}

impl Counted {
    /// The next value: one more, and without a note.
    fn after(record: Option<&Record>) -> Result<Self> {
        let record = record.ok_or_else(|| Error::not_found("it was written"))?;
        Ok(Self {
            count: record.decode::<Self>()?.count + 1,
            note: None,
            inner: Inner::default(),
        })
    }
}

fn newer() -> Value {
    json!({
        "count": 1,
        "note": "known",
        "inner": {"size": 7, "added": true},
        "added": {"later": [1, "two", null]},
        "total": u64::MAX,
    })
}

async fn a_rewrite_preserves_fields_that_the_type_does_not_know(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let (first, second, at) = (&space.first, &space.second, key("a")?);
    let record = through(&space, Body::json(newer())?).await?.remove(0);

    let mut batch = space.batch();
    let next = Counted::after(Some(&record))?;
    batch.put(at.clone(), &record, Body::json(next)?)?;
    first.commit(&batch).await?;
    check(&space, 2).await?;

    let update = second.update(&space.partition, &at, |record| {
        Ok(Decided::Put(Body::json(Counted::after(record)?)?, None, ()))
    });
    update.await?;
    check(&space, 3).await?;

    let transaction = transact(&**first, &space.partition, |tx| {
        let count = tx.read::<Counted>(&at)?.map_or(0, |counted| counted.count);
        let (note, inner) = (None, Inner::default());
        let count = count + 1;
        tx.put(&at, Counted { count, note, inner })
    });
    transaction.await?;
    check(&space, 4).await?;

    // Also one that does not decode the record first.
    let transaction = transact(&**second, &space.partition, |tx| {
        let (note, inner) = (None, Inner::default());
        let count = 5;
        tx.put(&at, Counted { count, note, inner })
    });
    transaction.await?;
    check(&space, 5).await
}

async fn check(space: &Space, count: u64) -> CaseResult {
    let record = space.record("a").await?.ok_or("it was written")?;
    let expected = json!({
        "count": count,
        "inner": {"size": 0, "added": true},
        "added": {"later": [1, "two", null]},
        "total": u64::MAX,
    });
    assert_eq!(*record.decode::<Value>()?, expected);
    assert_eq!(record.decode::<Counted>()?.count, count);
    Ok(())
}

async fn a_replacement_removes_every_field_it_does_not_have(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    through(&space, Body::json(newer())?).await?;
    let at = key("a")?;
    let update = space.first.update(&space.partition, &at, |record| {
        let next = Counted::after(record)?;
        Ok(Decided::Put(Body::replacement(next)?, None, ()))
    });
    update.await?;
    let record = space.record("a").await?.ok_or("it was written")?;
    let expected = json!({"count": 2, "inner": {"size": 0}});
    assert_eq!(*record.decode::<Value>()?, expected);
    Ok(())
}

/// Fields cannot be compared with those of another type, and dropping them is
/// never an accident.
async fn a_put_over_a_value_of_another_type_is_refused(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let other = json!({"name": "a", "added": 1});
    let record = through(&space, Body::json(other)?).await?.remove(0);
    let counted = || Counted {
        count: 1,
        note: None,
        inner: Inner::default(),
    };
    let mut batch = space.batch();
    let refused = batch.put(key("a")?, &record, Body::json(counted())?);
    let error = refused.expect_err("it is of another type");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.message().contains("Body::replacement"), "{error}");
    batch.put(key("a")?, &record, Body::replacement(counted())?)?;
    space.first.commit(&batch).await?;
    let record = space.record("a").await?.ok_or("it was written")?;
    assert_eq!(
        *record.decode::<Value>()?,
        json!({"count": 1, "inner": {"size": 0}})
    );
    // What is no object has no fields to preserve.
    let mut batch = space.batch();
    let number = Body::json(7)?;
    batch.put(key("b")?, Expect::Absent, number)?;
    space.first.commit(&batch).await?;
    let record = space.record("b").await?.ok_or("it was written")?;
    let mut batch = space.batch();
    batch.put(key("b")?, &record, Body::json(counted())?)?;
    space.first.commit(&batch).await?;
    Ok(())
}

#[derive(Serialize, Deserialize)]
struct Older {
    name: String,
    #[serde(flatten)]
    unknown: Unknown,
}

async fn flattened_unknown_fields_survive_a_rewrite(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let newer = json!({"name": "a", "added": {"later": [1, "two", null]}, "count": u64::MAX});
    let record = through(&space, Body::json(newer)?).await?.remove(0);
    let seen = record.decode::<Older>()?;
    let rewritten = Older {
        name: "b".into(),
        unknown: seen.unknown.clone(),
    };
    let record = through(&space, Body::json(rewritten)?).await?.remove(0);
    let expected = json!({"name": "b", "added": {"later": [1, "two", null]}, "count": u64::MAX});
    assert_eq!(*record.decode::<Value>()?, expected);
    Ok(())
}

#[derive(Serialize, Deserialize)]
struct Formatted {
    format: Format<3>,
    name: String,
}

async fn a_newer_format_is_refused_by_its_number(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    for readable in [json!({"name": "a"}), json!({"format": 2, "name": "a"})] {
        let record = through(&space, Body::json(readable)?).await?.remove(0);
        let read = record.decode::<Formatted>()?;
        assert_eq!(read.name, "a");
        let rewritten = Formatted {
            format: Format,
            name: "b".into(),
        };
        let record = through(&space, Body::json(rewritten)?).await?.remove(0);
        assert_eq!(record.decode::<Value>()?["format"], 3);
    }
    let newer = json!({"format": 4, "name": "a"});
    for record in through(&space, Body::json(newer)?).await? {
        let read = record.decode::<Formatted>();
        let read = read.map(drop).expect_err("a newer format");
        let next = Formatted {
            format: Format,
            name: "b".into(),
        };
        let mut batch = space.batch();
        let written = batch.put(key("a")?, &record, Body::json(next)?).map(drop);
        for error in [
            read,
            written.expect_err("it would destroy what it cannot read"),
        ] {
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            for part in ["format 4", "format 3", "upgrade"] {
                assert!(error.message().contains(part), "{error}");
            }
        }
    }
    Ok(())
}
