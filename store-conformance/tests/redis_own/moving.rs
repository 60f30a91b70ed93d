//! Slots that move, and primaries that are killed, under load.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use store_core::limits::{Quota, QuotaSet, Take};
use store_core::update::Decided;
use store_core::{
    Batch, Body, ErrorKind, Expect, Partition, Record, RecordStoreExt, Retry, Scan, Store,
};
use tokio::task::{JoinSet, block_in_place};

use crate::cluster::Nodes;
use crate::{End, Failure, Place, THINGS, key, tests};

tests![
    a_slot_that_moves_under_load_loses_nothing,
    a_killed_primary_is_replaced_under_load,
];

/// The slot of a partition's name.
pub(crate) fn slot(partition: &str) -> u16 {
    let mut crc = 0u16;
    for byte in partition.bytes() {
        crc ^= u16::from(byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 == 0 {
                crc << 1
            } else {
                (crc << 1) ^ 0x1021
            };
        }
    }
    crc % 16_384
}

/// Raises a counter, creates and deletes records around it, and lists them.
async fn work(
    store: Store,
    partition: Partition,
    done: Arc<AtomicBool>,
    own: u64,
) -> Result<u64, Failure> {
    let mut raised = 0;
    let mut round = 0u64;
    while !done.load(Ordering::SeqCst) || round < 10 {
        round += 1;
        store
            .records()
            .update(&partition, &key("counter"), |found| {
                let number = match found {
                    Some(record) => *record.decode::<u64>()?,
                    None => 0,
                };
                Ok(Decided::Put(Body::json(number + 1)?, None, ()))
            })
            .await?;
        raised += 1;
        let mut batch = Batch::new(partition.clone(), store.now());
        let in_an_hour = Some(store.now() + Duration::from_secs(3600));
        batch.put(
            key(&format!("{own} lasting")),
            Expect::Any,
            Body::json(round)?,
        )?;
        batch.put_until(
            key(&format!("{own} brief")),
            Expect::Any,
            Body::json(round)?,
            in_an_hour,
        )?;
        batch.delete(key(&format!("{own} {}", round - 1)), Expect::Any)?;
        batch.put(
            key(&format!("{own} {round}")),
            Expect::Absent,
            Body::json(round)?,
        )?;
        store.records().commit(&batch).await?;
        // A record that is not written by a script.
        let mut large = Batch::new(partition.clone(), store.now());
        let id = key(&format!("large {own}"));
        large.put(id.clone(), Expect::Absent, Body::bytes(vec![7; 20_000])?)?;
        store.records().commit(&large).await?;
        let mut deletion = Batch::new(partition.clone(), store.now());
        deletion.delete(id, Expect::Version(large.version()))?;
        store.records().commit(&deletion).await?;
        let page = store
            .records()
            .scan(&Scan::partition(THINGS, partition.clone()).id_prefix(format!("{own} ")))
            .await?;
        let ids: HashSet<_> = page
            .items
            .iter()
            .map(|record| record.id().to_owned())
            .collect();
        let expected = ["brief", "lasting", &round.to_string()].map(|id| format!("{own} {id}"));
        assert_eq!(ids, HashSet::from(expected), "in round {round}");
    }
    Ok(raised)
}

async fn a_slot_that_moves_under_load_loses_nothing(_: Place) -> End {
    let nodes = Nodes::start(0)?;
    let place = Place::new(nodes.server.url());
    let (first, second) = (place.open().await?, place.open().await?);
    let partition = Partition::new("moving")?;
    let slot = slot("moving");
    let owner = usize::from(slot) * 3 / 16_384;
    let done = Arc::new(AtomicBool::new(false));
    let quotas = QuotaSet::new([Quota::per_second(1_000_000)?])?;
    let taken = Arc::new(AtomicU64::new(0));
    let mut workers = JoinSet::new();
    for own in 0..4 {
        let store = if own % 2 == 0 { &first } else { &second }.clone();
        workers.spawn(work(store, partition.clone(), Arc::clone(&done), own));
    }
    for store in [&first, &second] {
        let (store, done, quotas) = (store.clone(), Arc::clone(&done), quotas.clone());
        let taken = Arc::clone(&taken);
        workers.spawn(async move {
            while !done.load(Ordering::SeqCst) {
                let take = Take::new("moving", &quotas, 1, store.now())?;
                if store.limits().take(&take).await?.is_allowed() {
                    taken.fetch_add(1, Ordering::SeqCst);
                }
            }
            Ok(0)
        });
    }
    let mut at = owner;
    for _ in 0..12 {
        let to = (at + 1) % 3;
        nodes.move_slot(slot, at, to).await?;
        at = to;
        // Until calls succeed on its new server. Failures are reported at the end.
        let (moved, before) = (Instant::now(), taken.load(Ordering::SeqCst));
        while taken.load(Ordering::SeqCst) < before + 20
            && moved.elapsed() < Duration::from_secs(30)
        {
            tokio::task::yield_now().await;
        }
    }
    done.store(true, Ordering::SeqCst);
    let mut raised = 0;
    while let Some(ended) = workers.join_next().await {
        raised += ended??;
    }
    let found = first.records().get(key("counter").at(&partition)).await?;
    assert_eq!(*found.ok_or("it was raised")?.decode::<u64>()?, raised);
    let take = Take::new("moving", &quotas, 1, first.now())?;
    let left = match first.limits().take(&take).await? {
        store_core::limits::Decision::Allowed { remaining, .. } => remaining,
        denied => return Err(format!("{denied:?}").into()),
    };
    assert_eq!(u64::from(999_999 - left), taken.load(Ordering::SeqCst));
    println!(
        "12 moves under {raised} updates and {} takes",
        taken.load(Ordering::SeqCst)
    );
    Ok(())
}

