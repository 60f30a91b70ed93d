//! Nonces: accepted once, in time, for their issuer.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use store_core::ErrorKind;
use store_core::lti::{MAX_NONCE, NonceCheck};
use tokio::sync::Barrier;

use super::fixtures::{Cases, Given, Platform, Site, Tool, lms, platform};
use crate::case;
use crate::suite::CaseResult;

pub(super) fn cases<R: Platform, D: Site>() -> Cases<R, D> {
    vec![
        case!(racing_launches_with_one_nonce_accept_one, "51"),
        case!(a_used_nonce_is_not_reported_as_unknown, "52"),
        case!(a_used_nonce_stays_used_after_it_expired, "52"),
        case!(an_expired_nonce_is_refused_before_any_cleanup, "53"),
        case!(a_nonce_is_accepted_until_the_moment_it_expires, "53"),
        case!(a_nonce_belongs_to_the_issuer_and_not_to_a_client, "54"),
        case!(another_issuer_cannot_use_a_nonce, "54"),
        case!(a_nonce_is_stored_once_even_after_it_was_used, "51", "52"),
        case!(racing_stores_of_one_nonce_store_one, "51"),
        case!(odd_nonces_and_issuers_never_collide, "47"),
        case!(nonces_that_differ_in_the_last_character_differ, "47"),
        case!(an_impossible_nonce_is_refused_or_unknown, "R6"),
        case!(validating_an_unknown_nonce_stores_nothing, "11"),
        case!(a_dropped_validation_never_accepts_a_nonce_twice, "39", "51"),
    ]
}

async fn racing_launches_with_one_nonce_accept_one<R: Platform, D: Site>(
    harness: Given<R, D>,
) -> CaseResult {
    race(harness, 8, 32).await
}

pub(super) async fn race<R: Platform, D: Site>(
    harness: Given<R, D>,
    rounds: usize,
    tasks: usize,
) -> CaseResult {
    let tool = Tool::with(&harness, &[lms()?]).await?;
    for round in 0..rounds {
        let nonce = format!("nonce-{round}");
        tool.handle(round).store_nonce(&nonce, &lms()?).await?;
        let together = Arc::new(Barrier::new(tasks));
        let launches: Vec<_> = (0..tasks)
            .map(|number| {
                let (handle, together) = (tool.handle(number), Arc::clone(&together));
                let (nonce, registration) = (nonce.clone(), lms());
                tokio::spawn(async move {
                    together.wait().await;
                    handle.validate_nonce(&nonce, &registration?).await
                })
            })
            .collect();
        let mut answers = Vec::new();
        for launch in launches {
            answers.push(launch.await??);
        }
        let accepted = answers.iter().filter(|answer| answer.is_accepted()).count();
        assert_eq!(accepted, 1, "round {round}: {answers:?}");
        let used = answers.iter().filter(|&&a| a == NonceCheck::AlreadyUsed);
        assert_eq!(used.count(), tasks - 1, "round {round}: {answers:?}");
        let later = tool.handle(round + 1);
        let later = later.validate_nonce(&nonce, &lms()?).await?;
        assert_eq!(later, NonceCheck::AlreadyUsed);
    }
    Ok(())
}

async fn a_used_nonce_is_not_reported_as_unknown<R: Platform, D: Site>(
    harness: Given<R, D>,
) -> CaseResult {
    let tool = Tool::with(&harness, &[lms()?]).await?;
    tool.first.store_nonce("n", &lms()?).await?;
    for (handle, expected) in [
        (&tool.second, NonceCheck::Accepted),
        (&tool.second, NonceCheck::AlreadyUsed),
        (&tool.first, NonceCheck::AlreadyUsed),
    ] {
        assert_eq!(handle.validate_nonce("n", &lms()?).await?, expected);
    }
    let never = tool.first.validate_nonce("never", &lms()?).await?;
    assert_eq!(never, NonceCheck::Unknown);
    Ok(())
}

