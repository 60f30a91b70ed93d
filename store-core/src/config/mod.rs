//! What every backend's builder is configured with: the URL of a store, and TLS.
//!
//! All backends read their URL through [`StoreUrl`], so that escapes, several
//! hosts, options and error messages are the same everywhere, and no message
//! shows a user, a secret or an option's value.

mod tls;
mod url;

pub use tls::Tls;
pub use url::{StoreUrl, UrlOptions};
