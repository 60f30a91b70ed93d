//! Random calls on the tool's keys, access tokens and cached key sets, compared with
//! plain maps.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use store_core::lti::{AccessToken, LtiStore};
use store_core::secret::Secret;
use store_core::{Clock, ErrorKind, Timestamp};

use super::fixtures::{Cases, Fixtures, Given, Platform, Site, platform};
use super::keys::{key, pem, storing_keys_is_declined};
use super::{jwks, needs, tokens};
use crate::case;
use crate::cases::model::{Model, Random, failure, for_each_seed, run};
use crate::harness::Opened;
use crate::suite::CaseResult;

pub(super) fn cases<R: Platform, D: Site>() -> Cases<R, D> {
    let case = case!(random_calls_are_answered_as_by_maps_of_secrets, "47");
    let case = case.needs(needs::KEYS, |harness| {
        Box::pin(storing_keys_is_declined(harness))
    });
    let case = case.needs(needs::JWKS, |harness| {
        Box::pin(jwks::caching_keys_is_declined(harness))
    });
    vec![case.needs(needs::TOKENS, |harness| {
        Box::pin(tokens::storing_tokens_is_declined(harness))
    })]
}

async fn random_calls_are_answered_as_by_maps_of_secrets<R: Platform, D: Site>(
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
    let model = Secrets {
        opened: given.open(Fixtures::default()).await?,
        keys: BTreeMap::new(),
        tokens: BTreeMap::new(),
        sets: BTreeMap::new(),
    };
    run(model, seed, calls).await
}

const KIDS: [&str; 4] = ["k", "K", "k/", "k%2F"];
const CLIENTS: [&str; 3] = ["a", "A", "a/b"];
/// Scopes of which some sets look alike when they are joined.
const SCOPES: [&str; 5] = ["a", "b", "a b", "b c", "c"];
const URIS: [&str; 3] = [
    "https://lms.example.edu/jwks",
    "https://lms.example.edu/jwks/",
    "https://lms.example.edu/JWKS",
];

/// A client and a set of scopes, in order and each once.
type TokenName = (&'static str, Vec<&'static str>);

struct Secrets<R: Platform, D: Site> {
    opened: Opened<dyn LtiStore<R, D>>,
    /// When each key was added, and whether it is active.
    keys: BTreeMap<&'static str, (Timestamp, bool)>,
    tokens: BTreeMap<TokenName, (String, Timestamp)>,
    /// The set, when it was cached, and until when it is fresh.
    sets: BTreeMap<&'static str, (Value, Timestamp, Timestamp)>,
}

#[async_trait]
impl<R: Platform, D: Site> Model for Secrets<R, D> {
    async fn call(&mut self, random: &mut Random) -> CaseResult {
        match random.below(20) {
            0..3 => self.add_key(random).await,
            3..5 => self.set_key_active(random).await,
            5 => self.delete_key(random).await,
            6..8 => self.list_keys(random).await,
            8..11 => self.store_token(random).await,
            11..14 => self.get_token(random).await,
            14..16 => self.cache_set(random).await,
            16..18 => self.get_set(random).await,
            _ => {
                random.advance(&self.opened.clock, Duration::from_secs(20));
                Ok(())
            }
        }
    }
}

impl<R: Platform, D: Site> Secrets<R, D> {
    fn now(&self) -> Timestamp {
        self.opened.clock.now()
    }

    async fn add_key(&mut self, random: &mut Random) -> CaseResult {
        // No two keys are equally new.
        self.opened.clock.advance(Duration::from_millis(1));
        let kid = random.pick(&KIDS);
        random.note(format!("add the key {kid:?}"));
        let answer = random.handle(&self.opened).add_key(key(kid)?).await;
        let known = self.keys.contains_key(kid);
        assert_eq!(failure(&answer), known.then_some(ErrorKind::AlreadyExists));
        if !known {
            self.keys.insert(kid, (self.now(), true));
        }
        Ok(())
    }

    async fn set_key_active(&mut self, random: &mut Random) -> CaseResult {
        let (kid, active) = (random.pick(&KIDS), random.chance(50));
        random.note(format!("set the key {kid:?} active: {active}"));
        let store = random.handle(&self.opened);
        let answer = store.set_key_active(kid, active).await;
        let known = self.keys.get_mut(kid);
        let refused = known.is_none().then_some(ErrorKind::NotFound);
        assert_eq!(failure(&answer), refused);
        if let Some(key) = known {
            key.1 = active;
        }
        Ok(())
    }

