//! The schema, and who may make it.

use store_core::api_keys::{ApiKeys, KeyData};
use store_core::blobs::{BlobRef, BlobStoreExt, PutOptions};
use store_core::limits::{Quota, QuotaSet, Take};
use store_core::secret::KeyRing;
use store_core::{Batch, Body, Collection, ErrorKind, Expect, Retry, Store};
use store_postgres::PostgresStore;
use store_postgres::sqlx::postgres::PgConnectOptions;
use tokio::task::JoinSet;

use crate::{End, Place, THINGS, key, number, partition, put, tests, write};

tests![
    twenty_processes_may_set_up_at_once,
    a_schema_that_a_newer_program_made_is_refused,
    a_role_without_rights_to_change_the_schema_runs_the_store,
    a_collection_added_later_gets_its_table,
    an_undeclared_collection_is_refused_by_name,
    two_schemas_in_one_database_never_see_each_other,
    the_search_path_does_not_matter,
    every_table_and_column_says_what_it_is_for,
    chunks_are_kept_out_of_line_and_uncompressed,
    a_store_without_setup_says_what_to_do,
    a_wrong_option_is_refused_before_anything_is_sent,
    a_database_of_another_isolation_is_refused_by_its_commits,
];

async fn twenty_processes_may_set_up_at_once(place: Place) -> End {
    let mut starting = JoinSet::new();
    for _ in 0..20 {
        let builder = place.builder().max_connections(1);
        starting.spawn(async move { builder.connect().await?.setup().await });
    }
    while let Some(ended) = starting.join_next().await {
        ended??;
    }
    let made: i64 = place
        .ask("SELECT count(*) FROM {schema}.migrations")
        .await?;
    let last: i64 = place
        .ask("SELECT max(version) FROM {schema}.migrations")
        .await?;
    assert_eq!(made, last);
    Ok(())
}

async fn a_schema_that_a_newer_program_made_is_refused(place: Place) -> End {
    let store = place.open().await?;
    place
        .run("INSERT INTO {schema}.migrations (version, name) VALUES (1000, 'later')")
        .await?;
    let error = store.setup().await.expect_err("made by a newer program");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.message().contains("newer"), "{error}");
    Ok(())
}

async fn a_role_without_rights_to_change_the_schema_runs_the_store(place: Place) -> End {
    let role = format!("{}_role", place.schema);
    place
        .run(&format!("CREATE ROLE {role} LOGIN PASSWORD 'app'"))
        .await?;
    place
        .builder()
        .grant_to(&role)
        .connect()
        .await?
        .setup()
        .await?;

    let options: PgConnectOptions = place.url.parse()?;
    let limited = place
        .builder()
        .connect_options(options.username(&role).password("app"))
        .connect()
        .await?;
    // Nothing is to do, so this asks for no right.
    limited.setup().await?;
    let store = Store::from(&limited);
    write(&store, "a", 1).await?;
    store
        .records()
        .commit(&put(&store, "a", Expect::Present, 2)?)
        .await?;
    assert_eq!(number(&store, "a").await?, Some(2));
    store.records().sweep(std::time::Duration::ZERO).await?;
    use_every_part(&store).await?;

    const LATER: Collection = Collection::new("later");
    let options: PgConnectOptions = place.url.parse()?;
    let limited = place
        .builder()
        .collection(LATER)
        .connect_options(options.username(&role).password("app"))
        .connect()
        .await?;
    let error = limited.setup().await.expect_err("it may make no table");
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
    Ok(())
}

