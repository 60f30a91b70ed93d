//! LTI: registrations, deployments, nonces.
