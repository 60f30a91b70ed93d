//! A real server that looks at conditions and does not keep them: s3s-fs, over a
//! folder, within this process.

use std::path::PathBuf;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use store_conformance::servers::s3;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::{Failure, own};

/// The server, with the tests' bucket; it ends with this.
pub(crate) struct Lax {
    url: String,
    folder: PathBuf,
    serving: JoinHandle<()>,
}

impl Lax {
    pub(crate) async fn start() -> Result<Self, Failure> {
        let folder = std::env::temp_dir().join(own::fresh("store-s3s-fs", '-'));
        std::fs::create_dir_all(folder.join(s3::BUCKET))?;
        let files = FileSystem::new(&folder).map_err(|e| format!("{e:?}"))?;
        let mut service = S3ServiceBuilder::new(files);
        service.set_auth(SimpleAuth::from_single(s3::key_id(), s3::secret()));
        let service = service.build();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let serving = tokio::spawn(async move {
            while let Ok((line, _)) = listener.accept().await {
                let service = service.clone();
                tokio::spawn(async move {
                    let server = auto::Builder::new(TokioExecutor::new());
                    // Whoever asked notices if its line breaks.
                    let _ = server.serve_connection(TokioIo::new(line), service).await;
                });
            }
        });
        Ok(Self {
            url,
            folder,
            serving,
        })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Lax {
    fn drop(&mut self) {
        self.serving.abort();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
