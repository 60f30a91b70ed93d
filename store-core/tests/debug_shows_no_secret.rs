//! `Debug` of every type that contains a secret shows no part of the secret.

// Helpers of tests may fail the test.
#![allow(clippy::unwrap_used)]

use std::fmt::Debug;

use store_core::api_keys::{ApiKey, ApiKeys, KeyFormat, KeyRef, RecordApiKeys};
use store_core::limits::{LimitKey, Quota, QuotaSet, RateLimiter, Take};
use store_core::lti::{
    AccessToken, Lti, NewToolKey, PublicJwk, RecordLti, Registration, RegistrationParts,
    SigningKey, ToolJwk,
};
use store_core::secret::{Digester, KeyRing, Sealed, Secret, SecretField};
use store_core::{Collection, RecordRef, Store, Timestamp};
use store_memory::MemoryStore;

const SECRET: &str = "hunter2-hunter2-hunter2";

fn pem() -> Secret {
    Secret::new(format!(
        "-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----\n"
    ))
}

#[tokio::test]
async fn debug_shows_no_secret() {
    let ring = KeyRing::new("ring", *b"hunter2-hunter2-hunter2-hunter2-").unwrap();
    let store = Store::from(MemoryStore::new());
    let key = ApiKey::parse(SECRET).unwrap();
    let at = RecordRef::new("p", Collection::new("things"), "id").unwrap();
    let tool_jwk = ToolJwk {
        kid: "kid".into(),
        private_key: SecretField::Clear(pem()),
    };
    let parts = RegistrationParts {
        issuer: "https://lms.example.edu".into(),
        client_id: "42".into(),
        auth_endpoint: "https://lms.example.edu/auth".into(),
        jwks_uri: "https://lms.example.edu/jwks".into(),
        tool_jwk: Some(tool_jwk.clone()),
        ..RegistrationParts::default()
    };
    let public = PublicJwk::new([("kty".to_owned(), "OKP".into())].into_iter().collect()).unwrap();
    let quotas = QuotaSet::from(Quota::per_second(1).unwrap());
    let limiter = RateLimiter::new(&store, quotas.clone());
    assert!(limiter.take(SECRET, 1).await.unwrap().is_allowed());
    let refused = limiter.execute(SECRET, async || ()).await.unwrap_err();
    let sealed = Sealed::seal(&ring, at, "f", &pem()).unwrap();
    let lti: Lti = Lti::new(&store, &ring);
    let record_lti: RecordLti = RecordLti::new(&store, &ring);
    let values: Vec<Box<dyn Debug>> = vec![
        Box::new(ring.clone()),
        Box::new(ring.to_text()),
        Box::new(Digester::new(&ring, "purpose")),
        Box::new(Digester::new(&ring, "purpose").current(SECRET.as_bytes())),
        Box::new(pem()),
        Box::new(sealed.clone()),
        Box::new(SecretField::Sealed(sealed)),
        Box::new(SecretField::Clear(pem())),
        Box::new(key.clone()),
        Box::new(KeyFormat::default()),
        Box::new(RecordApiKeys::new(store.records().clone(), &ring).redigest_on_use(true)),
        Box::new(ApiKeys::new(&store, &ring).with_older_format(KeyFormat::default())),
        Box::new(lti),
        Box::new(record_lti),
        Box::new(parts.clone()),
        Box::new(Registration::new(parts).unwrap()),
        Box::new(tool_jwk),
        Box::new(NewToolKey::new("kid", pem(), public).unwrap()),
        Box::new(SigningKey {
            kid: "kid".into(),
            private_key: pem(),
        }),
        Box::new(AccessToken {
            token: Secret::new(SECRET),
            expires_at: Timestamp::MAX,
        }),
        Box::new(LimitKey::new(SECRET).unwrap()),
        Box::new(limiter),
        Box::new(refused),
    ];
    for value in &values {
        let shown = format!("{value:?} {value:#?}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    let by_secret = format!("{:?}", KeyRef::Secret(&key));
    assert!(!by_secret.contains("hunter2"), "{by_secret}");
    let take = Take::new(SECRET, &quotas, 1, Timestamp::EPOCH).unwrap();
    let take = format!("{take:?}");
    assert!(!take.contains("hunter2"), "{take}");
}
