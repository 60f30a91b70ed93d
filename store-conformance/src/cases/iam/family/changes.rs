//! Creating, changing, deleting.

use std::collections::HashSet;
use std::sync::Arc;

use store_core::ErrorKind;
use store_core::entity::{EntityStoreExt, Incarnation, Listing, MAX_TAGS, Provider, Tags};

use super::Family;
use crate::cases::iam::fixtures::{Sample, holding, key, path};
use crate::cases::iam::tools::{kind, race, won};
use crate::harness::Opened;
use crate::suite::CaseResult;

pub(super) async fn what_is_created_reads_back_as_it_was_returned<E: Sample>(
    harness: Family<E>,
) -> CaseResult {
    let Opened {
        first,
        second,
        clock,
        ..
    } = holding(&harness, &[]).await?;
    let mut one = E::sample(&path("1"), "ada");
    let meta = one.meta_mut();
    meta.path = "/eng/compilers/".into();
    meta.tags.insert("team".into(), "a b ☃".into());
    meta.providers.push(Provider::new("aws", "123456789012"));
    let created = first.create(one).await?;
    let read = second.get(&key("ada")).await?.expect("just created");
    assert_eq!(*read, *created);
    assert_eq!(second.get(&key("ada")).await?, Some(Arc::clone(&created)));

    let (meta, kind) = (created.meta(), E::FAMILY.kind());
    assert_eq!(meta.path, "/eng/compilers/");
    assert_eq!(meta.tags["team"], "a b ☃");
    assert!(meta.id.starts_with(E::FAMILY.id_prefix()));
    assert_ne!(meta.incarnation, Incarnation::NONE);
    assert_eq!(meta.create_date, store_core::Clock::now(&clock));
    let id = &meta.id;
    let arn = created.arn().to_string();
    assert_eq!(arn, format!("arn:wami:iam:1:wami:main:{kind}/{id}"));
    assert_eq!(
        created.provider_arns(),
        [format!(
            "arn:aws:iam::123456789012:{kind}/eng/compilers/ada"
        )]
    );
    // An imported entity has the date and the id that it was given.
    let mut moved = E::sample(&path("1"), "moved");
    moved.meta_mut().id = "chosen".into();
    moved.meta_mut().create_date = store_core::Timestamp::from_seconds(5);
    let moved = second.create(moved).await?;
    assert_eq!(moved.id(), "chosen");
    assert_eq!(
        moved.meta().create_date,
        store_core::Timestamp::from_seconds(5)
    );
    Ok(())
}

pub(super) async fn an_entity_is_found_by_its_id<E: Sample>(harness: Family<E>) -> CaseResult {
    let Opened { first, second, .. } = holding::<E>(&harness, &["ada", "bob"]).await?;
    let mut chosen = E::sample(&path("1"), "eve");
    chosen.meta_mut().id = "E1".into();
    first.create(chosen).await?;
    for name in ["ada", "bob", "eve"] {
        let held = first.get(&key(name)).await?.expect("just created");
        let found = second.get_by_id(&path("1"), held.id()).await?;
        assert_eq!(found, Some(held.clone()));
        assert_eq!(second.get_by_id(&path("2"), held.id()).await?, None);
        first.delete(&key(name)).await?;
        assert_eq!(second.get_by_id(&path("1"), held.id()).await?, None);
    }
    for id in ["", "ada", "E1"] {
        assert_eq!(second.get_by_id(&path("1"), id).await?, None, "{id:?}");
    }
    Ok(())
}

pub(super) async fn creating_a_held_name_is_refused<E: Sample>(harness: Family<E>) -> CaseResult {
    let Opened { first, second, .. } = holding::<E>(&harness, &["ada"]).await?;
    let held = first.get(&key("ada")).await?;
    let mut other = E::sample(&path("1"), "ada");
    other.meta_mut().path = "/other/".into();
    assert_eq!(kind(second.create(other).await), ErrorKind::AlreadyExists);
    assert_eq!(first.get(&key("ada")).await?, held, "and stays as it was");
    Ok(())
}

pub(super) async fn an_absent_one_is_not_found<E: Sample>(harness: Family<E>) -> CaseResult {
    let Opened { first, second, .. } = holding::<E>(&harness, &["ada"]).await?;
    first.delete(&key("ada")).await?;
    for name in ["ada", "never"] {
        let key = key::<E>(name);
        assert!(second.get(&key).await?.is_none());
        let edit = |_: &mut E| Ok(());
        assert_eq!(kind(second.update(&key, &edit).await), ErrorKind::NotFound);
        assert_eq!(kind(second.delete(&key).await), ErrorKind::NotFound);
        assert_eq!(kind(second.tags(&key).await), ErrorKind::NotFound);
    }
    let page = second.list(&path("1"), &Listing::new()).await?;
    assert!(page.items.is_empty());
    Ok(())
}

