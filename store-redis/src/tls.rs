//! Which certificate authorities a connection trusts.

use data_encoding::BASE64;
use redis::{Client, ConnectionAddr, ConnectionInfo, TlsCertificates};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use store_core::Result;
use store_core::config::Tls;

use crate::config::config;

/// All authorities to trust, in PEM; `None` for only the system's, which the driver loads
/// itself. If the driver is given a list of authorities it trusts no others, so the
/// system's are added here.
pub(crate) fn authorities(tls: &Tls) -> Result<Option<Vec<u8>>> {
    let Some(mut pem) = tls.authorities()? else {
        return Ok(None);
    };
    if !tls.only_this_ca {
        // System authorities that cannot be read are skipped.
        let system = rustls_native_certs::load_native_certs().certs;
        let is_valid =
            |authority: &CertificateDer| RootCertStore::empty().add(authority.clone()).is_ok();
        for authority in system.into_iter().filter(is_valid) {
            pem.extend_from_slice(b"\n-----BEGIN CERTIFICATE-----\n");
            for line in BASE64.encode(&authority).as_bytes().chunks(64) {
                pem.extend_from_slice(line);
                pem.push(b'\n');
            }
            pem.extend_from_slice(b"-----END CERTIFICATE-----\n");
        }
    }
    Ok(Some(pem))
}

/// `seed` with only these authorities trusted.
pub(crate) fn trusting(seed: ConnectionInfo, pem: &[u8]) -> Result<ConnectionInfo> {
    if !matches!(seed.addr(), ConnectionAddr::TcpTls { .. }) {
        return Err(config(
            "certificate authorities need a URL that begins with `rediss:`",
        ));
    }
    let certificates = TlsCertificates {
        client_tls: None,
        root_cert: Some(pem.to_vec()),
    };
    let client = Client::build_with_tls(seed, certificates)
        .map_err(|_| config("a certificate authority is not a valid certificate in PEM format"))?;
    Ok(client.get_connection_info().clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_authorities_are_trusted_too_unless_excluded() {
        let named = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let count = |tls: Tls| {
            let pem = authorities(&tls).expect("PEM").expect("one is named");
            String::from_utf8(pem)
                .expect("PEM is text")
                .matches("BEGIN")
                .count()
        };
        let all = count(Tls::new().ca_pem(named));
        let system = rustls_native_certs::load_native_certs().certs.len();
        assert_eq!(all > 1, system > 0, "{all} of {system}");
        assert_eq!(count(Tls::new().ca_pem(named).only_this_ca()), 1);
        assert_eq!(authorities(&Tls::new()).expect("none is named"), None);
    }
}
