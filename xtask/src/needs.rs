//! What `cargo xtask test-all` prints before it starts: what it will do, how long that
//! takes, and what is missing on this machine.

use std::process::{Command, Stdio};

use crate::backends::Backend;
use crate::options::Options;

/// A server that `--install` fetches, and the programs that it needs: one of each
/// group.
const FETCHED: &[(&str, &str, &[&[&str]])] = &[
    (
        "postgres",
        "PostgreSQL, from npm's registry",
        &[&["npm", "curl", "wget", "python3"], &["tar"]],
    ),
    (
        "redis",
        "Redis and Valkey, from Debian's packages",
        &[&["apt-get"], &["dpkg-deb"]],
    ),
    (
        "dynamodb",
        "MiniStack as a second DynamoDB, from PyPI",
        &[&["python3"]],
    ),
    ("s3", "MiniStack as S3, from PyPI", &[&["python3"]]),
];

/// Prints the introduction.
pub fn introduce(options: &Options, backends: &[&Backend]) {
    let names: Vec<_> = backends.iter().map(|backend| backend.name).collect();
    println!(
        "This builds the test programs and runs them over {}.\n\
         On two processors, building takes about 10 minutes the first time and the tests\n\
         about as long{}. It needs about 8 GB in `target` and 2 GB of memory. A line\n\
         appears below when a test program has ended; its output is in target/test-logs.",
        names.join(", "),
        if options.every_server {
            ", times two on every server"
        } else {
            ""
        }
    );
    let with_server = backends.iter().any(|backend| backend.server.is_some());
    if !with_server {
        return;
    }
    let containers = !options.no_docker && answers("docker", "info");
    println!(
        "Servers: those that the environment names, {}installed programs{}.",
        if containers { "containers, " } else { "" },
        if options.install {
            ", else fetched into target/servers without root"
        } else {
            ""
        }
    );
    if !options.install && !containers {
        println!("Without --install, a server that this machine lacks is NOT PROVEN.");
    }
    let selected = |name: &str| backends.iter().any(|backend| backend.name == name);
    for (name, what, groups) in FETCHED.iter().filter(|(name, ..)| selected(name)) {
        for group in groups.iter().filter(|_| options.install) {
            if !group.iter().any(|program| answers(program, "--version")) {
                println!(
                    "note: {name}: to fetch {what}, install {} first, or the server itself",
                    group.join(" or ")
                );
            }
        }
    }
}

/// Whether the program is installed.
fn answers(program: &str, argument: &str) -> bool {
    let mut command = Command::new(program);
    command.arg(argument).stdin(Stdio::null());
    let ended = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    ended.is_ok_and(|status| status.success())
}