/// Takes of one and two quotas, a closure, an object, a key.
async fn use_every_part(store: &Store) -> End {
    let quota = |name: &str| Quota::per_second(5).and_then(|q| q.named(name));
    for quotas in [vec![quota("a")?], vec![quota("a")?, quota("b")?]] {
        let quotas = QuotaSet::new(quotas)?;
        let take = Take::new("caller", &quotas, 1, store.now())?;
        assert!(store.limits().take(&take).await?.is_allowed());
        store.limits().reset(take.key(), &quotas).await?;
    }
    let object = BlobRef::new("bucket", "key")?;
    let bytes = vec![7; 300_000];
    let put = store.blobs().put(object, PutOptions::default(), bytes);
    put.await?.published()?;
    assert!(store.blobs().delete(object).await?);
    let keys = ApiKeys::new(store, &KeyRing::random());
    let (key, _) = keys.issue(KeyData::new().with_tenant("t")).await?;
    assert!(keys.authenticate(&key).await?.is_active());
    Ok(())
}

async fn a_collection_added_later_gets_its_table(place: Place) -> End {
    const LATER: Collection = Collection::new("later");
    place.open().await?;
    let store = place.builder().collection(LATER).connect().await?;
    store.setup().await?;
    let at = store_core::RecordKey::new(LATER, "a")?;
    let partition = partition();
    assert!(
        Store::from(&store)
            .records()
            .get(at.at(&partition))
            .await?
            .is_none()
    );
    Ok(())
}

async fn an_undeclared_collection_is_refused_by_name(place: Place) -> End {
    const FORGOTTEN: Collection = Collection::new("forgotten");
    let store = Store::from(place.open().await?);
    let forgotten = store_core::RecordKey::new(FORGOTTEN, "a")?;
    let partition = partition();
    let mut one = put(&store, "a", Expect::Any, 1)?;
    one.check(forgotten.clone(), Expect::Absent)?;
    let mut alone = store_core::Batch::new(partition.clone(), store.now());
    alone.check(forgotten.clone(), Expect::Absent)?;
    for error in [
        store
            .records()
            .get(forgotten.at(&partition))
            .await
            .map(drop),
        store
            .records()
            .get_many(&[forgotten.at(&partition)])
            .await
            .map(drop),
        store
            .records()
            .get_many(&[forgotten.at(&partition), key("a").at(&partition)])
            .await
            .map(drop),
        store.records().commit(&alone).await.map(drop),
        store.records().commit(&one).await.map(drop),
    ]
    .map(|answer| answer.expect_err("there is no table"))
    {
        assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
        assert_eq!(error.retry(), Retry::Never);
        assert!(error.message().contains("forgotten"), "{error}");
    }
    assert_eq!(
        number(&store, "a").await?,
        None,
        "nothing of the batch was written"
    );
    Ok(())
}

async fn two_schemas_in_one_database_never_see_each_other(place: Place) -> End {
    let first = Store::from(place.open().await?);
    let elsewhere = Place {
        schema: format!("{}_b", place.schema),
        ..place
    };
    let second = Store::from(elsewhere.open().await?);
    write(&first, "a", 1).await?;
    assert_eq!(number(&second, "a").await?, None);
    write(&second, "a", 2).await?;
    assert_eq!(number(&first, "a").await?, Some(1));
    let once = QuotaSet::new([Quota::per_second(1)?])?;
    for store in [&first, &second] {
        let take = Take::new("caller", &once, 1, store.now())?;
        assert!(store.limits().take(&take).await?.is_allowed());
        let mut expired = Batch::new(partition(), store.now());
        let now = store.now();
        expired.put_until(key("old"), Expect::Any, Body::json(1)?, Some(now))?;
        store.records().commit(&expired).await?;
    }
    first.records().sweep(std::time::Duration::ZERO).await?;
    let left: i64 = elsewhere
        .ask("SELECT count(*) FROM {schema}.records_things WHERE id = 'old'")
        .await?;
    assert_eq!(left, 1, "swept by the other");
    Ok(())
}

