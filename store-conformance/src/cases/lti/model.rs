//! Random calls on registrations, deployments and nonces, compared with plain maps.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use store_core::lti::{Deployment, LtiStore, NonceCheck, Registration};
use store_core::{Clock, ErrorKind, Page, PageRequest, Result, Timestamp};

use super::fixtures::{Cases, Fixtures, Given, Platform, Site, parts};
use super::{needs, upserts};
use crate::case;
use crate::cases::model::{Model, Random, after_forged, all_pages, failure, for_each_seed, run};
use crate::harness::Opened;
use crate::suite::CaseResult;

pub(super) fn cases<R: Platform, D: Site>() -> Cases<R, D> {
    let case = case!(random_calls_are_answered_as_by_maps_of_registrations, "47");
    vec![case.needs(needs::MANAGE, |harness| {
        Box::pin(upserts::managing_is_declined(harness))
    })]
}

async fn random_calls_are_answered_as_by_maps_of_registrations<R: Platform, D: Site>(
    given: Given<R, D>,
) -> CaseResult {
    for_each_seed(|seed, calls| compare(&given, seed, calls)).await
}

/// Makes `calls` random calls that follow from `seed`.
pub(crate) async fn compare<R: Platform, D: Site>(
    given: &Given<R, D>,
    seed: u64,
    calls: usize,
) -> CaseResult {
    let model = Registrations {
        opened: given.open(Fixtures::default()).await?,
        registrations: BTreeMap::new(),
        defaults: BTreeMap::new(),
        deployments: BTreeMap::new(),
        nonces: BTreeMap::new(),
    };
    run(model, seed, calls).await
}

const ISSUERS: [&str; 3] = [
    "https://lms.example.edu",
    "https://lms.example.edu/",
    "https://LMS.example.edu",
];
/// In bytewise order, and such as a store which splits or folds names would mix up.
const CLIENTS: [&str; 3] = ["A", "a", "a/b"];
const DEPLOYMENTS: [&str; 3] = ["1", "1/2", "1%2F2"];
const NONCES: [&str; 3] = ["n", "N", "n/"];

/// Issuer and client id.
type Name = (&'static str, &'static str);

struct Nonce {
    valid_until: Timestamp,
    forgotten_at: Timestamp,
    used: bool,
}

struct Registrations<R: Platform, D: Site> {
    opened: Opened<dyn LtiStore<R, D>>,
    /// With the variant of the endpoints.
    registrations: BTreeMap<Name, (usize, Value)>,
    defaults: BTreeMap<&'static str, &'static str>,
    deployments: BTreeMap<(Name, &'static str), Value>,
    nonces: BTreeMap<(&'static str, &'static str), Nonce>,
}

fn json(record: &impl serde::Serialize) -> Result<Value> {
    let wrong = |_| store_core::Error::corrupt("a record of the cases is not JSON");
    serde_json::to_value(record).map_err(wrong)
}

fn list(records: &[Arc<impl serde::Serialize>]) -> Result<Vec<Value>> {
    records.iter().map(|record| json(&**record)).collect()
}

fn registration(name: Name, endpoints: usize, number: u64) -> Result<Registration> {
    let mut parts = parts(name.0, name.1);
    parts.jwks_uri = format!("https://lms.example.edu/jwks/{endpoints}");
    parts.extra.insert("number".into(), number.into());
    Registration::new(parts)
}

#[async_trait]
impl<R: Platform, D: Site> Model for Registrations<R, D> {
    async fn call(&mut self, random: &mut Random) -> CaseResult {
        match random.below(24) {
            0..5 => self.put(random).await,
            5..8 => self.look_up(random).await,
            8..10 => self.delete(random).await,
            10..12 => self.set_default(random).await,
            12 => self.list(random).await,
            13..16 => self.put_deployment(random).await,
            16 => self.delete_deployment(random).await,
            17..19 => self.look_up_deployments(random).await,
            19 => self.forge(random).await,
            20 => self.store_nonce(random).await,
            21 | 22 => self.use_nonce(random).await,
            _ => {
                let life = self.opened.first.nonce_lifetime();
                let most = random.pick(&[life.valid / 2, life.valid, life.retained]);
                random.advance(&self.opened.clock, most);
                Ok(())
            }
        }
    }
}

impl<R: Platform, D: Site> Registrations<R, D> {
    fn name(random: &mut Random) -> Name {
        // Most calls meet in a few names.
        let issuers = if random.chance(80) { 1 } else { ISSUERS.len() };
        (random.pick(&ISSUERS[..issuers]), random.pick(&CLIENTS))
    }

