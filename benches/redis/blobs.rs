//! Compares objects of 64 MiB with one string of that size.

use bytes::Bytes;
use redis::cmd;
use store_conformance::bench::{Comparison, Goal};
use store_core::blobs::{BlobRef, OpenOptions, PutOptions};
use store_redis::redis;

use crate::Bench;

const BLOB: usize = 64 << 20;
const CHUNK: usize = 256 << 10;

impl Bench {
    pub(crate) fn blobs(&self) {
        let chunk = Bytes::from(
            (0..CHUNK)
                .map(|i| ((i * 7919) >> 3) as u8)
                .collect::<Vec<_>>(),
        );
        let whole = vec![7u8; BLOB];
        let at = BlobRef::new("bench", "object").unwrap();
        let write = |_| {
            let chunk = chunk.clone();
            async move {
                let mut sink = self
                    .store
                    .blobs()
                    .begin(at, PutOptions::default())
                    .await
                    .unwrap();
                for _ in 0..BLOB / CHUNK {
                    sink.write(chunk.clone()).await.unwrap();
                }
                let _ = sink.commit().await.unwrap();
            }
        };
        let config = redis::aio::ConnectionManagerConfig::new().set_response_timeout(None);
        let patient = self.client.get_connection_manager_with_config(config);
        let patient = self.runtime.block_on(patient).unwrap();
        let set = |_| {
            let (mut raw, whole) = (patient.clone(), &whole);
            async move {
                let mut command = cmd("SET");
                command
                    .arg("raw:blob")
                    .arg(whole)
                    .exec_async(&mut raw)
                    .await
                    .unwrap();
            }
        };
        let read = |_| async move {
            let opened = self.store.blobs().open(at, OpenOptions::default()).await;
            let mut blob = opened.unwrap().unwrap();
            let mut size = 0;
            while let Some(bytes) = blob.reader.next().await.unwrap() {
                size += bytes.len();
            }
            assert_eq!(size, BLOB);
        };
        let get = |_| {
            let mut raw = patient.clone();
            async move {
                let bytes: Vec<u8> = cmd("GET")
                    .arg("raw:blob")
                    .query_async(&mut raw)
                    .await
                    .unwrap();
                assert_eq!(bytes.len(), BLOB);
            }
        };
        let measured = Comparison::new("writing 64 MiB")
            .contender("the store", |n| self.timed(n, write))
            .contender("one SET", |n| self.timed(n, set))
            .goal(Goal::AtLeast(1.5))
            .batch(1)
            .rounds(7)
            .run();
        println!("{measured}");
        let measured = Comparison::new("reading 64 MiB")
            .contender("the store", |n| self.timed(n, read))
            .contender("one GET", |n| self.timed(n, get))
            .goal(Goal::AtLeast(1.5))
            .batch(1)
            .rounds(7)
            .run();
        println!("{measured}");
    }
}
