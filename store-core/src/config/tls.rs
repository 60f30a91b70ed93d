//! Which certificate authorities a connection trusts.

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;

use crate::error::{Error, ErrorKind, Result};

/// Which certificate authorities a backend trusts when it connects over TLS.
///
/// The default trusts the system's. TLS itself is turned on by the URL
/// (`rediss:`, `https:`, `sslmode=verify-full`) and is always rustls.
///
/// ```
/// use store_core::config::Tls;
/// let tls = Tls::new().ca_file("/etc/ssl/private-ca.pem").only_this_ca();
/// # let _ = tls;
/// ```
#[non_exhaustive]
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[doc(alias("certificate", "ca"))]
pub struct Tls {
    /// Authorities in PEM, as text.
    pub ca_pem: Option<String>,
    /// A file of authorities in PEM, read when the store connects.
    pub ca_file: Option<PathBuf>,
    /// Whether only these authorities are trusted, instead of the system's and
    /// these.
    pub only_this_ca: bool,
}

impl Tls {
    /// The system's authorities.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds authorities in PEM.
    pub fn ca_pem(mut self, pem: impl Into<String>) -> Self {
        self.ca_pem = Some(pem.into());
        self
    }

    /// Adds a file of authorities in PEM. It is read when the store connects.
    pub fn ca_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(file.into());
        self
    }

    /// Trusts only the authorities named here, not the system's.
    pub fn only_this_ca(mut self) -> Self {
        self.only_this_ca = true;
        self
    }

    /// The named authorities in PEM; `None` if none are named. For backends.
    ///
    /// # Errors
    /// `Config` if the file cannot be read, if what is named contains no
    /// certificate, or if only the named authorities are to be trusted and none
    /// are named.
    pub fn authorities(&self) -> Result<Option<Vec<u8>>> {
        let mut pem = self.ca_pem.clone().unwrap_or_default().into_bytes();
        if let Some(file) = &self.ca_file {
            let read = std::fs::read(file).map_err(|error| {
                let message = "the file of certificate authorities cannot be read; check its path";
                Error::new(ErrorKind::Config, message).with_source(error)
            })?;
            pem.push(b'\n');
            pem.extend_from_slice(&read);
        }
        if self.ca_pem.is_none() && self.ca_file.is_none() {
            return match self.only_this_ca {
                false => Ok(None),
                true => Err(Error::new(
                    ErrorKind::Config,
                    "no certificate authority is named although only named ones are to be \
                     trusted; name one by Tls::ca_file or Tls::ca_pem",
                )),
            };
        }
        const CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";
        if !pem.windows(CERTIFICATE.len()).any(|at| at == CERTIFICATE) {
            return Err(Error::new(
                ErrorKind::Config,
                "the certificate authorities contain no certificate in PEM",
            ));
        }
        Ok(Some(pem))
    }
}

impl fmt::Debug for Tls {
    /// Without the certificates' text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("ca_pem", &self.ca_pem.is_some())
            .field("ca_file", &self.ca_file)
            .field("only_this_ca", &self.only_this_ca)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_names_no_authority() {
        assert_eq!(Tls::new().authorities().unwrap(), None);
    }

    #[test]
    fn what_cannot_be_a_certificate_is_refused() {
        let wrong = [
            Tls::new().ca_pem("hunter2"),
            Tls::new().ca_file("/does/not/exist.pem"),
            Tls::new().only_this_ca(),
        ];
        for tls in wrong {
            let error = tls.authorities().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(!format!("{error:?} {tls:?}").contains("hunter2"));
        }
    }
}