    async fn delete_key(&mut self, random: &mut Random) -> CaseResult {
        let kid = random.pick(&KIDS);
        random.note(format!("delete the key {kid:?}"));
        let existed = random.handle(&self.opened).delete_key(kid).await?;
        assert_eq!(existed, self.keys.remove(kid).is_some());
        Ok(())
    }

    async fn list_keys(&mut self, random: &mut Random) -> CaseResult {
        random.note("list the keys, and get the one that signs");
        let store = random.handle(&self.opened);
        let found = store.list_keys().await?.items;
        let found: Vec<_> = found
            .iter()
            .map(|k| (k.created_at, &*k.kid, k.active))
            .collect();
        let keys = self.keys.iter();
        let mut expected: Vec<_> = keys
            .map(|(kid, (at, active))| (*at, *kid, *active))
            .collect();
        expected.sort_unstable_by(|a, b| b.cmp(a));
        assert_eq!(found, expected);
        let signing = store
            .signing_key(&platform("https://lms.example.edu", "a")?)
            .await?;
        let signing = signing.map(|key| (key.kid, key.private_key.expose().to_owned()));
        let newest = expected.iter().find(|(.., active)| *active);
        assert_eq!(
            signing,
            newest.map(|(_, kid, _)| ((*kid).to_owned(), pem(kid)))
        );
        Ok(())
    }

    /// A client, and some scopes in any order, perhaps one of them twice.
    fn scopes(random: &mut Random) -> (TokenName, Vec<&'static str>) {
        let count = random.below(4);
        let scopes: Vec<_> = (0..count).map(|_| random.pick(&SCOPES)).collect();
        let mut set = scopes.clone();
        set.sort_unstable();
        set.dedup();
        ((random.pick(&CLIENTS), set), scopes)
    }

    async fn store_token(&mut self, random: &mut Random) -> CaseResult {
        let (name, scopes) = Self::scopes(random);
        let text = random.secret();
        let expires_at = self.now() + Duration::from_secs(random.below(60) as u64);
        random.note(format!("store a token for {name:?} until {expires_at}"));
        let store = random.handle(&self.opened);
        let registration = platform("https://lms.example.edu", name.0)?;
        let token = AccessToken {
            token: Secret::new(&*text),
            expires_at,
        };
        store.store_token(&registration, &scopes, token).await?;
        self.tokens.insert(name, (text, expires_at));
        Ok(())
    }

    async fn get_token(&mut self, random: &mut Random) -> CaseResult {
        // Mostly one that was stored.
        let (mut name, mut scopes) = Self::scopes(random);
        if random.chance(60)
            && let Some(stored) = random.pick_any(self.tokens.keys().cloned())
        {
            scopes.clone_from(&stored.1);
            scopes.reverse();
            name = stored;
        }
        random.note(format!("get the token for {name:?}"));
        let store = random.handle(&self.opened);
        let registration = platform("https://lms.example.edu", name.0)?;
        let found = store.get_token(&registration, &scopes).await?;
        let found = found.map(|token| (token.token.expose().to_owned(), token.expires_at));
        let now = self.now();
        let stored = self.tokens.get(&name).filter(|token| token.1 > now);
        assert_eq!(found.as_ref(), stored);
        Ok(())
    }

    async fn cache_set(&mut self, random: &mut Random) -> CaseResult {
        let (uri, now) = (random.pick(&URIS), self.now());
        let age = Duration::from_secs(random.below(40) as u64);
        random.note(format!("cache the keys of {uri:?} for {age:?}"));
        let set = json!({ "keys": [random.below(1000)] });
        let store = random.handle(&self.opened);
        store.cache_jwks(uri, set.clone(), age).await?;
        self.sets.insert(uri, (set, now, now + age));
        Ok(())
    }

    async fn get_set(&mut self, random: &mut Random) -> CaseResult {
        let (uri, now) = (random.pick(&URIS), self.now());
        random.note(format!("get the cached keys of {uri:?}"));
        let found = random.handle(&self.opened).cached_jwks(uri).await?;
        let found = found.map(|set| (set.jwks.clone(), set.cached_at, set.fresh_until));
        let cached = self.sets.get(uri).filter(|set| set.2 > now);
        assert_eq!(found.as_ref(), cached);
        Ok(())
    }
}
