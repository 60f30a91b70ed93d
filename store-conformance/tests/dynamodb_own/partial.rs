//! Has the server answer in part: it leaves keys and deletes of a batch unprocessed, and
//! ends pages early. DynamoDB does so when it throttles and after 1 MB; servers that
//! stand in for it hardly ever do.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aws_smithy_types::config_bag::{Storable, StoreReplace};
use store_dynamodb::sdk::config::interceptors::{
    BeforeSerializationInterceptorContextMut, FinalizerInterceptorContextMut,
};
use store_dynamodb::sdk::config::{ConfigBag, Intercept, RuntimeComponents};
use store_dynamodb::sdk::error::BoxError;
use store_dynamodb::sdk::operation::batch_get_item::{BatchGetItemInput, BatchGetItemOutput};
use store_dynamodb::sdk::operation::batch_write_item::{BatchWriteItemInput, BatchWriteItemOutput};
use store_dynamodb::sdk::operation::query::QueryInput;
use store_dynamodb::sdk::operation::scan::ScanInput;
use store_dynamodb::sdk::types::{AttributeValue, DeleteRequest, KeysAndAttributes, WriteRequest};

/// One for one client; clones share everything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Partial(Arc<State>);

#[derive(Debug, Default)]
struct State {
    batches: Mutex<VecDeque<usize>>,
    sent: AtomicU64,
    page: AtomicU32,
}

/// What the server leaves unprocessed of one request.
#[derive(Clone, Debug)]
enum Unprocessed {
    Keys(HashMap<String, KeysAndAttributes>),
    /// All keys: the answer's items are withheld too.
    AllKeys(HashMap<String, KeysAndAttributes>),
    Writes(HashMap<String, Vec<WriteRequest>>),
}

impl Storable for Unprocessed {
    type Storer = StoreReplace<Self>;
}

impl Partial {
    /// Of the next requests with a batch, the server processes this many keys or writes
    /// each, and all of later ones.
    pub(crate) fn batches(&self, counts: impl IntoIterator<Item = usize>) {
        let mut batches = self.0.batches.lock();
        let batches = batches.as_mut().unwrap_or_else(PoisonError::get_mut);
        batches.extend(counts);
    }

    /// How many requests with a batch were sent since the last call.
    pub(crate) fn sent(&self) -> u64 {
        self.0.sent.swap(0, Ordering::SeqCst)
    }

    /// Has the server look at this many items at most for each answer to a query or
    /// scan; zero for as many as it likes.
    pub(crate) fn page(&self, items: u32) {
        self.0.page.store(items, Ordering::SeqCst);
    }

    /// How much of a batch is processed; `None` for all.
    fn next(&self) -> Option<usize> {
        self.0.sent.fetch_add(1, Ordering::SeqCst);
        let mut batches = self.0.batches.lock();
        let batches = batches.as_mut().unwrap_or_else(PoisonError::get_mut);
        batches.pop_front()
    }

    fn limited(&self, limit: &mut Option<i32>) {
        let page = self.0.page.load(Ordering::SeqCst) as i32;
        if page > 0 {
            *limit = Some(limit.map_or(page, |limit| limit.min(page)));
        }
    }
}

/// Leaves `count` keys in the request, which are not all; returns the others.
fn split_keys(input: &mut BatchGetItemInput, count: usize) -> Unprocessed {
    let mut others = HashMap::new();
    for (table, asked) in input.request_items.iter_mut().flatten() {
        let mut left = asked.clone();
        left.keys = asked.keys[count..].to_vec();
        // The server refuses an empty list.
        asked.keys.truncate(count.max(1));
        others.insert(table.clone(), left);
    }
    match count {
        0 => Unprocessed::AllKeys(others),
        _ => Unprocessed::Keys(others),
    }
}

/// The same for writes. The server refuses an empty list, so a delete of an item that
/// does not exist takes its place.
fn split_writes(input: &mut BatchWriteItemInput, count: usize) -> Unprocessed {
    let mut others = HashMap::new();
    for (table, asked) in input.request_items.iter_mut().flatten() {
        others.insert(table.clone(), asked.split_off(count));
        if asked.is_empty() {
            let nothing = || AttributeValue::S("nothing".into());
            let delete = DeleteRequest::builder().key("pk", nothing());
            let delete = delete.key("sk", nothing()).build().expect("it is whole");
            asked.push(WriteRequest::builder().delete_request(delete).build());
        }
    }
    Unprocessed::Writes(others)
}

impl Intercept for Partial {
    fn name(&self) -> &'static str {
        "Partial"
    }

    fn modify_before_serialization(
        &self,
        context: &mut BeforeSerializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let input = context.input_mut();
        if let Some(input) = input.downcast_mut::<QueryInput>() {
            self.limited(&mut input.limit);
        } else if let Some(input) = input.downcast_mut::<ScanInput>() {
            self.limited(&mut input.limit);
        } else if let Some(input) = input.downcast_mut::<BatchGetItemInput>() {
            if let Some(count) = self.next() {
                let left = split_keys(input, count);
                config.interceptor_state().store_put(left);
            }
        } else if let Some(input) = input.downcast_mut::<BatchWriteItemInput>()
            && let Some(count) = self.next()
        {
            let left = split_writes(input, count);
            config.interceptor_state().store_put(left);
        }
        Ok(())
    }

    fn modify_before_attempt_completion(
        &self,
        context: &mut FinalizerInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let (Some(left), Some(Ok(output))) =
            (config.load::<Unprocessed>(), context.output_or_error_mut())
        else {
            return Ok(());
        };
        match left.clone() {
            Unprocessed::Writes(left) => {
                let output = output.downcast_mut::<BatchWriteItemOutput>();
                output.ok_or("another answer")?.unprocessed_items = Some(left);
            }
            Unprocessed::Keys(left) => {
                let output = output.downcast_mut::<BatchGetItemOutput>();
                output.ok_or("another answer")?.unprocessed_keys = Some(left);
            }
            Unprocessed::AllKeys(left) => {
                let output = output.downcast_mut::<BatchGetItemOutput>();
                let output = output.ok_or("another answer")?;
                output.responses = None;
                output.unprocessed_keys = Some(left);
            }
        }
        Ok(())
    }
}
