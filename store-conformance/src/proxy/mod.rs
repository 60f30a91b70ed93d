//! A proxy that counts requests and cuts connections, for any server.
//!
//! Put [`Proxy`] between a store and its server. It counts requests, and cuts the
//! connection before a request, in the middle of one, after the server has executed it
//! and before its reply, or in the middle of the reply: as scripted, or at random from a
//! seed. The client gets the same error in each case. [`storm`](crate::storm) is a
//! workload to run over it. A [`Framing`] finds the end of a request.
//!
//! Proxies for testing such as toxiproxy cut at times or byte counts; this one knows
//! where a request ends, so that a test can cut exactly before or after it.

mod framing;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::history::Dice;

pub use framing::{Framing, Message, http, postgres, redis};

/// Where the connection is cut, for one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Nowhere.
    None,
    /// The request does not arrive.
    BeforeRequest,
    /// Half of the request arrives, which no server executes.
    InRequest,
    /// The server answers, and the answer does not arrive.
    BeforeReply,
    /// Half of the server's first bytes arrive.
    InReply,
}

/// How many of a thousand requests have each cut.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    /// [`Cut::BeforeRequest`].
    pub before_request: u16,
    /// [`Cut::InRequest`].
    pub in_request: u16,
    /// [`Cut::BeforeReply`].
    pub before_reply: u16,
    /// [`Cut::InReply`].
    pub in_reply: u16,
}

impl Weather {
    /// One request in fifty is cut.
    pub const ROUGH: Self = Self {
        before_request: 4,
        in_request: 4,
        before_reply: 8,
        in_reply: 4,
    };

    fn draw(self, dice: &mut Dice) -> Cut {
        let mut roll = dice.below(1000);
        for (chance, cut) in [
            (self.before_request, Cut::BeforeRequest),
            (self.in_request, Cut::InRequest),
            (self.before_reply, Cut::BeforeReply),
            (self.in_reply, Cut::InReply),
        ] {
            if roll < usize::from(chance) {
                return cut;
            }
            roll -= usize::from(chance);
        }
        Cut::None
    }
}

struct State {
    server: Mutex<String>,
    framing: Option<Framing>,
    requests: AtomicU64,
    cuts: AtomicU64,
    down: AtomicBool,
    /// In nanoseconds.
    latency: AtomicU64,
    plan: Mutex<Plan>,
    rewrite: OnceLock<Rewrite>,
}

/// Returns what to send instead of a message of the client, if it is to be changed.
type Rewrite = Box<dyn Fn(&[u8]) -> Option<Vec<u8>> + Send + Sync>;

struct Plan {
    script: VecDeque<Cut>,
    weather: Weather,
    dice: Dice,
}

