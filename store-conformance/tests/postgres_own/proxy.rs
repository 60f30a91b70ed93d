//! Between the store and its server: counts what is sent, and cuts the line.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[derive(Default)]
struct State {
    statements: AtomicU64,
    /// The next statement arrives and its answer does not.
    lose_reply: AtomicBool,
    /// The next statement does not arrive.
    lose_request: AtomicBool,
    down: AtomicBool,
}

/// A way to the server that can be watched and cut.
#[derive(Clone)]
pub(crate) struct Proxy {
    pub(crate) url: String,
    state: Arc<State>,
}

impl Proxy {
    /// In front of the server at `url`.
    pub(crate) async fn start(url: &str) -> std::io::Result<Self> {
        let server = url
            .split(['@', '/'])
            .nth(3)
            .expect("postgres://user@host/")
            .to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let own = listener.local_addr()?;
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let to = server.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if shared.down.load(Ordering::SeqCst) {
                    continue;
                }
                let (to, state) = (to.clone(), Arc::clone(&shared));
                tokio::spawn(async move {
                    let _ = serve(client, &to, &state).await;
                });
            }
        });
        Ok(Self {
            url: url.replace(&server, &own.to_string()) + "?sslmode=disable",
            state,
        })
    }

    /// How many statements were executed since the last call.
    pub(crate) fn statements(&self) -> u64 {
        self.state.statements.swap(0, Ordering::SeqCst)
    }

    pub(crate) fn lose_next_reply(&self) {
        self.state.lose_reply.store(true, Ordering::SeqCst);
    }

    pub(crate) fn lose_next_request(&self) {
        self.state.lose_request.store(true, Ordering::SeqCst);
    }

    /// Ends every connection at its next statement, and takes no new one.
    pub(crate) fn go_down(&self) {
        self.state.down.store(true, Ordering::SeqCst);
    }

    pub(crate) fn come_back(&self) {
        self.state.down.store(false, Ordering::SeqCst);
    }
}

/// Returning drops both ends of the line.
async fn serve(client: TcpStream, server: &str, state: &State) -> std::io::Result<()> {
    let server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    // Set when the answer to what was sent must not arrive.
    let swallow = AtomicBool::new(false);
    let up = async {
        // The first message has no type.
        let mut typed = false;
        loop {
            let mut message = Vec::new();
            if typed {
                message.push(from_client.read_u8().await?);
            }
            let length = from_client.read_u32().await?;
            message.extend_from_slice(&length.to_be_bytes());
            let body = message.len();
            message.resize(body + length as usize - 4, 0);
            from_client.read_exact(&mut message[body..]).await?;
            // Executing a portal, or a plain query.
            let statement = typed && matches!(message[0], b'E' | b'Q');
            typed = true;
            if statement {
                state.statements.fetch_add(1, Ordering::SeqCst);
                let down = state.down.load(Ordering::SeqCst);
                if down || state.lose_request.swap(false, Ordering::SeqCst) {
                    return std::io::Result::Ok(());
                }
                if state.lose_reply.swap(false, Ordering::SeqCst) {
                    swallow.store(true, Ordering::SeqCst);
                }
            }
            to_server.write_all(&message).await?;
        }
    };
    let down = async {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let length = from_server.read(&mut buffer).await?;
            if length == 0 {
                return std::io::Result::Ok(());
            }
            if !swallow.load(Ordering::SeqCst) {
                to_client.write_all(&buffer[..length]).await?;
            } else if buffer[..length].ends_with(b"Z\0\0\0\x05I") {
                // Ready for the next query: the commit is done.
                return Ok(());
            }
        }
    };
    tokio::select! {
        ended = up => ended,
        ended = down => ended,
    }
}
