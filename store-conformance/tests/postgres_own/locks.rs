//! What the calls of a limit wait for. In each test another transaction changes the limit
//! as a call would, and commits when the call of the store waits for it. The call must
//! then see the change.

use std::future::Future;
use std::time::{Duration, Instant};

use store_core::limits::{Bucket, Entry, LimitKey, Quota, QuotaSet, State, Take};
use store_core::{Store, Timestamp};
use store_postgres::sqlx;

use crate::{End, Failure, Place, tests};

tests![
    a_take_of_several_quotas_waits_for_a_take_that_changes_a_row,
    a_take_of_several_quotas_waits_for_a_take_that_creates_a_row,
    a_take_that_creates_a_row_waits_for_a_change_of_the_whole_limit,
    a_closure_waits_for_a_take_that_creates_a_row,
    a_closure_waits_for_a_take_that_changes_a_row,
    a_delete_waits_for_a_take_that_creates_a_row,
];

/// The time of the store, in seconds.
const NOW: u64 = 1_893_456_000;

/// Writes the arrival time of the quota `q`: this many seconds from now.
fn row(seconds: u64) -> String {
    let time = (NOW + seconds) * 1_000_000_000;
    format!(
        "INSERT INTO {{schema}}.buckets AS b (key, quota, tat, expires_at) \
         VALUES ('k', 'q', {time}, {time}) \
         ON CONFLICT (key, quota) DO UPDATE SET tat = {time}, expires_at = {time};"
    )
}

/// What a take executes before it creates a row, and what a change of several rows does.
const SHARED: &str = "SELECT pg_advisory_xact_lock_shared({schema}.lock_of_bucket('k'));";
const EXCLUSIVE: &str = "SELECT pg_advisory_xact_lock({schema}.lock_of_bucket('k'));";

/// Runs `call` while a transaction that has executed `before` is open. The transaction
/// executes `after` and commits once the call waits.
async fn during<T: Send + 'static>(
    place: &Place,
    before: &str,
    call: impl Future<Output = store_core::Result<T>> + Send + 'static,
    after: &str,
) -> Result<T, Failure> {
    let mut other = place.connection().await?;
    let text = |text: &str| sqlx::AssertSqlSafe(text.replace("{schema}", &place.schema));
    let begin = text(&format!("BEGIN; {before}"));
    sqlx::raw_sql(begin).execute(&mut other).await?;
    let call = tokio::spawn(call);
    let waits = "SELECT EXISTS (SELECT FROM pg_stat_activity \
                 WHERE application_name = '{schema}' AND wait_event_type = 'Lock')";
    let start = Instant::now();
    while !place.ask::<bool>(waits).await? {
        if call.is_finished() || start.elapsed() > Duration::from_secs(10) {
            return Err("the call does not wait for the other transaction".into());
        }
    }
    let commit = text(&format!("{after} COMMIT;"));
    sqlx::raw_sql(commit).execute(&mut other).await?;
    Ok(call.await??)
}

/// A store whose limit `k` has these rows.
async fn with_rows(place: &Place, rows: &str) -> Result<Store, Failure> {
    let sign = if place.url.contains('?') { '&' } else { '?' };
    let url = format!("{}{sign}application_name={}", place.url, place.schema);
    let store = place.builder().url(url).connect().await?;
    store.setup().await?;
    place.run(rows).await?;
    Ok(store.into())
}

/// Takes a token of the quota `q`, which has `burst`, and of the others.
async fn take(store: Store, burst: u32, others: &[&str]) -> store_core::Result<bool> {
    let mut quotas = vec![Quota::per_second(1)?.with_burst(burst)?.named("q")?];
    for other in others {
        quotas.push(Quota::per_second(1)?.named(*other)?);
    }
    let quotas = QuotaSet::new(quotas)?;
    let take = Take::new("k", &quotas, 1, store.now())?;
    Ok(store.limits().take(&take).await?.is_allowed())
}

async fn a_take_of_several_quotas_waits_for_a_take_that_changes_a_row(place: Place) -> End {
    let store = with_rows(&place, &row(1)).await?;
    let call = take(store, 2, &["r"]);
    let allowed = during(&place, &row(2), call, "").await?;
    assert!(!allowed, "the other took the last token");
    Ok(())
}

async fn a_take_of_several_quotas_waits_for_a_take_that_creates_a_row(place: Place) -> End {
    let store = with_rows(&place, "").await?;
    let call = take(store, 1, &["r"]);
    let allowed = during(&place, &(SHARED.to_owned() + &row(1)), call, "").await?;
    assert!(!allowed, "the other took the last token");
    Ok(())
}

async fn a_take_that_creates_a_row_waits_for_a_change_of_the_whole_limit(place: Place) -> End {
    let store = with_rows(&place, "").await?;
    let allowed = during(&place, EXCLUSIVE, take(store, 1, &[]), &row(1)).await?;
    assert!(!allowed, "the other took the last token");
    Ok(())
}

/// One second later than it was; from now on if there was nothing.
fn later(bucket: Option<&Bucket>) -> Option<Bucket> {
    let entries = bucket.map_or(&[][..], Bucket::entries);
    let before = entries
        .first()
        .map_or(Timestamp::from_seconds(NOW), |q| q.expires_at);
    let tat = before + Duration::from_secs(1);
    let first = Entry {
        quota: "q".into(),
        state: State::Tat(tat),
        expires_at: tat,
    };
    let others = entries.iter().skip(1).cloned();
    Some([first].into_iter().chain(others).collect())
}

async fn change(store: Store) -> store_core::Result<Option<Bucket>> {
    store.limits().update(LimitKey::new("k")?, &later).await
}

/// When the only bucket of the limit will be full, in seconds from now.
fn full_in(bucket: Option<Bucket>) -> Option<u64> {
    match bucket?.entries() {
        [only] => Some(only.expires_at.as_nanos() / 1_000_000_000 - NOW),
        _ => None,
    }
}

async fn a_closure_waits_for_a_take_that_creates_a_row(place: Place) -> End {
    let store = with_rows(&place, "").await?;
    let before = SHARED.to_owned() + &row(5);
    let changed = during(&place, &before, change(store.clone()), "").await?;
    assert_eq!(full_in(changed), Some(6));
    let found = store.limits().peek(LimitKey::new("k")?).await?;
    assert_eq!(full_in(found), Some(6));
    Ok(())
}

async fn a_closure_waits_for_a_take_that_changes_a_row(place: Place) -> End {
    // The row of another limit, which the closure must not see.
    let other = row(9).replace("'k', 'q'", "'other', 'z'");
    let store = with_rows(&place, &(row(1) + &other)).await?;
    let changed = during(&place, &row(5), change(store.clone()), "").await?;
    assert_eq!(full_in(changed), Some(6));
    let found = store.limits().peek(LimitKey::new("k")?).await?;
    assert_eq!(full_in(found), Some(6));
    Ok(())
}

async fn a_delete_waits_for_a_take_that_creates_a_row(place: Place) -> End {
    let store = with_rows(&place, "").await?;
    let deleting = store.clone();
    let call = async move { deleting.limits().delete(LimitKey::new("k")?).await };
    during(&place, &(SHARED.to_owned() + &row(5)), call, "").await?;
    assert_eq!(store.limits().peek(LimitKey::new("k")?).await?, None);
    Ok(())
}
