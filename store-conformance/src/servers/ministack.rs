//! MiniStack, which emulates DynamoDB, S3 and IAM, as a container or as a Python program
//! from PyPI.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::container::{Container, Image, asked};
use super::install::{installed, once};
use super::program::{Folder, Launch, Program, free_port, run};
use super::{Kind, Options, Part, Server};

/// The environment variable with a folder of its Python packages, instead of a downloaded
/// one.
pub const PROGRAMS: &str = "STORE_TEST_MINISTACK_PACKAGES";

/// The access key id that it accepts with any secret. It checks the secret of key ids
/// that its IAM created.
pub const KEY_ID: &str = "test";

/// The environment variable with an image to use instead of the official one.
pub const IMAGE: &str = "STORE_TEST_MINISTACK_IMAGE";

const OFFICIAL: &str = "ministackorg/ministack:1.5.33";

/// Its port in a container.
const PORT: u16 = 4566;

const INSTALLED: &str = "ministack-1.5.33";

/// All its dependencies for Python 3.11 or later, pinned so that its behaviour does not
/// change.
const PACKAGES: [&str; 17] = [
    "ministack==1.5.33",
    "botocore==1.43.106",
    "defusedxml==0.7.1",
    "graphql-core==3.2.12",
    "h11==0.16.0",
    "h2==4.4.1",
    "hpack==4.2.0",
    "hypercorn==0.18.0",
    "hyperframe==6.1.0",
    "jmespath==1.1.0",
    "jsonata-python==0.7.1",
    "priority==2.0.0",
    "python-dateutil==2.9.0.post0",
    "pyyaml==6.0.3",
    "six==1.17.0",
    "urllib3==2.8.0",
    "wsproto==1.3.2",
];

/// Its settings, without its address. They enable only the services that are tested, none
/// of which listens on another port.
const SETTINGS: [(&str, &str); 4] = [
    ("AUTH", "true"),
    ("IOT_MTLS_ENABLED", "0"),
    ("SERVICES", "s3,dynamodb,iam,sts"),
    ("SFTP_ENABLED", "0"),
];

/// MiniStack for the tests of one backend.
pub(super) struct MiniStack {
    /// The backend's environment variable with the URL of a running server.
    pub(super) variable: &'static str,
}

impl Kind for MiniStack {
    fn name(&self) -> String {
        "MiniStack".into()
    }

    fn variable(&self) -> &'static str {
        self.variable
    }

    fn contain(&self, _: &Options) -> Result<Server, String> {
        contain(&std::env::var(IMAGE).unwrap_or_else(|_| OFFICIAL.into()))
    }

    fn programs(&self) -> Option<PathBuf> {
        let given = std::env::var_os(PROGRAMS).map(PathBuf::from);
        let folder = given.unwrap_or_else(|| installed().join(INSTALLED));
        folder.join("ministack").is_dir().then_some(folder)
    }

    fn install(&self) -> Result<PathBuf, String> {
        once(INSTALLED, fetch)
    }

    /// The options are ignored, because MiniStack never stores data on disk.
    fn start(&self, programs: &Path, _: &Options) -> Result<Server, String> {
        let port = free_port()?;
        let mut command = vec!["env".to_owned()];
        command.extend(SETTINGS.map(|(name, value)| format!("{name}={value}")));
        command.push("BIND_HOST=127.0.0.1".into());
        command.push(format!("GATEWAY_PORT={port}"));
        command.push(format!("PYTHONPATH={}", programs.display()));
        command.extend(["python3", "-m", "ministack"].map(String::from));
        let launch = Launch {
            command,
            stop: "TERM",
            ready: Box::new(move |_| is_ready(&format!("127.0.0.1:{port}"))),
            stale: &[],
        };
        // Runs as the user of the tests, who owns the Python packages.
        let program = Program::start(Folder::own("ministack")?, launch)?;
        Ok(Server {
            url: format!("http://127.0.0.1:{port}"),
            direct: None,
            origin: format!("program in {}", programs.display()),
            way: match programs.starts_with(installed()) {
                true => "installed",
                false => "program",
            },
            parts: vec![Part::Program(program)],
        })
    }

    fn advice(&self) -> Vec<String> {
        vec![
            format!(
                "set {} to http://host:port of a running server;",
                self.variable
            ),
            format!(
                "python3 -m pip install --target FOLDER {}, and set {PROGRAMS} to FOLDER;",
                PACKAGES[0]
            ),
        ]
    }
}

/// Starts a container of this image.
pub(super) fn contain(image: &str) -> Result<Server, String> {
    let mut environment = SETTINGS.to_vec();
    environment.push(("BIND_HOST", "0.0.0.0"));
    let container = Image {
        name: image,
        port: PORT,
        environment: &environment,
        arguments: &[],
    };
    let container = Container::start(&container, is_ready)?;
    Ok(Server {
        url: format!("http://127.0.0.1:{}", container.port),
        direct: None,
        origin: format!("container of {image}"),
        way: "container",
        parts: vec![Part::Container(Box::new(container))],
    })
}

fn is_ready(address: &str) -> bool {
    let question = b"GET /_ministack/health HTTP/1.1\r\nHost: localhost\r\n\r\n";
    asked(address, question, b"HTTP/1.1 200".len())
}

/// Downloads the packages with pip, or with the pip of a new virtual environment if the
/// system's Python has none.
fn fetch(folder: &Path) -> Result<(), String> {
    let install = |python: &Path| {
        run(Command::new(python)
            .args(["-m", "pip", "install", "--quiet", "--no-input"])
            .arg("--disable-pip-version-check")
            .args(["--only-binary", ":all:", "--target"])
            .arg(folder)
            .args(PACKAGES))
        .map(drop)
    };
    let Err(error) = install(Path::new("python3")) else {
        return Ok(());
    };
    let environment = folder.join("environment");
    run(Command::new("python3")
        .args(["-m", "venv"])
        .arg(&environment))
    .map_err(|e| format!("{error}; {e}"))?;
    install(&environment.join("bin/python3"))?;
    fs::remove_dir_all(&environment).map_err(|e| e.to_string())
}
