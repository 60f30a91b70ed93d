//! Records: each primitive is one request.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use redis::cmd;
use store_core::backend::ChangeListener;
use store_core::changes::Changes;
use store_core::{
    Batch, Capabilities, Clock, Committed, Error, Partition, Ping, Record, RecordKey, RecordRef,
    RecordStore, Records, Result, Scan, Swept,
};

use crate::changes::Channel;
use crate::commit;
use crate::config::RedisBuilder;
use crate::error::{BACKEND, Effect, from_redis};
use crate::scan;
use crate::shared::Shared;
use crate::wire::record;

/// The records. Each commit is attempted once; a lost reply is left to
/// [`Resolving`](store_core::layers::Resolving).
#[derive(Debug)]
pub(crate) struct RedisRecords {
    shared: Arc<Shared>,
    listener: ChangeListener,
    capabilities: Capabilities,
}

impl RedisRecords {
    pub(crate) async fn open(builder: &RedisBuilder) -> Result<Self> {
        let shared = Arc::new(Shared::open(builder).await?);
        Ok(Self {
            listener: ChangeListener::new(Channel(Arc::clone(&shared))),
            capabilities: builder.capabilities(shared.facts.durability),
            shared,
        })
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl RedisRecords {
    /// Reads records of one slot, or of a server that has all slots, each with its index
    /// in `at`.
    async fn get_together(
        &self,
        at: &[RecordRef<'_>],
        places: &[usize],
    ) -> Result<Vec<(usize, Option<Record>)>> {
        let keys: Vec<String> = places
            .iter()
            .map(|i| self.shared.names.record(at[*i]))
            .collect();
        let servers = self.shared.servers()?;
        let values = servers
            .get_all(servers.slot(&keys[0]), &keys)
            .await
            .map_err(|e| from_redis(e, Effect::Repeatable, "get_many"))?;
        let now = self.shared.now();
        let mut found = Vec::with_capacity(places.len());
        for (place, value) in places.iter().zip(values) {
            let at = at[*place];
            let key = RecordKey::new(at.collection(), at.id())?;
            let record = record(value, &Partition::new(at.partition())?, &key)?;
            found.push((*place, record.filter(|record| !record.is_expired(now))));
        }
        Ok(found)
    }
}

#[async_trait]
impl RecordStore for RedisRecords {
    async fn get(&self, at: RecordRef<'_>) -> Result<Option<Record>> {
        let key = self.shared.names.record(at);
        let mut command = cmd("GET");
        command.arg(&key);
        let value = self
            .shared
            .send("get", Effect::Repeatable, &key, &command)
            .await?;
        let partition = Partition::new(at.partition())?;
        let key = RecordKey::new(at.collection(), at.id())?;
        let record = record(value, &partition, &key)?;
        Ok(record.filter(|record| !record.is_expired(self.shared.now())))
    }

    async fn get_many(&self, at: &[RecordRef<'_>]) -> Result<Vec<Option<Record>>> {
        let servers = self.shared.servers()?;
        let mut by_slot: BTreeMap<u16, Vec<usize>> = BTreeMap::new();
        for (place, at) in at.iter().enumerate() {
            let slot = match servers.is_cluster() {
                true => servers.slot(&self.shared.names.record(*at)),
                false => 0,
            };
            by_slot.entry(slot).or_default().push(place);
        }
        let all = by_slot.values().map(|places| self.get_together(at, places));
        let mut found = vec![None; at.len()];
        for (place, record) in try_join_all(all).await?.into_iter().flatten() {
            found[place] = record;
        }
        Ok(found)
    }

    async fn scan(&self, scan: &Scan) -> Result<Records> {
        scan::scan(&self.shared, scan).await
    }

    async fn commit(&self, batch: &Batch) -> Result<Committed> {
        self.shared.servers()?;
        if !batch.is_empty() {
            commit::send(&self.shared, batch).await?;
        }
        Ok(Committed::new())
    }

    fn clock(&self) -> &dyn Clock {
        &*self.shared.clock
    }

    async fn ping(&self) -> Result<Ping> {
        self.shared.ping().await
    }

    /// Does nothing, because the server removes expired records.
    async fn sweep(&self, _: Duration) -> Result<Swept> {
        self.shared.servers()?;
        Ok(Swept::default())
    }

    async fn close(&self) -> Result<()> {
        self.listener.close().await;
        self.shared.close();
        Ok(())
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities.clone()
    }

    async fn changes(&self) -> Result<Changes> {
        self.shared.servers()?;
        if !self.shared.announces {
            return Err(Error::unsupported(
                "this store was opened without change notices; see RedisBuilder::change_notice",
            )
            .with_backend(BACKEND));
        }
        self.listener.subscribe().await
    }
}
