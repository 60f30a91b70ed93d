//! An LTI store over tables of its own, as plain as can be: right without a
//! [`Flaw`], wrong in one place with one. Each flaw sits where an implementer
//! would have made it.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use store_core::lti::{
    AccessToken, CachedJwks, Deployment, LtiStore, MAX_JWKS_AGE, MAX_NONCE, NewToolKey, NonceCheck,
    Registration, RegistrationParts, SigningKey, ToolKey,
};
use store_core::scan::{Cursor, Page};
use store_core::secret::Secret;
use store_core::{Clock, Collection, Error, ManualClock, Partition, Result, Scan, Timestamp};

use super::Flaw;

struct Nonce {
    expires_at: Timestamp,
    used: bool,
}

struct Key {
    public: ToolKey,
    private: Secret,
}

/// Issuer, client id, and what is found under them.
type Row<T> = (String, String, T);

/// What two handles share.
#[derive(Default)]
pub(super) struct Tables {
    registrations: Vec<Arc<Registration>>,
    defaults: BTreeMap<String, String>,
    deployments: Vec<Row<Arc<Deployment>>>,
    nonces: HashMap<String, Nonce>,
    keys: Vec<Key>,
    jwks: HashMap<String, Arc<CachedJwks>>,
    /// Scopes and token.
    tokens: Vec<Row<(Vec<String>, AccessToken)>>,
}

/// One handle.
pub(super) struct Table {
    tables: Arc<Mutex<Tables>>,
    clock: ManualClock,
    flaw: Option<Flaw>,
    /// Only a flawed one has something in it.
    cache: Mutex<HashMap<String, Arc<Registration>>>,
}

impl Table {
    pub(super) fn new(tables: Arc<Mutex<Tables>>, clock: ManualClock, flaw: Option<Flaw>) -> Self {
        Self {
            tables,
            clock,
            flaw,
            cache: Mutex::default(),
        }
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().expect("nothing panics under this lock")
    }

    fn nonce_key(&self, nonce: &str, registration: &Registration) -> String {
        let (issuer, client) = (registration.issuer(), registration.client_id());
        let nonce = match self.flaw {
            Some(Flaw::CutsNoncesShort) => nonce.chars().take(64).collect(),
            _ => nonce.to_owned(),
        };
        match self.flaw {
            Some(Flaw::BindsNoncesToTheClient) => format!("{issuer}\0{client}\0{nonce}"),
            Some(Flaw::BindsNoncesToNobody) => nonce,
            Some(Flaw::JoinsNamesWithAColon) => format!("{issuer}:{nonce}"),
            _ => format!("{issuer}\0{nonce}"),
        }
    }

    /// Where an implementer would go to his database once more.
    async fn pause_if(&self, flaw: Flaw) {
        if self.has(flaw) {
            tokio::task::yield_now().await;
        }
    }

    /// What is known of a nonce; `None` if it can be used.
    fn verdict(&self, nonce: Option<&Nonce>) -> Option<NonceCheck> {
        let Some(nonce) = nonce else {
            return Some(NonceCheck::Unknown);
        };
        let now = self.clock.now();
        let expired = match self.flaw {
            Some(Flaw::LeavesExpiryToTheSweeper) => false,
            Some(Flaw::ExpiresAMomentLate) => nonce.expires_at < now,
            _ => nonce.expires_at <= now,
        };
        if nonce.expires_at + self.nonce_lifetime().remembered <= now {
            return Some(NonceCheck::Unknown);
        }
        if self.has(Flaw::AsksForExpiryBeforeUse) && expired {
            return Some(NonceCheck::Expired);
        }
        if nonce.used {
            return Some(NonceCheck::AlreadyUsed);
        }
        expired.then_some(NonceCheck::Expired)
    }

    fn same(&self, row: &Registration, issuer: &str, client_id: &str) -> bool {
        if self.has(Flaw::FoldsRegistrationCase) {
            return row.issuer().eq_ignore_ascii_case(issuer)
                && row.client_id().eq_ignore_ascii_case(client_id);
        }
        row.issuer() == issuer && row.client_id() == client_id
    }

    fn find(&self, issuer: &str, client_id: &str) -> Option<Arc<Registration>> {
        let tables = self.tables();
        let mut rows = tables.registrations.iter();
        let found = rows.find(|row| self.same(row, issuer, client_id));
        found.cloned()
    }

