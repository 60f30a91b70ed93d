//! A server in a container, which testcontainers starts.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use testcontainers::core::IntoContainerPort;
use testcontainers::runners::SyncRunner;
use testcontainers::{ContainerRequest, GenericImage, ImageExt};

use super::is_in_time;

/// The label of the containers that these tests start.
const LABEL: &str = "store-conformance.test";

/// A script that removes the containers with the label when the pipe from this process
/// closes without a message. That happens if the process was killed, or ended by a
/// signal, before it removed them. The script uses the engine's command line program,
/// which is installed with the engine.
const GUARD: &str = r#"label=$1
trap : TERM INT HUP
read -r order && exit
for engine in docker podman; do
    found=$($engine ps --all --quiet --filter "label=$label" 2>/dev/null) || continue
    [ -z "$found" ] || $engine rm --force --volumes $found
done"#;

/// The image to run.
pub(super) struct Image<'a> {
    /// `name:tag`.
    pub(super) name: &'a str,
    /// The port of the server inside the container.
    pub(super) port: u16,
    pub(super) environment: &'a [(&'a str, &'a str)],
    pub(super) arguments: &'a [&'a str],
}

/// A running container. It is removed when this is dropped, or by a guard if this process
/// ends in another way. (The watchdog of testcontainers handles only signals, and not
/// SIGKILL.)
#[derive(Debug)]
pub(super) struct Container {
    container: Option<testcontainers::Container<GenericImage>>,
    guard: Option<Child>,
    /// The port of the server on this machine.
    pub(super) port: u16,
}

impl Container {
    /// Starts the container, and waits until `answers` returns true for the server's
    /// address.
    pub(super) fn start(image: &Image<'_>, answers: impl Fn(&str) -> bool) -> Result<Self, String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let own = format!("{}-{next}", std::process::id());
        let (name, tag) = image
            .name
            .rsplit_once(':')
            .unwrap_or((image.name, "latest"));
        let mut request: ContainerRequest<GenericImage> = GenericImage::new(name, tag)
            .with_exposed_port(image.port.tcp())
            .with_cmd(image.arguments.iter().copied())
            .with_label(LABEL, &own)
            .with_startup_timeout(Duration::from_secs(120));
        for (name, value) in image.environment {
            request = request.with_env_var(*name, *value);
        }
        let mut started = Self {
            container: None,
            guard: guard(&own),
            port: 0,
        };
        let container = request.start().map_err(|e| e.to_string())?;
        let port = container.get_host_port_ipv4(image.port.tcp());
        started.container = Some(container);
        started.port = port.map_err(|e| e.to_string())?;
        let address = format!("127.0.0.1:{}", started.port);
        match is_in_time(|| answers(&address)) {
            true => Ok(started),
            false => Err(format!("{} did not answer within a minute", image.name)),
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        drop(self.container.take());
        if let Some(mut guard) = self.guard.take() {
            let sent = guard.stdin.take().map(|mut pipe| pipe.write_all(b"\n"));
            if sent.is_some_and(|sent| sent.is_ok()) {
                let _ = guard.wait();
            }
        }
    }
}

/// Starts the guard of the containers with that label, in its own process group.
fn guard(own: &str) -> Option<Child> {
    Command::new("sh")
        .args(["-c", GUARD, "guard", &format!("{LABEL}={own}")])
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()
}

/// Whether the server at `address` replies to `question` with `length` bytes. Connecting
/// is not enough, because a mapped port accepts connections before its server does.
pub(super) fn asked(address: &str, question: &[u8], length: usize) -> bool {
    let ask = || -> std::io::Result<()> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(question)?;
        stream.read_exact(&mut vec![0; length])
    };
    ask().is_ok()
}