async fn a_used_nonce_stays_used_after_it_expired<R: Platform, D: Site>(
    harness: Given<R, D>,
) -> CaseResult {
    let tool = Tool::with(&harness, &[lms()?]).await?;
    let lifetime = tool.first.nonce_lifetime();
    tool.first.store_nonce("n", &lms()?).await?;
    let first = tool.first.validate_nonce("n", &lms()?).await?;
    assert_eq!(first, NonceCheck::Accepted);
    tool.clock.advance(lifetime.valid + lifetime.retained / 2);
    for handle in [&tool.first, &tool.second] {
        let later = handle.validate_nonce("n", &lms()?).await?;
        assert_eq!(later, NonceCheck::AlreadyUsed);
    }
    tool.clock.advance(lifetime.valid + lifetime.retained);
    let forgotten = tool.first.validate_nonce("n", &lms()?).await?;
    assert!(!forgotten.is_accepted(), "{forgotten:?}");
    Ok(())
}

async fn an_expired_nonce_is_refused_before_any_cleanup<R: Platform, D: Site>(
    harness: Given<R, D>,
) -> CaseResult {
    let tool = Tool::with(&harness, &[lms()?]).await?;
    let lifetime = tool.first.nonce_lifetime();
    tool.first.store_nonce("n", &lms()?).await?;
    tool.clock.advance(lifetime.valid);
    for handle in [&tool.second, &tool.first, &tool.second] {
        let answer = handle.validate_nonce("n", &lms()?).await?;
        assert_eq!(answer, NonceCheck::Expired);
    }
    tool.clock.advance(lifetime.retained / 2);
    let later = tool.first.validate_nonce("n", &lms()?).await?;
    assert_eq!(later, NonceCheck::Expired);
    tool.clock.advance(lifetime.retained);
    let forgotten = tool.first.validate_nonce("n", &lms()?).await?;
    assert!(!forgotten.is_accepted(), "{forgotten:?}");
    Ok(())
}

async fn a_nonce_is_accepted_until_the_moment_it_expires<R: Platform, D: Site>(
    harness: Given<R, D>,
) -> CaseResult {
    let tool = Tool::with(&harness, &[lms()?]).await?;
    let valid = tool.first.nonce_lifetime().valid;
    tool.first.store_nonce("in time", &lms()?).await?;
    tool.first.store_nonce("late", &lms()?).await?;
    tool.clock.advance(valid - Duration::from_millis(1));
    let answer = tool.second.validate_nonce("in time", &lms()?).await?;
    assert_eq!(answer, NonceCheck::Accepted);
    tool.clock.advance(Duration::from_millis(1));
    let answer = tool.second.validate_nonce("late", &lms()?).await?;
    assert_eq!(answer, NonceCheck::Expired);
    Ok(())
}

async fn a_nonce_belongs_to_the_issuer_and_not_to_a_client<R: Platform, D: Site>(
    harness: Given<R, D>,
) -> CaseResult {
    let issuer = "https://canvas.example.edu";
    let (login, launch) = (
        platform(issuer, "at-login")?,
        platform(issuer, "at-launch")?,
    );
    let tool = Tool::with(&harness, &[login.clone(), launch.clone()]).await?;
    tool.first.store_nonce("n", &login).await?;
    let answer = tool.second.validate_nonce("n", &launch).await?;
    assert_eq!(answer, NonceCheck::Accepted);
    for registration in [&login, &launch] {
        let again = tool.first.validate_nonce("n", registration).await?;
        assert_eq!(again, NonceCheck::AlreadyUsed);
    }
    Ok(())
}

async fn another_issuer_cannot_use_a_nonce<R: Platform, D: Site>(
    harness: Given<R, D>,
) -> CaseResult {
    let client = "the same on both";
    let (own, other) = (
        platform("https://a.example.edu", client)?,
        platform("https://b.example.edu", client)?,
    );
    let tool = Tool::with(&harness, &[own.clone(), other.clone()]).await?;
    tool.first.store_nonce("n", &own).await?;
    let foreign = tool.second.validate_nonce("n", &other).await?;
    assert_eq!(foreign, NonceCheck::Unknown);
    // Each issuer may have a nonce of this name.
    tool.first.store_nonce("n", &other).await?;
    for registration in [&own, &other] {
        let answer = tool.second.validate_nonce("n", registration).await?;
        assert_eq!(answer, NonceCheck::Accepted);
    }
    Ok(())
}

