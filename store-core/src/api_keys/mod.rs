//! API keys: issued, checked, changed and listed.

mod access;
mod data;
mod format;
mod handle;
mod key;
mod permissions;
mod records;
mod store;

pub use access::{
    Access, Denial, HttpAnswer, Rules, Verdict, decide, http_answer, http_answer_hardened,
};
pub use data::{KeyData, KeyEntry, KeyId, MAX_TENANT};
pub use format::KeyFormat;
pub use handle::ApiKeys;
pub use key::{ApiKey, MAX_KEY, MIN_STRONG_KEY};
pub use permissions::{Permission, Permissions};
pub use records::{API_KEY_HINTS, API_KEY_IDS, API_KEYS, RecordApiKeys};
pub use store::{ApiKeyStore, ApiKeyStoreExt, ChangeKey, KeyRef, ListKeys, Lookup, no_such_key};
