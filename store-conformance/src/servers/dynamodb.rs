//! DynamoDB: stand-ins for it.

use super::ministack::MiniStack;
use super::{Options, Server};

/// The endpoint to use, if one runs already: `http://127.0.0.1:8000`.
pub const URL: &str = "STORE_TEST_DYNAMODB_URL";

/// A server, found or made as [the module](super) says.
///
/// # Errors
/// What to do, if there is none.
pub fn find(options: &Options) -> Result<Server, String> {
    super::find(&MiniStack { variable: URL }, options)
}