async fn a_nonce_is_stored_once_even_after_it_was_used<R: Platform, D: Site>(
    harness: Given<R, D>,
) -> CaseResult {
    let tool = Tool::with(&harness, &[lms()?]).await?;
    tool.first.store_nonce("n", &lms()?).await?;
    for expected in [NonceCheck::Accepted, NonceCheck::AlreadyUsed] {
        let error = tool.second.store_nonce("n", &lms()?).await;
        let error = error.expect_err("it is stored already");
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert_eq!(tool.first.validate_nonce("n", &lms()?).await?, expected);
    }
    Ok(())
}

async fn racing_stores_of_one_nonce_store_one<R: Platform, D: Site>(
    harness: Given<R, D>,
) -> CaseResult {
    const TASKS: usize = 16;
    let tool = Tool::with(&harness, &[lms()?]).await?;
    for round in 0..4 {
        let together = Arc::new(Barrier::new(TASKS));
        let tasks: Vec<_> = (0..TASKS)
            .map(|number| {
                let (handle, together) = (tool.handle(number), Arc::clone(&together));
                let registration = lms();
                tokio::spawn(async move {
                    together.wait().await;
                    let nonce = format!("nonce-{round}");
                    handle.store_nonce(&nonce, &registration?).await
                })
            })
            .collect();
        let mut stored = 0;
        for task in tasks {
            match task.await? {
                Ok(()) => stored += 1,
                Err(error) => assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}"),
            }
        }
        assert_eq!(stored, 1, "round {round}");
    }
    Ok(())
}

async fn odd_nonces_and_issuers_never_collide<R: Platform, D: Site>(
    harness: Given<R, D>,
) -> CaseResult {
    let pairs = [
        ("https://a.example/b", "c:d"),
        ("https://a.example/b:c", "d"),
        ("https://a.example/b", "c/d"),
        ("https://a.example/b/c", "d"),
        ("https://a.example/b%2Fc", "d"),
        ("https://a.example/b", "c%2Fd"),
        ("https://a.example/b", "c|d"),
        ("https://a.example/b", "d"),
        ("https://a.example/b", "D"),
        ("https://a.example/b", "d "),
        ("https://a.example/b", " d"),
        ("https://a.example/b", "#d"),
        ("https://a.example/b", "%"),
        ("https://a.example/b", "_"),
        ("https://a.example/b", "*"),
        ("https://a.example/b", "{d}"),
        ("https://a.example/b", ".."),
        ("https://a.example/b", "ä"),
        ("https://a.example/b", "a\u{308}"),
        ("https://a.example/B", "d"),
        ("https://a.example/b/", "d"),
    ];
    let platforms: BTreeMap<&str, _> = pairs
        .iter()
        .map(|&(issuer, _)| Ok((issuer, platform(issuer, "client")?)))
        .collect::<store_core::Result<_>>()?;
    let registrations: Vec<_> = platforms.values().cloned().collect();
    let tool = Tool::with(&harness, &registrations).await?;
    for (issuer, nonce) in pairs {
        // No nonce that was stored before collides with it.
        let before = tool
            .second
            .validate_nonce(nonce, &platforms[issuer])
            .await?;
        assert_eq!(before, NonceCheck::Unknown, "{issuer} {nonce:?}");
        tool.first.store_nonce(nonce, &platforms[issuer]).await?;
    }
    for (issuer, nonce) in pairs {
        let answer = tool
            .second
            .validate_nonce(nonce, &platforms[issuer])
            .await?;
        assert_eq!(answer, NonceCheck::Accepted, "{issuer} {nonce:?}");
    }
    Ok(())
}

