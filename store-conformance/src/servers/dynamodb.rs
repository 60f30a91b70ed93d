//! DynamoDB: dynoxide within this process, Amazon's DynamoDB Local in a container,
//! MiniStack, or any at a URL.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use dynoxide::Database;
use dynoxide::server::serve_with_shutdown;
use tokio::sync::oneshot;

use super::container::{Container, Image, asked};
use super::ministack::{self, MiniStack};
use super::program::{Folder, Launch, Program, free_port};
use super::{Kind, Options, Part, Server, is_set};

/// The environment variable with the endpoint of a running server, such as Amazon's
/// DynamoDB Local: `http://127.0.0.1:8000`.
pub const URL: &str = "STORE_TEST_DYNAMODB_URL";

/// If this variable is set, MiniStack is used instead of dynoxide.
pub const MINISTACK: &str = "STORE_TEST_DYNAMODB_MINISTACK";

/// The variable with an image to use instead of Amazon's. It is treated as MiniStack if
/// its name contains `ministack`.
pub const IMAGE: &str = "STORE_TEST_DYNAMODB_IMAGE";

const OFFICIAL: &str = "amazon/dynamodb-local:3.1.0";

/// A region that all servers accept.
pub const REGION: &str = "us-east-1";

/// An access key id that all servers accept with any secret.
pub const KEY_ID: &str = ministack::KEY_ID;

/// The variable with the port on which this program serves, if it was started as a
/// server.
const SERVE: &str = "STORE_TEST_SERVE_DYNAMODB";

const DYNOXIDE: &str = "dynoxide 3.2";

/// Finds or starts a server as [the module](super) describes. It is MiniStack if
/// [`MINISTACK`] is set.
///
/// # Errors
/// If there is none; the message says what to do.
pub fn find(options: &Options) -> Result<Server, String> {
    let only_container = options.containers && !options.programs && !options.install;
    match (is_set(MINISTACK), only_container) {
        (true, _) => super::find(&MiniStack { variable: URL }, options),
        (false, true) => super::find(&Contained, options),
        (false, false) => super::find(&Dynoxide, options),
    }
}

/// The image of the container.
fn image() -> String {
    std::env::var(IMAGE).unwrap_or_else(|_| OFFICIAL.into())
}

/// Finds or starts a server that enforces IAM policies: MiniStack, which also emulates
/// IAM.
///
/// # Errors
/// If there is none; the message says what to do.
pub fn with_rights(options: &Options) -> Result<Server, String> {
    let own = Options {
        running: false,
        ..*options
    };
    super::find(&MiniStack { variable: URL }, &own)
}

/// The name of the server, with its version if that is known.
pub fn name(server: &Server) -> &'static str {
    match server.way {
        "running" => "DynamoDB",
        _ if is_set(MINISTACK) => "MiniStack 1.5.33",
        "container" if image().contains("ministack") => "MiniStack 1.5.33",
        "container" => "DynamoDB Local 3",
        _ => DYNOXIDE,
    }
}

/// Starts a server that stores its data in a file and can be killed and restarted. It is
/// this program, run as a server, so the program must first call [`serve_if_asked`].
///
/// # Errors
/// If it does not start; the message contains its output.
pub fn killable() -> Result<Server, String> {
    if is_set(SERVE) {
        return Err("this program was started as a server, but did not call serve_if_asked".into());
    }
    let port = free_port()?;
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let launch = Launch {
        command: vec![
            "env".into(),
            format!("{SERVE}={port}"),
            program.display().to_string(),
        ],
        stop: "TERM",
        ready: Box::new(move |_| {
            let question = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
            asked(&format!("127.0.0.1:{port}"), question, b"HTTP/1.1".len())
        }),
        stale: &[],
    };
    // Runs as the user of the tests, who owns the program.
    let program = Program::start(Folder::own("dynoxide")?, launch)?;
    Ok(Server {
        url: format!("http://127.0.0.1:{port}"),
        direct: None,
        origin: "this program, run as a server".into(),
        way: "embedded",
        parts: vec![Part::Program(program)],
    })
}

