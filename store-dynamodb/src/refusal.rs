//! The outcome of a conditional write: written, or refused with the stored item.

use std::error::Error as StdError;
use std::fmt;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure;
use store_core::Result;

use crate::error::{Effect, from_code, from_sdk};
use crate::wire::Item;

/// A failed condition returns the stored item.
pub(crate) const ALL_OLD: ReturnValuesOnConditionCheckFailure =
    ReturnValuesOnConditionCheckFailure::AllOld;

/// An error of a conditional write.
pub(crate) trait Conditional:
    ProvideErrorMetadata + StdError + Send + Sync + Sized + 'static
{
    /// The stored item, empty if there is none, if the condition failed.
    fn stored(self) -> Result<Item, Self>;
}

/// Implements the trait for the errors of the three writes, which share no type.
macro_rules! conditional {
    ($($error:ident),*) => {$(
        impl Conditional for $error {
            fn stored(self) -> Result<Item, Self> {
                match self {
                    Self::ConditionalCheckFailedException(e) => Ok(e.item.unwrap_or_default()),
                    e => Err(e),
                }
            }
        }
    )*};
}

conditional!(DeleteItemError, PutItemError, UpdateItemError);

/// The reply to a write, or the stored item for which its condition failed.
pub(crate) fn outcome<T, E, R>(
    sent: Result<T, SdkError<E, R>>,
    operation: &'static str,
) -> Result<Result<T, Item>>
where
    E: Conditional,
    R: fmt::Debug + Send + Sync + 'static,
{
    match sent {
        Ok(answer) => Ok(Ok(answer)),
        Err(SdkError::ServiceError(e)) => match e.into_err().stored() {
            Ok(item) => Ok(Err(item)),
            Err(e) => {
                let code = e.code().unwrap_or("nothing");
                Err(from_code(code, Effect::Write).with_operation(operation))
            }
        },
        Err(e) => Err(from_sdk(e, Effect::Write, operation)),
    }
}
