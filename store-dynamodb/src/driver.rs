//! Builds the SDK's clients from the configuration.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{
    BehaviorVersion, Config, Credentials, Region, SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_smithy_http_client::Builder as HttpBuilder;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use store_core::Result;
use store_core::config::StoreUrl;

use crate::config::DynamoDbBuilder;
use crate::error::config;

/// Two clients that share their HTTP connections.
#[derive(Clone)]
pub(crate) struct Clients {
    /// Repeats a failed call, up to twice.
    pub(crate) reading: Client,
    /// Sends each call once.
    pub(crate) writing: Client,
}

impl DynamoDbBuilder {
    /// The clients of the configured server.
    pub(crate) async fn clients(&self) -> Result<Clients> {
        self.check()?;
        let own = match self.own_client() {
            Some(client) => client.config().clone(),
            None => self.config().await?,
        };
        // Slow replies are rare, so the next one is probably fast: try again soon.
        let again = RetryConfig::standard()
            .with_max_attempts(3)
            .with_initial_backoff(Duration::from_millis(50));
        let with = |retries| Client::from_conf(own.to_builder().retry_config(retries).build());
        Ok(Clients {
            reading: with(again),
            writing: with(RetryConfig::disabled()),
        })
    }

    /// Refuses a malformed table, region or endpoint before anything is sent.
    fn check(&self) -> Result<()> {
        // https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html
        let table = self.table_name();
        let good = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
        let is_name = (3..=255).contains(&table.len()) && table.bytes().all(good);
        if !is_name && !table.starts_with("arn:") {
            return Err(config(
                "a table's name is 3 to 255 letters, digits, dashes, dots and underscores, or \
                 the table's ARN",
            ));
        }
        let good = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        if let Some(region) = &self.region
            && (region.is_empty() || !region.bytes().all(good))
        {
            return Err(config(
                "a region is letters, digits and dashes, such as eu-central-1",
            ));
        }
        self.endpoint.as_deref().map_or(Ok(()), check_endpoint)
    }

    async fn config(&self) -> Result<Config> {
        let http = self.http()?;
        let mut builder = match (&self.region, &self.credentials) {
            // The environment has nothing to add.
            (Some(_), Some(_)) => Config::builder().behavior_version(BehaviorVersion::latest()),
            _ => {
                let mut loader = aws_config::defaults(BehaviorVersion::latest());
                if let Some(region) = &self.region {
                    loader = loader.region(Region::new(region.clone()));
                }
                let loaded = loader.http_client(http.clone()).load().await;
                aws_sdk_dynamodb::config::Builder::from(&loaded)
            }
        };
        if let Some(region) = &self.region {
            builder = builder.region(Region::new(region.clone()));
        }
        if let Some(endpoint) = &self.endpoint {
            builder = builder.endpoint_url(endpoint);
        }
        if let Some((id, secret)) = &self.credentials {
            let own = Credentials::new(id, secret, None, None, "store");
            builder = builder.credentials_provider(own);
        }
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(self.common.connect_timeout)
            .operation_attempt_timeout(self.common.timeout)
            .build();
        let config = builder
            .http_client(http)
            .timeout_config(timeouts)
            // Not needed, because each call has a timeout.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .build();
        if config.region().is_none() {
            return Err(crate::error::config(
                "no region is configured; call DynamoDbBuilder::region, or set AWS_REGION",
            ));
        }
        Ok(config)
    }

    /// The HTTP client for DynamoDB and for the service that issues credentials.
    fn http(&self) -> Result<SharedHttpClient> {
        let named = self.common.tls.authorities()?;
        let is_plain = |url: &String| url.starts_with("http://");
        if self.endpoint.as_ref().is_some_and(is_plain) && self.credentials.is_some() {
            return Ok(HttpBuilder::new().build_http());
        }
        let mut trusted = TrustStore::empty().with_native_roots(!self.common.tls.only_this_ca);
        if let Some(pem) = named {
            check_authorities(&pem)?;
            trusted = trusted.with_pem_certificate(pem);
        }
        let context = TlsContext::builder().with_trust_store(trusted).build();
        Ok(HttpBuilder::new()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .tls_context(context.map_err(|_| malformed_authorities())?)
            .build_https())
    }
}

fn malformed_authorities() -> store_core::Error {
    config("the certificate authorities are not valid PEM")
}

/// Refuses authorities on which the SDK's client would panic.
fn check_authorities(pem: &[u8]) -> Result<()> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|_| malformed_authorities())?;
        roots
            .add(certificate)
            .map_err(|_| malformed_authorities())?;
    }
    Ok(())
}

fn check_endpoint(text: &str) -> Result<()> {
    let malformed =
        || config("the endpoint is not of the form http://host:port or https://host:port");
    let url: StoreUrl = text.parse().map_err(|_| malformed())?;
    if url.user().is_some() || url.secret().is_some() {
        return Err(config(
            "credentials do not belong in the endpoint; call DynamoDbBuilder::credentials",
        ));
    }
    let good = |b: u8| b.is_ascii_alphanumeric() || b"-._/".contains(&b);
    let is_plain = url.options().finish().is_ok() && url.path().bytes().all(good);
    let is_http = url.expect_scheme(&["http", "https"]).is_ok();
    match is_http && is_plain && url.host().is_ok() {
        true => Ok(()),
        false => Err(malformed()),
    }
}

#[cfg(test)]
mod tests {
    use store_core::ErrorKind;
    use store_core::config::Tls;

    use super::*;

    fn complete() -> DynamoDbBuilder {
        DynamoDbBuilder::default()
            .region("us-east-1")
            .credentials("id", "hunter2")
    }

    async fn refused(builder: DynamoDbBuilder, said: &str) {
        let error = builder.clients().await.err().expect(said);
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        assert!(error.message().contains(said), "{error}");
        assert!(
            !format!("{error:?} {error}").contains("hunter2"),
            "{error:?}"
        );
    }

    #[tokio::test]
    async fn a_malformed_endpoint_is_refused_before_anything_is_sent() {
        for endpoint in ["http://localhost:8000", "https://[::1]:1/path"] {
            complete()
                .endpoint(endpoint)
                .clients()
                .await
                .expect(endpoint);
        }
        for endpoint in [
            "localhost:8000",
            "ftp://localhost",
            "http://",
            "http://a,b",
            "http://localhost?hunter2=1",
            "http://localhost/hunter2 ",
            "http://localhost:hunter2",
        ] {
            refused(complete().endpoint(endpoint), "the form http://").await;
        }
        let with_secret = complete().endpoint("http://id:hunter2@localhost");
        refused(with_secret, "DynamoDbBuilder::credentials").await;
    }

    #[tokio::test]
    async fn malformed_names_and_authorities_are_refused_before_anything_is_sent() {
        for name in ["", "ab", "a/b", "tab\u{e4}"] {
            refused(complete().table(name), "a table's name").await;
        }
        for region in ["", "hunter2.example.org/"] {
            refused(complete().region(region), "a region is").await;
        }
        let not_base64 = "-----BEGIN CERTIFICATE-----\nhunter2!\n-----END CERTIFICATE-----\n";
        let not_a_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for pem in [not_base64, not_a_certificate] {
            refused(complete().tls(Tls::new().ca_pem(pem)), "valid PEM").await;
        }
        refused(complete().tls(Tls::new().only_this_ca()), "Tls::ca_file").await;
    }
}