async fn nonces_that_differ_in_the_last_character_differ<R: Platform, D: Site>(
    harness: Given<R, D>,
) -> CaseResult {
    // A long issuer and a long nonce together are longer than any record's name.
    let issuer = format!("https://lms.example.edu/{}", "i".repeat(1000));
    let registration = platform(&issuer, "client")?;
    let tool = Tool::with(&harness, std::slice::from_ref(&registration)).await?;
    let nonces: Vec<String> = ["a", "b", "c"]
        .iter()
        .map(|last| "n".repeat(MAX_NONCE - 1) + last)
        .collect();
    tool.first.store_nonce(&nonces[0], &registration).await?;
    tool.first.store_nonce(&nonces[1], &registration).await?;
    for (nonce, expected) in [
        (&nonces[2], NonceCheck::Unknown),
        (&nonces[0], NonceCheck::Accepted),
        (&nonces[1], NonceCheck::Accepted),
        (&nonces[0], NonceCheck::AlreadyUsed),
    ] {
        let answer = tool.second.validate_nonce(nonce, &registration).await?;
        assert_eq!(answer, expected);
    }
    Ok(())
}

async fn an_impossible_nonce_is_refused_or_unknown<R: Platform, D: Site>(
    harness: Given<R, D>,
) -> CaseResult {
    let tool = Tool::with(&harness, &[lms()?]).await?;
    let long = "n".repeat(MAX_NONCE + 1);
    let huge = "n".repeat(1 << 20);
    for nonce in ["", "\0", "a\0b", "line\nbreak", &long, &huge] {
        let error = tool.first.store_nonce(nonce, &lms()?).await;
        let error = error.expect_err("no nonce has this form");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let answer = tool.first.validate_nonce(nonce, &lms()?).await?;
        assert_eq!(answer, NonceCheck::Unknown);
    }
    Ok(())
}

async fn validating_an_unknown_nonce_stores_nothing<R: Platform, D: Site>(
    harness: Given<R, D>,
) -> CaseResult {
    let tool = Tool::with(&harness, &[lms()?]).await?;
    for _ in 0..3 {
        let answer = tool.first.validate_nonce("n", &lms()?).await?;
        assert_eq!(answer, NonceCheck::Unknown);
    }
    tool.first.store_nonce("n", &lms()?).await?;
    let answer = tool.second.validate_nonce("n", &lms()?).await?;
    assert_eq!(answer, NonceCheck::Accepted);
    Ok(())
}

/// Polls `future` at most `polls` times, then drops it.
async fn within<T>(polls: usize, future: impl Future<Output = T>) -> Option<T> {
    let (mut future, mut left) = (pin!(future), polls);
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(answer) => Poll::Ready(Some(answer)),
        Poll::Pending => {
            left = left.saturating_sub(1);
            if left == 0 {
                Poll::Ready(None)
            } else {
                Poll::Pending
            }
        }
    })
    .await
}

async fn a_dropped_validation_never_accepts_a_nonce_twice<R: Platform, D: Site>(
    harness: Given<R, D>,
) -> CaseResult {
    let tool = Tool::with(&harness, &[lms()?]).await?;
    for polls in 1..12 {
        let nonce = format!("nonce-{polls}");
        let registration = lms()?;
        tool.first.store_nonce(&nonce, &registration).await?;
        let dropped = within(polls, tool.first.validate_nonce(&nonce, &registration)).await;
        let let_in = matches!(dropped, Some(Ok(NonceCheck::Accepted)));
        let next = tool.second.validate_nonce(&nonce, &registration).await?;
        if let_in {
            assert_eq!(next, NonceCheck::AlreadyUsed, "{polls} polls");
        } else {
            let right = [NonceCheck::Accepted, NonceCheck::AlreadyUsed];
            assert!(right.contains(&next), "{polls} polls: {next:?}");
        }
        let last = tool.first.validate_nonce(&nonce, &registration).await?;
        assert_eq!(last, NonceCheck::AlreadyUsed, "{polls} polls");
    }
    Ok(())
}
