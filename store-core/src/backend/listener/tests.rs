//! The listener over a server whose connections are cut.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::*;

const THINGS: Collection = Collection::new("watched").cacheable();

/// A server that sends each message to every connection.
#[derive(Default)]
struct Server {
    connections: std::sync::Mutex<Vec<mpsc::UnboundedSender<String>>>,
    attempts: AtomicUsize,
    is_down: AtomicBool,
    is_deaf: AtomicBool,
    pings: AtomicUsize,
    ignores_pings: AtomicBool,
    dropped: watch::Sender<usize>,
}

impl Server {
    fn send(&self, message: &str) {
        if !self.is_deaf.load(Ordering::SeqCst) {
            let mut connections = self.connections.lock().expect("no test panics with it");
            connections.retain(|connection| connection.send(message.to_owned()).is_ok());
        }
    }

    fn cut(&self) {
        self.connections
            .lock()
            .expect("no test panics with it")
            .clear();
    }
}

struct Source(Arc<Server>);

struct Stream {
    messages: mpsc::UnboundedReceiver<String>,
    server: Arc<Server>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.server.dropped.send_modify(|dropped| *dropped += 1);
    }
}

#[async_trait]
impl NoticeSource for Source {
    fn backend(&self) -> &'static str {
        "test"
    }

    async fn connect(&self) -> Result<Box<dyn NoticeStream>> {
        self.0.attempts.fetch_add(1, Ordering::SeqCst);
        if self.0.is_down.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Unavailable, "the server is down"));
        }
        let (sender, messages) = mpsc::unbounded_channel();
        let mut connections = self.0.connections.lock().expect("no test panics with it");
        connections.push(sender);
        Ok(Box::new(Stream {
            messages,
            server: Arc::clone(&self.0),
        }))
    }

    async fn send_probe(&self, probe: &str) -> Result<usize> {
        // As from two servers of a cluster.
        self.0.send(probe);
        self.0.send(probe);
        Ok(2)
    }

    fn unproven(&self) -> Error {
        Error::new(ErrorKind::Config, "no message is received")
    }
}

#[async_trait]
impl NoticeStream for Stream {
    async fn next(&mut self) -> Option<String> {
        self.messages.recv().await
    }

    async fn ping(&mut self) -> bool {
        self.server.pings.fetch_add(1, Ordering::SeqCst);
        match self.server.ignores_pings.load(Ordering::SeqCst) {
            true => std::future::pending().await,
            false => true,
        }
    }
}

fn start() -> (Arc<Server>, ChangeListener) {
    let server = Arc::<Server>::default();
    let listener = ChangeListener::new(Source(Arc::clone(&server)));
    (server, listener)
}

