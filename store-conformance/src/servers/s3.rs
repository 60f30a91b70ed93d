//! S3: MiniStack, Ceph's gateway in a container, or any at a URL.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use store_core::{Clock, SystemClock};

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

/// An access key's id, and its secret, if they are not those of the servers that
/// are made here.
pub const KEYS: [&str; 2] = ["STORE_TEST_S3_KEY_ID", "STORE_TEST_S3_SECRET"];

/// The region that they take.
pub const REGION: &str = "us-east-1";

/// A bucket that is there.
pub const BUCKET: &str = "store-test";

/// The access key's id.
pub fn key_id() -> String {
    std::env::var(KEYS[0]).unwrap_or_else(|_| ministack::KEY_ID.into())
}

/// Its secret.
pub fn secret() -> String {
    std::env::var(KEYS[1]).unwrap_or_else(|_| "testsecret".into())
}

/// A server, found or made as [the module](super) says, with an empty [`BUCKET`]
/// if it was made; Ceph if [`CEPH`] asks for it.
///
/// # Errors
/// What to do, if there is none.
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
        Err("it comes in a container alone".into())
    }

    fn start(&self, _: &Path, _: &Options) -> Result<Server, String> {
        Err("it comes in a container alone".into())
    }

    fn advice(&self) -> Vec<String> {
        vec![
            format!(
                "set {URL} to http://host:port, where one listens, and {} and {};",
                KEYS[0], KEYS[1]
            ),
            format!("as root, .ci/images/ceph-rgw makes an image; or name another by {IMAGE};"),
        ]
    }
}

/// Creates the bucket if it does not exist. No store does this: who may create
/// buckets, and how one is configured, is for its owner to decide.
fn make_bucket(url: &str) -> Result<(), String> {
    let answer = ask(url, "PUT", "")?;
    match answer.split(' ').nth(1) {
        Some("200" | "409") => Ok(()),
        _ => Err(format!("{url} makes no bucket {BUCKET}: {answer}")),
    }
}

/// How many multipart uploads are under way below a prefix of letters, digits and
/// dashes, at the server at `url`; a thousand at most. The driver has no way to ask.
///
/// # Errors
/// The server's words.
pub fn uploads(url: &str, prefix: &str) -> Result<usize, String> {
    let answer = ask(url, "GET", &format!("prefix={prefix}&uploads="))?;
    match answer.contains("ListMultipartUploadsResult") {
        true => Ok(answer.matches("<UploadId>").count()),
        false => Err(answer),
    }
}

/// What the server at `url` answers about the bucket.
fn ask(url: &str, method: &str, query: &str) -> Result<String, String> {
    let host = url
        .strip_prefix("http://")
        .map(|rest| rest.trim_end_matches('/'))
        .ok_or_else(|| format!("{URL} is no http://host:port: {url}"))?;
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(host)?;
        // The first bucket of a new Ceph takes seconds.
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let request = signed(method, host, &format!("/{BUCKET}"), query);
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.take(1 << 20).read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().map_err(|e| format!("{host}: {e}"))
}

/// A request without a body, with AWS's signature, version 4. The query is in the
/// order of its names.
fn signed(method: &str, host: &str, path: &str, query: &str) -> String {
    let now = SystemClock.now().to_string();
    let digits = |text: &str| {
        text.chars()
            .filter(char::is_ascii_digit)
            .collect::<String>()
    };
    let (day, time) = now.split_once('T').unwrap_or_default();
    let (day, time) = (digits(day), digits(&time[..8]));
    let (moment, scope) = (
        format!("{day}T{time}Z"),
        format!("{day}/{REGION}/s3/aws4_request"),
    );
    let hash = |text: &str| HEXLOWER.encode(&Sha256::digest(text));
    let names = "host;x-amz-content-sha256;x-amz-date";
    let headers = format!(
        "host:{host}\nx-amz-content-sha256:{}\nx-amz-date:{moment}\n",
        hash("")
    );
    let canonical = format!(
        "{method}\n{path}\n{query}\n{headers}\n{names}\n{}",
        hash("")
    );
    let text = format!("AWS4-HMAC-SHA256\n{moment}\n{scope}\n{}", hash(&canonical));
    let mut key = format!("AWS4{}", secret()).into_bytes();
    for part in scope.split('/').chain([&*text]) {
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("any length will do");
        mac.update(part.as_bytes());
        key = mac.finalize().into_bytes().to_vec();
    }
    format!(
        "{method} {path}?{query} HTTP/1.1\r\n{}content-length: 0\r\nconnection: close\r\n\
         authorization: AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, \
         Signature={}\r\n\r\n",
        headers.replace('\n', "\r\n"),
        key_id(),
        HEXLOWER.encode(&key)
    )
}