async fn the_search_path_does_not_matter(place: Place) -> End {
    let options: PgConnectOptions = place.url.parse()?;
    let store = place
        .builder()
        .connect_options(options.options([("search_path", "")]))
        .connect()
        .await?;
    store.setup().await?;
    let store = Store::from(store);
    write(&store, "a", 1).await?;
    let mut two = put(&store, "a", Expect::Present, 2)?;
    two.check(key("b"), Expect::Absent)?;
    store.records().commit(&two).await?;
    assert_eq!(number(&store, "a").await?, Some(2));
    store.records().sweep(std::time::Duration::ZERO).await?;
    Ok(())
}

async fn every_table_and_column_says_what_it_is_for(place: Place) -> End {
    place.open().await?;
    let silent: Vec<String> = place
        .ask(
            "SELECT coalesce(array_agg(c.relname || '.' || coalesce(a.attname, '')), '{}')
             FROM pg_class c
             LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
             WHERE c.relnamespace = '{schema}'::regnamespace AND c.relkind IN ('r', 'v')
               AND (obj_description(c.oid, 'pg_class') IS NULL
                    OR c.relkind = 'r' AND a.attnum IS NOT NULL
                       AND col_description(c.oid, a.attnum) IS NULL)",
        )
        .await?;
    assert!(silent.is_empty(), "without a comment: {silent:?}");
    Ok(())
}

async fn chunks_are_kept_out_of_line_and_uncompressed(place: Place) -> End {
    const PIECES: Collection = Collection::new("pieces").chunks();
    place
        .builder()
        .collection(PIECES)
        .connect()
        .await?
        .setup()
        .await?;
    let storage = |table: &'static str| {
        let place = place.clone();
        async move {
            place
                .ask::<i8>(&format!(
                    "SELECT attstorage FROM pg_attribute
                     WHERE attrelid = '{{schema}}.{table}'::regclass AND attname = 'bytes'"
                ))
                .await
        }
    };
    assert_eq!(storage("records_pieces").await?, b'e' as i8);
    assert_eq!(storage("records_things").await?, b'x' as i8);
    Ok(())
}

async fn a_store_without_setup_says_what_to_do(place: Place) -> End {
    let store = Store::from(place.builder().connect().await?);
    for error in [
        store
            .records()
            .get(key("a").at(&partition()))
            .await
            .map(drop),
        write(&store, "a", 1).await,
        store
            .records()
            .sweep(std::time::Duration::ZERO)
            .await
            .map(drop),
    ]
    .map(|answer| answer.expect_err("there is no schema"))
    {
        assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
        assert!(error.message().contains("setup"), "{error}");
    }
    Ok(())
}

/// Whatever the store began itself at another level writes nothing either.
async fn a_database_of_another_isolation_is_refused_by_its_commits(place: Place) -> End {
    let sound = Store::from(place.open().await?);
    for level in ["repeatable read", "serializable"] {
        let options: PgConnectOptions = place.url.parse()?;
        let options = options.options([("default_transaction_isolation", level)]);
        let store = Store::from(place.builder().connect_options(options).connect().await?);
        let one = put(&store, "a", Expect::Any, 1)?;
        let mut two = put(&store, "a", Expect::Any, 1)?;
        two.put(key("b"), Expect::Any, Body::json(1)?)?;
        for batch in [one, two] {
            let error = store.records().commit(&batch).await.expect_err(level);
            assert_eq!(
                (error.kind(), error.retry()),
                (ErrorKind::InvalidInput, Retry::Never),
                "{error:?}"
            );
            assert!(error.message().contains("default_transaction_isolation"));
        }
        assert_eq!(number(&sound, "a").await?, None);
        assert_eq!(number(&sound, "b").await?, None);
    }
    Ok(())
}

async fn a_wrong_option_is_refused_before_anything_is_sent(place: Place) -> End {
    for builder in [
        PostgresStore::builder(),
        PostgresStore::builder().url("not a URL at all, with hunter2"),
        place.builder().schema("no; such"),
    ] {
        let error = builder
            .collection(THINGS)
            .connect()
            .await
            .expect_err("misconfigured");
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(!format!("{error:?} {error}").contains("hunter2"));
    }
    Ok(())
}
