//! The calls of the workers, a record of what was acknowledged, and the check that it was
//! stored.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use store_core::backend::gcra;
use store_core::blobs::{Blob, BlobRef, OpenOptions, Publication, PutOptions};
use store_core::limits::{Quota, QuotaSet, Take};
use store_core::lti::{Lti, NonceCheck, Registration};
use store_core::secret::KeyRing;
use store_core::{Batch, Body, Collection, Expect, Partition, RecordKey, Result, Store};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::Figures;
use crate::suite::CaseResult;

pub(super) const LEFT: Collection = Collection::new("crash_left");
pub(super) const RIGHT: Collection = Collection::new("crash_right");

/// A burst larger than the number of tokens that all workers take.
const BURST: u32 = 1_000_000;

/// How many different pairs and objects each worker writes.
const NAMES: u64 = 4;

/// How many tasks race for a nonce.
const RACERS: usize = 3;

const PLATFORM: &str = r#"{
    "issuer": "https://crash.example.edu",
    "client_id": "1",
    "auth_endpoint": "https://crash.example.edu/authorize",
    "jwks_uri": "https://crash.example.edu/jwks",
    "token_endpoint": "https://crash.example.edu/token",
    "deployment_id": "1"
}"#;

/// An increasing number: the last value that was acknowledged, and the last one that was
/// sent.
#[derive(Clone, Copy, Default)]
struct Grown {
    acknowledged: u64,
    tried: u64,
}

impl Grown {
    /// Checks that `found` is between the two values. No call may be in progress.
    fn settle(&mut self, what: &str, found: u64) -> CaseResult {
        let Self {
            acknowledged,
            tried,
        } = *self;
        if found < acknowledged {
            return Err(
                format!("{what}: {acknowledged} was acknowledged, {found} is there").into(),
            );
        }
        if found > tried {
            return Err(format!("{what}: {found} was found, but was never sent").into());
        }
        self.acknowledged = found;
        Ok(())
    }
}

/// What was acknowledged.
#[derive(Default)]
struct Ledger {
    pairs: HashMap<String, Grown>,
    objects: HashMap<String, Grown>,
    takes: Grown,
    /// The nonces stored since the last crash, and all nonces.
    nonces: Vec<String>,
    all_nonces: Vec<String>,
    /// How often each was accepted.
    accepted: HashMap<String, u64>,
    all: Figures,
    /// The same since the last restart.
    since: Figures,
    /// How many workers still run, and why the last one ended.
    working: u64,
    ended: String,
}

impl Ledger {
    fn count(&mut self, what: fn(&mut Figures) -> &mut u64) {
        *what(&mut self.all) += 1;
        *what(&mut self.since) += 1;
    }
}

pub(super) struct Work {
    store: Store,
    lti: Lti,
    platform: Arc<Registration>,
    quotas: QuotaSet,
    ledger: Mutex<Ledger>,
    changed: Notify,
    stopped: AtomicBool,
}

impl Work {
    pub(super) async fn new(store: Store) -> Result<Self> {
        let lti = Lti::new(&store, &KeyRing::random());
        let platform = Registration::from_json(PLATFORM)?;
        Ok(Self {
            platform: lti.store().upsert_registration(platform).await?,
            lti,
            quotas: QuotaSet::new([Quota::per_second(BURST)?])?,
            store,
            ledger: Mutex::default(),
            changed: Notify::new(),
            stopped: AtomicBool::new(false),
        })
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records something that was acknowledged.
    fn note(&self, note: impl FnOnce(&mut Ledger)) {
        note(&mut self.ledger());
        self.changed.notify_waiters();
    }

    pub(super) fn begin(&self) {
        self.stopped.store(false, Ordering::Relaxed);
        let mut ledger = self.ledger();
        ledger.since = Figures::default();
        ledger.working = 0;
    }

    /// Starts no more calls.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    pub(super) fn figures(&self) -> Figures {
        self.ledger().all
    }

