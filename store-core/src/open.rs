//! Opening a store by its URL, among the backends that a program is compiled with.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> store_core::Result<()> {
//! use store_core::open::Registry;
//!
//! let registry = Registry::new().with(store_memory::OPENER); // and store_redis::OPENER …
//! let store = registry.open("memory://?max_records=1000").await?;
//! # let _ = store;
//! # Ok(()) }
//! ```

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use crate::config::StoreUrl;
use crate::error::{Error, ErrorKind, Result};
use crate::store::Store;

/// The future of an [`Opener`].
pub type Opening = Pin<Box<dyn Future<Output = Result<Store>> + Send>>;

/// How to open one backend by a URL. Each backend has one, called `OPENER`.
#[derive(Clone, Copy)]
pub struct Opener {
    schemes: &'static [&'static str],
    open: fn(StoreUrl) -> Opening,
}

impl Opener {
    /// Opens URLs of these schemes, written in lower case, by `open`.
    pub const fn new(schemes: &'static [&'static str], open: fn(StoreUrl) -> Opening) -> Self {
        Self { schemes, open }
    }

    /// The schemes that it opens.
    pub const fn schemes(&self) -> &'static [&'static str] {
        self.schemes
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Opener").field(&self.schemes).finish()
    }
}

/// The backends that a program can open by URL.
#[derive(Clone, Debug, Default)]
#[doc(alias("connect", "factory"))]
pub struct Registry {
    openers: Vec<Opener>,
}

impl Registry {
    /// A registry of no backend.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a backend. It replaces an earlier one for the schemes that both open.
    pub fn with(mut self, opener: Opener) -> Self {
        self.openers.push(opener);
        self
    }

    /// The schemes that can be opened.
    pub fn schemes(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.openers
            .iter()
            .flat_map(|opener| opener.schemes)
            .copied()
    }

    /// Opens the store at `url` with the backend of its scheme. `setup` is not
    /// run.
    ///
    /// # Errors
    /// `Config` if the URL is malformed, if no backend of the registry opens its
    /// scheme, or if it has an option that the backend does not know; otherwise
    /// what the backend's `connect` reports. No message shows a secret.
    pub async fn open(&self, url: &str) -> Result<Store> {
        self.open_url(url.parse()?).await
    }

    /// The same for a URL that was parsed already.
    ///
    /// # Errors
    /// As [`Registry::open`].
    pub async fn open_url(&self, url: StoreUrl) -> Result<Store> {
        let opens = |opener: &&Opener| opener.schemes.contains(&url.scheme());
        let Some(opener) = self.openers.iter().rev().find(opens) else {
            let known: Vec<_> = self
                .schemes()
                .map(|scheme| format!("`{scheme}:`"))
                .collect();
            return Err(Error::new(
                ErrorKind::Config,
                format!(
                    "no backend for `{}:` is registered in this program; registered are: {}",
                    url.scheme(),
                    known.join(", ")
                ),
            ));
        };
        (opener.open)(url).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_unregistered_scheme_is_refused_with_those_that_are_registered() {
        fn refuse(url: StoreUrl) -> Opening {
            Box::pin(async move { Err(Error::unsupported(format!("opened {}", url.scheme()))) })
        }
        let registry = Registry::new().with(Opener::new(&["a", "b"], refuse));
        let error = registry.open("c://u:hunter2@h").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.message().contains("`a:`, `b:`"), "{error}");
        assert!(!format!("{error:?}").contains("hunter2"));
        assert_eq!(
            registry.open("B://h").await.unwrap_err().message(),
            "opened b"
        );
    }
}
