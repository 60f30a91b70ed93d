//! Tests of the standard LTI store beyond the contract: its stored formats, that secrets
//! are sealed, and its behaviour over a failing backend.

// Helpers of tests may fail the test.
#![allow(clippy::unwrap_used)]

mod faults;
mod golden;
mod secrets;

use store_core::lti::{Registration, RegistrationParts, ToolJwk};
use store_core::secret::{KeyRing, Secret, SecretField};

const ISSUER: &str = "https://lms.example.edu";
const PEM: &str = "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n";

fn old_ring() -> KeyRing {
    KeyRing::new("2026a", *b"0123456789abcdef0123456789abcdef").unwrap()
}

fn new_ring() -> KeyRing {
    KeyRing::new("2026b", *b"fedcba9876543210fedcba9876543210").unwrap()
}

fn parts() -> RegistrationParts {
    RegistrationParts {
        issuer: ISSUER.into(),
        client_id: "42".into(),
        auth_endpoint: format!("{ISSUER}/auth"),
        jwks_uri: format!("{ISSUER}/jwks"),
        ..RegistrationParts::default()
    }
}

fn lms() -> Registration {
    Registration::new(parts()).unwrap()
}

fn lms_with_key() -> Registration {
    Registration::new(RegistrationParts {
        token_endpoint: Some(format!("{ISSUER}/token")),
        tool_jwk: Some(ToolJwk {
            kid: "kid-1".into(),
            private_key: SecretField::Clear(Secret::new(PEM)),
        }),
        extra: [("campus".to_owned(), "north".into())]
            .into_iter()
            .collect(),
        ..parts()
    })
    .unwrap()
}
