//! One conditional put, and its outcome when the reply is lost.

use bytes::Bytes;
use store_core::backend::contended;
use store_core::{Error, Result};

use super::Protocol;
use crate::error::is_lost;
use crate::objects::{ETag, Found, Objects, Put, When};

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

/// Whether a put that creates the object may be sent again after its reply was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// The object stays, so the condition of a late copy fails.
    Stay,
    /// The object may be removed; then a late copy would create it again.
    Go,
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
        when: &When,
        bytes: &Bytes,
        names: Names,
    ) -> Result<Outcome> {
        let mut lost: Option<Error> = None;
        for attempt in 0..SENDS {
            match self.objects.put(name, when, bytes.clone()).await {
                Ok(Put::Done(etag)) => return Ok(Outcome::Done(etag)),
                Ok(Put::Busy) => {
                    self.objects.pause(attempt).await;
                    continue;
                }
                Ok(Put::Refused) => {}
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
            if *when == When::Missing && names == Names::Go && lost.is_some() {
                break;
            }
            self.objects.pause(attempt).await;
        }
        Err(lost.unwrap_or_else(contended))
    }
}