    async fn put(&mut self, random: &mut Random) -> CaseResult {
        let name = Self::name(random);
        let (endpoints, number) = (random.below(2), random.below(1000) as u64);
        let record = R::from(registration(name, endpoints, number)?);
        let expected = json(&record)?;
        let held = self.registrations.get(&name);
        let store = random.handle(&self.opened);
        let (call, answer, refused) = match random.below(3) {
            0 => {
                let refused = held.map(|_| ErrorKind::AlreadyExists);
                ("register", store.register(record).await, refused)
            }
            1 => {
                let moved = held.filter(|held| held.0 != endpoints);
                let refused = moved.map(|_| ErrorKind::Conflict);
                ("upsert", store.upsert_registration(record).await, refused)
            }
            _ => {
                let refused = held.is_none().then_some(ErrorKind::NotFound);
                ("move", store.change_endpoints(record).await, refused)
            }
        };
        random.note(format!("{call} {name:?} with endpoints {endpoints}"));
        assert_eq!(failure(&answer), refused);
        if refused.is_none() {
            assert_eq!(json(&*answer?)?, expected);
            self.registrations.insert(name, (endpoints, expected));
        }
        Ok(())
    }

    async fn look_up(&mut self, random: &mut Random) -> CaseResult {
        let (issuer, client) = Self::name(random);
        let store = random.handle(&self.opened);
        let named = random.chance(50).then_some(client);
        random.note(format!("look up {named:?} of {issuer:?}"));
        let of_issuer = |name: &&Name| name.0 == issuer;
        let client = named
            .or(self.defaults.get(issuer).copied())
            .or_else(|| Some(self.registrations.keys().find(of_issuer)?.1));
        let expected = client.and_then(|client| self.registrations.get(&(issuer, client)));
        let found = store.get_registration(issuer, named).await?;
        let found = found.map(|record| json(&*record)).transpose()?;
        assert_eq!(found.as_ref(), expected.map(|(_, json)| json));
        Ok(())
    }

    async fn delete(&mut self, random: &mut Random) -> CaseResult {
        let name = Self::name(random);
        random.note(format!("delete {name:?}"));
        let store = random.handle(&self.opened);
        let existed = store.delete_registration(name.0, name.1).await?;
        assert_eq!(existed, self.registrations.remove(&name).is_some());
        self.deployments.retain(|(of, _), _| *of != name);
        if self.defaults.get(name.0) == Some(&name.1) {
            self.defaults.remove(name.0);
        }
        Ok(())
    }

    async fn set_default(&mut self, random: &mut Random) -> CaseResult {
        let name = Self::name(random);
        random.note(format!("make {name:?} the default"));
        let store = random.handle(&self.opened);
        let answer = store.set_default_registration(name.0, name.1).await;
        let known = self.registrations.contains_key(&name);
        assert_eq!(failure(&answer), (!known).then_some(ErrorKind::NotFound));
        if known {
            self.defaults.insert(name.0, name.1);
        }
        Ok(())
    }

    /// The registrations of an issuer or of all, in order.
    fn of(&self, issuer: Option<&str>) -> Vec<Value> {
        let of = self.registrations.iter();
        let of = of.filter(|(name, _)| issuer.is_none_or(|issuer| name.0 == issuer));
        of.map(|(_, (_, json))| json.clone()).collect()
    }

    async fn list(&mut self, random: &mut Random) -> CaseResult {
        let issuer = random.chance(60).then(|| random.pick(&ISSUERS));
        let limit = 1 + random.below(3);
        random.note(format!(
            "list the registrations of {issuer:?}, {limit} a page"
        ));
        let store = random.handle(&self.opened);
        let found = all_pages(limit, |page| {
            let store = &store;
            async move { store.list_registrations(issuer, &page).await }
        })
        .await?;
        let (mut found, mut expected) = (list(&found)?, self.of(issuer));
        if issuer.is_none() {
            // In no order, each at least once.
            found.sort_by_key(Value::to_string);
            found.dedup();
            expected.sort_by_key(Value::to_string);
        }
        assert_eq!(found, expected);
        Ok(())
    }

    async fn put_deployment(&mut self, random: &mut Random) -> CaseResult {
        let (name, id) = (Self::name(random), random.pick(&DEPLOYMENTS));
        random.note(format!("put the deployment {id:?} of {name:?}"));
        let number = serde_json::json!({ "number": random.below(1000) });
        let extra = number.as_object().cloned().unwrap_or_default();
        let record = D::from(Deployment::new(id)?.with_extra(extra)?);
        let expected = json(&record)?;
        let store = random.handle(&self.opened);
        let answer = store
            .upsert_deployment(&registration(name, 0, 0)?, record)
            .await;
        if !self.registrations.contains_key(&name) {
            assert_eq!(failure(&answer), Some(ErrorKind::NotFound));
            return Ok(());
        }
        assert_eq!(json(&*answer?)?, expected);
        self.deployments.insert((name, id), expected);
        Ok(())
    }