    fn find_default(&self, issuer: &str) -> Result<Option<Arc<Registration>>> {
        let tables = self.tables();
        let of_issuer = |row: &&Arc<Registration>| row.issuer() == issuer;
        let mut rows = tables.registrations.iter().filter(of_issuer);
        let default = tables.defaults.get(issuer);
        let default = default.filter(|_| !self.has(Flaw::IgnoresTheDefault));
        if let Some(client) = default {
            let found = rows.clone().find(|row| row.client_id() == client);
            if found.is_some() {
                return Ok(found.cloned());
            }
        }
        Ok(match self.flaw {
            Some(Flaw::WantsOneRowPerIssuer) if rows.clone().count() > 1 => {
                return Err(Error::corrupt("expected at most one row"));
            }
            Some(Flaw::TakesTheIssuersFirstRow) => rows.next().cloned(),
            Some(Flaw::TakesTheIssuersLastRow) => rows.next_back().cloned(),
            _ => rows.min_by_key(|row| row.client_id()).cloned(),
        })
    }

    fn same_deployment(&self, row: &Row<Arc<Deployment>>, of: &Registration, id: &str) -> bool {
        let (issuer, client, deployment) = row;
        let held = deployment.deployment_id();
        let same_id = match self.flaw {
            Some(Flaw::FoldsDeploymentCase) => held.eq_ignore_ascii_case(id),
            _ => held == id,
        };
        let same_client = client == of.client_id() || self.has(Flaw::ScopesDeploymentsToTheIssuer);
        issuer == of.issuer() && same_client && same_id
    }

    fn same_token(
        &self,
        row: &Row<(Vec<String>, AccessToken)>,
        of: &Registration,
        scopes: &[String],
    ) -> bool {
        let (issuer, client, (held, _)) = row;
        issuer == of.issuer()
            && (client == of.client_id() || self.has(Flaw::KeepsTokensByIssuer))
            && (held == scopes || self.has(Flaw::IgnoresScopes))
    }
}

/// A page of rows that are in order already.
fn page<T: Clone>(
    flaw: Option<Flaw>,
    rows: &[T],
    after: Option<&Cursor>,
    limit: usize,
) -> Result<Page<T>> {
    const ROWS: Collection = Collection::new("rows");
    let scan = Scan::partition(ROWS, Partition::new("rows")?).limit(limit)?;
    let start: usize = match after {
        Some(after) => {
            let scan = scan.clone().after(after)?;
            let text = scan.position_text()?.unwrap_or_default().to_owned();
            text.parse()
                .map_err(|_| Error::invalid("pass a cursor that a list returned"))?
        }
        None => 0,
    };
    let end = (start + limit).min(rows.len());
    let next = match flaw {
        Some(Flaw::RepeatsThePage) => end.saturating_sub(1).max(start + 1),
        _ => end,
    };
    Ok(Page {
        items: rows[start.min(end)..end].to_vec(),
        next: (end < rows.len()).then(|| scan.cursor(next.to_string())),
    })
}

/// As a set, in order.
fn sorted(scopes: &[&str]) -> Vec<String> {
    let mut scopes: Vec<String> = scopes.iter().map(|&scope| scope.to_owned()).collect();
    scopes.sort();
    scopes.dedup();
    scopes
}

/// The registration without, or with other, fields of the application's own.
fn with_extra(row: &Registration, extra: store_core::body::Unknown) -> Result<Registration> {
    Registration::new(RegistrationParts {
        issuer: row.issuer().to_owned(),
        client_id: row.client_id().to_owned(),
        auth_endpoint: row.auth_endpoint().to_owned(),
        jwks_uri: row.jwks_uri().to_owned(),
        token_endpoint: row.token_endpoint().map(str::to_owned),
        tool_jwk: row.tool_jwk().cloned(),
        extra,
    })
}

#[async_trait]
impl LtiStore for Table {
    async fn get_registration(
        &self,
        issuer: &str,
        client_id: Option<&str>,
    ) -> Result<Option<Arc<Registration>>> {
        let name = format!("{issuer}\0{}", client_id.unwrap_or_default());
        if self.has(Flaw::CachesLookups) {
            let cache = self.cache.lock().expect("no panics");
            if let Some(cached) = cache.get(&name) {
                return Ok(Some(Arc::clone(cached)));
            }
        }
        let found = match client_id {
            Some(client_id) => self.find(issuer, client_id),
            None => self.find_default(issuer)?,
        };
        if let (Some(found), true) = (&found, self.has(Flaw::CachesLookups)) {
            let mut cache = self.cache.lock().expect("no panics");
            cache.insert(name, Arc::clone(found));
        }
        Ok(found)
    }

