//! Commits that race, and commits inside the application's own transaction.

use std::sync::Arc;

use store_core::{Batch, Body, ErrorKind, Expect, Partition, RecordKey, Store};
use store_postgres::sqlx::{self, Connection, PgConnection};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::{End, Place, key, number, other, partition, put, tests, write};

tests![
    two_commits_that_each_check_what_the_other_creates_have_one_winner,
    a_single_put_and_a_commit_that_checks_it_agree_on_an_order,
    overlapping_commits_never_deadlock,
    a_commit_within_a_transaction_is_final_with_it,
    a_conflict_leaves_the_transaction_usable,
    a_stricter_transaction_is_refused,
];

/// Two stores on one schema, each with connections of its own.
async fn two(place: &Place) -> Result<[Store; 2], store_core::Error> {
    Ok([place.open().await?.into(), place.open().await?.into()])
}

/// Runs both at the same moment.
async fn race(
    stores: &[Store; 2],
    batches: [Batch; 2],
) -> Result<[bool; 2], Box<dyn std::error::Error + Send + Sync>> {
    let start = Arc::new(Barrier::new(2));
    let racers = stores.iter().zip(batches).map(|(store, batch)| {
        let (store, start) = (store.clone(), Arc::clone(&start));
        tokio::spawn(async move {
            start.wait().await;
            store.records().commit(&batch).await
        })
    });
    let mut won = [false; 2];
    for (won, racer) in won.iter_mut().zip(racers.collect::<Vec<_>>()) {
        *won = match racer.await? {
            Ok(_) => true,
            Err(error) if error.is(ErrorKind::Conflict) => false,
            Err(error) => return Err(error.into()),
        };
    }
    Ok(won)
}

async fn two_commits_that_each_check_what_the_other_creates_have_one_winner(place: Place) -> End {
    let stores = two(&place).await?;
    for round in 0..300 {
        // Across collections, and in either order of the items.
        let (a, b) = (key(&format!("a{round}")), other(&format!("b{round}")));
        let each = |checked: &RecordKey, created: &RecordKey| -> Result<Batch, _> {
            let mut batch = Batch::new(partition(), stores[0].now());
            batch.check(checked.clone(), Expect::Absent)?;
            batch.put(created.clone(), Expect::Absent, Body::json(round)?)?;
            Ok::<_, store_core::Error>(batch)
        };
        let won = race(&stores, [each(&a, &b)?, each(&b, &a)?]).await?;
        assert_eq!(won.iter().filter(|won| **won).count(), 1, "round {round}");
    }
    Ok(())
}

/// The single put shares the partition; what it did must come wholly before
/// or wholly after the other.
async fn a_single_put_and_a_commit_that_checks_it_agree_on_an_order(place: Place) -> End {
    let stores = two(&place).await?;
    let mut both_ways = [0; 2];
    for round in 0..300 {
        let (a, b) = (format!("a{round}"), format!("b{round}"));
        let single = put(&stores[0], &a, Expect::Absent, 1)?;
        let mut several = Batch::new(partition(), stores[1].now());
        several.check(key(&a), Expect::Absent)?;
        several.put(key(&b), Expect::Absent, Body::json(2)?)?;
        // `several` also overwrites what `follow` reads after the single put.
        let follow = {
            let store = stores[0].clone();
            let mut batch = Batch::new(partition(), store.now());
            batch.check(key(&a), Expect::Present)?;
            batch.check(key(&b), Expect::Absent)?;
            batch.put(other(&b), Expect::Absent, Body::json(3)?)?;
            batch
        };
        let won = race(&stores, [single, several]).await?;
        assert!(won[0], "there is no other writer");
        let followed = stores[0].records().commit(&follow).await.is_ok();
        assert_eq!(followed, !won[1], "round {round}: a commit seen half");
        both_ways[usize::from(won[1])] += 1;
    }
    Ok(())
}

