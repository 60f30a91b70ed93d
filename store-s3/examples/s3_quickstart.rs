//! The README's example on S3: `examples/quickstart.rs` and one line.
//!
//! `KEY_RING=… cargo run -p store-s3 --example s3_quickstart -- 's3://bucket/prefix?region=eu-central-1'`

use store_s3::S3Store as Backend; // the only line that names a backend

#[path = "../../examples/quickstart.rs"]
mod quickstart;

fn main() -> quickstart::Result {
    quickstart::main()
}