    async fn get_deployment(
        &self,
        registration: &Registration,
        deployment_id: &str,
    ) -> Result<Option<Arc<Deployment>>> {
        let tables = self.tables();
        let mut rows = tables.deployments.iter();
        let found = rows.find(|row| self.same_deployment(row, registration, deployment_id));
        Ok(found.map(|(_, _, deployment)| Arc::clone(deployment)))
    }

    async fn store_nonce(&self, nonce: &str, registration: &Registration) -> Result<()> {
        if nonce.is_empty() || nonce.len() > MAX_NONCE || nonce.chars().any(char::is_control) {
            return Err(Error::invalid("make another nonce"));
        }
        let key = self.nonce_key(nonce, registration);
        let taken =
            |tables: &Tables| tables.nonces.contains_key(&key) && !self.has(Flaw::StoresANonceAnew);
        let exists = || Error::already_exists("make another nonce");
        let racy = self.has(Flaw::ChecksANonceThenStoresIt);
        if racy && taken(&self.tables()) {
            return Err(exists());
        }
        self.pause_if(Flaw::ChecksANonceThenStoresIt).await;
        let mut tables = self.tables();
        if !racy && taken(&tables) {
            return Err(exists());
        }
        let fresh = Nonce {
            expires_at: self.clock.now() + self.nonce_lifetime().valid,
            used: false,
        };
        tables.nonces.insert(key, fresh);
        Ok(())
    }

    async fn validate_nonce(&self, nonce: &str, registration: &Registration) -> Result<NonceCheck> {
        let key = self.nonce_key(nonce, registration);
        if self.has(Flaw::ChecksANonceThenMarksIt) {
            let verdict = self.verdict(self.tables().nonces.get(&key));
            if let Some(verdict) = verdict {
                return Ok(verdict);
            }
            self.pause_if(Flaw::ChecksANonceThenMarksIt).await;
            if let Some(nonce) = self.tables().nonces.get_mut(&key) {
                nonce.used = true;
            }
            return Ok(NonceCheck::Accepted);
        }
        let mut tables = self.tables();
        if self.has(Flaw::MarksUnknownNonces) && !tables.nonces.contains_key(&key) {
            let mark = Nonce {
                expires_at: self.clock.now() + self.nonce_lifetime().valid,
                used: true,
            };
            tables.nonces.insert(key, mark);
            return Ok(NonceCheck::Unknown);
        }
        if let Some(verdict) = self.verdict(tables.nonces.get(&key)) {
            return Ok(verdict);
        }
        if self.has(Flaw::DeletesAUsedNonce) {
            tables.nonces.remove(&key);
        } else if let Some(nonce) = tables.nonces.get_mut(&key) {
            nonce.used = true;
        }
        Ok(NonceCheck::Accepted)
    }

    async fn upsert_registration(&self, record: Registration) -> Result<Arc<Registration>> {
        let (issuer, client) = (record.issuer().to_owned(), record.client_id().to_owned());
        let record = match self.flaw {
            Some(Flaw::DropsExtraFields) => with_extra(&record, Default::default())?,
            Some(Flaw::MergesUpserts) => {
                let held = self.find(&issuer, &client);
                let mut extra = held.map(|row| row.extra().clone()).unwrap_or_default();
                extra.extend(record.extra().clone());
                with_extra(&record, extra)?
            }
            _ => record,
        };
        let record = Arc::new(record);
        let racy = self.has(Flaw::InsertsWithoutAUniqueIndex);
        let seen = self.find(&issuer, &client).is_some();
        self.pause_if(Flaw::InsertsWithoutAUniqueIndex).await;
        let mut tables = self.tables();
        let position = tables
            .registrations
            .iter()
            .position(|row| self.same(row, &issuer, &client));
        match position {
            Some(index) if seen || !racy => tables.registrations[index] = Arc::clone(&record),
            _ => tables.registrations.push(Arc::clone(&record)),
        }
        Ok(record)
    }

