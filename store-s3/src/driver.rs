//! Builds the driver's client for a bucket from the configuration.

use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::memory::InMemory;
use object_store::{Certificate, ClientOptions, ObjectStore, RetryConfig};
use store_core::Result;
use store_core::config::{Source, StoreUrl};
use url::Url;

use crate::blobs::{MIN_PART, Parts};
use crate::config::{Location, S3Builder};
use crate::error::config;
use crate::removal::Remover;

/// The clients of a bucket.
pub(crate) struct Driver {
    /// Sends each request once.
    pub(crate) driver: Arc<dyn ObjectStore>,
    /// `None` for a driver that the application owns, and in memory.
    pub(crate) remover: Option<Remover>,
    pub(crate) parts: Parts,
    /// The location of the bucket for messages, without credentials.
    pub(crate) place: String,
    pub(crate) prefix: String,
}

impl S3Builder {
    /// The clients of the configured bucket, of a builder that is
    /// [resolved](Self::resolved).
    pub(crate) fn driver(&self) -> Result<Driver> {
        let prefix = |path: &str| {
            self.common
                .namespace
                .clone()
                .unwrap_or_else(|| path.to_owned())
        };
        let url = match &self.common.source {
            Source::Parsed(url) => &**url,
            Source::Client(driver) => {
                return Ok(Driver {
                    driver: Arc::clone(driver),
                    remover: None,
                    parts: Parts::Borrowed(Arc::clone(driver)),
                    place: driver.to_string(),
                    prefix: prefix(""),
                });
            }
            Source::None | Source::Url(_) => {
                return Err(config(
                    "no bucket is configured; call S3Builder::url or S3Builder::object_store",
                ));
            }
        };
        if url.scheme() == "s3" {
            return self.bucket(url, prefix(url.path()));
        }
        if !url.hosts().is_empty() {
            return Err(config(
                "a bucket in memory has no name; write memory:///prefix",
            ));
        }
        let driver = Arc::new(InMemory::new());
        Ok(Driver {
            parts: Parts::Borrowed(Arc::clone(&driver) as _),
            driver,
            remover: None,
            place: "a bucket in memory".into(),
            prefix: prefix(url.path()),
        })
    }

    fn bucket(&self, url: &StoreUrl, prefix: String) -> Result<Driver> {
        let bucket = checked_bucket(url)?;
        if self.blobs.part_size < MIN_PART {
            return Err(config(
                "S3 accepts no parts of less than 5 MiB; set S3Builder::part_size to that or more",
            ));
        }
        // Has no effect if the application has installed a provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (mut driver, endpoint) = located(bucket, &self.location)?;
        let region = driver.get_config_value(&AmazonS3ConfigKey::Region);
        let region = region.unwrap_or_default();
        if let Some((key, secret)) = &self.credentials {
            driver = driver
                .with_access_key_id(key)
                .with_secret_access_key(secret);
        }
        if let Some(token) = &self.session_token {
            driver = driver.with_token(token);
        }
        let plain = endpoint.as_deref().is_some_and(|e| e.starts_with("http:"));
        let client = self.client(plain)?;
        let driver = driver.with_client_options(client.clone());
        let build = |driver: AmazonS3Builder| {
            let built = driver.build().map_err(|_| {
                // The driver's message may contain configured values.
                config("the bucket is configured wrongly; check the URL and the credentials")
            });
            built.map(Arc::new)
        };
        // A conditional put that is sent again fails on its own success.
        let once = build(driver.clone().with_retry(RetryConfig {
            max_retries: 0,
            ..RetryConfig::default()
        }))?;
        Ok(Driver {
            remover: Some(Remover::new(Arc::clone(&once), region, &client)?),
            driver: once,
            // Parts are numbered, so they may be sent again.
            parts: Parts::ById(build(driver)?),
            place: match endpoint {
                Some(endpoint) => format!("{endpoint}/{bucket}"),
                None => format!("s3://{bucket}"),
            },
            prefix,
        })
    }

    /// The connection options of the client.
    fn client(&self, plain: bool) -> Result<ClientOptions> {
        let mut options = ClientOptions::new()
            .with_allow_http(plain)
            .with_timeout(self.common.timeout)
            .with_connect_timeout(self.common.connect_timeout)
            .with_no_system_certificates(self.common.tls.only_this_ca);
        if let Some(pem) = self.common.tls.authorities()? {
            let certificates = Certificate::from_pem_bundle(&pem)
                .map_err(|_| config("the certificate authorities are not valid PEM"))?;
            for certificate in certificates {
                options = options.with_root_certificate(certificate);
            }
        }
        Ok(options)
    }
}

/// The bucket's name, which becomes a part of a URL.
fn checked_bucket(url: &StoreUrl) -> Result<&str> {
    let bucket = url
        .host()
        .map_err(|_| config("the URL names no bucket; write s3://bucket/prefix"))?;
    if bucket.ends_with("--x-s3") {
        return Err(config(
            "a directory bucket (S3 Express One Zone) does not list its objects in order, which \
             every scan needs; use a general purpose bucket",
        ));
    }
    let good = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    if !bucket.bytes().all(good) {
        return Err(config(
            "a bucket's name is letters, digits, dashes, dots and underscores; name the server by \
             the option `endpoint`",
        ));
    }
    Ok(bucket)
}

