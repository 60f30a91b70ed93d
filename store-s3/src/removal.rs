//! `DELETE` with `If-Match`, which the driver does not offer.
//!
//! S3 has it since 2025
//! (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-deletes.html>),
//! and so does Ceph. `setup` tests whether a server supports it and whether it is atomic.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3, AwsAuthorizer};
use object_store::client::{
    ClientOptions, HttpClient, HttpConnector, HttpRequest, HttpRequestBody, ReqwestConnector,
};
use object_store::signer::Signer;
use reqwest::header::{HeaderValue, IF_MATCH};
use reqwest::{Method, StatusCode};
use store_core::{Error, ErrorKind, Result, Retry};

use crate::error::{BACKEND, Effect, config, corrupt, from_driver};
use crate::objects::{ETag, path};

/// Sends conditional `DELETE` requests to one bucket.
pub(crate) struct Remover {
    bucket: Arc<AmazonS3>,
    region: String,
    client: HttpClient,
}

impl Remover {
    pub(crate) fn new(
        bucket: Arc<AmazonS3>,
        region: String,
        options: &ClientOptions,
    ) -> Result<Self> {
        let client = ReqwestConnector::default().connect(options).map_err(|_| {
            config("the HTTP client cannot be built with the configured TLS options")
        })?;
        Ok(Self {
            bucket,
            region,
            client,
        })
    }

    /// A `DELETE` without a signature. The driver returns an object's URL only as a
    /// signed URL.
    async fn request(&self, name: &str) -> Result<HttpRequest> {
        let path = path(name)?;
        let signed = self
            .bucket
            .signed_url(Method::DELETE, &path, Duration::from_secs(1));
        let signed = signed
            .await
            .map_err(|e| from_driver(e, Effect::Repeatable))?;
        let url = signed.as_str().split('?').next().unwrap_or_default();
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.method_mut() = Method::DELETE;
        *request.uri_mut() = url
            .parse()
            .map_err(|_| config("the bucket's URL is not an HTTP URL"))?;
        Ok(request)
    }

    /// Removes the object if it is in this state. Returns false if it is in another state
    /// or does not exist.
    ///
    /// # Errors
    /// `Unsupported` if the server does not support the condition; the errors of the
    /// request.
    pub(crate) async fn remove(&self, name: &str, etag: &ETag) -> Result<bool> {
        let condition = HeaderValue::from_str(etag)
            .map_err(|_| corrupt("an ETag is not a valid value of a header"))?;
        let driver = |e| from_driver(e, Effect::Repeatable);
        let mut request = self.request(name).await?;
        request.headers_mut().insert(IF_MATCH, condition);
        let credentials = self.bucket.credentials().get_credential().await;
        AwsAuthorizer::new(&*credentials.map_err(driver)?, "s3", &self.region)
            .try_authorize(&mut request, None)
            .map_err(driver)?;
        let reply = self.client.execute(request).await;
        let reply = reply.map_err(|e| failed("the server could not be reached").with_source(e))?;
        match reply.status() {
            status if status.is_success() => Ok(true),
            StatusCode::NOT_FOUND | StatusCode::PRECONDITION_FAILED | StatusCode::CONFLICT => {
                Ok(false)
            }
            StatusCode::NOT_IMPLEMENTED
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::BAD_REQUEST => Err(Error::unsupported(
                "the server does not offer DELETE with If-Match",
            )
            .with_backend(BACKEND)),
            StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => Err(Error::new(
                ErrorKind::PermissionDenied,
                "the credentials may not remove objects; allow s3:DeleteObject and s3:GetObject",
            )
            .with_backend(BACKEND)),
            _ => Err(failed(
                "the server did not execute a DELETE; the next sweep tries again",
            )),
        }
    }
}

fn failed(message: &'static str) -> Error {
    Error::new(ErrorKind::Unavailable, message)
        .with_retry(Retry::Safe)
        .with_backend(BACKEND)
}

impl fmt::Debug for Remover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remover").finish_non_exhaustive()
    }
}