    async fn delete_registration(&self, issuer: &str, client_id: &str) -> Result<bool> {
        let mut tables = self.tables();
        let before = tables.registrations.len();
        let gone = |issuer_held: &str, client_held: &str| {
            issuer_held == issuer && client_held == client_id
        };
        tables
            .registrations
            .retain(|row| !gone(row.issuer(), row.client_id()));
        if !self.has(Flaw::KeepsDeploymentsOfADeletedRow) {
            tables.deployments.retain(|(i, c, _)| !gone(i, c));
        }
        if !self.has(Flaw::KeepsTokensOfADeletedRow) {
            tables.tokens.retain(|(i, c, _)| !gone(i, c));
        }
        let is_default = tables.defaults.get(issuer).is_some_and(|c| c == client_id);
        if is_default && !self.has(Flaw::KeepsTheDefaultOfADeletedRow) {
            tables.defaults.remove(issuer);
        }
        Ok(tables.registrations.len() < before)
    }

    async fn set_default_registration(&self, issuer: &str, client_id: &str) -> Result<()> {
        if self.find(issuer, client_id).is_none() {
            return Err(Error::not_found("create it first"));
        }
        let mut tables = self.tables();
        tables.defaults.insert(issuer.into(), client_id.into());
        Ok(())
    }

