//! A plain LTI store over its own tables. It is correct without a [`Flaw`], and wrong in
//! one place with one. Each flaw is where an implementer could have made the mistake.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use store_core::lti::{
    AccessToken, CachedJwks, Deployment, LtiStore, NonceCheck, Registration, RegistrationParts,
    ToolKey,
};
use store_core::page::{Page, PageRequest};
use store_core::secret::Secret;
use store_core::{Clock, Collection, Error, ManualClock, Partition, Result, Scan, Timestamp};

use super::Flaw;

/// The state of one nonce.
pub(super) struct Nonce {
    pub(super) expires_at: Timestamp,
    pub(super) used: bool,
}

pub(super) struct Key {
    pub(super) public: ToolKey,
    pub(super) private: Secret,
}

/// Issuer, client id, and the value under them.
pub(super) type Row<T> = (String, String, T);

/// The state that two handles share.
#[derive(Default)]
pub(super) struct Tables {
    pub(super) registrations: Vec<Arc<Registration>>,
    pub(super) defaults: BTreeMap<String, String>,
    pub(super) deployments: Vec<Row<Arc<Deployment>>>,
    pub(super) nonces: HashMap<String, Nonce>,
    pub(super) keys: Vec<Key>,
    pub(super) jwks: HashMap<String, Arc<CachedJwks>>,
    /// Scopes and token.
    pub(super) tokens: Vec<Row<(Vec<String>, AccessToken)>>,
}

/// One handle.
pub(super) struct Table {
    tables: Arc<Mutex<Tables>>,
    pub(super) clock: ManualClock,
    pub(super) flaw: Option<Flaw>,
    /// Used by a flaw only.
    pub(super) cache: Mutex<HashMap<String, Arc<Registration>>>,
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

    pub(super) fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    pub(super) fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().expect("nothing panics under this lock")
    }

    pub(super) fn nonce_key(&self, nonce: &str, registration: &Registration) -> String {
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

    /// A second query of the database.
    pub(super) async fn pause_if(&self, flaw: Flaw) {
        if self.has(flaw) {
            for _ in 0..8 {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Whether its time to be retained is over.
    pub(super) fn is_forgotten(&self, nonce: &Nonce) -> bool {
        nonce.expires_at + self.nonce_lifetime().retained <= self.clock.now()
    }

    /// Why a nonce cannot be used; `None` if it can.
    pub(super) fn verdict(&self, nonce: Option<&Nonce>) -> Option<NonceCheck> {
        let Some(nonce) = nonce else {
            return Some(NonceCheck::Unknown);
        };
        let now = self.clock.now();
        let expired = match self.flaw {
            Some(Flaw::LeavesExpiryToTheSweeper) => false,
            Some(Flaw::ExpiresAMomentLate) => nonce.expires_at < now,
            _ => nonce.expires_at <= now,
        };
        if self.is_forgotten(nonce) {
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

    pub(super) fn same(&self, row: &Registration, issuer: &str, client_id: &str) -> bool {
        if self.has(Flaw::FoldsRegistrationCase) {
            return row.issuer().eq_ignore_ascii_case(issuer)
                && row.client_id().eq_ignore_ascii_case(client_id);
        }
        row.issuer() == issuer && row.client_id() == client_id
    }

    pub(super) fn find(&self, issuer: &str, client_id: &str) -> Option<Arc<Registration>> {
        let tables = self.tables();
        let mut rows = tables.registrations.iter();
        let found = rows.find(|row| self.same(row, issuer, client_id));
        found.cloned()
    }

    pub(super) fn find_default(&self, issuer: &str) -> Result<Option<Arc<Registration>>> {
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

    pub(super) fn same_deployment(
        &self,
        row: &Row<Arc<Deployment>>,
        of: &Registration,
        id: &str,
    ) -> bool {
        let (issuer, client, deployment) = row;
        let held = deployment.deployment_id();
        let same_id = match self.flaw {
            Some(Flaw::FoldsDeploymentCase) => held.eq_ignore_ascii_case(id),
            _ => held == id,
        };
        let same_client = client == of.client_id() || self.has(Flaw::ScopesDeploymentsToTheIssuer);
        issuer == of.issuer() && same_client && same_id
    }

    pub(super) fn same_token(
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

/// A page of sorted rows.
pub(super) fn page<T: Clone>(
    flaw: Option<Flaw>,
    rows: &[T],
    request: &PageRequest,
) -> Result<Page<T>> {
    const ROWS: Collection = Collection::new("rows");
    let scan = Scan::partition(ROWS, Partition::new("rows")?).page(request)?;
    let start: usize = match scan.position_text()? {
        Some(text) => text
            .parse()
            .map_err(|_| Error::invalid("pass a cursor that a list returned"))?,
        None => 0,
    };
    let end = (start + request.size()).min(rows.len());
    let next = match flaw {
        Some(Flaw::RepeatsThePage) => end.saturating_sub(1).max(start + 1),
        _ => end,
    };
    Ok(Page::new(
        rows[start.min(end)..end].to_vec(),
        (end < rows.len()).then(|| scan.cursor(next.to_string())),
    ))
}

/// The sorted set of these.
pub(super) fn sorted(scopes: &[&str]) -> Vec<String> {
    let mut scopes: Vec<String> = scopes.iter().map(|&scope| scope.to_owned()).collect();
    scopes.sort();
    scopes.dedup();
    scopes
}

/// The registration without, or with other, fields of the application's own.
pub(super) fn with_extra(
    row: &Registration,
    extra: store_core::body::Unknown,
) -> Result<Registration> {
    Registration::new(RegistrationParts {
        issuer: row.issuer().to_owned(),
        client_id: row.client_id().to_owned(),
        auth_endpoint: row.auth_endpoint().to_owned(),
        jwks_uri: row.jwks_uri().to_owned(),
        token_endpoint: row.token_endpoint().map(str::to_owned),
        tool_jwk: row.tool_jwk().cloned(),
        allow_http_loopback: row.allows_http_loopback(),
        extra,
    })
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