pub(super) async fn of_many_who_create_one_name_one_wins<E: Sample>(
    harness: Family<E>,
) -> CaseResult {
    let Opened { first, second, .. } = holding::<E>(&harness, &[]).await?;
    for round in 0..5 {
        let name = format!("name {round}");
        let answers = race((0..8).map(|i| {
            let store = Arc::clone(if i % 2 == 0 { &first } else { &second });
            let mut one = E::sample(&path("1"), &name);
            one.meta_mut().path = format!("/{i}/");
            async move { store.create(one).await }
        }))
        .await;
        assert_eq!(won(&answers, ErrorKind::AlreadyExists), 1);
        let winner = answers.into_iter().find_map(Result::ok);
        assert_eq!(second.get(&key(&name)).await?, winner);
    }
    Ok(())
}

pub(super) async fn an_update_loses_no_other<E: Sample>(harness: Family<E>) -> CaseResult {
    let Opened { first, second, .. } = holding::<E>(&harness, &["ada"]).await?;
    let answers = race((0..16).map(|i| {
        let store = Arc::clone(if i % 2 == 0 { &first } else { &second });
        async move {
            let tags = Tags::from([(format!("tag {i}"), "x".into())]);
            store.tag(&key("ada"), tags).await
        }
    }))
    .await;
    assert_eq!(won(&answers, ErrorKind::Contended), 16);
    assert_eq!(second.tags(&key("ada")).await?.len(), 16);
    Ok(())
}

pub(super) async fn an_update_that_changes_nothing_writes_nothing<E: Sample>(
    harness: Family<E>,
) -> CaseResult {
    let Opened {
        first,
        second,
        clock,
        ..
    } = holding::<E>(&harness, &["ada"]).await?;
    let before = first.get(&key("ada")).await?.expect("a fixture");
    clock.advance(std::time::Duration::from_secs(60));
    let answer = second.update(&key("ada"), &|_| Ok(())).await?;
    assert_eq!(answer, before);
    assert_eq!(first.get(&key("ada")).await?, Some(before));
    Ok(())
}

pub(super) async fn an_edit_that_fails_changes_nothing<E: Sample>(
    harness: Family<E>,
) -> CaseResult {
    let Opened { first, second, .. } = holding::<E>(&harness, &["ada"]).await?;
    let before = first.get(&key("ada")).await?;
    let edit = |one: &mut E| {
        one.meta_mut().tags.insert("half".into(), "done".into());
        Err(store_core::Error::invalid("the caller's own reason"))
    };
    let error = second
        .update(&key("ada"), &edit)
        .await
        .expect_err("it says no");
    assert_eq!(error.message(), "the caller's own reason");
    assert_eq!(first.get(&key("ada")).await?, before);
    Ok(())
}

pub(super) async fn an_update_changes_neither_name_nor_id<E: Sample>(
    harness: Family<E>,
) -> CaseResult {
    let Opened { first, second, .. } = holding::<E>(&harness, &["ada"]).await?;
    let before = first.get(&key("ada")).await?;
    let renamed = |one: &mut E| {
        one.meta_mut().name = "bob".into();
        Ok(())
    };
    let another_id = |one: &mut E| {
        one.meta_mut().id = "mine".into();
        Ok(())
    };
    let moved = |one: &mut E| {
        one.meta_mut().tenant_id = path("2");
        Ok(())
    };
    assert_eq!(
        kind(second.update(&key("ada"), &renamed).await),
        ErrorKind::InvalidInput
    );
    assert_eq!(
        kind(second.update(&key("ada"), &another_id).await),
        ErrorKind::InvalidInput
    );
    assert_eq!(
        kind(second.update(&key("ada"), &moved).await),
        ErrorKind::InvalidInput
    );
    let forged = |one: &mut E| {
        one.meta_mut().incarnation = Incarnation::unique();
        one.meta_mut().create_date = store_core::Timestamp::EPOCH;
        one.meta_mut().instance = "forged".into();
        Ok(())
    };
    second.update(&key("ada"), &forged).await?;
    assert_eq!(first.get(&key("ada")).await?, before);
    assert!(first.get(&key("bob")).await?.is_none());
    Ok(())
}

pub(super) async fn an_update_never_resurrects<E: Sample>(harness: Family<E>) -> CaseResult {
    let Opened { first, second, .. } = holding::<E>(&harness, &[]).await?;
    for round in 0..10 {
        let name = format!("round {round}");
        first.create(E::sample(&path("1"), &name)).await?;
        let (updater, deleter) = (Arc::clone(&first), Arc::clone(&second));
        let (updated, deleted) = (key::<E>(&name), key::<E>(&name));
        let update = tokio::spawn(async move {
            for i in 0..5 {
                let tags = Tags::from([("turn".into(), i.to_string())]);
                if let Err(error) = updater.tag(&updated, tags).await {
                    assert_eq!(error.kind(), ErrorKind::NotFound);
                }
            }
        });
        let delete = tokio::spawn(async move { deleter.delete(&deleted).await });
        update.await?;
        delete.await??;
        assert!(first.get(&key(&name)).await?.is_none(), "it is back");
        assert!(
            second
                .list(&path("1"), &Listing::new())
                .await?
                .items
                .is_empty()
        );
    }
    Ok(())
}