/// If [`killable`] started this process as its server, serves and does not return.
pub fn serve_if_asked() {
    let Ok(port) = std::env::var(SERVE) else {
        return;
    };
    let serve = || {
        let port = port.parse::<u16>().map_err(|e| e.to_string())?;
        let listener = TcpListener::bind(("127.0.0.1", port)).map_err(|e| e.to_string())?;
        // The file is in the working directory.
        let database = Database::new("database").map_err(|e| e.to_string())?;
        let (_never, stopped) = oneshot::channel();
        serve(listener, database, stopped)
    };
    if let Err(error) = serve() {
        eprintln!("dynoxide: {error}");
    }
    std::process::exit(1);
}

/// A server in a container: DynamoDB Local, or MiniStack.
struct Contained;

impl Kind for Contained {
    fn name(&self) -> String {
        "DynamoDB".into()
    }

    fn variable(&self) -> &'static str {
        URL
    }

    fn contain(&self, _: &Options) -> Result<Server, String> {
        let name = image();
        if name.contains("ministack") {
            return ministack::contain(&name);
        }
        let image = Image {
            name: &name,
            port: 8000,
            environment: &[],
            arguments: &[],
        };
        let question = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let container = Container::start(&image, |address| {
            asked(address, question, b"HTTP/1.1".len())
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
        Err("this server runs only in a container".into())
    }

    fn start(&self, _: &Path, _: &Options) -> Result<Server, String> {
        Err("this server runs only in a container".into())
    }

    fn advice(&self) -> Vec<String> {
        vec![
            format!("start a container engine that can pull {OFFICIAL};"),
            format!("as root, .ci/images/ministack makes an image; name it by {IMAGE};"),
        ]
    }
}

/// A server in this process.
struct Dynoxide;

impl Kind for Dynoxide {
    fn name(&self) -> String {
        "dynoxide".into()
    }

    fn variable(&self) -> &'static str {
        URL
    }

    fn contain(&self, _: &Options) -> Result<Server, String> {
        Err("this server runs only within this program".into())
    }

    /// There are no programs to find.
    fn programs(&self) -> Option<PathBuf> {
        std::env::current_exe().ok()
    }

    fn install(&self) -> Result<PathBuf, String> {
        std::env::current_exe().map_err(|e| e.to_string())
    }

    fn start(&self, _: &Path, _: &Options) -> Result<Server, String> {
        let database = Database::memory().map_err(|e| e.to_string())?;
        let embedded = Embedded::start(database)?;
        Ok(Server {
            url: format!("http://{}", embedded.address),
            direct: None,
            origin: "part of this program".into(),
            way: "embedded",
            parts: vec![Part::Embedded(embedded)],
        })
    }

    fn advice(&self) -> Vec<String> {
        vec![format!(
            "set {URL} to http://host:port of a running server;"
        )]
    }
}

/// A server on a separate thread, which ends when this value is dropped.
pub(super) struct Embedded {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Embedded {
    fn start(database: Database) -> Result<Self, String> {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
        let address = listener.local_addr().map_err(|e| e.to_string())?;
        let (stop, stopped) = oneshot::channel();
        // The socket is already listening. An error while serving is printed with the
        // tests' output.
        let thread = std::thread::spawn(move || {
            if let Err(error) = serve(listener, database, stopped) {
                eprintln!("dynoxide: {error}");
            }
        });
        Ok(Self {
            address,
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

fn serve(
    listener: TcpListener,
    database: Database,
    stopped: oneshot::Receiver<()>,
) -> Result<(), String> {
    listener.set_nonblocking(true).map_err(|e| e.to_string())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| e.to_string())?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).map_err(|e| e.to_string())?;
        tokio::select! {
            served = serve_with_shutdown(listener, database, std::future::pending()) => served,
            // Open connections are closed.
            _ = stopped => Ok(()),
        }
    })
}

impl Drop for Embedded {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
