//! Change notices, sent by `PUBLISH` in the script of a commit.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use redis::aio::{PubSubSink, PubSubStream};
use redis::{Client, ConnectionInfo, ProtocolVersion, RedisError, RedisResult, Value, cmd};
use store_core::Result;
use store_core::backend::{NoticeSource, NoticeStream};
use tokio::time::timeout;

use crate::error::{BACKEND, Effect, from_redis};
use crate::shared::Shared;

/// The channel of a namespace. A message to any server of a cluster reaches the
/// subscribers of all.
pub(crate) struct Channel(pub(crate) Arc<Shared>);

struct Subscription {
    sink: PubSubSink,
    stream: PubSubStream,
}

impl Channel {
    async fn subscribe(&self, info: ConnectionInfo) -> RedisResult<Subscription> {
        // In RESP2 a connection serves either subscriptions or calls.
        let redis = info.redis_settings().clone();
        let info = info.set_redis_settings(redis.set_protocol(ProtocolVersion::RESP2));
        let mut connection = Client::open(info)?.get_async_pubsub().await?;
        connection.subscribe(self.0.names.channel()).await?;
        let (sink, stream) = connection.split();
        Ok(Subscription { sink, stream })
    }
}

#[async_trait]
impl NoticeSource for Channel {
    fn backend(&self) -> &'static str {
        BACKEND
    }

    /// Subscribes at the first server that accepts it.
    async fn connect(&self) -> Result<Box<dyn NoticeStream>> {
        let servers = self.0.servers()?;
        servers.look_again().await;
        let io = |kind| RedisError::from(std::io::Error::from(kind));
        let mut failed = io(std::io::ErrorKind::NotConnected);
        for info in servers.addresses() {
            match timeout(self.0.connect_timeout, self.subscribe(info)).await {
                Ok(Ok(subscription)) => return Ok(Box::new(subscription)),
                Ok(Err(e)) => failed = e,
                Err(_) => failed = io(std::io::ErrorKind::TimedOut),
            }
        }
        Err(from_redis(failed, Effect::Repeatable, "changes"))
    }

    /// Sends the probe through every server of a cluster, because messages of different
    /// servers may arrive in any order, while those of one server arrive in order.
    async fn send_probe(&self, probe: &str) -> Result<usize> {
        let mut publish = cmd("PUBLISH");
        publish.arg(self.0.names.channel()).arg(probe);
        let sent = self.0.servers()?.send_to_all(&publish).await;
        sent.map(|answers| answers.len())
            .map_err(|e| from_redis(e, Effect::Repeatable, "changes"))
    }
}

#[async_trait]
impl NoticeStream for Subscription {
    async fn next(&mut self) -> Option<String> {
        let message = self.stream.next().await?;
        Some(String::from_utf8_lossy(message.get_payload_bytes()).into_owned())
    }

    async fn ping(&mut self) -> bool {
        self.sink.ping::<Value>().await.is_ok()
    }
}
