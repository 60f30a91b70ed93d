//! Rows as release 0.1 stores them, which every later release must read.

use std::time::Duration;

use store_core::limits::{Bucket, Entry, LimitKey, Quota, RateLimiter, State, Tokens};
use store_core::{Batch, Body, Expect, Store, Timestamp, Version};

use crate::{End, Place, key, partition, tests};

tests![
    the_rows_of_records_are_read_and_written,
    the_rows_of_buckets_are_read_and_written,
];

const MOMENT: u64 = 1_893_456_000_123_456_789;

async fn the_rows_of_records_are_read_and_written(place: Place) -> End {
    let store = Store::from(place.open().await?);
    let columns = "(collection, partition, id, version, expires_at, size, body, bytes)";
    let rows = [
        "('things', 'p', 'json', '01010101-0101-0101-0101-010101010101', 1893456000123456789, \
         16, '{\"name\": \"Ada\"} ', NULL)",
        "('things', 'p', 'bytes', '02020202-0202-0202-0202-020202020202', NULL, \
         2, NULL, '\\x00ff')",
    ];
    for row in rows {
        place
            .run(&format!(
                "INSERT INTO {{schema}}.records {columns} VALUES {row}"
            ))
            .await?;
    }
    let forms = [
        (
            "json",
            1,
            Some(MOMENT),
            Body::from_json("{\"name\": \"Ada\"} "),
        ),
        ("bytes", 2, None, Body::bytes(&b"\0\xff"[..])?),
    ];
    for (id, version, expires_at, body) in forms {
        let expires_at = expires_at.map(Timestamp::from_nanos);
        let found = store.records().get(key(id).at(&partition())).await?;
        let found = found.ok_or("the row is not found")?;
        assert_eq!(found.version(), Version::from_bytes([version; 16]));
        assert_eq!(found.expires_at(), expires_at);
        let (read, expected) = (found.body().encoded()?, body.encoded()?);
        assert_eq!(format!("{read:?}"), format!("{expected:?}"));
        // What this release writes has the same form, but another version.
        let row = "SELECT to_jsonb(r)::text FROM (SELECT collection, partition, expires_at, \
                   size, body::text, bytes FROM {schema}.records WHERE id = 'ID') AS r";
        let row = row.replace("ID", id);
        let golden: String = place.ask(&row).await?;
        let mut batch = Batch::new(partition(), store.now());
        batch.put_until(key(id), Expect::Any, body, expires_at)?;
        store.records().commit(&batch).await?;
        assert_eq!(place.ask::<String>(&row).await?, golden);
    }
    Ok(())
}

/// The only row of a limit, as text.
async fn bucket(place: &Place, limit: &str) -> Result<String, crate::Failure> {
    let row = "SELECT concat_ws(' ', quota, coalesce(tat::text, '-'), \
               coalesce(tokens::text, '-'), coalesce(last_refill::text, '-'), expires_at) \
               FROM {schema}.buckets WHERE key = 'LIMIT'";
    Ok(place.ask(&row.replace("LIMIT", limit)).await?)
}

async fn the_rows_of_buckets_are_read_and_written(place: Place) -> End {
    let store = Store::from(place.open().await?);
    for row in [
        "('taken', 'q', 1893456000123456789, NULL, NULL, 1893456001000000001)",
        "('written', 'q', NULL, 0.30000000000000004, 1893456000123456789, 1893456001000000001)",
    ] {
        let columns = "(key, quota, tat, tokens, last_refill, expires_at)";
        place
            .run(&format!(
                "INSERT INTO {{schema}}.buckets {columns} VALUES {row}"
            ))
            .await?;
    }
    let entry = |state| Entry {
        quota: "q".into(),
        state,
        expires_at: Timestamp::from_nanos(1_893_456_001_000_000_001),
    };
    let moment = Timestamp::from_nanos(MOMENT);
    let tokens = State::Tokens(Tokens {
        tokens: 0.1 + 0.2,
        last_refill: moment,
    });
    for (limit, state) in [("taken", State::Tat(moment)), ("written", tokens)] {
        let expected: Bucket = [entry(state)].into_iter().collect();
        let found = store.limits().peek(LimitKey::new(limit)?).await?;
        assert_eq!(found, Some(expected.clone()), "{limit}");
        // What this release writes has the same form.
        let golden = bucket(&place, limit).await?;
        let other = LimitKey::new("other")?;
        let change = |_: Option<&Bucket>| Some(expected.clone());
        store.limits().update(other, &change).await?;
        assert_eq!(bucket(&place, "other").await?, golden, "{limit}");
    }
    let limiter = RateLimiter::new(&store, Quota::per_second(1)?);
    assert!(limiter.take("limited", 1).await?.is_allowed());
    let full_at = (store.now() + Duration::from_secs(1)).as_nanos();
    let expected = format!("default {full_at} - - {full_at}");
    assert_eq!(bucket(&place, "limited").await?, expected);
    Ok(())
}
