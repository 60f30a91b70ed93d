//! LTI over a backend that fails: an outage is an error, a lost reply admits no launch,
//! and no call makes unnecessary round trips.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use store_core::layers::RecordLayer;
use store_core::lti::{Deployment, LtiStore, NonceCheck, RecordLti};
use store_core::{
    Batch, Collection, Committed, Error, ErrorKind, PageRequest, Record, RecordRef, RecordStore,
    Records, Result, Retry, Scan, Store,
};
use store_memory::MemoryStore;

use super::{ISSUER, lms, old_ring};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// No call reaches the server.
    Outage,
    /// A commit is executed, and its reply is lost.
    LosesReply,
    /// A commit is not executed, and its caller gets no reply.
    LosesRequest,
    /// Scans fail, so that a deletion stops half-way.
    FailsScans,
}

/// A store in memory behind a connection that can fail and records every call.
#[derive(Debug)]
struct Connection {
    server: Arc<dyn RecordStore>,
    fault: Mutex<Option<Fault>>,
    calls: Mutex<Vec<&'static str>>,
}

impl Connection {
    fn new() -> Arc<Self> {
        let memory = Store::from(MemoryStore::new());
        Arc::new(Self {
            server: Arc::clone(memory.records()),
            fault: Mutex::new(None),
            calls: Mutex::default(),
        })
    }

    fn lti(self: &Arc<Self>) -> RecordLti {
        let records: Arc<dyn RecordStore> = Arc::clone(self) as _;
        RecordLti::new(records, &old_ring())
    }

    fn set(&self, fault: impl Into<Option<Fault>>) {
        *self.fault.lock().unwrap() = fault.into();
    }

    /// The calls since the previous call of this method.
    fn calls(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }

    fn begin(&self, call: &'static str) -> Result<Option<Fault>> {
        self.calls.lock().unwrap().push(call);
        match *self.fault.lock().unwrap() {
            Some(Fault::Outage) => Err(outage().with_retry(Retry::Safe)),
            fault => Ok(fault),
        }
    }
}

fn outage() -> Error {
    Error::new(ErrorKind::Unavailable, "the server cannot be reached")
}

#[async_trait]
impl RecordLayer for Connection {
    fn inner(&self) -> &dyn RecordStore {
        &*self.server
    }

    /// Returns `None`, because a server cannot answer without a round trip.
    fn get_now(&self, _: RecordRef<'_>) -> Option<Result<Option<Record>>> {
        None
    }

    async fn get(&self, at: RecordRef<'_>) -> Result<Option<Record>> {
        self.begin("get")?;
        self.server.get(at).await
    }

    async fn get_many(&self, at: &[RecordRef<'_>]) -> Result<Vec<Option<Record>>> {
        self.begin("get_many")?;
        self.server.get_many(at).await
    }

    async fn scan(&self, scan: &Scan) -> Result<Records> {
        if self.begin("scan")? == Some(Fault::FailsScans) {
            return Err(outage());
        }
        self.server.scan(scan).await
    }

    async fn commit(&self, batch: &Batch) -> Result<Committed> {
        match self.begin("commit")? {
            Some(Fault::LosesRequest) => Err(outage()),
            Some(Fault::LosesReply) => self.server.commit(batch).await.and(Err(outage())),
            _ => self.server.commit(batch).await,
        }
    }
}

async fn launched(connection: &Arc<Connection>) -> RecordLti {
    let lti = connection.lti();
    lti.upsert_registration(lms()).await.unwrap();
    let deployment = Deployment::new("d").unwrap();
    lti.upsert_deployment(&lms(), deployment).await.unwrap();
    lti.store_nonce("n", &lms()).await.unwrap();
    connection.calls();
    lti
}

#[tokio::test]
async fn an_outage_is_an_error_and_never_unknown() {
    let connection = Connection::new();
    let lti = launched(&connection).await;
    connection.set(Fault::Outage);
    let errors = [
        lti.get_registration(ISSUER, Some("42")).await.map(drop),
        lti.get_registration(ISSUER, None).await.map(drop),
        lti.get_deployment(&lms(), "d").await.map(drop),
        lti.validate_nonce("n", &lms()).await.map(|_| ()),
        lti.store_nonce("m", &lms()).await,
        lti.signing_key(&lms()).await.map(drop),
        lti.cached_jwks("https://lms.example.edu/jwks")
            .await
            .map(drop),
        lti.get_token(&lms(), &[]).await.map(drop),
    ];
    for error in errors {
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Unavailable);
    }
    connection.set(None);
    let answer = lti.validate_nonce("n", &lms()).await.unwrap();
    assert_eq!(answer, NonceCheck::Accepted);
}

