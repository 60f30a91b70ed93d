//! The backends of this workspace: one row each. Every command works from
//! these rows, so a new backend is a crate, a row here, and
//! `store-conformance/tests/NAME.rs`.

use std::process::{Command, Stdio};

use crate::Result;
use crate::options::Options;
use crate::workspace::Workspace;

/// One backend.
#[derive(Debug)]
pub struct Backend {
    /// Its name in reports, and the name of its test program.
    pub name: &'static str,
    /// Its crate.
    pub package: &'static str,
    /// The product name of the server that it needs; `None` if it runs in process.
    pub server: Option<&'static str>,
    /// The servers that `--every-server` tests it on; none if it runs in process.
    pub variants: &'static [Variant],
    /// The versions of the variants that the matrix lists.
    pub versions: &'static [&'static str],
    /// The test program with the tests [`CRASH_TEST`] and [`STORM_TEST`], if the
    /// backend survives crashes.
    pub crash: Option<&'static str>,
    /// The crates of [`HEAVY`] that its users compile: its driver and its dependencies.
    pub heavy: &'static [&'static str],
    /// The most crates that its users may compile, itself and core included.
    pub most_crates: usize,
}

/// One server that a backend is tested on.
#[derive(Debug)]
pub struct Variant {
    /// How it differs from the usual server; empty for the usual one.
    pub name: &'static str,
    /// The environment with which the tests find it (store-conformance/src/servers).
    pub environment: &'static [(&'static str, &'static str)],
    /// Whether the whole suite runs on it.
    pub suite: Suite,
    /// Whether it is fetched, which needs `--install`.
    pub installs: bool,
    /// Other test programs of store-conformance that run on it too, and their
    /// arguments.
    pub also: &'static [(&'static str, &'static [&'static str])],
}