/// The driver's builder with the bucket's location, and the endpoint if it is not
/// Amazon's. Every value that becomes a part of a URL is checked here, whether it comes
/// from the store's URL or from the environment, because the driver panics on a malformed
/// URL.
fn located(bucket: &str, asked: &Location) -> Result<(AmazonS3Builder, Option<String>)> {
    let mut driver = AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .with_virtual_hosted_style_request(asked.virtual_hosted)
        .with_conditional_put(S3ConditionalPut::ETagMatch);
    let region = asked
        .region
        .clone()
        .or_else(|| driver.get_config_value(&AmazonS3ConfigKey::Region))
        .unwrap_or_else(|| "us-east-1".into());
    let good = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
    if region.is_empty() || !region.bytes().all(good) {
        return Err(config(
            "the option `region` is letters, digits and dashes, such as eu-central-1",
        ));
    }
    driver = driver.with_region(region);
    let endpoint = asked.endpoint.clone().or_else(|| {
        let keys = [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint];
        keys.iter().find_map(|key| driver.get_config_value(key))
    });
    let endpoint = endpoint.as_deref().map(checked_endpoint).transpose()?;
    if let Some(endpoint) = &endpoint {
        driver = driver
            .with_config(AmazonS3ConfigKey::S3Endpoint, endpoint)
            .with_endpoint(endpoint);
    }
    Ok((driver, endpoint))
}

/// The endpoint, normalized and without a trailing slash.
fn checked_endpoint(text: &str) -> Result<String> {
    let malformed =
        || config("the option `endpoint` is not of the form http://host:port or https://host:port");
    let lower = text.to_ascii_lowercase();
    // Checked before parsing, because the parser would correct `http:/host`.
    if !["http://", "https://"].iter().any(|s| lower.starts_with(s)) {
        return Err(malformed());
    }
    let url = Url::parse(text).map_err(|_| malformed())?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(config(
            "credentials do not belong in the option `endpoint`; call S3Builder::credentials",
        ));
    }
    let good = |b: u8| b.is_ascii_alphanumeric() || b"-._/".contains(&b);
    let plain = url.query().is_none() && url.fragment().is_none();
    if !url.has_host() || !plain || !url.path().bytes().all(good) {
        return Err(malformed());
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use store_core::ErrorKind;

    use crate::S3Store;

    fn refusal(url: &str) -> store_core::Error {
        let builder = S3Store::builder().url(url).credentials("a", "b");
        match builder.resolved().and_then(|builder| builder.driver()) {
            Ok(_) => panic!("{url} was accepted"),
            Err(error) => error,
        }
    }

    #[test]
    fn a_malformed_endpoint_or_region_is_a_configuration_error() {
        let endpoints = [
            "",
            "minio",
            "localhost:9000",
            "127.0.0.1",
            "127.0.0.1:9000",
            "/h",
            "//h",
            "https//h",
            "http:/h",
            "http:h",
            "http ://h",
            "http://",
            "http://:9000",
            "http:///",
            "http://[::1",
            "http://h:99999",
            "http://h:x",
            "http://a b",
            "ftp://h",
            "http://h?a=b",
            "http://h/a^b",
        ];
        for endpoint in endpoints {
            let escaped = endpoint.replace('?', "%3F").replace(' ', "%20");
            let error = refusal(&format!("s3://bucket?endpoint={escaped}"));
            assert_eq!(error.kind(), ErrorKind::Config, "{endpoint}");
            assert!(
                error.message().contains("`endpoint`"),
                "{endpoint}: {error}"
            );
        }
        for region in ["", "eu%20central", "%C2%80", "a/b", "a%0Ab"] {
            let error = refusal(&format!("s3://bucket?region={region}"));
            assert_eq!(error.kind(), ErrorKind::Config, "{region}");
            assert!(error.message().contains("`region`"), "{region}: {error}");
        }
    }

    #[test]
    fn a_valid_endpoint_is_accepted() {
        for (text, normalized) in [
            ("http://localhost:9000", "http://localhost:9000"),
            ("http://localhost:9000/", "http://localhost:9000"),
            ("HTTPS://Minio.example.org", "https://minio.example.org"),
            ("http://[::1]:9000", "http://[::1]:9000"),
            ("https://h/storage/v1", "https://h/storage/v1"),
        ] {
            let url = format!("s3://bucket?endpoint={text}");
            let builder = S3Store::builder().url(url).credentials("a", "b");
            let built = builder.resolved().and_then(|builder| builder.driver());
            let place = built.map(|driver| driver.place).expect(text);
            assert_eq!(place, format!("{normalized}/bucket"));
        }
    }

    #[test]
    fn credentials_in_a_url_are_refused_and_not_repeated() {
        for url in [
            "s3://user:hunter2@bucket",
            "s3://hunter2@bucket",
            "s3://bucket?endpoint=http://minio:hunter2%40h",
            "s3://bucket?endpoint=http://hunter2%40h:9000",
            "s3://bucket?secret=hunter2",
            "s3://bucket:9000/hunter2",
            "s3://bucket/a%20b?endpoint=hunter2",
            "gs://bucket/hunter2",
            "hunter2",
            "s3:///hunter2",
            "memory://hunter2",
            "memory://?region=hunter2",
        ] {
            let error = refusal(url);
            assert_eq!(error.kind(), ErrorKind::Config, "{url}");
            assert!(!format!("{error:?} {error}").contains("hunter2"), "{url}");
        }
    }

    #[test]
    fn a_file_system_is_refused_with_the_reason() {
        let error = refusal("file:///var/data");
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.message().contains("only if it is unchanged"));
    }

    #[test]
    fn a_directory_bucket_is_refused_with_the_reason() {
        let error = refusal("s3://fast--use1-az4--x-s3/app");
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.message().contains("in order"));
    }
}
