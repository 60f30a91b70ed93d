//! S3: MiniStack, Ceph's gateway in a container, or any at a URL.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, SignableBody, SignableRequest, SigningSettings, sign,
};
use aws_sigv4::sign::v4::SigningParams;

use super::container::{Container, Image, asked};
use super::ministack::{self, MiniStack};
use super::{Kind, Options, Part, Server, is_set};

/// The endpoint to use, if one runs already: `http://127.0.0.1:9000`. Its buckets
/// are parts of its paths, and its keys are [`key_id`] and [`secret`].
pub const URL: &str = "STORE_TEST_S3_URL";

/// If set, Ceph's gateway instead of MiniStack.
pub const CEPH: &str = "STORE_TEST_S3_CEPH";

/// The image of its container: one made by `.ci/images/ceph-rgw`.
pub const IMAGE: &str = "STORE_TEST_CEPH_IMAGE";

/// The id and the secret of the access key, if they are not those of the servers that
/// are started here.
pub const KEYS: [&str; 2] = ["STORE_TEST_S3_KEY_ID", "STORE_TEST_S3_SECRET"];

/// The region of these servers.
pub const REGION: &str = "us-east-1";

/// The bucket of the tests.
pub const BUCKET: &str = "store-test";

/// The access key's id.
pub fn key_id() -> String {
    std::env::var(KEYS[0]).unwrap_or_else(|_| ministack::KEY_ID.into())
}

/// Its secret.
pub fn secret() -> String {
    std::env::var(KEYS[1]).unwrap_or_else(|_| "testsecret".into())
}

/// A server, found or started as [the module](super) describes, with the [`BUCKET`],
/// which is empty if the server was started. It is Ceph if [`CEPH`] is set.
///
/// # Errors
/// What to do if there is none.
pub fn find(options: &Options) -> Result<Server, String> {
    let server = match is_set(CEPH) {
        true => super::find(&Ceph, options),
        false => super::find(&MiniStack { variable: URL }, options),
    }?;
    make_bucket(server.url())?;
    Ok(server)
}

/// The server's name, with its version where that is known.
pub fn name(server: &Server) -> &'static str {
    match server.way {
        "running" => "S3",
        _ if is_set(CEPH) => "Ceph 20",
        _ => "MiniStack 1.5.33",
    }
}

/// A gateway, a monitor and an OSD in memory.
struct Ceph;

impl Kind for Ceph {
    fn name(&self) -> String {
        "Ceph".into()
    }

    fn variable(&self) -> &'static str {
        URL
    }

    fn contain(&self, _: &Options) -> Result<Server, String> {
        let name = std::env::var(IMAGE).unwrap_or_else(|_| "store-test-ceph-rgw:20".into());
        let (id, secret) = (key_id(), secret());
        let image = Image {
            name: &name,
            port: 8000,
            environment: &[("ACCESS_KEY", &id), ("SECRET_KEY", &secret)],
            arguments: &[],
        };
        let question = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let container = Container::start(&image, |address| {
            asked(address, question, b"HTTP/1.1 200".len())
        })?;
        Ok(Server {
            url: format!("http://127.0.0.1:{}", container.port),
            direct: None,
            origin: format!("container of {name}"),
            way: "container",
            parts: vec![Part::Container(Box::new(container))],
        })
    }

    fn programs(&self) -> Option<PathBuf> {
        None
    }

    fn install(&self) -> Result<PathBuf, String> {
        Err("it runs only in a container".into())
    }

    fn start(&self, _: &Path, _: &Options) -> Result<Server, String> {
        Err("it runs only in a container".into())
    }

    fn advice(&self) -> Vec<String> {
        vec![
            format!(
                "set {URL} to http://host:port, of a running server, and {} and {};",
                KEYS[0], KEYS[1]
            ),
            format!("as root, .ci/images/ceph-rgw makes an image; name another by {IMAGE};"),
        ]
    }
}

/// Creates the bucket if it does not exist. No store does this: who may create
/// buckets, and how one is configured, is for its owner to decide.
fn make_bucket(url: &str) -> Result<(), String> {
    let answer = ask(url, "PUT", "")?;
    match answer.split(' ').nth(1) {
        Some("200" | "409") => Ok(()),
        _ => Err(format!(
            "{url} does not create the bucket {BUCKET}: {answer}"
        )),
    }
}

/// How many multipart uploads are in progress below a prefix of letters, digits and
/// dashes, at most a thousand. The driver cannot list them.
///
/// # Errors
/// The server's answer.
pub fn uploads(url: &str, prefix: &str) -> Result<usize, String> {
    let answer = ask(url, "GET", &format!("prefix={prefix}&uploads="))?;
    match answer.contains("ListMultipartUploadsResult") {
        true => Ok(answer.matches("<UploadId>").count()),
        false => Err(answer),
    }
}

/// Sends a request about the bucket to the server at `url`, and returns the answer.
fn ask(url: &str, method: &str, query: &str) -> Result<String, String> {
    let host = url
        .strip_prefix("http://")
        .map(|rest| rest.trim_end_matches('/'))
        .ok_or_else(|| format!("{URL} is not http://host:port: {url}"))?;
    let request = signed(method, host, query).map_err(|e| format!("{host}: {e}"))?;
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(host)?;
        // The first bucket of a new Ceph takes seconds.
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.take(1 << 20).read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().map_err(|e| format!("{host}: {e}"))
}

/// A request about the bucket, without a body, with AWS's signature.
fn signed(method: &str, host: &str, query: &str) -> Result<String, Box<dyn std::error::Error>> {
    let mut settings = SigningSettings::default();
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    let identity = Credentials::new(key_id(), secret(), None, None, "tests").into();
    let parameters = SigningParams::builder()
        .identity(&identity)
        .region(REGION)
        .name("s3")
        .time(SystemTime::now())
        .settings(settings)
        .build()?;
    let path = format!("/{BUCKET}?{query}");
    let request = SignableRequest::new(
        method,
        format!("http://{host}{path}"),
        [("host", host)].into_iter(),
        SignableBody::Bytes(b""),
    )?;
    let (signature, _) = sign(request, &parameters.into())?.into_parts();
    let headers: String = signature
        .headers()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    Ok(format!(
        "{method} {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: 0\r\n\
         connection: close\r\n{headers}\r\n"
    ))
}