    async fn delete_deployment(&mut self, random: &mut Random) -> CaseResult {
        let (name, id) = (Self::name(random), random.pick(&DEPLOYMENTS));
        random.note(format!("delete the deployment {id:?} of {name:?}"));
        let store = random.handle(&self.opened);
        let existed = store
            .delete_deployment(&registration(name, 0, 0)?, id)
            .await?;
        assert_eq!(existed, self.deployments.remove(&(name, id)).is_some());
        Ok(())
    }

    async fn look_up_deployments(&mut self, random: &mut Random) -> CaseResult {
        let (name, id) = (Self::name(random), random.pick(&DEPLOYMENTS));
        let (limit, registration) = (1 + random.below(3), registration(name, 0, 0)?);
        random.note(format!(
            "look up the deployments of {name:?}, {limit} a page"
        ));
        let store = random.handle(&self.opened);
        let one = store.get_deployment(&registration, id).await?;
        let one = one.map(|record| json(&*record)).transpose()?;
        assert_eq!(one.as_ref(), self.deployments.get(&(name, id)));
        let found = all_pages(limit, |page| {
            let (store, registration) = (&store, &registration);
            async move { store.list_deployments(registration, &page).await }
        })
        .await?;
        let mut found = list(&found)?;
        found.sort_by_key(Value::to_string);
        let of = self.deployments.iter().filter(|((of, _), _)| *of == name);
        let mut expected: Vec<Value> = of.map(|(_, json)| json.clone()).collect();
        expected.sort_by_key(Value::to_string);
        assert_eq!(found, expected);
        Ok(())
    }

    async fn forge(&mut self, random: &mut Random) -> CaseResult {
        let issuer = random.chance(70).then(|| random.pick(&ISSUERS));
        let store = random.handle(&self.opened);
        let first: Page<Arc<R>> = store
            .list_registrations(issuer, &PageRequest::new().limit(1)?)
            .await?;
        let Some(genuine) = first.next else {
            return Ok(());
        };
        let forged = random.forge(&genuine, &CLIENTS)?;
        let answer = store
            .list_registrations(issuer, &PageRequest::new().after(forged))
            .await;
        let expected = self.of(issuer);
        for found in list(&after_forged(answer)?)? {
            assert!(expected.contains(&found), "a forged cursor shows {found}");
        }
        Ok(())
    }

    async fn store_nonce(&mut self, random: &mut Random) -> CaseResult {
        let (name, nonce) = (Self::name(random), random.pick(&NONCES));
        random.note(format!("store the nonce {nonce:?} of {name:?}"));
        let (store, now) = (random.handle(&self.opened), self.opened.clock.now());
        let answer = store.store_nonce(nonce, &registration(name, 0, 0)?).await;
        self.nonces.retain(|_, nonce| nonce.forgotten_at > now);
        let known = self.nonces.contains_key(&(name.0, nonce));
        assert_eq!(failure(&answer), known.then_some(ErrorKind::AlreadyExists));
        if !known {
            let life = store.nonce_lifetime();
            let valid_until = now + life.valid;
            let stored = Nonce {
                valid_until,
                forgotten_at: valid_until + life.retained,
                used: false,
            };
            self.nonces.insert((name.0, nonce), stored);
        }
        Ok(())
    }

    async fn use_nonce(&mut self, random: &mut Random) -> CaseResult {
        let (name, nonce) = (Self::name(random), random.pick(&NONCES));
        random.note(format!("use the nonce {nonce:?} of {name:?}"));
        let (store, now) = (random.handle(&self.opened), self.opened.clock.now());
        let check = store
            .validate_nonce(nonce, &registration(name, 0, 0)?)
            .await?;
        let stored = self.nonces.get_mut(&(name.0, nonce));
        let expected = match stored.filter(|nonce| nonce.forgotten_at > now) {
            None => NonceCheck::Unknown,
            Some(nonce) if nonce.used => NonceCheck::AlreadyUsed,
            Some(nonce) if nonce.valid_until <= now => NonceCheck::Expired,
            Some(nonce) => {
                nonce.used = true;
                NonceCheck::Accepted
            }
        };
        assert_eq!(check, expected);
        Ok(())
    }
}