pub(super) async fn unknown_fields_survive_an_update<E: Sample>(harness: Family<E>) -> CaseResult {
    let Opened { first, second, .. } = holding::<E>(&harness, &[]).await?;
    // What a newer program would write.
    let mut newer = serde_json::to_value(E::sample(&path("1"), "ada"))?;
    newer["favourite_colour"] = serde_json::json!({"name": "green", "hue": 120});
    first.create(serde_json::from_value(newer)?).await?;
    let tags = Tags::from([("touched".into(), "yes".into())]);
    second.tag(&key("ada"), tags).await?;
    let read = first.get(&key("ada")).await?.expect("just created");
    let read = serde_json::to_value(&*read)?;
    assert_eq!(read["favourite_colour"]["hue"], 120);
    assert_eq!(read["tags"]["touched"], "yes");
    Ok(())
}

pub(super) async fn a_recreated_one_inherits_nothing<E: Sample>(harness: Family<E>) -> CaseResult {
    let Opened { first, second, .. } = holding::<E>(&harness, &["ada"]).await?;
    let tags = Tags::from([("role".into(), "admin".into())]);
    first.tag(&key("ada"), tags).await?;
    let old = first.get(&key("ada")).await?.expect("a fixture");
    second.delete(&key("ada")).await?;
    let new = second.create(E::sample(&path("1"), "ada")).await?;
    assert!(new.meta().tags.is_empty());
    assert_ne!(new.id(), old.id());
    assert_ne!(new.incarnation(), old.incarnation());
    assert_eq!(first.get(&key("ada")).await?, Some(new));
    Ok(())
}

pub(super) async fn an_id_is_unique<E: Sample>(harness: Family<E>) -> CaseResult {
    let names: Vec<String> = (0..20).map(|i| i.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let Opened { first, second, .. } = holding::<E>(&harness, &names).await?;
    let all = second.list_all(&path("1"), Listing::new()).await?;
    let ids: HashSet<&str> = all.iter().map(|one| one.id()).collect();
    assert_eq!(ids.len(), 20);

    let with_id = |name: &str| {
        let mut one = E::sample(&path("1"), name);
        one.meta_mut().id = "CHOSEN".into();
        one
    };
    let answers = race((0..6).map(|i| {
        let store = Arc::clone(if i % 2 == 0 { &first } else { &second });
        let one = with_id(&format!("chosen {i}"));
        async move { store.create(one).await }
    }))
    .await;
    assert_eq!(won(&answers, ErrorKind::AlreadyExists), 1);
    let winner = answers.into_iter().find_map(Result::ok).expect("one won");
    assert_eq!(winner.id(), "CHOSEN");
    first.delete(&winner.key()).await?;
    second.create(with_id("next")).await?;
    Ok(())
}

pub(super) async fn tagging_is_idempotent<E: Sample>(harness: Family<E>) -> CaseResult {
    let Opened { first, second, .. } = holding::<E>(&harness, &["ada"]).await?;
    let tags = Tags::from([("a".into(), "1".into()), ("b".into(), "".into())]);
    first.tag(&key("ada"), tags.clone()).await?;
    second.tag(&key("ada"), tags.clone()).await?;
    assert_eq!(first.tags(&key("ada")).await?, tags);
    second
        .tag(&key("ada"), Tags::from([("a".into(), "2".into())]))
        .await?;
    first.untag(&key("ada"), &["b", "never"]).await?;
    second.untag(&key("ada"), &["b"]).await?;
    let left = Tags::from([("a".into(), "2".into())]);
    assert_eq!(first.tags(&key("ada")).await?, left);
    Ok(())
}

pub(super) async fn fifty_tags_are_the_most<E: Sample>(harness: Family<E>) -> CaseResult {
    let Opened { first, second, .. } = holding::<E>(&harness, &["ada"]).await?;
    let tag = |name: String| Tags::from([(name, String::new())]);
    let many = (0..MAX_TAGS - 3).map(|i| (i.to_string(), String::new()));
    first.tag(&key("ada"), many.collect()).await?;
    // Eight tags race for three places.
    let answers = race((0..8).map(|i| {
        let store = Arc::clone(if i % 2 == 0 { &first } else { &second });
        let tags = tag(format!("late {i}"));
        async move { store.tag(&key("ada"), tags).await }
    }))
    .await;
    assert_eq!(won(&answers, ErrorKind::LimitExceeded), 3);
    assert_eq!(second.tags(&key("ada")).await?.len(), MAX_TAGS);
    first.tag(&key("ada"), tag("0".into())).await?;
    let mut full = E::sample(&path("1"), "full");
    full.meta_mut().tags = (0..=MAX_TAGS)
        .map(|i| (i.to_string(), String::new()))
        .collect();
    assert_eq!(kind(first.create(full).await), ErrorKind::LimitExceeded);
    Ok(())
}
