//! The URL of a table.

use std::time::Duration;

use store_core::Result;
use store_core::config::{Overrides, StoreUrl};

use crate::error::config;

/// The schemes of DynamoDB's URLs.
pub(crate) const SCHEMES: &[&str] = &["dynamodb"];

/// The content of a URL. It has no `Debug`, which would show the secret.
pub(crate) struct Address {
    pub(crate) table: Option<String>,
    /// An access key's id and its secret.
    pub(crate) credentials: Option<(String, String)>,
    pub(crate) own: Own,
}

/// The store's own options in a URL; each is a method of the builder too.
#[derive(Clone, Default)]
pub(crate) struct Own {
    pub(crate) region: Option<String>,
    pub(crate) endpoint: Option<String>,
    pub(crate) common: Overrides,
    pub(crate) grace: Option<Duration>,
    pub(crate) scan_segments: Option<u32>,
    pub(crate) point_in_time_recovery: Option<bool>,
}

/// Parses `url`. No error contains a part of it that may be secret.
pub(crate) fn read(url: &StoreUrl) -> Result<Address> {
    url.expect_scheme(SCHEMES)?;
    if !url.path().is_empty() {
        return Err(config(
            "the URL must not have a path; write dynamodb://table?region=eu-central-1&endpoint=http://host:port",
        ));
    }
    let table = match url.hosts() {
        [] => None,
        _ => Some(url.host()?.to_owned()),
    };
    let credentials = match (url.user(), url.secret()) {
        (None, None) => None,
        (Some(id), Some(secret)) => Some((id.to_owned(), secret.expose().to_owned())),
        _ => {
            return Err(config(
                "the URL has only an access key's id or only its secret; give both, as in \
                 dynamodb://id:secret@table, or none",
            ));
        }
    };
    let mut options = url.options();
    let own = Own {
        region: options.take_text("region").map(str::to_owned),
        endpoint: options.take_text("endpoint").map(str::to_owned),
        common: Overrides::take(&mut options)?,
        grace: options.take_duration("grace")?,
        scan_segments: options.take("scan_segments")?,
        point_in_time_recovery: options.take("point_in_time_recovery")?,
    };
    options.finish()?;
    Ok(Address {
        table,
        credentials,
        own,
    })
}

#[cfg(test)]
mod tests {
    use store_core::ErrorKind;

    use super::*;

    #[test]
    fn a_wrong_url_is_refused_and_shows_no_secret() {
        for (url, said) in [
            ("redis://id:hunter2@app", "`redis:`"),
            ("dynamodb:app", "scheme://"),
            ("dynamodb://hunter2@app", "both"),
            ("dynamodb://:hunter2@app", "both"),
            ("dynamodb://app/hunter2", "not have a path"),
            ("dynamodb://a,b", "one host"),
            ("dynamodb://id:hunter2@app?zone=1", "`zone`"),
            ("dynamodb://app?timeout=hunter2", "`timeout`"),
            ("dynamodb://app?scan_segments=hunter2", "`scan_segments`"),
        ] {
            let parsed = url.parse::<StoreUrl>();
            let error = parsed.and_then(|url| read(&url)).err().expect(url);
            assert_eq!(error.kind(), ErrorKind::Config, "{url}");
            assert!(error.message().contains(said), "{url}: {error}");
            assert!(!format!("{error:?} {error}").contains("hunter2"), "{url}");
        }
    }
}
