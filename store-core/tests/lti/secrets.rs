//! No secret is stored unencrypted, and the key ring can be rotated.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use store_core::body::Encoded;
use store_core::lti::{
    AccessToken, Deployment, LtiStore, NewToolKey, PublicJwk, RecordLti, Registerable, Registration,
};
use store_core::secret::{Secret, SecretField};
use store_core::{Collection, ErrorKind, Result, Scan, Store, Timestamp};
use store_memory::MemoryStore;

use super::{ISSUER, PEM, lms, lms_with_key, new_ring, old_ring};

async fn with_secrets(store: &Store) -> RecordLti {
    let lti: RecordLti = RecordLti::new(store, &old_ring());
    lti.upsert_registration(lms_with_key()).await.unwrap();
    let public = [("kty".to_owned(), "OKP".into())].into_iter().collect();
    let public = PublicJwk::new(public).unwrap();
    let key = NewToolKey::new("k", Secret::new(PEM), public).unwrap();
    lti.add_key(key).await.unwrap();
    let token = AccessToken {
        token: Secret::new("hunter2"),
        expires_at: Timestamp::MAX,
    };
    lti.store_token(&lms(), &["scope"], token).await.unwrap();
    lti
}

#[tokio::test]
async fn no_secret_is_stored_in_clear() {
    let store = Store::from(MemoryStore::new());
    with_secrets(&store).await;
    let mut seen = 0;
    for name in ["lti_registrations", "lti_keys", "lti_tokens"] {
        let scan = Scan::collection(Collection::new(name), "");
        for record in store.records().scan(&scan).await.unwrap().items {
            let Encoded::Json(json) = record.body().encoded().unwrap() else {
                panic!("json expected");
            };
            let text = String::from_utf8(json.to_vec()).unwrap();
            assert!(
                text.contains("\"sealed\":"),
                "{name} contains no sealed field"
            );
            assert!(!text.contains("hunter2"), "{name} contains a secret");
            assert!(!format!("{record:?}").contains("hunter2"));
            seen += 1;
        }
    }
    assert_eq!(seen, 3);
}

#[tokio::test]
async fn after_resealing_the_old_key_can_leave_the_ring() {
    let store = Store::from(MemoryStore::new());
    let lti = with_secrets(&store).await;
    let registration = lti.get_registration(ISSUER, None).await.unwrap().unwrap();

    let early: RecordLti = RecordLti::new(&store, &new_ring());
    let error = early.signing_key(&registration).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.message().contains("2026a"), "{error}");
    let error = early.get_token(&lms(), &["scope"]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);

    let both = new_ring()
        .with_older("2026a", *b"0123456789abcdef0123456789abcdef")
        .unwrap();
    let rotating: RecordLti = RecordLti::new(&store, &both);
    assert_eq!(rotating.reseal().await.unwrap().count, 3);
    assert_eq!(rotating.reseal().await.unwrap().count, 0);

    let after: RecordLti = RecordLti::new(&store, &new_ring());
    let registration = after.get_registration(ISSUER, None).await.unwrap().unwrap();
    assert_eq!(registration.extra()["campus"], "north");
    for registration in [&*registration, &lms()] {
        let key = after.signing_key(registration).await.unwrap().unwrap();
        assert_eq!(key.private_key.expose(), PEM);
    }
    let token = after.get_token(&lms(), &["scope"]).await.unwrap().unwrap();
    assert_eq!(token.token.expose(), "hunter2");
    assert_eq!(token.expires_at, Timestamp::MAX);
}

/// A record type that does not declare its secret key to the store.
#[derive(Debug, Serialize, Deserialize)]
struct Careless {
    issuer: String,
    key: SecretField,
}

impl Registerable for Careless {
    fn to_registration(&self) -> Result<Registration> {
        Ok(lms())
    }
}

#[tokio::test]
async fn a_secret_that_a_type_does_not_declare_is_refused() {
    let store = Store::from(MemoryStore::new());
    let lti: Arc<dyn LtiStore<Careless, Deployment>> =
        Arc::new(RecordLti::new(&store, &old_ring()));
    let careless = Careless {
        issuer: ISSUER.into(),
        key: SecretField::Clear(Secret::new(PEM)),
    };
    let error = lti.upsert_registration(careless).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(!format!("{error:?}").contains("hunter2"));
    let found = lti.get_registration(ISSUER, None).await.unwrap();
    assert!(found.is_none());
}