/// Whether the whole suite runs on a server.
#[derive(Clone, Copy, Debug)]
pub enum Suite {
    /// All of it.
    Whole,
    /// Only the programs in `also`.
    Parts,
    /// All of it, unless the machine has the image in which all of it runs as well.
    WholeUnless(&'static Image),
}

/// The image of a server's container.
#[derive(Debug)]
pub struct Image {
    /// The variable that overrides it.
    pub variable: &'static str,
    /// The official image.
    pub official: &'static str,
}

const POSTGRES_IMAGE: Image = Image {
    variable: "STORE_TEST_POSTGRES_IMAGE",
    official: "postgres:18.4",
};

const REDIS_IMAGE: Image = Image {
    variable: "STORE_TEST_REDIS_IMAGE",
    official: "redis:8.2.1",
};

const VALKEY_IMAGE: Image = Image {
    variable: "STORE_TEST_VALKEY_IMAGE",
    official: "valkey/valkey:8.1.3",
};

const DYNAMODB_IMAGE: Image = Image {
    variable: "STORE_TEST_DYNAMODB_IMAGE",
    official: "amazon/dynamodb-local:3.1.0",
};

const MINISTACK_IMAGE: Image = Image {
    variable: "STORE_TEST_MINISTACK_IMAGE",
    official: "ministackorg/ministack:1.5.33",
};

/// The first server that is found.
pub const EVERYDAY: Variant = Variant {
    name: "",
    environment: &[],
    suite: Suite::Whole,
    installs: false,
    also: &[],
};

impl Variant {
    /// Whether the whole suite runs on it, on this machine.
    pub fn runs_whole_suite(&self, options: &Options) -> bool {
        match self.suite {
            Suite::Whole => true,
            Suite::Parts => false,
            Suite::WholeUnless(image) => options.no_docker || !image.is_here(),
        }
    }
}

impl Image {
    fn is_here(&self) -> bool {
        let name = std::env::var(self.variable).unwrap_or_else(|_| self.official.into());
        let mut asked = Command::new("docker");
        asked.args(["image", "inspect", &name]).stdin(Stdio::null());
        let ended = asked.stdout(Stdio::null()).stderr(Stdio::null()).status();
        ended.is_ok_and(|status| status.success())
    }
}

/// What a pooler may break: sessions, prepared statements, notices, races. The other
/// cases of the suite depend on these, and take minutes.
const POOLED: &[(&str, &[&str])] = &[
    ("postgres", &["records"]),
    ("postgres", &["lti"]),
    ("postgres_own", &["two_commits_that_each_check"]),
    ("postgres_own", &["a_single_put_and_a_commit"]),
    ("postgres_own", &["overlapping_commits"]),
    ("pgbouncer", &[]),
];

/// Test programs other than suites, whose servers not every machine has.
pub const MAY_LACK: &[&str] = &["dynamodb_rights", "pgbouncer"];

/// The test that kills a backend's server again and again.
pub const CRASH_TEST: &str = "nothing_acknowledged_is_lost_and_nothing_is_there_by_half";

/// The test that cuts the connection to a backend's server again and again.
pub const STORM_TEST: &str = "a_storm_makes_no_answer_untrue";

/// All of them, in the order of every table.
pub const BACKENDS: &[Backend] = &[
    Backend {
        name: "memory",
        package: "store-memory",
        server: None,
        variants: &[],
        versions: &[],
        crash: None,
        heavy: &[],
        most_crates: 60,
    },
    Backend {
        name: "postgres",
        package: "store-postgres",
        server: Some("PostgreSQL"),
        variants: &[
            Variant {
                name: "oldest",
                environment: &[("STORE_TEST_POSTGRES_VERSION", "15")],
                ..EVERYDAY
            },
            Variant {
                name: "newest, fetched without root",
                environment: &[
                    ("STORE_TEST_POSTGRES_VERSION", "18"),
                    ("STORE_TEST_WAY", "install"),
                ],
                suite: Suite::WholeUnless(&POSTGRES_IMAGE),
                installs: true,
                also: &[("postgres", &["records"]), ("servers", &[])],
            },
            Variant {
                name: "in a container",
                environment: &[("STORE_TEST_WAY", "container")],
                also: &[("servers", &[])],
                ..EVERYDAY
            },
            Variant {
                name: "behind pgbouncer",
                environment: &[("STORE_TEST_POSTGRES_POOLER", "1")],
                suite: Suite::Parts,
                also: POOLED,
                ..EVERYDAY
            },
        ],
        versions: &["15", "18"],
        crash: Some("postgres_own"),
        heavy: &["ring", "rustls", "sqlx"],
        most_crates: 152,
    },
    Backend {
        name: "redis",
        package: "store-redis",
        server: Some("Redis"),
        variants: &[
            Variant {
                name: "oldest",
                environment: &[("STORE_TEST_REDIS_VERSION", "7")],
                ..EVERYDAY
            },
            Variant {
                name: "a cluster of three",
                environment: &[("STORE_TEST_REDIS_CLUSTER", "1")],
                ..EVERYDAY
            },
            Variant {
                name: "newest, fetched without root",
                environment: &[("STORE_TEST_WAY", "install")],
                suite: Suite::WholeUnless(&REDIS_IMAGE),
                installs: true,
                also: &[("redis", &["records"])],
            },
            Variant {
                name: "in a container",
                environment: &[("STORE_TEST_WAY", "container")],
                ..EVERYDAY
            },
            Variant {
                name: "Valkey in a container",
                environment: &[
                    ("STORE_TEST_REDIS_VALKEY", "1"),
                    ("STORE_TEST_WAY", "container"),
                ],
                ..EVERYDAY
            },
            Variant {
                name: "Valkey, fetched without root",
                environment: &[
                    ("STORE_TEST_REDIS_VALKEY", "1"),
                    ("STORE_TEST_WAY", "install"),
                ],
                suite: Suite::WholeUnless(&VALKEY_IMAGE),
                installs: true,
                also: &[("redis", &["records"])],
            },
        ],
        versions: &["7", "8", "Valkey 8"],
        crash: Some("redis_own"),
        heavy: &["redis", "ring", "rustls"],
        most_crates: 107,
    },
    Backend {
        name: "dynamodb",
        package: "store-dynamodb",
        // It replaces DynamoDB in tests.
        server: Some("dynoxide"),
        variants: &[
            Variant {
                name: "dynoxide",
                suite: Suite::WholeUnless(&DYNAMODB_IMAGE),
                also: &[("dynamodb", &["records"])],
                ..EVERYDAY
            },
            Variant {
                name: "MiniStack, fetched without root",
                environment: &[
                    ("STORE_TEST_DYNAMODB_MINISTACK", "1"),
                    ("STORE_TEST_WAY", "install"),
                ],
                suite: Suite::WholeUnless(&DYNAMODB_IMAGE),
                installs: true,
                also: &[("dynamodb", &["records"])],
            },
            Variant {
                name: "in a container",
                environment: &[("STORE_TEST_WAY", "container")],
                ..EVERYDAY
            },
        ],
        versions: &["3"],
        crash: Some("dynamodb_own"),
        // All of it is the AWS SDK, which brings two generations of HTTP.
        heavy: &["aws-config", "aws-sdk-dynamodb", "hyper", "ring", "rustls"],
        most_crates: 171,
    },
    Backend {
        name: "s3",
        package: "store-s3",
        // It replaces Amazon's S3 in tests.
        server: Some("MiniStack"),
        variants: &[
            Variant {
                name: "MiniStack, fetched without root",
                environment: &[("STORE_TEST_WAY", "install")],
                suite: Suite::WholeUnless(&MINISTACK_IMAGE),
                installs: true,
                also: &[("s3", &["records"])],
            },
            Variant {
                name: "MiniStack in a container",
                environment: &[("STORE_TEST_WAY", "container")],
                ..EVERYDAY
            },
            Variant {
                name: "Ceph in a container",
                environment: &[("STORE_TEST_S3_CEPH", "1"), ("STORE_TEST_WAY", "container")],
                suite: Suite::Parts,
                also: &[("s3", &["records"]), ("s3", &["blobs"]), ("s3", &["lti"])],
                ..EVERYDAY
            },
        ],
        versions: &["1"],
        // S3 itself does not crash: its clients are killed.
        crash: Some("s3_own"),
        // Nearly all of it is the driver and its HTTP.
        heavy: &[
            "hyper",
            "object_store",
            "quick-xml",
            "reqwest",
            "ring",
            "rustls",
        ],
        most_crates: 154,
    },
];

/// What every user of every backend compiles: the crate, the heavy crates that
/// it may bring, and the most crates in all, itself included. Explain in the commit why
/// a number rises.
pub const CORE: (&str, &[&str], usize) = ("store-core", &[], 50);

/// The same for users of the suite.
pub const CONFORMANCE: (&str, &[&str], usize) =
    ("store-conformance", &["clap", "libtest-mimic"], 70);

/// Crates that take long to compile or have many dependencies. A user of one backend
/// must not compile those of another.
pub const HEAVY: [&str; 20] = [
    "aws-config",
    "aws-sdk-dynamodb",
    "axum",
    "clap",
    "dashmap",
    "hyper",
    "jsonwebtoken",
    "libtest-mimic",
    "moka",
    "object_store",
    "quick_cache",
    "quick-xml",
    "redis",
    "regex",
    "reqwest",
    "ring",
    "rustls",
    "sqlx",
    "tokio-postgres",
    "tonic",
];

/// The backends to work on: those named, or all.
///
/// # Errors
/// If a name is unknown (the message lists the known ones), or if the rows and
/// the workspace's members differ.
pub fn select(names: &[String], workspace: &Workspace) -> Result<Vec<&'static Backend>> {
    agree(workspace)?;
    if names.is_empty() {
        return Ok(BACKENDS.iter().collect());
    }
    let mut selected: Vec<&'static Backend> = Vec::new();
    for name in names {
        let Some(backend) = BACKENDS.iter().find(|backend| backend.name == name) else {
            return Err(format!("there is no backend `{name}`; there is: {}", list()).into());
        };
        if !selected.iter().any(|known| known.name == backend.name) {
            selected.push(backend);
        }
    }
    Ok(selected)
}

/// The names of all backends, for a message.
pub fn list() -> String {
    let names: Vec<_> = BACKENDS.iter().map(|backend| backend.name).collect();
    names.join(", ")
}

/// A backend without a row would not be tested, and nothing would show it.
fn agree(workspace: &Workspace) -> Result {
    for package in &workspace.packages {
        let name = package.name.as_str();
        let rowed = BACKENDS.iter().any(|backend| backend.package == name);
        let other = [CORE.0, CONFORMANCE.0].contains(&name);
        if name.starts_with("store-") && !other && !rowed {
            return Err(format!(
                "{name} is in the workspace and has no row in xtask/src/backends.rs"
            )
            .into());
        }
    }
    for backend in BACKENDS {
        if workspace.package(backend.package).is_none() {
            return Err(format!(
                "{} has a row in xtask/src/backends.rs and is not in the workspace",
                backend.package
            )
            .into());
        }
    }
    Ok(())
}
