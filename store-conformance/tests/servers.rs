//! A server that was started for a test ends with it, even if the test is killed.
//!
//! This program starts itself with [`HOLD`] in the environment, to be the test that is
//! killed: it gets a server, prints its address, and waits.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use store_conformance::servers::{Options, missing, postgres};

const HOLD: &str = "STORE_TEST_HOLD";

/// How long the server may take to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Another process with its own server.
struct Holder {
    process: Child,
    /// The address of its server.
    address: String,
    origin: String,
}

/// The arguments of `kill`; `{}` is the process id.
const ENDS: [(&str, &[&str]); 4] = [
    ("a_killed_test_leaves_no_server_behind", &["-KILL", "{}"]),
    (
        "a_test_killed_with_its_children_leaves_no_server_behind",
        &["-KILL", "--", "-{}"],
    ),
    (
        "a_test_ended_by_ctrl_c_leaves_no_server_behind",
        &["-INT", "--", "-{}"],
    ),
    (
        "a_test_told_to_end_leaves_no_server_behind",
        &["-TERM", "{}"],
    ),
];

fn main() -> ExitCode {
    if std::env::var_os(HOLD).is_some() {
        return hold();
    }
    let mut trials: Vec<_> = ENDS
        .into_iter()
        .map(|(name, end)| Trial::test(name, move || leaves_nothing(end)))
        .collect();
    trials.push(Trial::test(
        "a_test_that_ends_leaves_no_server_behind",
        || {
            let mut holder = Holder::start()?;
            // The process waits for the end of its input.
            drop(holder.process.stdin.take());
            holder.leaves_nothing()
        },
    ));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn hold() -> ExitCode {
    match postgres::find(&Options::from_env()) {
        Ok(server) => {
            println!("{}\n{}", server.url(), server.origin());
            let _ = std::io::stdin().read(&mut [0]);
            ExitCode::SUCCESS
        }
        Err(advice) => missing(&advice),
    }
}

fn leaves_nothing(end: &[&str]) -> Result<(), Failed> {
    let holder = Holder::start()?;
    let id = holder.process.id().to_string();
    let end = end.iter().map(|part| part.replace("{}", &id));
    let status = Command::new("kill").args(end).status()?;
    if !status.success() {
        return Err("it could not be killed".into());
    }
    holder.leaves_nothing()
}

impl Holder {
    fn start() -> Result<Self, Failed> {
        let mut process = Command::new(std::env::current_exe()?)
            .env(HOLD, "1")
            // A server that runs already must not be ended.
            .env_remove(postgres::URL)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // As a shell starts a program: Ctrl-C is sent to the whole group.
            .process_group(0)
            .spawn()?;
        let output = process.stdout.take().ok_or("it has no output")?;
        let mut lines = BufReader::new(output).lines();
        let mut line = || lines.next().ok_or("it got no server").map_err(Failed::from);
        let url = line()??;
        let origin = line()??;
        let address = url
            .split(['@', '/'])
            .rev()
            .nth(1)
            .unwrap_or_default()
            .into();
        let holder = Self {
            process,
            address,
            origin,
        };
        TcpStream::connect(&holder.address)?;
        Ok(holder)
    }

    /// Waits until its server, its folder and its container are removed.
    fn leaves_nothing(mut self) -> Result<(), Failed> {
        let id = self.process.id();
        self.process.wait()?;
        let begin = Instant::now();
        loop {
            let left = self.left(id)?;
            if left.is_empty() {
                return Ok(());
            }
            if begin.elapsed() > PATIENCE {
                return Err(format!("it left {}", left.join(" and ")).into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn left(&self, id: u32) -> Result<Vec<String>, Failed> {
        let mut left = Vec::new();
        if TcpStream::connect(&self.address).is_ok() {
            left.push(format!("a server at {}", self.address));
        }
        for entry in std::env::temp_dir().read_dir()? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.starts_with("store-") && name.contains(&format!("-{id}-")) {
                left.push(format!("the folder {name}"));
            }
        }
        if self.origin.starts_with("container") {
            let label = format!("label=store-conformance.test={id}-0");
            let mut list = Command::new("docker");
            list.args(["ps", "--all", "--quiet", "--filter", &label]);
            let found = String::from_utf8_lossy(&list.output()?.stdout)
                .trim()
                .to_owned();
            if !found.is_empty() {
                left.push(format!("the container {found}"));
            }
        }
        Ok(left)
    }
}
