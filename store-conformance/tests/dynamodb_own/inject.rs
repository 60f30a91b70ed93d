//! Counts the requests of the SDK, and replaces answers of the server by those that a
//! server in a test never gives: that it throttles, or that a transaction holds an item.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use store_dynamodb::sdk::config::interceptors::{
    BeforeDeserializationInterceptorContextMut, BeforeTransmitInterceptorContextMut,
};
use store_dynamodb::sdk::config::{ConfigBag, Intercept, RuntimeComponents};
use store_dynamodb::sdk::error::BoxError;

/// For one client; clones share everything. A script is for calls that follow one
/// another.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inject(Arc<State>);

#[derive(Debug, Default)]
struct State {
    requests: AtomicU64,
    /// By operation, since the last call of [`Inject::operations`].
    operations: Mutex<HashMap<String, u64>>,
    answers: Mutex<VecDeque<Answer>>,
    /// Whether the current request was made invalid.
    is_invalid: AtomicBool,
}

/// The answer instead of the server's.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    status: u16,
    body: String,
}

impl Answer {
    /// An error of this code.
    pub(crate) fn code(status: u16, code: &str) -> Self {
        Self::body(
            status,
            &format!(r#"{{"__type":"x#{code}","message":"hunter2"}}"#),
        )
    }

    /// A cancelled transaction, with a code for each item.
    pub(crate) fn cancelled(codes: &[&str]) -> Self {
        let reason = |code: &&str| format!(r#"{{"Code":"{code}","Message":"hunter2"}}"#);
        let reasons: Vec<_> = codes.iter().map(reason).collect();
        let body = format!(
            r#"{{"__type":"x#TransactionCanceledException","message":"hunter2","CancellationReasons":[{}]}}"#,
            reasons.join(",")
        );
        Self::body(400, &body)
    }

    fn body(status: u16, body: &str) -> Self {
        Self {
            status,
            body: body.into(),
        }
    }
}

impl Inject {
    /// How many requests were sent since the last call.
    pub(crate) fn requests(&self) -> u64 {
        self.0.requests.swap(0, Ordering::SeqCst)
    }

    /// Counts from zero again, all requests and each operation.
    pub(crate) fn reset(&self) {
        self.requests();
        self.counts().clear();
    }

    /// The same for one operation, such as `GetItem`.
    pub(crate) fn operations(&self, name: &str) -> u64 {
        self.counts().remove(name).unwrap_or_default()
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<String, u64>> {
        let operations = self.0.operations.lock();
        operations.unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives these answers to the next requests, one each; the server does nothing for them.
    pub(crate) fn script(&self, answers: impl IntoIterator<Item = Answer>) {
        let mut script = self
            .0
            .answers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        script.extend(answers);
    }

    /// The number of scripted answers that are left.
    pub(crate) fn left(&self) -> usize {
        let script = self
            .0
            .answers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        script.len()
    }
}

impl Intercept for Inject {
    fn name(&self) -> &'static str {
        "Inject"
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.requests.fetch_add(1, Ordering::SeqCst);
        let target = context.request().headers().get("x-amz-target");
        let operation = target.and_then(|target| target.rsplit('.').next());
        *self
            .counts()
            .entry(operation.unwrap_or_default().into())
            .or_default() += 1;
        if self.left() > 0 {
            // Every server refuses it.
            *context.request_mut().body_mut() = "{}".into();
            context
                .request_mut()
                .headers_mut()
                .insert("content-length", "2");
            self.0.is_invalid.store(true, Ordering::SeqCst);
        }
        Ok(())
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if self.0.is_invalid.swap(false, Ordering::SeqCst) {
            let mut script = self
                .0
                .answers
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let answer = script.pop_front().ok_or("the script has an answer")?;
            let response = context.response_mut();
            assert!(
                !response.status().is_success(),
                "the server accepted an invalid request"
            );
            *response.status_mut() = answer.status.try_into()?;
            *response.body_mut() = answer.body.into();
        }
        Ok(())
    }
}
