//! The contract over the tables, with each flaw in its place.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use store_core::lti::{
    AccessToken, CachedJwks, Deployment, LtiStore, MAX_JWKS_AGE, MAX_NONCE, NewToolKey, NonceCheck,
    Registration, SigningKey, ToolKey,
};
use store_core::page::{Page, PageRequest};
use store_core::{Clock, Error, ErrorKind, Result};

use super::Flaw;
use super::table::{Key, Nonce, Row, Table, Tables, page, sorted, with_extra};

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
        let mut tables = self.tables();
        let mut rows = tables.deployments.iter();
        let found = rows.find(|row| self.same_deployment(row, registration, deployment_id));
        let found = found.map(|(_, _, deployment)| Arc::clone(deployment));
        if found.is_none() && self.has(Flaw::UsesANonceBeforeTheDeploymentIsFound) {
            // The launch that looks for it used its nonce first.
            tables
                .nonces
                .values_mut()
                .for_each(|nonce| nonce.used = true);
        }
        Ok(found)
    }

    async fn store_nonce(&self, nonce: &str, registration: &Registration) -> Result<()> {
        if nonce.is_empty() || nonce.len() > MAX_NONCE || nonce.chars().any(char::is_control) {
            return Err(Error::invalid("make another nonce"));
        }
        let key = self.nonce_key(nonce, registration);
        let taken = |tables: &Tables| {
            let stored = tables.nonces.get(&key);
            stored.is_some_and(|nonce| !self.is_forgotten(nonce))
                && !self.has(Flaw::StoresANonceAnew)
        };
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

    async fn register(&self, record: Registration) -> Result<Arc<Registration>> {
        let held = self.find(record.issuer(), record.client_id());
        if held.is_some() && !self.has(Flaw::ReplacesWhatIsRegistered) {
            return Err(Error::already_exists("update it instead"));
        }
        self.write_registration(record).await
    }

    async fn upsert_registration(&self, record: Registration) -> Result<Arc<Registration>> {
        let held = self.find(record.issuer(), record.client_id());
        let moves = held.is_some_and(|held| {
            held.jwks_uri() != record.jwks_uri()
                || (held.auth_endpoint() != record.auth_endpoint()
                    && !self.has(Flaw::MovesLoginsSilently))
        });
        if moves && !self.has(Flaw::MovesPlatformsSilently) {
            return Err(Error::new(ErrorKind::Conflict, "change its endpoints"));
        }
        self.write_registration(record).await
    }

    async fn change_endpoints(&self, record: Registration) -> Result<Arc<Registration>> {
        let held = self.find(record.issuer(), record.client_id());
        if held.is_none() && !self.has(Flaw::CreatesWhatItMoves) {
            return Err(Error::not_found("register it first"));
        }
        if self.has(Flaw::MovesARegistrationOutOfItsDefault) {
            let mut tables = self.tables();
            let default = tables.defaults.get(record.issuer());
            if default.is_some_and(|client_id| client_id == record.client_id()) {
                tables.defaults.remove(record.issuer());
            }
        }
        self.write_registration(record).await
    }

    async fn delete_registration(&self, issuer: &str, client_id: &str) -> Result<bool> {
        let mut tables = self.tables();
        let before = tables.registrations.len();
        let deleted = |issuer_held: &str, client_held: &str| {
            issuer_held == issuer && client_held == client_id
        };
        tables
            .registrations
            .retain(|row| !deleted(row.issuer(), row.client_id()));
        if !self.has(Flaw::KeepsDeploymentsOfADeletedRow) {
            tables.deployments.retain(|(i, c, _)| !deleted(i, c));
        }
        if !self.has(Flaw::KeepsTokensOfADeletedRow) {
            tables.tokens.retain(|(i, c, _)| !deleted(i, c));
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
        request: &PageRequest,
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
        page(self.flaw, &rows, request)
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
        let held = |tables: &Tables| {
            let mut rows = tables.deployments.iter();
            rows.position(|row| self.same_deployment(row, registration, record.deployment_id()))
        };
        let racy = self.has(Flaw::InsertsDeploymentsWithoutAUniqueIndex);
        let seen = held(&self.tables()).is_some();
        self.pause_if(Flaw::InsertsDeploymentsWithoutAUniqueIndex)
            .await;
        let mut tables = self.tables();
        match held(&tables) {
            Some(index) if seen || !racy => tables.deployments[index] = row,
            _ => tables.deployments.push(row),
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
        request: &PageRequest,
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
        page(self.flaw, &rows, request)
    }

    async fn signing_key(&self, registration: &Registration) -> Result<Option<SigningKey>> {
        if let Some(key) = registration.tool_jwk() {
            let private_key = key.private_key.clear().cloned();
            let private_key =
                private_key.ok_or_else(|| Error::unsupported("this table does not seal keys"))?;
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

    async fn list_keys(&self) -> Result<Page<ToolKey>> {
        let tables = self.tables();
        let mut keys: Vec<_> = tables.keys.iter().map(|key| key.public.clone()).collect();
        keys.sort_by_key(|key| std::cmp::Reverse((key.created_at, key.kid.clone())));
        Ok(Page::last(keys))
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

impl Table {
    async fn write_registration(&self, record: Registration) -> Result<Arc<Registration>> {
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
}
