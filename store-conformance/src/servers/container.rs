//! A server in a container, by testcontainers.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use testcontainers::core::IntoContainerPort;
use testcontainers::runners::SyncRunner;
use testcontainers::{Container, ContainerRequest, GenericImage, ImageExt};

/// What to run.
pub(super) struct Image<'a> {
    /// `name:tag`.
    pub(super) name: &'a str,
    /// Where the server listens, inside.
    pub(super) port: u16,
    pub(super) environment: &'a [(&'a str, &'a str)],
    pub(super) arguments: &'a [&'a str],
}

/// A running container; removed when it is dropped, and by testcontainers'
/// watchdog when this process is told to end.
#[derive(Debug)]
pub(super) struct Running {
    _container: Container<GenericImage>,
    /// Where the server listens, from here.
    pub(super) port: u16,
}

/// Starts it; `answers` says whether the server at the address does.
pub(super) fn start(image: &Image<'_>, answers: fn(&str) -> bool) -> Result<Running, String> {
    let (name, tag) = image
        .name
        .rsplit_once(':')
        .unwrap_or((image.name, "latest"));
    let mut request: ContainerRequest<GenericImage> = GenericImage::new(name, tag)
        .with_exposed_port(image.port.tcp())
        .with_cmd(image.arguments.iter().copied())
        // Found and swept by it, should a process be killed.
        .with_label("org.store-rs.test", "1")
        .with_startup_timeout(Duration::from_secs(120));
    for (name, value) in image.environment {
        request = request.with_env_var(*name, *value);
    }
    let container = request.start().map_err(|e| e.to_string())?;
    let port = container
        .get_host_port_ipv4(image.port.tcp())
        .map_err(|e| e.to_string())?;
    let address = format!("127.0.0.1:{port}");
    let deadline = Instant::now() + Duration::from_secs(60);
    while !answers(&address) {
        if Instant::now() > deadline {
            return Err(format!("{} did not answer within a minute", image.name));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(Running {
        _container: container,
        port,
    })
}

/// Whether whoever listens at `address` answers `question` with `length` bytes.
/// A mapped port accepts before its server does.
pub(super) fn asked(address: &str, question: &[u8], length: usize) -> bool {
    let ask = || -> std::io::Result<()> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(question)?;
        stream.read_exact(&mut vec![0; length])
    };
    ask().is_ok()
}
