//! What may be had for less durability, and what that costs at a crash.

use std::sync::Arc;
use std::time::Duration;

use store_conformance::servers::{Options, postgres};
use store_core::limits::{Bucket, LimitKey, Quota, QuotaSet, Take, Tokens};
use store_core::lti::{Lti, NonceCheck, Registration};
use store_core::secret::KeyRing;
use store_core::{Durability, ErrorKind, Expect, Store};
use store_postgres::sqlx::postgres::PgConnectOptions;
use tokio::task::JoinSet;

use crate::{End, Place, number, put, tests, write};

tests![
    setup_changes_the_transient_table_only_if_asked,
    a_role_that_may_not_change_the_table_is_refused,
    a_crash_forgets_unlogged_nonces_and_accepts_none_twice,
    only_buckets_are_acknowledged_before_they_are_on_disk,
];

const UNLOGGED: &str = "SELECT coalesce(string_agg(relname, ' '), 'none') FROM pg_class \
    WHERE relnamespace = '{schema}'::regnamespace AND relkind = 'r' AND relpersistence = 'u'";

async fn setup_changes_the_transient_table_only_if_asked(place: Place) -> End {
    place.open().await?;
    for (said, left) in [
        (None, "none"),
        (Some(true), "transient"),
        (Some(true), "transient"),
        (None, "transient"),
        (Some(false), "none"),
        (None, "none"),
    ] {
        let builder = match said {
            Some(unlogged) => place.builder().unlogged_transient(unlogged),
            None => place.builder(),
        };
        builder.connect().await?.setup().await?;
        assert_eq!(place.ask::<String>(UNLOGGED).await?, left, "{said:?}");
    }
    // From the beginning, too.
    let new = Place {
        schema: format!("{}_new", place.schema),
        ..place
    };
    let builder = new.builder().unlogged_transient(true);
    builder.connect().await?.setup().await?;
    assert_eq!(new.ask::<String>(UNLOGGED).await?, "transient");
    Ok(())
}

async fn a_role_that_may_not_change_the_table_is_refused(place: Place) -> End {
    let role = format!("{}_role", place.schema);
    place.run(&format!("CREATE ROLE {role} LOGIN")).await?;
    let owner = place.builder().grant_to(&role).connect().await?;
    owner.setup().await?;
    let limited = || -> Result<_, store_postgres::sqlx::Error> {
        let options: PgConnectOptions = place.url.parse()?;
        Ok(place.builder().connect_options(options.username(&role)))
    };
    for builder in [
        limited()?.unlogged_transient(true),
        limited()?.change_notice(true),
    ] {
        let error = builder.connect().await?.setup().await.expect_err("not its");
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
    }
    limited()?
        .unlogged_transient(false)
        .change_notice(false)
        .connect()
        .await?
        .setup()
        .await?;
    Ok(())
}

/// A tool with a platform, whose nonces are not logged.
async fn tool(store: &Store) -> Result<(Lti, Arc<Registration>), store_core::Error> {
    let lti: Lti = Lti::new(store, &KeyRing::random());
    let platform = Registration::from_json(include_str!(
        "../../../store-memory/examples/tour/platform.json"
    ))?;
    let platform = lti.store().upsert_registration(platform).await?;
    Ok((lti, platform))
}