/// How often a partition's counter was raised, and how often it may have been.
#[derive(Default)]
struct Raised {
    surely: AtomicU64,
    perhaps: AtomicU64,
}

/// Raises a counter once; returns whether it was raised, `None` if that is unknown.
async fn raise(store: &Store, partition: &Partition) -> Result<Option<bool>, Failure> {
    let decide = |found: Option<&Record>| {
        let number = match found {
            Some(record) => *record.decode::<u64>()?,
            None => 0,
        };
        Ok(Decided::Put(Body::json(number + 1)?, None, ()))
    };
    let counter = key("counter");
    let raised = store.records().update(partition, &counter, decide).await;
    let Err(error) = raised else {
        return Ok(Some(true));
    };
    let kinds = [
        ErrorKind::Unavailable,
        ErrorKind::Timeout,
        ErrorKind::Contended,
    ];
    assert!(kinds.contains(&error.kind()), "{error:?}");
    assert_ne!(error.retry(), Retry::Never, "{error:?}");
    Ok((error.retry() != Retry::Ambiguous).then_some(false))
}

/// Partitions whose primary is killed may lose acknowledged writes, but no write may
/// apply twice. The other partitions lose nothing.
async fn a_killed_primary_is_replaced_under_load(_: Place) -> End {
    const PARTITIONS: usize = 24;
    let mut nodes = Nodes::start(1)?;
    let place = Place::new(nodes.server.url());
    let names: Vec<String> = (0..PARTITIONS).map(|i| format!("p{i}")).collect();
    let raised: Arc<Vec<Raised>> = Arc::new(names.iter().map(|_| Raised::default()).collect());
    let done = Arc::new(AtomicBool::new(false));
    let failures = Arc::new(AtomicU64::new(0));
    let mut workers = JoinSet::new();
    for worker in 0..6 {
        let (store, names, raised) = (place.open().await?, names.clone(), Arc::clone(&raised));
        let (done, failures) = (Arc::clone(&done), Arc::clone(&failures));
        workers.spawn(async move {
            let mut at = worker * PARTITIONS / 6;
            while !done.load(Ordering::SeqCst) {
                at = (at + 1) % PARTITIONS;
                let count = match raise(&store, &Partition::new(&*names[at])?).await? {
                    Some(true) => &raised[at].surely,
                    Some(false) => &failures,
                    None => &raised[at].perhaps,
                };
                count.fetch_add(1, Ordering::SeqCst);
            }
            Ok::<_, Failure>(())
        });
    }
    let counted = || -> Vec<u64> {
        let surely = raised.iter().map(|one| one.surely.load(Ordering::SeqCst));
        surely.collect()
    };
    let all_beyond = async |before: Vec<u64>| {
        let begin = Instant::now();
        while counted()
            .iter()
            .zip(&before)
            .any(|(now, before)| *now < before + 3)
        {
            assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", counted());
            tokio::task::yield_now().await;
        }
        begin.elapsed()
    };
    all_beyond(vec![0; PARTITIONS]).await;
    assert!(block_in_place(|| nodes.server.kill_part(0)));
    let took = all_beyond(counted()).await;
    done.store(true, Ordering::SeqCst);
    while let Some(ended) = workers.join_next().await {
        ended??;
    }
    let failed = failures.load(Ordering::SeqCst);
    assert!(failed > 0, "no call failed");
    let store = place.open().await?;
    let mut lost = 0;
    for (name, raised) in names.iter().zip(&*raised) {
        let partition = Partition::new(&**name)?;
        let found = store.records().get(key("counter").at(&partition)).await?;
        let number = *found.ok_or("it was raised")?.decode::<u64>()?;
        let surely = raised.surely.load(Ordering::SeqCst);
        let perhaps = raised.perhaps.load(Ordering::SeqCst);
        assert!(
            number <= surely + perhaps,
            "{name}: {number} > {surely} + {perhaps}"
        );
        let survived = usize::from(slot(name)) * 3 / 16_384 != 0;
        assert!(number >= surely || !survived, "{name}: {number} < {surely}");
        lost += surely.saturating_sub(number);
    }
    println!("another primary after {took:?}, {failed} calls failed, {lost} writes were lost");
    Ok(())
}
