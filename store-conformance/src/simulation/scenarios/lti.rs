//! LTI: nonces and default registrations.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use store_core::Result;
use store_core::lti::{LtiStore, NonceCheck, RecordLti, Registration};
use store_core::secret::KeyRing;

use crate::cases::lti::fixtures::platform;
use crate::simulation::world::{Called, World};
use crate::suite::CaseResult;

fn lti(store: &store_core::Store) -> Result<RecordLti> {
    let ring = KeyRing::new("lti", *b"the key ring of the simulation..")?;
    Ok(RecordLti::new(store, &ring))
}

/// Launches that race for one nonce: never two are accepted, and one is if every
/// caller knows its answer.
pub(super) async fn a_nonce_is_accepted_once(world: Arc<World>) -> CaseResult {
    const CLIENTS: usize = 5;
    let registration = platform("https://lms.example", "tool")?;
    lti(world.plain())?
        .store_nonce("nonce", &registration)
        .await?;
    let (accepted, unknown) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let clients = (0..CLIENTS).map(|client| {
        let (world, registration) = (Arc::clone(&world), registration.clone());
        let (accepted, unknown) = (Arc::clone(&accepted), Arc::clone(&unknown));
        async move {
            let store = lti(world.store(client))?;
            match world
                .call(store.validate_nonce("nonce", &registration))
                .await?
            {
                Called::Answered(NonceCheck::Accepted) => accepted.fetch_add(1, Ordering::Relaxed),
                Called::Unknown => unknown.fetch_add(1, Ordering::Relaxed),
                Called::Answered(check) => {
                    assert_eq!(check, NonceCheck::AlreadyUsed);
                    0
                }
                Called::Failed => 0,
            };
            Ok(())
        }
    });
    world.race(clients).await?;
    let (accepted, unknown) = (
        accepted.load(Ordering::Relaxed),
        unknown.load(Ordering::Relaxed),
    );
    assert!(accepted <= 1, "{accepted} launches were accepted");
    let after = lti(world.plain())?
        .validate_nonce("nonce", &registration)
        .await?;
    if accepted == 1 {
        assert_eq!(after, NonceCheck::AlreadyUsed);
    } else if unknown == 0 {
        assert_eq!(after, NonceCheck::Accepted, "no launch can have used it");
    }
    Ok(())
}

/// Registrations of one issuer that are stored, deleted and made the default: the
/// default is always one that is stored, and there is one while any is stored.
pub(super) async fn an_issuer_with_registrations_has_one_default(world: Arc<World>) -> CaseResult {
    const CLIENTS: usize = 4;
    const EACH: usize = 4;
    const ISSUER: &str = "https://lms.example";
    let clients = (0..CLIENTS).map(|client| {
        let world = Arc::clone(&world);
        async move {
            let store = lti(world.store(client))?;
            for _ in 0..EACH {
                let id = world.below(3).to_string();
                match world.below(4) {
                    0 | 1 => {
                        let upsert = store.upsert_registration(platform(ISSUER, &id)?);
                        world.call(upsert).await?;
                    }
                    2 => {
                        world.call(store.delete_registration(ISSUER, &id)).await?;
                    }
                    _ => {
                        let set = async {
                            match store.set_default_registration(ISSUER, &id).await {
                                Err(e) if e.is(store_core::ErrorKind::NotFound) => Ok(()),
                                answer => answer,
                            }
                        };
                        world.call(set).await?;
                    }
                }
            }
            Ok(())
        }
    });
    world.race(clients).await?;
    let store = lti(world.plain())?;
    let mut stored = Vec::new();
    for id in 0..3 {
        let found = store
            .get_registration(ISSUER, Some(&id.to_string()))
            .await?;
        stored.extend(found.map(|registration: Arc<Registration>| (*registration).clone()));
    }
    let default = store.get_registration(ISSUER, None).await?;
    let ids: Vec<_> = stored
        .iter()
        .map(|one| one.client_id().to_owned())
        .collect();
    match default {
        None => assert!(ids.is_empty(), "{ids:?} are stored and none is the default"),
        Some(default) => assert!(ids.contains(&default.client_id().to_owned())),
    }
    Ok(())
}