    async fn list_registrations(
        &self,
        issuer: Option<&str>,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<Arc<Registration>>> {
        let wanted = |row: &&Arc<Registration>| issuer.is_none_or(|issuer| row.issuer() == issuer);
        let mut rows: Vec<_> = self
            .tables()
            .registrations
            .iter()
            .filter(wanted)
            .cloned()
            .collect();
        rows.sort_by(|a, b| (a.issuer(), a.client_id()).cmp(&(b.issuer(), b.client_id())));
        page(self.flaw, &rows, after, limit)
    }

    async fn upsert_deployment(
        &self,
        registration: &Registration,
        record: Deployment,
    ) -> Result<Arc<Deployment>> {
        let (issuer, client) = (registration.issuer(), registration.client_id());
        if self.find(issuer, client).is_none() && !self.has(Flaw::OrphansDeployments) {
            return Err(Error::not_found("create its registration first"));
        }
        let record = Arc::new(record);
        let row = (issuer.to_owned(), client.to_owned(), Arc::clone(&record));
        let mut tables = self.tables();
        let held = tables
            .deployments
            .iter()
            .position(|row| self.same_deployment(row, registration, record.deployment_id()));
        match held {
            Some(index) => tables.deployments[index] = row,
            None => tables.deployments.push(row),
        }
        Ok(record)
    }

    async fn delete_deployment(
        &self,
        registration: &Registration,
        deployment_id: &str,
    ) -> Result<bool> {
        let mut tables = self.tables();
        let before = tables.deployments.len();
        tables
            .deployments
            .retain(|row| !self.same_deployment(row, registration, deployment_id));
        Ok(tables.deployments.len() < before)
    }

    async fn list_deployments(
        &self,
        registration: &Registration,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<Arc<Deployment>>> {
        let mut rows: Vec<_> = self
            .tables()
            .deployments
            .iter()
            .filter(|(issuer, client, _)| {
                issuer == registration.issuer() && client == registration.client_id()
            })
            .map(|(_, _, row)| Arc::clone(row))
            .collect();
        rows.sort_by(|a, b| a.deployment_id().cmp(b.deployment_id()));
        page(self.flaw, &rows, after, limit)
    }

    async fn signing_key(&self, registration: &Registration) -> Result<Option<SigningKey>> {
        if let Some(key) = registration.tool_jwk() {
            let private_key = key.private_key.clear().cloned();
            let private_key =
                private_key.ok_or_else(|| Error::unsupported("this table seals nothing"))?;
            return Ok(Some(SigningKey {
                kid: key.kid.clone(),
                private_key,
            }));
        }
        let tables = self.tables();
        let usable = |key: &&Key| key.public.active || self.has(Flaw::SignsWithARetiredKey);
        let keys = tables.keys.iter().filter(usable);
        let newest = match self.flaw {
            Some(Flaw::SignsWithTheGreatestId) => keys.max_by_key(|key| key.public.kid.clone()),
            _ => keys.max_by_key(|key| (key.public.created_at, key.public.kid.clone())),
        };
        Ok(newest.map(|key| SigningKey {
            kid: key.public.kid.clone(),
            private_key: key.private.clone(),
        }))
    }

    async fn add_key(&self, key: NewToolKey) -> Result<()> {
        let mut tables = self.tables();
        let same = |held: &Key| held.public.kid == key.kid();
        if self.has(Flaw::ReplacesAKeyOfTheSameId) {
            tables.keys.retain(|held| !same(held));
        }
        if tables.keys.iter().any(same) {
            return Err(Error::already_exists("give every key an id of its own"));
        }
        if self.has(Flaw::PublishesOneKey) {
            tables.keys.iter_mut().for_each(|k| k.public.active = false);
        }
        let now = self.clock.now();
        let private = key.private_key().clear().cloned();
        tables.keys.push(Key {
            public: ToolKey::new(key.kid().into(), key.public().clone(), true, now),
            private: private.ok_or_else(|| Error::invalid("a new key is in clear"))?,
        });
        Ok(())
    }

    async fn list_keys(&self) -> Result<Vec<ToolKey>> {
        let tables = self.tables();
        let mut keys: Vec<_> = tables.keys.iter().map(|key| key.public.clone()).collect();
        keys.sort_by_key(|key| std::cmp::Reverse((key.created_at, key.kid.clone())));
        Ok(keys)
    }

    async fn set_key_active(&self, kid: &str, active: bool) -> Result<()> {
        let mut tables = self.tables();
        let key = tables.keys.iter_mut().find(|key| key.public.kid == kid);
        let key = key.ok_or_else(|| Error::not_found("add it first"))?;
        key.public.active = active;
        Ok(())
    }

    async fn delete_key(&self, kid: &str) -> Result<bool> {
        let mut tables = self.tables();
        let before = tables.keys.len();
        tables.keys.retain(|key| key.public.kid != kid);
        Ok(tables.keys.len() < before)
    }

    async fn cache_jwks(&self, jwks_uri: &str, jwks: Value, max_age: Duration) -> Result<()> {
        let mut tables = self.tables();
        let now = self.clock.now();
        let age = match self.flaw {
            Some(Flaw::RemembersAtMaxAgeZero) if max_age.is_zero() => Duration::from_secs(300),
            Some(Flaw::BelievesAnyMaxAge) => max_age,
            _ => max_age.min(MAX_JWKS_AGE),
        };
        if age.is_zero() {
            if !self.has(Flaw::KeepsOlderJwksAtMaxAgeZero) {
                tables.jwks.remove(jwks_uri);
            }
            return Ok(());
        }
        let cached = CachedJwks {
            jwks,
            cached_at: now,
            fresh_until: now + age,
        };
        tables.jwks.insert(jwks_uri.into(), Arc::new(cached));
        Ok(())
    }

    async fn cached_jwks(&self, jwks_uri: &str) -> Result<Option<Arc<CachedJwks>>> {
        let now = self.clock.now();
        let tables = self.tables();
        let cached = tables.jwks.get(jwks_uri);
        Ok(cached.filter(|cached| now < cached.fresh_until).cloned())
    }

    async fn store_token(
        &self,
        registration: &Registration,
        scopes: &[&str],
        token: AccessToken,
    ) -> Result<()> {
        let scopes = sorted(scopes);
        let mut tables = self.tables();
        let same = |row: &Row<_>| self.same_token(row, registration, &scopes);
        if self.has(Flaw::KeepsTheFirstToken) && tables.tokens.iter().any(same) {
            return Ok(());
        }
        tables.tokens.retain(|row| !same(row));
        let (issuer, client) = (registration.issuer(), registration.client_id());
        tables
            .tokens
            .push((issuer.into(), client.into(), (scopes, token)));
        Ok(())
    }

    async fn get_token(
        &self,
        registration: &Registration,
        scopes: &[&str],
    ) -> Result<Option<AccessToken>> {
        let scopes = sorted(scopes);
        let now = self.clock.now();
        let tables = self.tables();
        let mut rows = tables.tokens.iter();
        let row = rows.find(|row| self.same_token(row, registration, &scopes));
        let good =
            |token: &&AccessToken| now < token.expires_at || self.has(Flaw::GivesExpiredTokens);
        Ok(row.map(|(_, _, (_, token))| token).filter(good).cloned())
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Table");
        if self.has(Flaw::PrintsTokens) {
            let tables = self.tables();
            let tokens = tables.tokens.iter().map(|(_, _, (_, token))| token);
            let tokens: Vec<_> = tokens.map(|token| token.token.expose()).collect();
            debug.field("tokens", &tokens);
        }
        debug.finish_non_exhaustive()
    }
}
