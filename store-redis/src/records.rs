//! Records: each primitive one request.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use redis::cmd;
use store_core::backend::resolve_lost_reply;
use store_core::changes::Changes;
use store_core::{
    Batch, Capabilities, Clock, Committed, Error, ErrorKind, Partition, Ping, Record, RecordKey,
    RecordRef, RecordStore, Records, Result, Retry, Scan, Swept,
};

use crate::changes::Listener;
use crate::commit;
use crate::config::Builder;
use crate::error::{BACKEND, Effect, from_redis};
use crate::scan;
use crate::shared::Shared;
use crate::wire::record;

/// The records; a commit whose answer was lost is looked into.
#[derive(Debug)]
pub(crate) struct RedisRecords {
    once: Once,
    listener: Listener,
    capabilities: Capabilities,
}

/// The records, each call sent once.
#[derive(Clone, Debug)]
pub(crate) struct Once(Arc<Shared>);

impl RedisRecords {
    pub(crate) async fn open(builder: &Builder) -> Result<Self> {
        let shared = Arc::new(Shared::open(builder).await?);
        Ok(Self {
            listener: Listener::new(shared.names.channel(), &builder.collections),
            capabilities: builder.capabilities(shared.facts.durability),
            once: Once(shared),
        })
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.once.0
    }
}

impl Once {
    /// Records of one slot, or of a server that has all, each into its place.
    async fn get_together(
        &self,
        at: &[RecordRef<'_>],
        places: &[usize],
    ) -> Result<Vec<(usize, Option<Record>)>> {
        let keys: Vec<String> = places.iter().map(|i| self.0.names.record(at[*i])).collect();
        let servers = self.0.servers()?;
        let values = servers
            .get_all(servers.slot(&keys[0]), &keys)
            .await
            .map_err(|e| from_redis(e, Effect::Repeatable, "get_many"))?;
        let now = self.0.now();
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
impl RecordStore for Once {
    async fn get(&self, at: RecordRef<'_>) -> Result<Option<Record>> {
        let key = self.0.names.record(at);
        let mut command = cmd("GET");
        command.arg(&key);
        let value = self
            .0
            .send("get", Effect::Repeatable, &key, &command)
            .await?;
        let partition = Partition::new(at.partition())?;
        let key = RecordKey::new(at.collection(), at.id())?;
        let record = record(value, &partition, &key)?;
        Ok(record.filter(|record| !record.is_expired(self.0.now())))
    }

    async fn get_many(&self, at: &[RecordRef<'_>]) -> Result<Vec<Option<Record>>> {
        let servers = self.0.servers()?;
        let mut by_slot: BTreeMap<u16, Vec<usize>> = BTreeMap::new();
        for (place, at) in at.iter().enumerate() {
            let slot = match servers.is_cluster() {
                true => servers.slot(&self.0.names.record(*at)),
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
        scan::scan(&self.0, scan).await
    }

    async fn commit(&self, batch: &Batch) -> Result<Committed> {
        self.0.servers()?;
        if !batch.is_empty() {
            commit::send(&self.0, batch).await?;
        }
        Ok(Committed::new())
    }

    fn clock(&self) -> &dyn Clock {
        &*self.0.clock
    }

    async fn ping(&self) -> Result<Ping> {
        self.0.ping().await
    }

    /// Nothing is to do: the server removes what has expired.
    async fn sweep(&self, _: Duration) -> Result<Swept> {
        self.0.servers()?;
        Ok(Swept::default())
    }

    async fn close(&self) -> Result<()> {
        self.0.close();
        Ok(())
    }
}

#[async_trait]
impl RecordStore for RedisRecords {
    async fn get(&self, at: RecordRef<'_>) -> Result<Option<Record>> {
        self.once.get(at).await
    }

    async fn get_many(&self, at: &[RecordRef<'_>]) -> Result<Vec<Option<Record>>> {
        self.once.get_many(at).await
    }

    async fn scan(&self, scan: &Scan) -> Result<Records> {
        self.once.scan(scan).await
    }

    async fn commit(&self, batch: &Batch) -> Result<Committed> {
        match self.once.commit(batch).await {
            // That it landed says nothing about replicas.
            Err(lost) if commit::strict(self.shared(), batch).is_some() => Err(lost),
            Err(lost) if lost.retry() == Retry::Ambiguous && lost.is(ErrorKind::Unavailable) => {
                resolve_lost_reply(&self.once, batch, lost).await
            }
            answer => answer,
        }
    }

    fn clock(&self) -> &dyn Clock {
        self.once.clock()
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities.clone()
    }

    async fn ping(&self) -> Result<Ping> {
        self.once.ping().await
    }

    async fn changes(&self) -> Result<Changes> {
        self.shared().servers()?;
        if !self.shared().tells {
            return Err(Error::unsupported(
                "this store was opened without change notice; see Builder::change_notice",
            )
            .with_backend(BACKEND));
        }
        self.listener.subscribe(self.shared()).await
    }

    async fn sweep(&self, grace: Duration) -> Result<Swept> {
        self.once.sweep(grace).await
    }

    async fn close(&self) -> Result<()> {
        self.listener.close().await;
        self.once.close().await
    }
}
