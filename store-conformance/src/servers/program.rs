//! A server program of this machine, run as a child.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The user and group `nobody`, for servers that refuse root.
const NOBODY: u32 = 65534;

/// Runs the rest of its arguments, and ends it when the pipe from this process
/// closes: on `drop`, and also when this process is killed, or told to end
/// together with its children.
const GUARD: &str = r#"folder=$1; shift
"$@" & server=$!
trap : TERM INT HUP
read -r order
if [ "$order" = crash ]; then
    kill -KILL $server $(cat /proc/$server/task/*/children 2>/dev/null)
    wait $server
    exit
fi
kill -TERM $server; wait $server
rm -rf "$folder""#;

/// A folder for one server, owned by whom the server runs as.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// Set if this process is root and the server must not be.
    user: Option<u32>,
}

impl Folder {
    /// A new one, in the system's place for temporary files.
    pub(super) fn new(name: &str) -> io::Result<Self> {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let next = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("store-{name}-{}-{next}", std::process::id()));
        fs::create_dir(&path)?;
        let is_root = fs::metadata(&path)?.uid() == 0;
        if is_root {
            chown(&path, Some(NOBODY), Some(NOBODY))?;
        }
        Ok(Self {
            path,
            user: is_root.then_some(NOBODY),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// `program`, to be run in this folder as its owner.
    pub(super) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.path).stdin(Stdio::null());
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command
    }
}

/// A running server.
#[derive(Debug)]
pub(super) struct Program {
    guard: Child,
    folder: Folder,
    program: PathBuf,
    arguments: Vec<String>,
}

impl Program {
    /// Runs `program` with `arguments` in `folder`; its output goes to `log` there.
    pub(super) fn start(folder: Folder, program: &Path, arguments: &[String]) -> io::Result<Self> {
        let guard = guard(&folder, program, arguments)?;
        Ok(Self {
            guard,
            folder,
            program: program.into(),
            arguments: arguments.into(),
        })
    }

    /// Runs it again after [`Program::kill`].
    pub(super) fn restart(&mut self) -> io::Result<()> {
        self.guard = guard(&self.folder, &self.program, &self.arguments)?;
        Ok(())
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Waits until `ready` says so, at most a minute.
    pub(super) fn wait(&mut self, ready: impl Fn(&Path) -> bool) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !ready(self.folder.path()) {
            let ended = self.guard.try_wait().ok().flatten().is_some();
            if ended || Instant::now() > deadline {
                let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                return Err(format!("it did not start; it said:\n{log}"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Ends the server without a word and keeps its folder.
    pub(super) fn kill(&mut self) -> bool {
        self.order("crash\n")
    }

    fn order(&mut self, order: &str) -> bool {
        let Some(mut pipe) = self.guard.stdin.take() else {
            return false;
        };
        let told = io::Write::write_all(&mut pipe, order.as_bytes()).is_ok();
        drop(pipe);
        told && self.guard.wait().is_ok()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.order("\n");
        // The guard did that, unless the server was killed.
        let _ = fs::remove_dir_all(self.folder.path());
    }
}

fn guard(folder: &Folder, program: &Path, arguments: &[String]) -> io::Result<Child> {
    let log = fs::File::create(folder.path().join("log"))?;
    folder
        .command("sh")
        .arg("-c")
        .arg(GUARD)
        .arg("guard")
        .arg(folder.path())
        .arg(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
}

/// A port that nobody listens on now.
pub(super) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Runs to its end.
pub(super) fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|e| format!("cannot start {name}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "{name} ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    ))
}