fn changed(id: &str) -> (String, Option<Notice>) {
    let partition = Partition::new("a/").expect("short");
    let key = RecordKey::new(THINGS, id).expect("short");
    let message = message(&partition, &key);
    (message, Some(Notice::Changed { partition, key }))
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_is_a_gap_and_so_is_its_return() {
    let (server, listener) = start();
    let mut changes = listener.subscribe().await.expect("the server is up");
    for round in ["1", "2"] {
        let (message, notice) = changed(round);
        server.send(&message);
        assert_eq!(changes.next().await, notice);
        server.cut();
        assert_eq!(changes.next().await, Some(Notice::Gap));
        assert_eq!(changes.next().await, Some(Notice::Gap));
    }
    listener.close().await;
    assert_eq!(changes.next().await, None);
    assert_eq!(*server.dropped.borrow(), 3, "every connection is closed");
}

#[tokio::test(start_paused = true)]
async fn attempts_to_reconnect_pause_longer_each_time_and_never_end() {
    let (server, listener) = start();
    let mut changes = listener.subscribe().await.expect("the server is up");
    server.is_down.store(true, Ordering::SeqCst);
    server.cut();
    assert_eq!(changes.next().await, Some(Notice::Gap));
    sleep(Duration::from_secs(60)).await;
    let attempts = server.attempts.load(Ordering::SeqCst);
    // 50 ms, doubled seven times, then each 5 s.
    assert!((15..25).contains(&attempts), "{attempts} in a minute");
    server.is_down.store(false, Ordering::SeqCst);
    assert_eq!(changes.next().await, Some(Notice::Gap));
    let (message, notice) = changed("after");
    server.send(&message);
    assert_eq!(changes.next().await, notice);
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_used_while_it_answers_and_replaced_when_it_does_not() {
    let (server, listener) = start();
    let mut changes = listener.subscribe().await.expect("the server is up");
    sleep(SILENCE * 3 + Duration::from_secs(1)).await;
    assert_eq!(server.pings.load(Ordering::SeqCst), 3);
    assert_eq!(server.attempts.load(Ordering::SeqCst), 1);
    server.ignores_pings.store(true, Ordering::SeqCst);
    let since = Instant::now();
    assert_eq!(changes.next().await, Some(Notice::Gap));
    assert!(since.elapsed() <= SILENCE + PATIENCE);
    assert_eq!(changes.next().await, Some(Notice::Gap));
    assert_eq!(server.attempts.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_receives_nothing_is_refused_and_closed() {
    let (server, listener) = start();
    server.is_deaf.store(true, Ordering::SeqCst);
    let error = listener.subscribe().await.expect_err("it receives nothing");
    assert_eq!(error.kind(), ErrorKind::Config);
    let mut dropped = server.dropped.subscribe();
    dropped
        .wait_for(|&dropped| dropped == 1)
        .await
        .expect("the server is there");
    server.is_deaf.store(false, Ordering::SeqCst);
    let mut changes = listener.subscribe().await.expect("it receives again");
    // A later subscription may be refused without harm to this one.
    server.is_deaf.store(true, Ordering::SeqCst);
    let error = listener.subscribe().await.expect_err("it receives nothing");
    assert_eq!(
        (error.kind(), error.retry()),
        (ErrorKind::Timeout, Retry::Safe)
    );
    server.is_deaf.store(false, Ordering::SeqCst);
    let (message, notice) = changed("a");
    server.send(&message);
    assert_eq!(changes.next().await, notice);
}

#[tokio::test(start_paused = true)]
async fn a_subscription_is_proven_again_if_the_connection_is_lost_during_the_proof() {
    let (server, listener) = start();
    let first = listener.subscribe().await.expect("the server is up");
    server.is_deaf.store(true, Ordering::SeqCst);
    let cut = async {
        sleep(Duration::from_secs(1)).await;
        server.is_deaf.store(false, Ordering::SeqCst);
        server.cut();
    };
    let (subscribed, ()) = tokio::join!(listener.subscribe(), cut);
    let mut changes = subscribed.expect("the second probe is received");
    drop(first);
    let (message, notice) = changed("a");
    server.send(&message);
    // The gap of the new connection may have been sent before or after.
    let mut next = changes.next().await;
    while next == Some(Notice::Gap) {
        next = changes.next().await;
    }
    assert_eq!(next, notice);
}

#[tokio::test(start_paused = true)]
async fn a_message_of_another_form_is_a_gap_and_no_panic() {
    let (server, listener) = start();
    let mut changes = listener.subscribe().await.expect("the server is up");
    let long = format!("things/0/{}", "x".repeat(256));
    for message in [
        "",
        "things",
        "things/1",
        "things/x/ab",
        "things/9/ab",
        "things/1/é",
        "things/-1/a",
        "Things/1/ab",
        "/1/ab",
        &long,
    ] {
        server.send(message);
        assert_eq!(changes.next().await, Some(Notice::Gap), "{message}");
    }
    server.send("?the probe of another process");
    let (message, notice) = changed("b/c");
    server.send(&message);
    assert_eq!(changes.next().await, notice);
}

#[tokio::test(start_paused = true)]
async fn a_closed_or_dropped_listener_ends_its_subscriptions() {
    let (server, listener) = start();
    let mut changes = listener.subscribe().await.expect("the server is up");
    drop(listener);
    assert_eq!(changes.next().await, None);

    let listener = ChangeListener::new(Source(Arc::clone(&server)));
    server.is_down.store(true, Ordering::SeqCst);
    let error = listener.subscribe().await.expect_err("the server is down");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    listener.close().await;
    let error = listener.subscribe().await.expect_err("it is closed");
    assert_eq!(error.kind(), ErrorKind::Closed);
}
