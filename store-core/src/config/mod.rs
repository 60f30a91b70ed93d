//! What every backend's builder is configured with: the URL of a store, TLS, and the options
//! that all of them have.
//!
//! All backends read their URL through [`StoreUrl`], so that escapes, several
//! hosts, options and error messages are the same everywhere, and no message
//! shows a user, a secret or an option's value.

mod options;
mod settings;
mod tls;
mod url;

use crate::error::{Error, ErrorKind};

pub use options::UrlOptions;
pub use settings::{Overrides, Settings, Source};
pub use tls::Tls;
pub use url::StoreUrl;

fn wrong(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Config, message)
}

/// `a, b or c`.
fn listed(items: impl IntoIterator<Item = String>) -> String {
    let items: Vec<String> = items.into_iter().collect();
    match items.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, before)) => format!("{} or {last}", before.join(", ")),
        None => "none".into(),
    }
}
