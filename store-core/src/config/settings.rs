//! What the builders of all backends have in common.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{StoreUrl, Tls, UrlOptions};
use crate::clock::{Clock, SystemClock};
use crate::error::Result;
use crate::key::Collection;

/// The options that every backend's builder has, over a driver's client `C`. For backends:
/// a builder holds them in a field `common`, and
/// [`builder_methods!`](crate::builder_methods) writes its methods.
#[derive(Clone)]
pub struct Settings<C> {
    /// Where the store is.
    pub source: Source<C>,
    /// The namespace, if one was given.
    pub namespace: Option<String>,
    /// The declared collections.
    pub collections: Vec<Collection>,
    /// The clock of the store.
    pub clock: Arc<dyn Clock>,
    /// How long a call may wait for the server.
    pub timeout: Duration,
    /// How long to wait for a connection.
    pub connect_timeout: Duration,
    /// The certificate authorities.
    pub tls: Tls,
}

/// Where the store of a [`Settings`] is.
#[derive(Clone)]
pub enum Source<C> {
    /// Not given.
    None,
    /// A URL that is parsed when the store connects, which reports what is wrong.
    Url(String),
    /// A parsed URL.
    Parsed(Box<StoreUrl>),
    /// A client of the application.
    Client(C),
}

/// Options of a URL or a configuration file. An option that is `None` changes nothing.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// See [`Settings::source`].
    pub url: Option<String>,
    /// See [`Settings::namespace`].
    pub namespace: Option<String>,
    /// See [`Settings::timeout`].
    pub timeout: Option<Duration>,
    /// See [`Settings::connect_timeout`].
    pub connect_timeout: Option<Duration>,
    /// See [`Settings::tls`].
    pub tls: Option<Tls>,
    /// A file of certificate authorities, beside what [`Settings::tls`] says otherwise.
    pub ca_file: Option<String>,
}

impl Overrides {
    /// Takes the options that the URL of every server may have: `namespace`, `timeout`,
    /// `connect_timeout` and `ca_file`.
    ///
    /// # Errors
    /// `Config` if one is malformed. The value is not shown.
    pub fn take(options: &mut UrlOptions<'_>) -> Result<Self> {
        Ok(Self {
            namespace: options.take_text("namespace").map(str::to_owned),
            timeout: options.take_duration("timeout")?,
            connect_timeout: options.take_duration("connect_timeout")?,
            ca_file: options.take_text("ca_file").map(str::to_owned),
            ..Self::default()
        })
    }
}

impl<C> Settings<C> {
    /// The defaults, on the system clock.
    pub fn new(timeout: Duration, connect_timeout: Duration) -> Self {
        Self {
            source: Source::None,
            namespace: None,
            collections: Vec::new(),
            clock: Arc::new(SystemClock),
            timeout,
            connect_timeout,
            tls: Tls::new(),
        }
    }

    /// Replaces what `by` has.
    pub fn replace(&mut self, by: Overrides) {
        if let Some(url) = by.url {
            self.source = Source::Url(url);
        }
        self.namespace = by.namespace.or(self.namespace.take());
        self.timeout = by.timeout.unwrap_or(self.timeout);
        self.connect_timeout = by.connect_timeout.unwrap_or(self.connect_timeout);
        if let Some(tls) = by.tls {
            self.tls = tls;
        }
        if let Some(file) = by.ca_file {
            self.tls = std::mem::take(&mut self.tls).ca_file(file);
        }
    }

    /// The URL, parsed; `None` if the store is somewhere else.
    ///
    /// # Errors
    /// `Config` if it is malformed.
    pub fn url(&mut self) -> Result<Option<&StoreUrl>> {
        if let Source::Url(text) = &self.source {
            self.source = Source::Parsed(Box::new(text.parse()?));
        }
        Ok(match &self.source {
            Source::Parsed(url) => Some(url),
            _ => None,
        })
    }
}

impl<C> fmt::Debug for Settings<C> {
    /// Without the URL, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("namespace", &self.namespace)
            .field("collections", &self.collections)
            .field("clock", &self.clock)
            .field("timeout", &self.timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Overrides {
    /// Without the URL, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Overrides")
            .field("namespace", &self.namespace)
            .field("timeout", &self.timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("tls", &self.tls)
            .field("ca_file", &self.ca_file)
            .finish_non_exhaustive()
    }
}

impl<C> fmt::Debug for Source<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Url(_) | Self::Parsed(_) => "Url",
            Self::Client(_) => "Client",
        })
    }
}

/// Writes the methods that are listed for a builder with a field `common` of type
/// [`Settings`]. Documentation before a name becomes the method's.
#[doc(hidden)]
#[macro_export]
macro_rules! builder_methods {
    () => {};
    ($(#[$doc:meta])* url; $($rest:tt)*) => {
        $(#[$doc])*
        pub fn url(mut self, url: impl Into<String>) -> Self {
            self.common.source = $crate::config::Source::Url(url.into());
            self
        }
        $crate::builder_methods!($($rest)*);
    };
    (store_url; $($rest:tt)*) => {
        /// The same as a URL that was parsed already.
        pub fn store_url(mut self, url: $crate::config::StoreUrl) -> Self {
            self.common.source = $crate::config::Source::Parsed(Box::new(url));
            self
        }
        $crate::builder_methods!($($rest)*);
    };
    ($(#[$doc:meta])* namespace; $($rest:tt)*) => {
        $(#[$doc])*
        pub fn namespace(mut self, name: impl Into<String>) -> Self {
            self.common.namespace = Some(name.into());
            self
        }
        $crate::builder_methods!($($rest)*);
    };
    ($(#[$doc:meta])* collection; $($rest:tt)*) => {
        $(#[$doc])*
        pub fn collection(self, collection: $crate::Collection) -> Self {
            self.collections([collection])
        }

        /// The same for several collections.
        pub fn collections(
            mut self,
            collections: impl IntoIterator<Item = $crate::Collection>,
        ) -> Self {
            self.common.collections.extend(collections);
            self
        }
        $crate::builder_methods!($($rest)*);
    };
    (clock; $($rest:tt)*) => {
        /// The clock that decides expiry and refill. The system clock by default.
        pub fn clock(mut self, clock: impl $crate::Clock + 'static) -> Self {
            self.common.clock = ::std::sync::Arc::new(clock);
            self
        }

        /// The same for a clock that is shared.
        pub fn shared_clock(mut self, clock: ::std::sync::Arc<dyn $crate::Clock>) -> Self {
            self.common.clock = clock;
            self
        }
        $crate::builder_methods!($($rest)*);
    };
    ($(#[$doc:meta])* timeout; $($rest:tt)*) => {
        $(#[$doc])*
        pub fn timeout(mut self, timeout: ::std::time::Duration) -> Self {
            self.common.timeout = timeout;
            self
        }
        $crate::builder_methods!($($rest)*);
    };
    ($(#[$doc:meta])* connect_timeout; $($rest:tt)*) => {
        $(#[$doc])*
        pub fn connect_timeout(mut self, timeout: ::std::time::Duration) -> Self {
            self.common.connect_timeout = timeout;
            self
        }
        $crate::builder_methods!($($rest)*);
    };
    ($(#[$doc:meta])* tls; $($rest:tt)*) => {
        $(#[$doc])*
        pub fn tls(mut self, tls: $crate::config::Tls) -> Self {
            self.common.tls = tls;
            self
        }
        $crate::builder_methods!($($rest)*);
    };
}
