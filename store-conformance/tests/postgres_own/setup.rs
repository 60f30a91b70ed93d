//! The schema, and who may make it.

use store_conformance::cases::records::change_stored_flags;
use store_core::api_keys::{ApiKeys, KeyData};
use store_core::blobs::{BlobRef, BlobStoreExt, PutOptions};
use store_core::body::Encoded;
use store_core::limits::{Quota, QuotaSet, Take};
use store_core::secret::KeyRing;
use store_core::{Batch, Body, Collection, ErrorKind, Expect, RecordKey, Retry, Scan, Store};
use store_postgres::PostgresStore;
use store_postgres::sqlx::postgres::PgConnectOptions;
use tokio::task::JoinSet;

use crate::{End, Place, THINGS, key, number, partition, put, tests, write};

tests![
    twenty_processes_may_set_up_at_once,
    a_schema_that_a_newer_program_made_is_refused,
    a_role_without_rights_to_change_the_schema_runs_the_store,
    a_collection_works_without_being_declared,
    a_collection_that_changed_its_table_is_refused_by_name,
    flags_that_differ_from_those_set_up_are_refused,
    what_an_administrator_ran_leaves_setup_nothing_to_do,
    a_body_has_the_size_it_had_and_bounds_its_page,
    two_schemas_in_one_database_never_see_each_other,
    the_search_path_does_not_matter,
    every_table_and_column_says_what_it_is_for,
    chunks_are_stored_out_of_line_and_uncompressed,
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

async fn a_collection_works_without_being_declared(place: Place) -> End {
    const LATER: Collection = Collection::new("later");
    const PIECES: Collection = Collection::new("pieces").chunks().single_use();
    let store = Store::from(place.open().await?);
    let (later, piece) = (RecordKey::new(LATER, "a")?, RecordKey::new(PIECES, "a")?);
    // A commit and a read across tables.
    let mut batch = put(&store, "a", Expect::Absent, 1)?;
    batch.put(later.clone(), Expect::Absent, Body::json(2)?)?;
    batch.put(piece.clone(), Expect::Absent, Body::bytes(vec![3])?)?;
    store.records().commit(&batch).await?;
    let partition = partition();
    let first = key("a");
    let all = [&first, &later, &piece].map(|key| key.at(&partition));
    let found = store.records().get_many(&all).await?;
    assert!(found.iter().all(Option::is_some), "{found:?}");
    let mut batch = put(&store, "a", Expect::Present, 4)?;
    batch.check(piece.clone(), Expect::Absent)?;
    let error = store.records().commit(&batch).await.expect_err("it exists");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(number(&store, "a").await?, Some(1), "nothing was written");
    let mut batch = Batch::new(partition.clone(), store.now());
    batch.delete(later.clone(), Expect::Present)?;
    batch.delete(piece.clone(), Expect::Present)?;
    store.records().commit(&batch).await?;
    let found = store.records().get_many(&all).await?;
    assert_eq!(found.iter().flatten().count(), 1);
    Ok(())
}

async fn a_collection_that_changed_its_table_is_refused_by_name(place: Place) -> End {
    place.open().await?;
    let other = PostgresStore::builder()
        .url(&place.url)
        .namespace(&place.schema)
        .collection(Collection::new("things").chunks());
    let error = other.connect().await?.setup().await;
    let error = error.expect_err("its records are elsewhere");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.message().contains("`things`"), "{error}");
    Ok(())
}

async fn flags_that_differ_from_those_set_up_are_refused(place: Place) -> End {
    let opened = place.open().await?;
    opened.setup().await?;
    let store = Store::from(&opened);
    change_stored_flags(&**store.records(), "api_keys", "cacheable").await?;
    let error = opened.setup().await.expect_err("its flags differ");
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(error.message().contains("`api_keys`"), "{error}");
    Ok(())
}

async fn what_an_administrator_ran_leaves_setup_nothing_to_do(place: Place) -> End {
    let sql = place.builder().change_notice(true).migration_sql()?;
    place.run(&sql).await?;
    let tables = "SELECT string_agg(oid::text, ' ' ORDER BY oid) FROM pg_class
        WHERE relnamespace = '{schema}'::regnamespace";
    let before: String = place.ask(tables).await?;
    place
        .builder()
        .change_notice(true)
        .connect()
        .await?
        .setup()
        .await?;
    assert_eq!(place.ask::<String>(tables).await?, before);
    Ok(())
}

/// The JSON of a body.
fn json(body: &Body) -> Result<impl AsRef<[u8]>, store_core::Error> {
    match body.encoded()? {
        Encoded::Json(json) | Encoded::Bytes(json) => Ok(json),
    }
}

async fn a_body_has_the_size_it_had_and_bounds_its_page(place: Place) -> End {
    let store = Store::from(place.open().await?);
    // Printed in full, each of these numbers has 309 digits.
    let long = Body::json(vec![1e308_f64; 37_000])?;
    let size = json(&long)?.as_ref().len();
    for id in 0..20 {
        let mut batch = Batch::new(partition(), store.now());
        batch.put(key(&format!("{id:02}")), Expect::Absent, long.clone())?;
        store.records().commit(&batch).await?;
    }
    let scan = Scan::partition(THINGS, partition());
    let page = store.records().scan(&scan).await?;
    assert!(page.items.len() < 20 && page.next.is_some());
    let mut seen: Vec<String> = page.items.iter().map(|r| r.id().into()).collect();
    let mut next = page.next;
    while let Some(cursor) = next {
        let page = store.records().scan(&scan.clone().after(&cursor)?).await?;
        seen.extend(page.items.iter().map(|r| String::from(r.id())));
        next = page.next;
    }
    assert_eq!(
        seen,
        (0..20).map(|id| format!("{id:02}")).collect::<Vec<_>>()
    );
    let body = page.items[0].body().clone();
    assert_eq!(json(&body)?.as_ref().len(), size);
    let mut again = Batch::new(partition(), store.now());
    again.put(key("00"), Expect::Present, body)?;
    store.records().commit(&again).await?;
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
        .ask("SELECT count(*) FROM {schema}.records WHERE collection = 'things' AND id = 'old'")
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
                    OR a.attnum IS NOT NULL
                       AND col_description(c.oid, a.attnum) IS NULL)",
        )
        .await?;
    assert!(silent.is_empty(), "without a comment: {silent:?}");
    Ok(())
}

async fn chunks_are_stored_out_of_line_and_uncompressed(place: Place) -> End {
    place.open().await?;
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
    assert_eq!(storage("chunks").await?, b'e' as i8);
    assert_eq!(storage("records").await?, b'x' as i8);
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