    /// Waits until this many operations of each kind were acknowledged.
    pub(super) async fn acknowledged_each(&self, enough: u64) -> CaseResult {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let ledger = self.ledger();
                let since = ledger.since;
                let kinds = [since.commits, since.takes, since.objects, since.nonces];
                if kinds.iter().all(|count| *count >= enough) {
                    return Ok(());
                }
                if since.cut > 0 && ledger.working == 0 {
                    return Err(format!("everything failed: {}", ledger.ended).into());
                }
            }
            changed.await;
        }
    }

    /// Makes all kinds of calls concurrently, until the server is down.
    pub(super) async fn everything(self: Arc<Self>, cycle: u64, worker: u64) {
        self.ledger().working += 1;
        for round in 0u64.. {
            let name = format!("{worker}-{}", round % NAMES);
            let done = async {
                self.pair(&name).await?;
                self.take().await?;
                self.nonce(format!("{cycle}-{worker}-{round}")).await?;
                self.object(&name).await
            };
            let failed = done.await.err();
            if failed.is_some() || self.stopped.load(Ordering::Relaxed) {
                self.note(|ledger| {
                    ledger.working -= 1;
                    if let Some(error) = failed {
                        ledger.count(|f| &mut f.cut);
                        ledger.ended = error.to_string();
                    }
                });
                return;
            }
        }
    }

    /// Writes the same number to two records in two collections.
    async fn pair(&self, name: &str) -> Result<()> {
        let next = {
            let mut ledger = self.ledger();
            let pair = ledger.pairs.entry(name.into()).or_default();
            pair.tried += 1;
            pair.tried
        };
        let mut batch = Batch::new(Partition::new(name)?, self.store.now());
        for collection in [LEFT, RIGHT] {
            batch.put(
                RecordKey::new(collection, "n")?,
                Expect::Any,
                Body::json(next)?,
            )?;
        }
        self.store.records().commit(&batch).await?;
        self.note(|ledger| {
            ledger.pairs.entry(name.into()).or_default().acknowledged = next;
            ledger.count(|f| &mut f.commits);
        });
        Ok(())
    }

    async fn take(&self) -> Result<()> {
        self.ledger().takes.tried += 1;
        let take = Take::new("crash", &self.quotas, 1, self.store.now())?;
        if self.store.limits().take(&take).await?.is_allowed() {
            self.note(|ledger| {
                ledger.takes.acknowledged += 1;
                ledger.count(|f| &mut f.takes);
            });
        }
        Ok(())
    }

    /// Writes an object whose content is derived from its number.
    async fn object(&self, name: &str) -> Result<()> {
        let next = {
            let mut ledger = self.ledger();
            let object = ledger.objects.entry(name.into()).or_default();
            object.tried += 1;
            object.tried
        };
        let at = BlobRef::new("crash", name)?;
        let mut sink = self.store.blobs().begin(at, PutOptions::default()).await?;
        sink.write(content(next).into()).await?;
        if matches!(sink.commit().await?, Publication::Published(_)) {
            self.note(|ledger| {
                ledger.objects.entry(name.into()).or_default().acknowledged = next;
                ledger.count(|f| &mut f.objects);
            });
        }
        Ok(())
    }

    /// Stores a nonce and validates it in several tasks.
    async fn nonce(self: &Arc<Self>, name: String) -> Result<()> {
        self.lti.store().store_nonce(&name, &self.platform).await?;
        self.ledger().nonces.push(name.clone());
        let mut racers = JoinSet::new();
        for _ in 0..RACERS {
            let (work, name) = (Arc::clone(self), name.clone());
            racers.spawn(async move { work.validate(&name).await });
        }
        let ended = racers.join_all().await;
        ended.into_iter().try_for_each(|check| check.map(drop))
    }

    async fn validate(&self, name: &str) -> Result<NonceCheck> {
        let check = self
            .lti
            .store()
            .validate_nonce(name, &self.platform)
            .await?;
        if check == NonceCheck::Accepted {
            self.note(|ledger| {
                *ledger.accepted.entry(name.into()).or_default() += 1;
                ledger.count(|f| &mut f.nonces);
            });
        }
        Ok(check)
    }

    /// Checks that everything that was acknowledged is stored completely and once.
    pub(super) async fn verify(&self) -> CaseResult {
        self.verify_pairs().await?;
        self.verify_takes().await?;
        self.verify_objects().await?;
        let nonces = std::mem::take(&mut self.ledger().nonces);
        for name in &nonces {
            let check = self.validate(name).await?;
            if !matches!(check, NonceCheck::Accepted | NonceCheck::AlreadyUsed) {
                return Err(format!("nonce {name} was stored, and is {check:?}").into());
            }
        }
        self.ledger().all_nonces.extend(nonces);
        let ledger = self.ledger();
        match ledger.accepted.iter().find(|(_, times)| **times > 1) {
            Some((name, times)) => Err(format!("nonce {name} was accepted {times} times").into()),
            None => Ok(()),
        }
    }

    /// Checks that every used nonce is still used.
    pub(super) async fn verify_all_nonces(&self) -> CaseResult {
        let nonces = self.ledger().all_nonces.clone();
        for name in nonces {
            let check = self.validate(&name).await?;
            if check != NonceCheck::AlreadyUsed {
                return Err(format!("nonce {name} was used, and is {check:?}").into());
            }
        }
        Ok(())
    }

    async fn verify_pairs(&self) -> CaseResult {
        let names: Vec<String> = self.ledger().pairs.keys().cloned().collect();
        for name in names {
            let partition = Partition::new(&name)?;
            let [left, right] = [RecordKey::new(LEFT, "n")?, RecordKey::new(RIGHT, "n")?];
            let at = [left.at(&partition), right.at(&partition)];
            let mut numbers = Vec::new();
            for record in self.store.records().get_many(&at).await? {
                let number = record.map(|record| record.decode::<u64>()).transpose()?;
                numbers.push(number.map_or(0, |number| *number));
            }
            if numbers[0] != numbers[1] {
                return Err(format!("pair {name} is there in part: {numbers:?}").into());
            }
            let mut ledger = self.ledger();
            let pair = ledger.pairs.entry(name.clone()).or_default();
            pair.settle(&format!("pair {name}"), numbers[0])?;
        }
        Ok(())
    }

    async fn verify_takes(&self) -> CaseResult {
        let now = self.store.now();
        let take = Take::new("crash", &self.quotas, 1, now)?;
        let bucket = self
            .store
            .limits()
            .peek(take.key())
            .await?
            .unwrap_or_default();
        let quota = self.quotas.iter().next().ok_or("one quota was given")?;
        let left = gcra::remaining(quota, bucket.tat(quota), now);
        let takes = &mut self.ledger().takes;
        takes.settle("takes", u64::from(BURST - left))?;
        // A call that was cut off and not executed is not executed later.
        takes.tried = takes.acknowledged;
        Ok(())
    }

    async fn verify_objects(&self) -> CaseResult {
        let names: Vec<String> = self.ledger().objects.keys().cloned().collect();
        for name in names {
            let at = BlobRef::new("crash", &name)?;
            let blob = self.store.blobs().open(at, OpenOptions::default()).await?;
            let number = match blob {
                Some(blob) => number_of(&name, blob).await?,
                None => 0,
            };
            let mut ledger = self.ledger();
            let object = ledger.objects.entry(name.clone()).or_default();
            object.settle(&format!("object {name}"), number)?;
        }
        Ok(())
    }
}

/// The content of several chunks, whose length and bytes are derived from the number.
fn content(number: u64) -> Vec<u8> {
    let length = 200_000 + usize::try_from(number % 13).unwrap_or_default() * 20_000;
    let mut content = vec![number.to_le_bytes()[0]; length];
    content[..8].copy_from_slice(&number.to_le_bytes());
    content
}

/// Reads an object, and checks that it is complete; returns its number.
async fn number_of(
    name: &str,
    mut blob: Blob,
) -> Result<u64, Box<dyn std::error::Error + Send + Sync>> {
    let mut bytes = Vec::new();
    while let Some(next) = blob.reader.next().await? {
        bytes.extend_from_slice(&next);
    }
    let first = bytes.first_chunk().ok_or("an object without a number")?;
    let number = u64::from_le_bytes(*first);
    if bytes != content(number) {
        return Err(format!("object {name} is there in part").into());
    }
    Ok(number)
}
