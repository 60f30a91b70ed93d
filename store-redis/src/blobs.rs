//! Streamed objects, over records whose chunks expire until they are published.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use redis::{Cmd, Value};
use store_core::blobs::{BLOB_CHUNKS, ProvisionalChunks, RecordBlobs};
use store_core::{Error, ErrorKind, Partition, RecordKey, RecordStore, Result, Retry, Timestamp};

use crate::error::{BACKEND, Effect};
use crate::records::RedisRecords;
use crate::shared::{Script, Shared};
use crate::wire::Pair;

/// Objects over `records`. Chunks that are not published expire after `life`.
pub(crate) fn over(
    driver: &RedisRecords,
    records: Arc<dyn RecordStore>,
    life: Duration,
) -> RecordBlobs {
    let shared = Arc::clone(driver.shared());
    RecordBlobs::new(records).provisional(Arc::new(Expiring { shared, life }))
}

#[derive(Debug)]
struct Expiring {
    shared: Arc<Shared>,
    life: Duration,
}

#[async_trait]
impl ProvisionalChunks for Expiring {
    fn end(&self, now: Timestamp) -> Timestamp {
        now + self.life
    }

    async fn keep(&self, partition: &Partition, chunks: &[RecordKey]) -> Result<()> {
        let names = &self.shared.names;
        let records = chunks.iter().map(|key| names.record(key.at(partition)));
        let mut keys: Vec<String> = records.collect();
        keys.push(names.ids(partition.as_str(), BLOB_CHUNKS));
        keys.push(names.deadlines(partition.as_str(), BLOB_CHUNKS));
        let now = Pair::from(self.shared.now());
        let arguments = |command: &mut Cmd| {
            command.arg(now);
            for key in chunks {
                command.arg(key.id());
            }
        };
        let run = |effect| {
            let script = Script {
                lua: &self.shared.scripts.persist,
                keys: &keys,
                arguments: &arguments,
                size: keys.len() * 160,
            };
            self.shared.run("keep", effect, script)
        };
        let answer = match run(Effect::Write).await {
            // The script may have run. Running it again changes nothing.
            Err(lost) if lost.retry() == Retry::Ambiguous && lost.is(ErrorKind::Unavailable) => {
                run(Effect::Repeatable).await?
            }
            answer => answer?,
        };
        if answer != Value::Nil {
            let advice = "the write took longer than unpublished chunks are stored, so nothing was \
                          published; see RedisBuilder::orphans_expire";
            return Err(Error::new(ErrorKind::Superseded, advice)
                .with_backend(BACKEND)
                .with_operation("keep"));
        }
        Ok(())
    }
}
