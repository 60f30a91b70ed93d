//! Rate limits.

mod bucket;
mod events;
pub mod gcra;
mod key;
mod limiter;
mod quota;
mod records;
mod store;
mod take;

pub use bucket::{Bucket, Entry, State, Tokens};
pub use events::{Denial, Event, Outcome, Refused};
pub use key::{LimitKey, MAX_LIMIT_KEY};
pub use limiter::{KeyedLimiter, Level, RateLimiter};
pub use quota::{MAX_QUOTA_NAME, MAX_QUOTAS, MAX_REFILL, Quota, Quotas};
pub use records::RecordLimits;
pub use store::{Change, RateLimitStore, RateLimitStoreExt};
pub use take::{Decision, Decisions, Take};
