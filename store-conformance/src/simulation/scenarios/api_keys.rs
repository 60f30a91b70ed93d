//! API keys: the life of one key, and the rotation of the key ring.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use store_core::Result;
use store_core::api_keys::{ApiKey, ApiKeyStore, ApiKeyStoreExt, KeyData, RecordApiKeys};
use store_core::secret::KeyRing;

use crate::cases::api_keys::histories::{Call, OneKey, make};
use crate::history::{Outcome, Recorder, check};
use crate::simulation::world::{Called, World};
use crate::suite::CaseResult;

fn old_ring() -> Result<KeyRing> {
    KeyRing::new("old", *b"the key of the ring that goes...")
}

/// Writes under a newer key and still finds what the old one wrote.
fn new_ring() -> Result<KeyRing> {
    KeyRing::new("new", *b"the key of the ring that comes..")?
        .with_older("old", *b"the key of the ring that goes...")
}

fn keys(world: &World, client: usize, ring: &KeyRing) -> RecordApiKeys {
    RecordApiKeys::new(Arc::clone(world.store(client).records()), ring)
}

/// Inserts, deletes, switches and grants of one key, from several clients.
pub(super) async fn changes_and_lives_of_a_key_are_linearizable(world: Arc<World>) -> CaseResult {
    const CLIENTS: usize = 4;
    const EACH: usize = 5;
    let ring = old_ring()?;
    let key: ApiKey = "sk_one_key_of_a_simulation_0001".parse()?;
    let recorder = Arc::new(Recorder::new());
    let clients = (0..CLIENTS).map(|client| {
        let (world, key, recorder) = (Arc::clone(&world), key.clone(), Arc::clone(&recorder));
        let ring = ring.clone();
        async move {
            let store = keys(&world, client, &ring);
            for turn in 0..EACH {
                let call = match world.below(8) {
                    0 | 1 => Call::Insert,
                    2 => Call::Delete,
                    3 => Call::SetEnabled(false),
                    4 => Call::SetEnabled(true),
                    5 => Call::Grant((client * EACH + turn) as u32),
                    _ => Call::Get,
                };
                let begun = recorder.begin(client, "key", call);
                let outcome = match world.call(make(&store, &key, call)).await? {
                    Called::Answered(answer) => Outcome::Answered(answer),
                    Called::Failed => Outcome::Failed,
                    Called::Unknown => Outcome::Unknown,
                };
                recorder.end(begun, outcome);
            }
            Ok(())
        }
    });
    world.race(clients).await?;
    let recorder = Arc::into_inner(recorder).ok_or("a client still holds the recorder")?;
    check(&OneKey { there: false }, &recorder.finish()).map_err(|error| error.to_string())?;
    Ok(())
}

/// One process writes under the new key of the ring, and re-digests on use, while
/// others look up, switch off and re-digest. Once switched off, no look-up that
/// begins later finds the key active; it is never unknown.
pub(super) async fn rotation_of_the_ring_loses_no_key(world: Arc<World>) -> CaseResult {
    const CLIENTS: usize = 4;
    const EACH: usize = 4;
    let (old, new) = (old_ring()?, new_ring()?);
    let key: ApiKey = "sk_one_key_of_a_simulation_0002".parse()?;
    let before = RecordApiKeys::new(Arc::clone(world.plain().records()), &old);
    let entry = before
        .insert(&key, KeyData::new().with_tenant("acme"))
        .await?;
    let off = Arc::new(AtomicBool::new(false));
    let clients = (0..CLIENTS).map(|client| {
        let (world, key, off, ring) = (
            Arc::clone(&world),
            key.clone(),
            Arc::clone(&off),
            new.clone(),
        );
        async move {
            let store = keys(&world, client, &ring).redigest_on_use(client % 2 == 0);
            for turn in 0..EACH {
                if client == 1 && turn == 2 {
                    if let Called::Answered(_) = world.call(store.disable(&key)).await? {
                        off.store(true, Ordering::Relaxed);
                    }
                    continue;
                }
                let was_off = off.load(Ordering::Relaxed);
                if let Called::Answered(found) = world.call(store.get_key(&key)).await? {
                    assert!(found.entry().is_some(), "the key is unknown");
                    assert!(
                        !(was_off && found.is_active()),
                        "active after it was disabled"
                    );
                }
            }
            Ok(())
        }
    });
    world.race(clients).await?;
    let after = RecordApiKeys::new(Arc::clone(world.plain().records()), &new);
    let found = after.get_key(&key).await?;
    assert_eq!(found.entry().map(|entry| entry.id()), Some(entry.id()));
    assert!(!off.load(Ordering::Relaxed) || !found.is_active());
    // One record of the key, whatever was left half done.
    after.delete_key((&key).into()).await?;
    assert!(after.get_key(&key).await?.entry().is_none(), "deleted");
    assert!(
        before.get_key(&key).await?.entry().is_none(),
        "under the old key too"
    );
    Ok(())
}
