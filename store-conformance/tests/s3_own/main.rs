//! What S3's store promises beyond the suite: its requests, what becomes of a
//! call when the line or a process breaks, and which servers it refuses.

mod blob_faults;
mod blobs;
mod calls;
mod drivers;
mod faults;
#[allow(dead_code, reason = "the suite's part of it")]
mod harness;
mod lax;
mod memory;
mod processes;
mod setup;
mod tls;
mod tombstones;
mod trips;
mod watched;

#[path = "../own/mod.rs"]
mod own;

use std::process::ExitCode;

pub(crate) use own::{End, Failure, key, number, other, partition, put, tests, write};
use store_conformance::servers::{Options, missing, s3};
use store_core::{ManualClock, Result, Store};
use store_s3::S3Builder;

/// An unused prefix on a server.
#[derive(Clone)]
pub(crate) struct Place {
    url: String,
    prefix: String,
}

impl Place {
    fn new(url: &str) -> Self {
        Self {
            url: url.into(),
            prefix: own::fresh("own", '-'),
        }
    }

    fn builder(&self) -> S3Builder {
        self.builder_at(&self.url)
    }

    /// The same place by another way to its server.
    fn builder_at(&self, url: &str) -> S3Builder {
        harness::builder(url, &self.prefix).clock(ManualClock::default())
    }

    async fn open(&self) -> Result<Store> {
        Ok(self.builder().connect().await?.into())
    }
}

fn main() -> ExitCode {
    if let Some(end) = processes::child().or_else(memory::child) {
        return end;
    }
    let server = match s3::find(&Options::from_env()) {
        Ok(server) => server,
        Err(advice) => return missing(&advice),
    };
    let tests = [
        blobs::all(),
        blob_faults::all(),
        calls::all(),
        faults::all(),
        setup::all(),
        tls::all(),
        tombstones::all(),
        processes::all(),
        memory::all(),
        trips::all(),
    ]
    .concat();
    own::run(tests, || Place::new(server.url()))
}