async fn overlapping_commits_never_deadlock(place: Place) -> End {
    const WORKERS: u64 = 8;
    const EACH: u64 = 1250;
    let before: i64 = deadlocks(&place).await?;
    let stores = two(&place).await?;
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        let store = stores[(worker % 2) as usize].clone();
        workers.spawn(async move {
            let mut state = 0x9e37_79b9_7f4a_7c15u64.wrapping_mul(worker + 1);
            let mut dice = |sides: u64| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state % sides
            };
            for _ in 0..EACH {
                let partition = Partition::new(format!("p{}", dice(2)))?;
                let mut batch = Batch::new(partition, store.now());
                for _ in 0..1 + dice(10) {
                    let id = dice(20).to_string();
                    let key = if dice(2) == 0 { key(&id) } else { other(&id) };
                    // A name that comes twice is refused, which is fine.
                    let _ = match dice(4) {
                        0 => batch.check(key, Expect::Any).map(drop),
                        1 => batch.delete(key, Expect::Any).map(drop),
                        _ => batch.put(key, Expect::Any, Body::json(worker)?).map(drop),
                    };
                }
                store.records().commit(&batch).await?;
            }
            Ok::<_, store_core::Error>(())
        });
    }
    while let Some(ended) = workers.join_next().await {
        ended??;
    }
    assert_eq!(deadlocks(&place).await?, before);
    Ok(())
}

async fn deadlocks(place: &Place) -> Result<i64, sqlx::Error> {
    place
        .ask("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        .await
}

async fn a_commit_within_a_transaction_is_final_with_it(place: Place) -> End {
    let postgres = place.open().await?;
    let store = Store::from(&postgres);
    place
        .run("CREATE TABLE {schema}.orders (id int PRIMARY KEY, paid boolean)")
        .await?;
    let insert = format!("INSERT INTO {}.orders VALUES (7, true)", place.schema);
    let mut connection = PgConnection::connect(&place.url).await?;
    for finish in [false, true] {
        let mut transaction = connection.begin().await?;
        sqlx::query(sqlx::AssertSqlSafe(insert.clone()))
            .execute(&mut *transaction)
            .await?;
        let batch = put(&store, "order/7", Expect::Absent, 7)?;
        let mut within = postgres.within(&mut transaction);
        within.commit(&batch).await?;
        assert!(within.get(key("order/7").at(&partition())).await?.is_some());
        assert_eq!(number(&store, "order/7").await?, None, "not yet");
        if finish {
            transaction.commit().await?;
        } else {
            transaction.rollback().await?;
        }
        let rows: i64 = place.ask("SELECT count(*) FROM {schema}.orders").await?;
        assert_eq!(number(&store, "order/7").await?.is_some(), finish);
        assert_eq!(rows == 1, finish);
    }
    Ok(())
}

async fn a_conflict_leaves_the_transaction_usable(place: Place) -> End {
    let postgres = place.open().await?;
    let store = Store::from(&postgres);
    write(&store, "a", 1).await?;
    let mut connection = PgConnection::connect(&place.url).await?;
    let mut transaction = connection.begin().await?;
    let refused = put(&store, "a", Expect::Absent, 2)?;
    let error = postgres
        .within(&mut transaction)
        .commit(&refused)
        .await
        .expect_err("it is there");
    let current = error.conflict().and_then(|c| c.item(0)?.current().cloned());
    let current = current.ok_or("a conflict carries the record")?;
    let allowed = put(&store, "a", &current, 3)?;
    postgres.within(&mut transaction).commit(&allowed).await?;
    transaction.commit().await?;
    assert_eq!(number(&store, "a").await?, Some(3));
    Ok(())
}

async fn a_stricter_transaction_is_refused(place: Place) -> End {
    let postgres = place.open().await?;
    let store = Store::from(&postgres);
    let mut connection = PgConnection::connect(&place.url).await?;
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        let mut transaction = connection.begin().await?;
        let set = format!("SET TRANSACTION ISOLATION LEVEL {level}");
        sqlx::query(sqlx::AssertSqlSafe(set))
            .execute(&mut *transaction)
            .await?;
        let one = put(&store, "a", Expect::Any, 1)?;
        let mut two = put(&store, "a", Expect::Any, 1)?;
        two.put(key("b"), Expect::Any, Body::json(1)?)?;
        for batch in [one, two] {
            let mut savepoint = transaction.begin().await?;
            let error = postgres
                .within(&mut savepoint)
                .commit(&batch)
                .await
                .expect_err(level);
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:?}");
            savepoint.rollback().await?;
        }
        // What is left of the transaction is final, and nothing of the store's is.
        transaction.commit().await?;
    }
    assert_eq!(number(&store, "a").await?, None);
    assert_eq!(number(&store, "b").await?, None);
    Ok(())
}
