//! The life cycle of an API key.

use store_core::Store;
use store_core::api_keys::{Access, ApiKeys, KeyData, http_answer};
use store_core::secret::KeyRing;

use crate::screen::Screen;
use crate::{Tour, must, said};

pub async fn chapter(screen: &Screen, store: &Store) -> Tour {
    screen.chapter("API keys");
    let keys = ApiKeys::new(store, &KeyRing::random());
    let data = KeyData::new()
        .with_tenant("acme")
        .with_label("nightly report")
        .permit("reports", ["read"]);
    let (key, _) = keys.issue(data).await.map_err(said)?;
    let shown: String = key.expose().chars().take(10).collect();
    screen.yes(
        "issued a key, shown once",
        format!("{shown}… (the store holds a digest)"),
    );

    let presented = Some(key.expose());
    let read = keys.check(presented, "reports", "read").await;
    must(
        matches!(read, Ok(Access::Granted(_))),
        "a permitted action is granted",
    )?;
    screen.yes(
        "may read reports",
        format!("HTTP {}", http_answer(&read).status),
    );

    let delete = keys.check(presented, "reports", "delete").await;
    must(
        matches!(delete, Ok(Access::Denied(..))),
        "a missing permission is denied",
    )?;
    screen.no(
        "may not delete reports",
        format!("HTTP {}", http_answer(&delete).status),
    );

    keys.disable(&key).await.map_err(said)?;
    let disabled = keys.check(presented, "reports", "read").await;
    must(
        matches!(disabled, Ok(Access::Disabled(_))),
        "a disabled key is refused",
    )?;
    screen.no(
        "disabled, and refused immediately",
        format!("HTTP {}", http_answer(&disabled).status),
    );

    let mut mistyped = key.expose().to_owned();
    let last = mistyped.pop();
    mistyped.push(if last == Some('x') { 'y' } else { 'x' });
    let typo = keys.check(Some(&mistyped), "reports", "read").await;
    must(
        matches!(typo, Ok(Access::BadFormat)),
        "a typing error is found by the checksum",
    )?;
    screen.no(
        "a typing error, found before any look-up",
        format!("HTTP {}", http_answer(&typo).status),
    );
    Ok(())
}