#[tokio::test]
async fn a_lost_reply_to_the_consuming_commit_admits_no_launch() {
    let connection = Connection::new();
    let lti = launched(&connection).await;
    connection.set(Fault::LosesReply);
    let error = lti.validate_nonce("n", &lms()).await.unwrap_err();
    assert_eq!(error.retry(), Retry::Ambiguous);
    connection.set(None);
    for _ in 0..2 {
        let again = lti.validate_nonce("n", &lms()).await.unwrap();
        assert_eq!(again, NonceCheck::AlreadyUsed);
    }
}

#[tokio::test]
async fn after_a_lost_request_the_nonce_is_accepted_once() {
    let connection = Connection::new();
    let lti = launched(&connection).await;
    connection.set(Fault::LosesRequest);
    let error = lti.validate_nonce("n", &lms()).await.unwrap_err();
    assert_eq!(error.retry(), Retry::Ambiguous);
    connection.set(None);
    for expected in [NonceCheck::Accepted, NonceCheck::AlreadyUsed] {
        assert_eq!(lti.validate_nonce("n", &lms()).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn a_deletion_that_stopped_half_way_is_out_of_reach_and_finished_later() {
    let connection = Connection::new();
    let lti = launched(&connection).await;
    for number in 0..250 {
        let deployment = Deployment::new(format!("d-{number}")).unwrap();
        lti.upsert_deployment(&lms(), deployment).await.unwrap();
    }
    connection.set(Fault::FailsScans);
    lti.delete_registration(ISSUER, "42").await.unwrap_err();
    connection.set(None);
    let deployments = Scan::collection(Collection::new("lti_deployments").cacheable(), "");
    let left = connection.server.scan(&deployments).await.unwrap();
    assert!(!left.items.is_empty(), "it stopped half-way");

    // A new registration with this name inherits no deployments, and loses none of its
    // own.
    lti.upsert_registration(lms()).await.unwrap();
    assert!(lti.get_deployment(&lms(), "d").await.unwrap().is_none());
    let page = lti
        .list_deployments(&lms(), &PageRequest::new())
        .await
        .unwrap();
    assert!(page.items.is_empty());
    let deployment = Deployment::new("d").unwrap();
    lti.upsert_deployment(&lms(), deployment).await.unwrap();
    assert!(lti.get_deployment(&lms(), "d").await.unwrap().is_some());

    assert!(lti.delete_registration(ISSUER, "42").await.unwrap());
    let left = connection.server.scan(&deployments).await.unwrap();
    assert!(left.items.is_empty(), "{} are left", left.items.len());
}

#[tokio::test]
async fn a_launch_costs_no_more_round_trips_than_it_must() {
    let connection = Connection::new();
    let lti = launched(&connection).await;
    lti.get_registration(ISSUER, Some("42")).await.unwrap();
    assert_eq!(connection.calls(), ["get"]);
    lti.get_registration(ISSUER, None).await.unwrap();
    assert_eq!(connection.calls(), ["get", "scan"]);
    lti.get_deployment(&lms(), "d").await.unwrap();
    assert_eq!(connection.calls(), ["get_many"]);
    lti.store_nonce("m", &lms()).await.unwrap();
    assert_eq!(connection.calls(), ["commit"]);
    assert!(lti.validate_nonce("m", &lms()).await.unwrap().is_accepted());
    assert_eq!(connection.calls(), ["get", "commit"]);
    assert!(!lti.validate_nonce("m", &lms()).await.unwrap().is_accepted());
    assert_eq!(connection.calls(), ["get"]);
    // Nothing is asked about what cannot exist.
    assert!(!lti.validate_nonce("", &lms()).await.unwrap().is_accepted());
    assert!(lti.get_deployment(&lms(), "ä").await.unwrap().is_none());
    assert!(connection.calls().is_empty());
}
