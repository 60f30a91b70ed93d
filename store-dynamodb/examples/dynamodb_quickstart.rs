//! The README's example on DynamoDB: `examples/quickstart.rs` and one line.
//!
//! `KEY_RING=… cargo run -p store-dynamodb --example dynamodb_quickstart -- 'dynamodb://table?region=eu-central-1'`

use store_dynamodb::DynamoDbStore as Backend; // the only line that names a backend

#[path = "../../examples/quickstart.rs"]
mod quickstart;

fn main() -> quickstart::Result {
    quickstart::main()
}
