//! TLS: who is trusted, and what is said of who is not.

use std::time::Duration;

use store_conformance::servers::{Options, postgres};
use store_core::config::Tls;
use store_core::{ErrorKind, Store};
use store_postgres::PostgresBuilder;

use crate::own::tls::Authority;
use crate::{End, Place, number, tests, write};

tests![a_server_is_trusted_by_its_certificate_alone];

/// Has the server write a file in its folder, for its own eyes.
async fn place_file(place: &Place, name: &str, text: &str) -> End {
    place
        .run(&format!(
            "COPY (SELECT unnest(string_to_array('{text}', E'\\n')))
             TO PROGRAM 'umask 077 && cat > {name}'"
        ))
        .await?;
    Ok(())
}

/// Has the server use this certificate, and waits until it does.
async fn serve(place: &Place, name: &str, (certificate, key): (String, String)) -> End {
    place_file(place, &format!("{name}.crt"), &certificate).await?;
    place_file(place, &format!("{name}.key"), &key).await?;
    for setting in [
        format!("ssl_cert_file = '{name}.crt'"),
        format!("ssl_key_file = '{name}.key'"),
        "ssl = on".into(),
    ] {
        place.run(&format!("ALTER SYSTEM SET {setting}")).await?;
    }
    place.run("SELECT pg_reload_conf()").await?;
    while place.ask::<String>("SHOW ssl_cert_file").await? != format!("{name}.crt")
        || place.ask::<String>("SHOW ssl").await? != "on"
    {}
    Ok(())
}

/// The error of opening this store, which must not wait for the pool's timeout.
async fn refused(what: &str, builder: PostgresBuilder) -> store_core::Error {
    let opened = tokio::time::timeout(Duration::from_secs(5), builder.connect()).await;
    let error = opened.expect(what).expect_err(what);
    assert!(
        matches!(error.kind(), ErrorKind::Config | ErrorKind::Unauthenticated),
        "{what}: {error:?}"
    );
    assert!(error.message().contains("sslmode"), "{what}: {error}");
    error
}

async fn a_server_is_trusted_by_its_certificate_alone(place: Place) -> End {
    let server = postgres::killable(&Options::from_env())?;
    let place = Place {
        url: format!("{}?sslmode=disable", server.url()),
        ..place
    };
    let plain = place.builder();
    let with = |query: &str| plain.clone().url(format!("{}?{query}", server.url()));
    for mode in ["require", "verify-full"] {
        refused(
            "a server without TLS, asked for it",
            with(&format!("sslmode={mode}")),
        )
        .await;
    }
    with("sslmode=prefer").connect().await?.setup().await?;

    let (ours, theirs) = (Authority::new()?, Authority::new()?);
    serve(&place, "right", ours.certify("127.0.0.1")?).await?;
    let root = |authority: &Authority| format!("sslrootcert={}", authority.root().display());
    for (name, builder) in [
        (
            "url",
            with(&format!(
                "application_name=url&sslmode=verify-full&{}",
                root(&ours)
            )),
        ),
        (
            "option",
            with("application_name=option").tls(Tls::new().ca_file(ours.root())),
        ),
    ] {
        let store = Store::from(builder.change_notice(true).connect().await?);
        write(&store, "a", 1).await?;
        assert_eq!(number(&store, "a").await?, Some(1));
        let secret: bool = place
            .ask(&format!(
                "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                 WHERE application_name = '{name}'"
            ))
            .await?;
        assert!(secret, "{name}");
    }
    refused(
        "another authority",
        with("").tls(Tls::new().ca_file(theirs.root())),
    )
    .await;
    refused(
        "another authority, by URL",
        with(&format!("sslmode=verify-ca&{}", root(&theirs))),
    )
    .await;
    // The machine's own authorities know nothing of it either.
    refused("no authority named", with("sslmode=verify-full")).await;
    let missing = with("").tls(Tls::new().ca_file("/nowhere/ca.pem"));
    let error = missing.connect().await.expect_err("no such file");
    assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
    assert!(error.message().contains("cannot be read"), "{error}");

    serve(&place, "wrong", ours.certify("db.example.org")?).await?;
    refused(
        "another host",
        with("").tls(Tls::new().ca_file(ours.root())),
    )
    .await;
    // Whoever checks the authority alone is let in.
    with(&format!("sslmode=verify-ca&{}", root(&ours)))
        .connect()
        .await?;

    // A server that takes nothing but TLS.
    place_file(&place, "pg_hba.conf", "hostssl all all 127.0.0.1/32 trust").await?;
    place.run("SELECT pg_reload_conf()").await?;
    while with("sslmode=disable").connect().await.is_ok() {}
    refused("TLS not used", with("sslmode=disable")).await;
    with("sslmode=require").connect().await?;
    Ok(())
}
