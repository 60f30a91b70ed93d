//! Which certificates are trusted, and which rights a user needs.

use std::path::PathBuf;
use std::time::Duration;

use store_conformance::servers::{Options, redis};
use store_core::config::Tls;
use store_core::limits::{Quota, QuotaSet, Take};
use store_core::{Batch, Body, ErrorKind, Expect, Scan, Store};
use store_redis::RedisBuilder;
use store_redis::redis::cmd;
use tokio::task::block_in_place;

use crate::own::fresh;
use crate::own::tls::Authority;
use crate::{End, Failure, Place, THINGS, key, number, partition, tests, write};

tests![
    a_server_is_trusted_only_by_its_certificate,
    the_rights_that_are_documented_suffice,
    a_user_without_rights_gets_permission_denied,
];

/// A file that the server can read as any user; removed when dropped.
struct File(PathBuf);

impl File {
    fn new(text: &str) -> Result<Self, Failure> {
        let file = std::env::temp_dir().join(fresh("store-redis", '-') + ".pem");
        std::fs::write(&file, text)?;
        Ok(Self(file))
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Makes the server use a certificate of that name on that port.
async fn serve(place: &Place, authority: &Authority, host: &str, port: u16) -> End {
    let (certificate, key) = authority.certify(host)?;
    // The server reads them when it is configured, and not again.
    let (certificate, key) = (File::new(&certificate)?, File::new(&key)?);
    let mut command = cmd("CONFIG");
    command
        .arg("SET")
        .arg("tls-cert-file")
        .arg(certificate.0.to_str());
    command.arg("tls-key-file").arg(key.0.to_str());
    command
        .arg("tls-ca-cert-file")
        .arg(authority.root().to_str());
    command.arg("tls-auth-clients").arg("no");
    command.arg("tls-port").arg(port);
    Ok(place.ask::<()>(&command).await?)
}

async fn refused(what: &str, builder: RedisBuilder) -> End {
    let error = builder.connect().await.expect_err(what);
    assert_eq!(error.kind(), ErrorKind::Config, "{what}: {error:?}");
    Ok(())
}

async fn a_server_is_trusted_only_by_its_certificate(_: Place) -> End {
    let server = block_in_place(|| redis::killable(&Options::from_env()))?;
    let place = Place::new(server.url());
    let port = std::net::TcpListener::bind("127.0.0.1:0")?
        .local_addr()?
        .port();
    let secret = || place.builder().url(format!("rediss://127.0.0.1:{port}"));
    let (ours, theirs) = (Authority::new()?, Authority::new()?);
    let [ours_only, theirs_only] =
        [&ours, &theirs].map(|authority| Tls::new().ca_file(authority.root()).only_this_ca());
    serve(&place, &ours, "127.0.0.1", port).await?;
    let beside_the_systems = Tls::new().ca_file(ours.root());
    for tls in [beside_the_systems, ours_only.clone()] {
        let store = Store::from(secret().tls(tls).connect().await?);
        write(&store, "a", 1).await?;
        assert_eq!(number(&store, "a").await?, Some(1));
    }
    refused("another authority", secret().tls(theirs_only)).await?;
    refused("the system's authorities", secret()).await?;
    let missing = Tls::new().ca_file("/nowhere.pem");
    refused("a file that does not exist", secret().tls(missing)).await?;
    let plain = place.builder().tls(ours_only.clone());
    refused("an authority without TLS", plain).await?;
    serve(&place, &ours, "redis.example.org", port).await?;
    refused("a certificate of another host", secret().tls(ours_only)).await
}

/// The user `app` with these rights.
async fn user(place: &Place, rights: &str) -> Result<RedisBuilder, Failure> {
    let mut command = cmd("ACL");
    command
        .arg("SETUSER")
        .arg("app")
        .arg("reset")
        .arg("on")
        .arg(">secret");
    for right in rights.split(' ') {
        command.arg(right);
    }
    place.ask::<()>(&command).await?;
    Ok(place
        .builder()
        .namespace("store")
        .credentials("app", "secret"))
}

async fn the_rights_that_are_documented_suffice(_: Place) -> End {
    let server = block_in_place(|| redis::killable(&Options::from_env()))?;
    let place = Place::new(server.url());
    let rights = "~store:* ~store/* &store/* +@read +@write +@scripting +@transaction +@connection \
        +info +time +publish +subscribe +wait +cluster|slots +cluster|nodes +config|get";
    let opened = user(&place, rights)
        .await?
        .change_notice(true)
        .connect()
        .await?;
    opened.setup().await?;
    let store = Store::from(opened);
    let _changes = store.records().changes().await?;
    for expect in [Expect::Absent, Expect::Present] {
        let mut batch = Batch::new(partition(), store.now());
        let soon = store.now() + Duration::from_secs(5);
        batch.put(key("a"), expect, Body::json(1)?)?;
        batch.put_until(key("b"), expect, Body::json(1)?, Some(soon))?;
        batch.delete(key("c"), Expect::Any)?;
        store.records().commit(&batch).await?;
    }
    let mut large = Batch::new(partition(), store.now());
    let body = Body::bytes(vec![7; 100_000])?;
    large.put(key("d"), Expect::Absent, body)?;
    store.records().commit(&large).await?;
    for scan in [
        Scan::partition(THINGS, partition()),
        Scan::collection(THINGS, ""),
    ] {
        assert_eq!(store.records().scan(&scan).await?.items.len(), 3);
    }
    let quotas = QuotaSet::new([Quota::per_second(1)?])?;
    let take = Take::new("k", &quotas, 1, store.now())?;
    assert!(store.limits().take(&take).await?.is_allowed());
    store.limits().reset(take.key(), &quotas).await?;
    store.records().ping().await?;
    Ok(())
}

async fn a_user_without_rights_gets_permission_denied(_: Place) -> End {
    let server = block_in_place(|| redis::killable(&Options::from_env()))?;
    let place = Place::new(server.url());
    let builder = user(&place, "~other:* +@all").await?;
    let store = Store::from(builder.clone().connect().await?);
    let error = number(&store, "a").await.expect_err("keys of another user");
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
    let error = write(&store, "a", 1)
        .await
        .expect_err("keys of another user");
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
    let wrong = builder.credentials("app", "hunter2");
    let error = wrong.connect().await.expect_err("another password");
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error:?}");
    assert!(!format!("{error:?} {error}").contains("hunter2"));
    Ok(())
}
