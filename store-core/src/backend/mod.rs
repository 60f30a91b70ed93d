//! For implementers: parts that several backends share.
//!
//! | a backend needs | see |
//! |---|---|
//! | to say whether a failed call may be retried | [`Effect`] |
//! | to try a compare-and-swap again | [`Attempts`], [`back_off`] |
//! | to determine the outcome of a commit without a reply | [`layers::Resolving`](crate::layers::Resolving), [`resolve_lost_reply`] |
//! | the numbers of a rate limit, for its server | [`gcra::Terms`] |
//! | to write a hot bucket less often | [`coalesce::Coalescer`] |
//! | streamed objects in pointers and content of its own | [`blobs::engine`](crate::blobs::engine) |
//! | chunks that expire until their object is published | [`ProvisionalChunks`] |
//! | to notify subscribers in its own process of changes | [`ChangeSender`] |
//! | to receive notices of changes from a server | [`ChangeListener`] |
//! | a task that `close` stops | [`Background`] |
//! | to report what callers do not see | [`event`] |
//! | to show the contracts' records to people | [`view`], [`collections::views`](crate::collections::views) |
//!
//! Users of a store need none of this: everything for them is at the crate's root.

mod background;
#[cfg(feature = "limits")]
pub mod coalesce;
mod effect;
pub mod event;
#[cfg(feature = "limits")]
pub mod gcra;
mod listener;
mod lost_reply;
mod retry;
pub mod view;

#[doc(hidden)]
pub use crate::chance::SeededThread;
pub use background::{Background, Stop};
pub use effect::Effect;
pub use listener::{ChangeListener, NoticeSource, NoticeStream, change_messages};
pub use lost_reply::resolve_lost_reply;
pub use retry::{Attempts, MAX_ATTEMPTS, back_off, contended, lost_race};

#[cfg(feature = "blobs")]
#[doc(no_inline)]
pub use crate::blobs::ProvisionalChunks;
#[doc(no_inline)]
pub use crate::changes::ChangeSender;
