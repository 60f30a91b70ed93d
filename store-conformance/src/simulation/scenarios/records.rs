//! Compare-and-swap loops and transactions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use store_core::transaction::transact;
use store_core::{Body, Collection, Decided, Error, Partition, RecordKey, RecordStoreExt};

use crate::simulation::world::{Called, World};
use crate::suite::CaseResult;

const THINGS: Collection = Collection::new("things");

/// Increments of one number by `RecordStoreExt::update`, from several clients.
pub(super) async fn updates_are_counted_exactly(world: Arc<World>) -> CaseResult {
    const CLIENTS: usize = 4;
    const EACH: usize = 5;
    let partition = Partition::new("p")?;
    let key = RecordKey::new(THINGS, "counter")?;
    let (sure, unsure) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let clients = (0..CLIENTS).map(|client| {
        let (world, partition, key) = (Arc::clone(&world), partition.clone(), key.clone());
        let (sure, unsure) = (Arc::clone(&sure), Arc::clone(&unsure));
        async move {
            for _ in 0..EACH {
                let records = world.store(client).records();
                let add = records.update(&partition, &key, |current| {
                    let before = current.map(|record| record.decode::<u64>()).transpose()?;
                    let after = before.map_or(0, |number| *number) + 1;
                    Ok(Decided::Put(Body::json(after)?, None, after))
                });
                match world.call(add).await? {
                    Called::Answered(_) => sure.fetch_add(1, Ordering::Relaxed),
                    Called::Unknown => unsure.fetch_add(1, Ordering::Relaxed),
                    Called::Failed => 0,
                };
            }
            Ok(())
        }
    });
    world.race(clients).await?;
    let record = world.plain().records().get(key.at(&partition)).await?;
    let counted = record.map(|record| record.decode::<u64>()).transpose()?;
    let counted = counted.map_or(0, |number| *number);
    let (sure, unsure) = (sure.load(Ordering::Relaxed), unsure.load(Ordering::Relaxed));
    assert!(
        (sure..=sure + unsure).contains(&counted),
        "{counted} counted, {sure} acknowledged, {unsure} unknown"
    );
    Ok(())
}

/// Transfers between accounts of one partition by `transact`.
pub(super) async fn transfers_keep_the_total(world: Arc<World>) -> CaseResult {
    const ACCOUNTS: usize = 3;
    const CLIENTS: usize = 4;
    const EACH: usize = 4;
    let bank = Partition::new("bank")?;
    let account = |number: usize| RecordKey::new(THINGS, number.to_string());
    for number in 0..ACCOUNTS {
        let key = account(number)?;
        transact(&**world.plain().records(), &bank, |tx| tx.put(&key, 10u64)).await?;
    }
    let clients = (0..CLIENTS).map(|client| {
        let (world, bank) = (Arc::clone(&world), bank.clone());
        async move {
            for _ in 0..EACH {
                let from = world.below(ACCOUNTS);
                let to = (from + 1 + world.below(ACCOUNTS - 1)) % ACCOUNTS;
                let (from, to) = (account(from)?, account(to)?);
                let records = &**world.store(client).records();
                let transfer = transact(records, &bank, |tx| {
                    let here = tx.read::<u64>(&from)?.ok_or_else(missing)?;
                    let there = tx.read::<u64>(&to)?.ok_or_else(missing)?;
                    if *here > 0 {
                        tx.put(&from, *here - 1)?;
                        tx.put(&to, *there + 1)?;
                    }
                    Ok(())
                });
                world.call(transfer).await?;
            }
            Ok(())
        }
    });
    world.race(clients).await?;
    let mut total = 0;
    for number in 0..ACCOUNTS {
        let record = world
            .plain()
            .records()
            .get(account(number)?.at(&bank))
            .await?;
        total += *record.ok_or("an account is missing")?.decode::<u64>()?;
    }
    assert_eq!(total, 10 * ACCOUNTS as u64, "the total");
    Ok(())
}

fn missing() -> Error {
    Error::corrupt("an account is missing")
}
