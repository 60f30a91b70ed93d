//! Events of `tracing`: what a store does on its own is visible, and no event
//! contains a secret.

// Helpers of tests may fail the test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fmt::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use store_core::api_keys::{ApiKeyStore, ApiKeys, KeyData, ListKeys, RecordApiKeys};
use store_core::backend::event;
use store_core::blobs::{BlobStoreExt, RecordBlobs};
use store_core::layers::{RecordLayer, Resolving};
use store_core::lti::{
    AccessToken, Deployment, LaunchClaims, Lti, NewToolKey, PublicJwk, Registration,
};
use store_core::secret::{KeyRing, Secret};
use store_core::{
    Batch, Committed, Error, ErrorKind, Record, RecordRef, RecordStore, Result, Retry, Store,
    Timestamp,
};
use store_memory::MemoryStore;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Metadata, Subscriber};

/// The text of every event of this project.
#[derive(Clone, Default)]
struct Events(Arc<Mutex<Vec<String>>>);

impl Events {
    fn text(&self) -> String {
        self.0.lock().unwrap().join("\n")
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        write!(self.0, "{}={value:?} ", field.name()).unwrap();
    }
}

impl Subscriber for Events {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == event::TARGET
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Records that lose every third reply to a commit and fail every fifth read.
#[derive(Debug)]
struct Flaky {
    inner: Arc<dyn RecordStore>,
    commits: AtomicU64,
    reads: AtomicU64,
}

impl Flaky {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: Arc::clone(Store::from(MemoryStore::new()).records()),
            commits: AtomicU64::new(0),
            reads: AtomicU64::new(0),
        })
    }

    fn read(&self) -> Result<()> {
        match self.reads.fetch_add(1, Ordering::SeqCst) % 5 {
            4 => Err(lost().with_retry(Retry::Safe)),
            _ => Ok(()),
        }
    }
}

fn lost() -> Error {
    Error::new(ErrorKind::Unavailable, "the connection was lost").with_backend("flaky")
}

#[async_trait]
impl RecordLayer for Flaky {
    fn inner(&self) -> &dyn RecordStore {
        &*self.inner
    }

    async fn get(&self, at: RecordRef<'_>) -> Result<Option<Record>> {
        self.read()?;
        self.inner.get(at).await
    }

    async fn get_many(&self, at: &[RecordRef<'_>]) -> Result<Vec<Option<Record>>> {
        self.read()?;
        self.inner.get_many(at).await
    }

    async fn commit(&self, batch: &Batch) -> Result<Committed> {
        let answer = self.inner.commit(batch).await;
        match self.commits.fetch_add(1, Ordering::SeqCst) % 3 {
            2 => Err(lost()),
            _ => answer,
        }
    }
}

const OLD: [u8; 32] = *b"0123456789abcdef0123456789abcdef";
const NEW: [u8; 32] = *b"fedcba9876543210fedcba9876543210";
const PEM: &str = "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n";

/// Some calls fail: what counts is what their events contain.
async fn use_api_keys(store: &Store, ring: &KeyRing, secrets: &mut Vec<String>) {
    let keys = ApiKeys::new(store, ring);
    let mut data = KeyData::new();
    data.tenant = Some("tenant-hunter2".into());
    data.label = Some("label-hunter2".into());
    let Ok((key, entry)) = keys.issue(data).await else {
        return;
    };
    secrets.push(key.expose().to_owned());
    let newer = KeyRing::new("newer", NEW).unwrap();
    let newer = newer.with_older("ring", OLD).unwrap();
    secrets.push(newer.to_text().expose().to_owned());
    let moving = RecordApiKeys::new(Arc::clone(store.records()), &newer).redigest_on_use(true);
    drop(moving.get_key(&key).await);
    drop(keys.check(Some(key.expose()), "orders", "read").await);
    drop(keys.list(&ListKeys::of_tenant("tenant-hunter2")).await);
    drop(keys.disable(entry.id()).await);
    drop(keys.delete(&key).await);
}

async fn use_lti(store: &Store, ring: &KeyRing, secrets: &mut Vec<String>) {
    let lti = Lti::new(store, ring);
    let platform = Registration::from_json(
        r#"{
            "issuer": "https://lms.example.edu",
            "client_id": "42",
            "auth_endpoint": "https://lms.example.edu/auth",
            "jwks_uri": "https://lms.example.edu/jwks"
        }"#,
    )
    .unwrap();
    drop(lti.store().upsert_registration(platform.clone()).await);
    let deployment = Deployment::new("course-7").unwrap();
    drop(lti.store().upsert_deployment(&platform, deployment).await);
    let public = [("kty".to_owned(), "OKP".into())].into_iter().collect();
    let public = PublicJwk::new(public).unwrap();
    let key = NewToolKey::new("k", Secret::new(PEM), public).unwrap();
    drop(lti.store().add_key(key).await);
    let token = AccessToken {
        token: Secret::new("token-hunter2"),
        expires_at: Timestamp::MAX,
    };
    drop(lti.store().store_token(&platform, &["scope"], token).await);
    if let Ok(Some(login)) = lti.begin_login("https://lms.example.edu", None).await {
        let claims = LaunchClaims {
            issuer: "https://lms.example.edu",
            client_id: "42",
            deployment_id: "course-7",
            nonce: &login.nonce,
        };
        drop(lti.accept_launch(claims).await);
        secrets.push(login.nonce);
    }
    drop(
        lti.store()
            .delete_registration("https://lms.example.edu", "42")
            .await,
    );
}

#[tokio::test]
async fn no_event_contains_a_secret() {
    let events = Events::default();
    let _guard = tracing::subscriber::set_default(events.clone());
    let store = Store::new(Arc::new(Resolving::new(Flaky::new())));
    let ring = KeyRing::new("ring", OLD).unwrap();
    let mut secrets = vec![ring.to_text().expose().to_owned(), "hunter2".to_owned()];
    for _ in 0..20 {
        use_api_keys(&store, &ring, &mut secrets).await;
        use_lti(&store, &ring, &mut secrets).await;
    }
    let text = events.text();
    assert!(text.contains("was found to have been applied"), "{text}");
    assert!(text.contains("kind=Unavailable"), "{text}");
    assert!(secrets.len() > 20, "most calls succeed");
    for secret in secrets {
        assert!(!text.contains(&secret), "an event contains a secret");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_in_the_background_leaves_an_event() {
    let events = Events::default();
    let _guard = tracing::subscriber::set_default(events.clone());
    let down = Arc::new(Down(Flaky::new()));
    let sweeper = Arc::new(RecordBlobs::new(down)).sweep_every(Duration::from_secs(1));
    while !events.text().contains("a sweep of objects failed") {
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    drop(sweeper);
    assert!(events.text().contains("the server is down"));
}

/// Records whose server is down.
#[derive(Debug)]
struct Down(Arc<Flaky>);

#[async_trait]
impl RecordLayer for Down {
    fn inner(&self) -> &dyn RecordStore {
        &*self.0
    }

    async fn scan(&self, _: &store_core::Scan) -> Result<store_core::Records> {
        Err(Error::new(ErrorKind::Unavailable, "the server is down"))
    }
}