/// A proxy in front of a server. When it is dropped, it accepts no more connections;
/// open ones continue.
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy in front of the server at `host:port`. Random cuts follow from `seed`.
    ///
    /// # Errors
    /// If no port is free.
    pub async fn start(server: &str, framing: Option<Framing>, seed: u64) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            server: Mutex::new(server.into()),
            framing,
            requests: AtomicU64::new(0),
            cuts: AtomicU64::new(0),
            down: AtomicBool::new(false),
            latency: AtomicU64::new(0),
            plan: Mutex::new(Plan {
                script: VecDeque::new(),
                weather: Weather::default(),
                dice: Dice::new(seed),
            }),
            rewrite: OnceLock::new(),
        });
        let shared = Arc::clone(&state);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if !shared.down.load(Ordering::SeqCst) {
                    let state = Arc::clone(&shared);
                    tokio::spawn(async move { drop(serve(client, &state).await) });
                }
            }
        });
        Ok(Self {
            address,
            state,
            accepting,
        })
    }

    /// Where to connect to instead of the server.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The number of requests since the last call.
    pub fn requests(&self) -> u64 {
        self.state.requests.swap(0, Ordering::SeqCst)
    }

    /// How many cuts were made so far.
    pub fn cuts(&self) -> u64 {
        self.state.cuts.load(Ordering::SeqCst)
    }

    /// Cuts the next requests like this, one each; random cuts continue after them.
    pub fn script(&self, cuts: impl IntoIterator<Item = Cut>) {
        self.state.plan().script.extend(cuts);
    }

    /// Sets the chances of random cuts from now on.
    pub fn set_weather(&self, weather: Weather) {
        self.state.plan().weather = weather;
    }

    /// Delays each request by this time from now on, rounded up to whole milliseconds, as
    /// a distant network does.
    pub fn set_latency(&self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.state.latency.store(nanos, Ordering::SeqCst);
    }

    /// Passes each message of a client to a function, and sends what it returns instead.
    /// The first call decides.
    pub fn rewrite(&self, with: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + Sync + 'static) {
        // A later call changes nothing.
        let _ = self.state.rewrite.set(Box::new(with));
    }

    /// Sends new connections to another server, as an address does after a fail-over.
    /// Open connections continue.
    pub fn set_server(&self, server: &str) {
        *self.state.server() = server.into();
    }

    /// Closes every connection at its next request and accepts no new one; or serves
    /// again.
    pub fn set_down(&self, down: bool) {
        self.state.down.store(down, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl State {
    fn server(&self) -> MutexGuard<'_, String> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the latency of a request.
    async fn travel(&self) {
        let nanos = self.latency.load(Ordering::SeqCst);
        if nanos > 0 {
            tokio::time::sleep(Duration::from_nanos(nanos)).await;
        }
    }

    /// The cut of the next request.
    fn draw(&self) -> Cut {
        self.requests.fetch_add(1, Ordering::SeqCst);
        let plan = &mut *self.plan();
        let by_chance = || plan.weather.draw(&mut plan.dice);
        let cut = match self.down.load(Ordering::SeqCst) {
            true => Cut::BeforeRequest,
            false => plan.script.pop_front().unwrap_or_else(by_chance),
        };
        if cut != Cut::None {
            self.cuts.fetch_add(1, Ordering::SeqCst);
        }
        cut
    }
}

/// Serves one connection; both ends close when this returns.
async fn serve(client: TcpStream, state: &State) -> io::Result<()> {
    let address = state.server().clone();
    let server = TcpStream::connect(address).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    // The cut of the request that is in progress.
    let cut = Mutex::new(Cut::None);
    tokio::select! {
        ended = up(from_client, to_server, state, &cut) => ended,
        ended = down(from_server, to_client, &cut) => ended,
    }
}

async fn up(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    state: &State,
    cut: &Mutex<Cut>,
) -> io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        if from.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        loop {
            let message = match state.framing {
                _ if buffer.is_empty() => break,
                Some(framing) => framing(&buffer),
                None => Message::Request(buffer.len()),
            };
            let length = match message {
                Message::Unfinished => break,
                Message::Other(length) => length,
                Message::Request(length) => {
                    match state.draw() {
                        Cut::None => {}
                        Cut::BeforeRequest => return Ok(()),
                        Cut::InRequest => {
                            to.write_all(&buffer[..length / 2]).await?;
                            return to.flush().await;
                        }
                        late => *cut.lock().unwrap_or_else(PoisonError::into_inner) = late,
                    }
                    state.travel().await;
                    length
                }
            };
            let rewrite = state.rewrite.get();
            match rewrite.and_then(|rewrite| rewrite(&buffer[..length])) {
                Some(other) => to.write_all(&other).await?,
                None => to.write_all(&buffer[..length]).await?,
            }
            buffer.drain(..length);
        }
    }
}

async fn down(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, cut: &Mutex<Cut>) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = from.read(&mut buffer).await?;
        let cut = *cut.lock().unwrap_or_else(PoisonError::into_inner);
        match cut {
            _ if length == 0 => return Ok(()),
            Cut::BeforeReply => return Ok(()),
            Cut::InReply => {
                to.write_all(&buffer[..length / 2]).await?;
                return to.flush().await;
            }
            _ => to.write_all(&buffer[..length]).await?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn echo() -> io::Result<SocketAddr> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = client.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        Ok(address)
    }

    #[tokio::test]
    async fn a_cut_is_made_where_it_was_scripted() -> io::Result<()> {
        let proxy = Proxy::start(&echo().await?.to_string(), None, 0).await?;
        for (cut, received) in [
            (Cut::None, 8),
            (Cut::BeforeRequest, 0),
            (Cut::BeforeReply, 0),
            (Cut::InReply, 4),
        ] {
            proxy.script([cut]);
            let mut client = TcpStream::connect(proxy.address()).await?;
            client.write_all(b"question").await?;
            let mut answer = [0; 8];
            let mut length = 0;
            while length < 8 {
                match client.read(&mut answer[length..]).await {
                    Ok(0) | Err(_) => break,
                    Ok(more) => length += more,
                }
            }
            assert_eq!(length, received, "{cut:?}");
        }
        assert_eq!((proxy.requests(), proxy.cuts()), (4, 3));
        Ok(())
    }

    #[tokio::test]
    async fn a_request_takes_as_long_as_its_latency() -> io::Result<()> {
        let proxy = Proxy::start(&echo().await?.to_string(), None, 0).await?;
        let way = Duration::from_millis(20);
        proxy.set_latency(way);
        let mut client = TcpStream::connect(proxy.address()).await?;
        let begin = std::time::Instant::now();
        client.write_all(b"question").await?;
        client.read_exact(&mut [0; 8]).await?;
        assert!(begin.elapsed() >= way);
        Ok(())
    }

    #[test]
    fn the_same_seed_makes_the_same_cuts() {
        let cuts = |seed| {
            let mut dice = Dice::new(seed);
            let draw = |_| Weather::ROUGH.draw(&mut dice);
            (0..500).map(draw).collect::<Vec<_>>()
        };
        assert_eq!(cuts(7), cuts(7));
        assert_ne!(cuts(7), cuts(8));
        assert!(cuts(7).contains(&Cut::BeforeReply));
    }
}