async fn a_crash_forgets_unlogged_nonces_and_accepts_none_twice(place: Place) -> End {
    let mut server = postgres::killable(&Options::from_env().durable(true))?;
    let place = Place {
        url: server.url().into(),
        ..place
    };
    let open = place.builder().acquire_timeout(Duration::from_millis(300));
    let before = open.clone().connect().await?;
    before.setup().await?;
    let capabilities = |store: &store_postgres::PostgresStore| {
        let capabilities = Store::from(store).records().capabilities();
        (capabilities.durability, capabilities.exceptions)
    };
    assert_eq!(capabilities(&before), (Durability::Crash, vec![]));

    let postgres = open.clone().unlogged_transient(true).relaxed_limits(true);
    let postgres = postgres.connect().await?;
    postgres.setup().await?;
    let weaker = ["rate limits", "lti_nonces"].map(|part| (part, Durability::Restart));
    assert_eq!(
        capabilities(&postgres),
        (Durability::Crash, weaker.to_vec())
    );
    // Another program finds out what the schema is.
    assert_eq!(
        capabilities(&open.connect().await?),
        (Durability::Crash, weaker[1..].to_vec())
    );

    let store = Store::from(&postgres);
    let (lti, platform) = tool(&store).await?;
    let validate = |name: &'static str| lti.store().validate_nonce(name, &platform);
    for name in ["used", "out", "raced"] {
        lti.store().store_nonce(name, &platform).await?;
    }
    assert_eq!(validate("used").await?, NonceCheck::Accepted);
    write(&store, "a", 1).await?;

    // Some are used at the very moment of the crash.
    let (lti, platform) = (Arc::new(lti), platform);
    let mut racers = JoinSet::new();
    for _ in 0..4 {
        let (lti, platform) = (Arc::clone(&lti), Arc::clone(&platform));
        racers.spawn(async move {
            let mut accepted = 0;
            while let Ok(check) = lti.store().validate_nonce("raced", &platform).await {
                accepted += u32::from(check == NonceCheck::Accepted);
            }
            accepted
        });
    }
    write(&store, "a", 2).await?;
    assert!(server.kill());
    let accepted: u32 = racers.join_all().await.into_iter().sum();
    assert!(accepted <= 1);
    server.restart()?;
    while store.records().ping().await.is_err() {}

    for name in ["used", "out", "raced"] {
        for _ in 0..2 {
            let check = lti.store().validate_nonce(name, &platform).await?;
            assert_eq!(check, NonceCheck::Unknown, "{name}");
        }
    }
    // All other records are there, and the table can still be used.
    assert_eq!(number(&store, "a").await?, Some(2));
    let issuer = platform.issuer();
    assert!(lti.store().get_registration(issuer, None).await?.is_some());
    lti.store().store_nonce("new", &platform).await?;
    assert_eq!(
        lti.store().validate_nonce("new", &platform).await?,
        NonceCheck::Accepted
    );
    Ok(())
}

/// A deferred trigger runs in the commit itself: it sees the setting by which
/// the transaction becomes durable.
const WATCH: &str = "
    CREATE TABLE {schema}.seen (at bigserial, what text, setting text);
    CREATE FUNCTION {schema}.see() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO {schema}.seen (what, setting)
            VALUES (TG_TABLE_NAME, current_setting('synchronous_commit'));
        RETURN NULL;
    END $$;
    CREATE CONSTRAINT TRIGGER see AFTER INSERT OR UPDATE OR DELETE ON {schema}.buckets
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION {schema}.see();
    CREATE CONSTRAINT TRIGGER see AFTER INSERT OR UPDATE OR DELETE ON {schema}.records
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION {schema}.see()";

async fn only_buckets_are_acknowledged_before_they_are_on_disk(place: Place) -> End {
    place.open().await?;
    place.run(WATCH).await?;
    for relaxed in [true, false] {
        // One connection: a setting that outlived its transaction would show.
        let store = Store::from(
            place
                .builder()
                .max_connections(1)
                .relaxed_limits(relaxed)
                .connect()
                .await?,
        );
        let quota = |name: &str| Quota::per_second(5).and_then(|q| q.named(name));
        let one = QuotaSet::new([quota("a")?])?;
        let two = QuotaSet::new([quota("a")?, quota("b")?])?;
        let key = format!("key {relaxed}");
        for quotas in [&one, &two] {
            for kind in ["first", "next"] {
                let key = format!("{key} {}", quotas.iter().count());
                let take = Take::new(&key, quotas, 1, store.now())?;
                let decision = store.limits().take(&take).await?;
                assert!(decision.is_allowed(), "{kind}");
                store
                    .records()
                    .commit(&put(&store, "a", Expect::Any, 1)?)
                    .await?;
            }
        }
        let (key, now) = (LimitKey::new(&key)?, store.now());
        for tokens in [1.0, 2.0] {
            let change = |_: Option<&Bucket>| {
                let tokens = Tokens {
                    tokens,
                    last_refill: now,
                };
                let mut bucket = Bucket::default();
                bucket.set_tokens(one.iter().next()?, tokens, now);
                Some(bucket)
            };
            store.limits().update(key, &change).await?;
            write(&store, "a", 2).await?;
        }
        let seen = |table: &'static str| {
            let place = place.clone();
            async move {
                let question = format!(
                    "SELECT string_agg(DISTINCT setting, ' ') || ' ' || count(*)
                     FROM {{schema}}.seen WHERE what = '{table}'"
                );
                place.ask::<String>(&question).await
            }
        };
        let setting = if relaxed { "off" } else { "on" };
        // Two takes of one quota, two of two, and two closures.
        assert_eq!(seen("buckets").await?, format!("{setting} 8"));
        assert_eq!(seen("records").await?, "on 6");
        place.run("TRUNCATE {schema}.seen").await?;
    }
    Ok(())
}
