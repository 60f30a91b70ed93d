use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;

use super::*;
use crate::backend::Effect;
use crate::batch::{Batch, Committed};
use crate::body::Body;
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::key::{Collection, Partition, RecordKey, RecordRef};
use crate::record::Record;
use crate::scan::{Records, Scan};
use crate::{Expect, Timestamp};

/// Remembers where the future of its last `get` is.
#[derive(Debug, Default)]
struct Bottom {
    future: AtomicUsize,
}

#[derive(Debug)]
struct Empty(Arc<dyn RecordStore>);

impl RecordLayer for Empty {
    fn inner(&self) -> &dyn RecordStore {
        &*self.0
    }
}

fn address<T: ?Sized>(of: &T) -> usize {
    std::ptr::from_ref(of).cast::<()>().addr()
}

impl RecordStore for Bottom {
    fn get<'life0, 'life1, 'async_trait>(
        &'life0 self,
        at: RecordRef<'life1>,
    ) -> Forwarded<'async_trait, Result<Option<Record>>>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait,
    {
        let future: Forwarded<'async_trait, _> = Box::pin(async move {
            let _ = at.id();
            Ok(None)
        });
        self.future.store(address(&*future), Ordering::Relaxed);
        future
    }

    fn get_many<'life0, 'life1, 'life2, 'async_trait>(
        &'life0 self,
        at: &'life1 [RecordRef<'life2>],
    ) -> Forwarded<'async_trait, Result<Vec<Option<Record>>>>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        'life2: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move { Ok(vec![None; at.len()]) })
    }

    fn scan<'life0, 'life1, 'async_trait>(
        &'life0 self,
        _: &'life1 Scan,
    ) -> Forwarded<'async_trait, Result<Records>>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async { Ok(Records::last(Vec::new())) })
    }

    fn commit<'life0, 'life1, 'async_trait>(
        &'life0 self,
        _: &'life1 Batch,
    ) -> Forwarded<'async_trait, Result<Committed>>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async { Ok(Committed::new()) })
    }
}

#[tokio::test]
async fn layers_that_change_nothing_return_the_future_of_the_store_under_them() {
    let bottom = Arc::new(Bottom::default());
    let layered = Empty(Arc::new(Empty(Arc::clone(&bottom) as _)));
    let partition = Partition::new("p").expect("short");
    let key = RecordKey::new(Collection::new("things"), "a").expect("short");
    let future = RecordStore::get(&layered, key.at(&partition));
    assert_eq!(
        address(&*future),
        bottom.future.load(Ordering::Relaxed),
        "the future was put into another box"
    );
    assert!(future.await.expect("it answers").is_none());
}

/// Loses the reply of its first commit, and counts calls.
#[derive(Debug, Default)]
struct Losing {
    calls: Mutex<Vec<&'static str>>,
}

#[async_trait]
impl RecordStore for Losing {
    async fn get(&self, _: RecordRef<'_>) -> Result<Option<Record>> {
        Ok(None)
    }

    async fn get_many(&self, at: &[RecordRef<'_>]) -> Result<Vec<Option<Record>>> {
        self.calls.lock().expect("no panic").push("get_many");
        Ok(vec![None; at.len()])
    }

    async fn scan(&self, _: &Scan) -> Result<Records> {
        Ok(Records::last(Vec::new()))
    }

    async fn commit(&self, _: &Batch) -> Result<Committed> {
        let mut calls = self.calls.lock().expect("no panic");
        calls.push("commit");
        if calls.len() > 1 {
            return Ok(Committed::new());
        }
        let error = Error::new(ErrorKind::Unavailable, "the connection broke");
        Err(error.with_retry(Effect::Write.if_lost()))
    }
}

/// Commits over a store that loses a reply: what was answered, and the calls.
async fn commit(recourse: Recourse) -> (Result<Committed>, Vec<&'static str>) {
    let losing = Arc::new(Losing::default());
    let resolving = Resolving::with(Arc::clone(&losing) as _, move |_| recourse);
    let key = RecordKey::new(Collection::new("things"), "a").expect("short");
    let mut batch = Batch::new(Partition::new("p").expect("short"), Timestamp::EPOCH);
    let body = Body::json(1).expect("a number");
    batch.put(key, Expect::Absent, body).expect("one item");
    let answer = RecordStore::commit(&resolving, &batch).await;
    let calls = losing.calls.lock().expect("no panic").clone();
    (answer, calls)
}

#[tokio::test]
async fn a_batch_is_sent_again_at_once_only_where_the_server_recognizes_a_copy() {
    let (answer, calls) = commit(Recourse::Resend).await;
    assert!(answer.is_ok());
    assert_eq!(calls, ["commit", "commit"]);
    let (answer, calls) = commit(Recourse::Resolve).await;
    assert_eq!(answer.expect_err("unproved").retry(), Retry::Ambiguous);
    assert_eq!(calls, ["commit", "get_many"]);
    let (answer, calls) = commit(Recourse::Report).await;
    assert_eq!(answer.expect_err("reported").retry(), Retry::Ambiguous);
    assert_eq!(calls, ["commit"]);
}
