//! A server program on this machine, run as a child process.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

use super::is_in_time;

/// The id of the user and group `nobody`, for servers that refuse to run as root.
const NOBODY: u32 = 65534;

/// A script that runs the command in its arguments, and ends it when the pipe from this
/// process closes, which happens on `drop` and also when this process is killed. It has
/// its own process group, so that Ctrl-C, which ends this process and its children, does
/// not end the guard.
const GUARD: &str = r#"folder=$1; stop=$2; shift 2
trap : TERM INT HUP QUIT
"$@" & server=$!
end() { kill -s $1 $server $(cat /proc/$server/task/*/children 2>/dev/null) 2>/dev/null; }
read -r order
if [ "$order" = crash ]; then
    end KILL
    wait $server
    exit
fi
# A shell that makes data first heeds the first signal alone.
end TERM; end $stop
wait $server
for wait in 0 1 2 4 8; do sleep $wait; rm -rf "$folder" && break; done"#;

/// A folder for one server, owned by the server's user. It is removed when this value is
/// dropped.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// Set if this process runs as root and the server must not.
    user: Option<u32>,
}

impl Folder {
    /// Creates a new temporary folder.
    pub(super) fn new(name: &str) -> Result<Self, String> {
        let mut folder = Self::own(name)?;
        let give = || -> io::Result<bool> {
            let is_root = fs::metadata(&folder.path)?.uid() == 0;
            if is_root {
                chown(&folder.path, Some(NOBODY), Some(NOBODY))?;
            }
            Ok(is_root)
        };
        let is_root = give().map_err(|e| format!("a folder for the user nobody: {e}"))?;
        folder.user = is_root.then_some(NOBODY);
        Ok(folder)
    }

    /// Creates a new folder for a server that may also run as root.
    pub(super) fn own(name: &str) -> Result<Self, String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("store-{name}-{}-{next}", std::process::id()));
        fs::create_dir(&path).map_err(|e| format!("no temporary folder: {e}"))?;
        Ok(Self { path, user: None })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The command that runs `program` in this folder, as the folder's owner.
    pub(super) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.path).stdin(Stdio::null());
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command
    }

    /// The folder `root` of programs, or a copy of it in this folder if the owner cannot
    /// run `program` there, because `target` may be in a folder that only root can read.
    pub(super) fn reach(&self, root: &Path, program: &str) -> Result<PathBuf, String> {
        let mut test = self.command("test");
        test.arg("-x").arg(root.join(program));
        if test.status().is_ok_and(|status| status.success()) {
            return Ok(root.into());
        }
        let copy = self.path.join("programs");
        run(Command::new("cp").arg("-a").arg(root).arg(&copy))?;
        if let Some(user) = self.user {
            // The copy is owned by that user, so that the guard can remove it.
            let owner = format!("{user}:{user}");
            run(Command::new("chown").args(["-R", &owner]).arg(&copy))?;
        }
        Ok(copy)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// How a server is run.
pub(super) struct Launch {
    /// The program and its arguments.
    pub(super) command: Vec<String>,
    /// The signal that shuts it down quickly and cleanly: `TERM` …
    pub(super) stop: &'static str,
    /// Whether the server in that folder answers.
    pub(super) ready: Box<dyn Fn(&Path) -> bool + Send + Sync>,
    /// Files in its folder because of which a killed server seems to be running. They are
    /// removed before a restart.
    pub(super) stale: &'static [&'static str],
}

/// A running server.
pub(super) struct Program {
    guard: Child,
    folder: Folder,
    launch: Launch,
}

impl Program {
    /// Starts the server in `folder` and waits until it is ready. Its output is written
    /// to `log` in the folder.
    pub(super) fn start(folder: Folder, launch: Launch) -> Result<Self, String> {
        let guard = guard(&folder, &launch)?;
        let mut program = Self {
            guard,
            folder,
            launch,
        };
        program.wait()?;
        Ok(program)
    }

    /// Restarts the server after [`Program::kill`].
    pub(super) fn restart(&mut self) -> Result<(), String> {
        for name in self.launch.stale {
            let _ = fs::remove_file(self.folder.path().join(name));
        }
        self.guard = guard(&self.folder, &self.launch)?;
        self.wait()
    }

    /// Waits at most a minute until the server is ready.
    fn wait(&mut self) -> Result<(), String> {
        let mut ready = false;
        is_in_time(|| {
            ready = (self.launch.ready)(self.folder.path());
            ready || self.has_ended()
        });
        if ready {
            return Ok(());
        }
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        Err(format!("the server did not start; its output:\n{log}"))
    }

    /// Whether the server has ended: its guard, which still waits for messages, has a zombie
    /// child.
    fn has_ended(&self) -> bool {
        let children = format!("/proc/{0}/task/{0}/children", self.guard.id());
        let children = fs::read_to_string(children).unwrap_or_default();
        let is_zombie = |child: &str| {
            let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            stat.contains(") Z ")
        };
        children.split_whitespace().any(is_zombie)
    }

    /// Kills the server but does not remove its folder.
    pub(super) fn kill(&mut self) -> bool {
        self.order("crash\n")
    }

    fn order(&mut self, order: &str) -> bool {
        let Some(mut pipe) = self.guard.stdin.take() else {
            return false;
        };
        let sent = io::Write::write_all(&mut pipe, order.as_bytes()).is_ok();
        drop(pipe);
        sent && self.guard.wait().is_ok()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.order("\n");
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program")
            .field("command", &self.launch.command)
            .finish_non_exhaustive()
    }
}

fn guard(folder: &Folder, launch: &Launch) -> Result<Child, String> {
    let log = fs::File::create(folder.path().join("log")).map_err(|e| e.to_string())?;
    let errors = log.try_clone().map_err(|e| e.to_string())?;
    folder
        .command("sh")
        .args(["-c", GUARD, "guard"])
        .arg(folder.path())
        .arg(launch.stop)
        .args(&launch.command)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(log)
        .stderr(errors)
        .spawn()
        .map_err(|e| format!("cannot start sh: {e}"))
}

/// A free port below the range that the system uses for outgoing connections, so that it
/// is still free when a server restarts.
pub(super) fn free_port() -> Result<u16, String> {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let own = u16::try_from(std::process::id() % u32::from(COUNT)).unwrap_or_default();
    for _ in 0..COUNT {
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (own.wrapping_mul(101).wrapping_add(next)) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err("no free port".into())
}

/// Runs a command, waits for it, and returns its output.
pub(super) fn run(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|e| format!("cannot start {name}: {e}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!(
        "{name} ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    ))
}
