//! Users, groups, policies.
