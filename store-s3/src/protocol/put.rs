//! One conditional put, and its outcome when the reply is lost.

use bytes::Bytes;
use store_core::backend::contended;
use store_core::{Error, Result};

use super::Protocol;
use crate::error::is_lost;
use crate::objects::{ETag, Found, Objects, Precondition, PutResult};

/// How often a put is sent while its reply is lost or the server is busy.
const SENDS: u32 = 8;

/// The outcome of a put.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It was executed.
    Done(ETag),
    /// The condition does not hold. If there is an error, a copy of the put may have been
    /// executed and then overwritten by another process.
    Refused(Option<Found>, Option<Error>),
}

/// Whether the object of a put may be removed later. If so, a put that creates it is not
/// sent again after its reply was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Removal {
    /// The object stays, so the condition of a late copy fails.
    Never,
    /// The object may be removed; then a late copy would create it again.
    Possible,
}

impl<O: Objects> Protocol<O> {
    /// Sends a put until its outcome is known.
    ///
    /// The bytes must be unique to this put, so that finding them proves that it was
    /// executed. Sending the put twice is safe: both copies have the same condition,
    /// which is false after either was executed, because an object never returns to an
    /// earlier state once its record has changed.
    pub(crate) async fn put(
        &self,
        name: &str,
        when: &Precondition,
        bytes: &Bytes,
        removal: Removal,
    ) -> Result<Outcome> {
        let mut lost: Option<Error> = None;
        for attempt in 0..SENDS {
            match self.objects.put(name, when, bytes.clone()).await {
                Ok(PutResult::Written(etag)) => return Ok(Outcome::Done(etag)),
                Ok(PutResult::Busy) => {
                    self.objects.pause(attempt).await;
                    continue;
                }
                Ok(PutResult::Refused) => {}
                Err(error) if is_lost(&error) => lost = Some(error),
                Err(error) => return Err(lost.unwrap_or(error)),
            }
            let found = match self.objects.get(name).await {
                Ok(found) => found,
                Err(unread) => return Err(lost.unwrap_or(unread)),
            };
            if let Some(found) = found.as_ref().filter(|found| found.bytes == *bytes) {
                return Ok(Outcome::Done(found.etag.clone()));
            }
            if !when.holds(found.as_ref()) {
                return Ok(Outcome::Refused(found, lost));
            }
            // Not executed yet, or refused because of a conflict that has ended.
            if *when == Precondition::NotExists && removal == Removal::Possible && lost.is_some() {
                break;
            }
            self.objects.pause(attempt).await;
        }
        Err(lost.unwrap_or_else(contended))
    }
}
