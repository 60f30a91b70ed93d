//! Access tokens, sealed: by issuer and client id, and by their scopes.

use serde::{Deserialize, Serialize};

use super::{RecordLti, client_partition};
use crate::batch::{Batch, Expect, MAX_ITEMS};
use crate::body::{Body, Format, Unknown};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::key::{Collection, Partition, RecordKey, bounded, join};
use crate::lti::registration::Registration;
use crate::lti::store::AccessToken;
use crate::record::Record;
use crate::scan::Scan;
use crate::secret::Sealed;

pub(super) const TOKENS: Collection = Collection::new("lti_tokens");
/// The name of the sealed field.
const TOKEN: &str = "token";

#[derive(Clone, Serialize, Deserialize)]
struct StoredToken {
    format: Format<1>,
    issuer: String,
    client_id: String,
    scopes: Vec<String>,
    expires_at: Timestamp,
    token: Sealed,
    #[serde(flatten)]
    unknown: Unknown,
}

struct Place {
    partition: Partition,
    key: RecordKey,
    /// Sorted and without duplicates, so that a set of scopes has one name.
    scopes: Vec<String>,
}

fn place(registration: &Registration, scopes: &[&str]) -> Result<Place> {
    let mut scopes = scopes.to_vec();
    scopes.sort_unstable();
    scopes.dedup();
    Ok(Place {
        partition: client_partition(registration.issuer(), registration.client_id())?,
        key: RecordKey::new(TOKENS, bounded(&join(&scopes)))?,
        scopes: scopes.into_iter().map(str::to_owned).collect(),
    })
}

impl<R, D> RecordLti<R, D> {
    pub(super) async fn save_token(
        &self,
        registration: &Registration,
        scopes: &[&str],
        token: AccessToken,
    ) -> Result<()> {
        let Place {
            partition,
            key,
            scopes,
        } = place(registration, scopes)?;
        let body = Body::json(StoredToken {
            format: Format,
            issuer: registration.issuer().to_owned(),
            client_id: registration.client_id().to_owned(),
            scopes,
            expires_at: token.expires_at,
            token: Sealed::seal(&self.ring, key.at(&partition), TOKEN, &token.token)?,
            unknown: Unknown::new(),
        })?;
        let mut batch = Batch::new(partition, self.now());
        batch.put_until(key, Expect::Any, body, Some(token.expires_at))?;
        self.records().commit(&batch).await.map(|_| ())
    }

    pub(super) async fn find_token(
        &self,
        registration: &Registration,
        scopes: &[&str],
    ) -> Result<Option<AccessToken>> {
        let Place {
            partition,
            key,
            scopes,
        } = place(registration, scopes)?;
        let at = key.at(&partition);
        let Some(record) = self.records().get(at).await? else {
            return Ok(None);
        };
        let stored = record.decode::<StoredToken>()?;
        let wanted = stored.issuer == registration.issuer()
            && stored.client_id == registration.client_id()
            && stored.scopes == scopes
            && self.now() < stored.expires_at;
        if !wanted {
            return Ok(None);
        }
        Ok(Some(AccessToken {
            token: stored.token.open(&self.ring, at, TOKEN)?,
            expires_at: stored.expires_at,
        }))
    }

    /// Removes every token of a registration.
    pub(super) async fn delete_tokens(&self, issuer: &str, client_id: &str) -> Result<()> {
        let partition = client_partition(issuer, client_id)?;
        let scan = Scan::partition(TOKENS, partition.clone()).limit(MAX_ITEMS)?;
        loop {
            let page = self.records().scan(&scan).await?;
            let mut batch = Batch::new(partition.clone(), self.now());
            for record in &page.items {
                batch.delete(record.key().clone(), Expect::Any)?;
            }
            if !batch.is_empty() {
                self.records().commit(&batch).await?;
            }
            if page.next.is_none() {
                return Ok(());
            }
        }
    }

    /// The stored form under the ring's current key; `None` if it is so already.
    pub(super) fn resealed_token(&self, record: &Record) -> Result<Option<Body>> {
        let held = record.decode::<StoredToken>()?;
        let token = held.token.reseal(&self.ring, record.at(), TOKEN)?;
        if token == held.token {
            return Ok(None);
        }
        let resealed = StoredToken {
            token,
            ..(*held).clone()
        };
        Body::json(resealed).map(Some)
    }
}
