//! An LTI platform from a file, a launch, and its replay.

use store_core::Store;
use store_core::lti::{Deployment, Launch, LaunchClaims, Lti, Refusal, Registration};
use store_core::secret::KeyRing;

use crate::options::Options;
use crate::screen::Screen;
use crate::{Tour, must, said};

const OWN: &str = include_str!("platform.json");

/// The platform to register, read before the tour begins.
pub fn platform(options: &Options) -> Result<Registration, String> {
    let Some(file) = &options.platform else {
        return Registration::from_json(OWN).map_err(said);
    };
    let name = file.display();
    let text = std::fs::read_to_string(file);
    let text = text.map_err(|error| format!("cannot read {name}: {error}"))?;
    Registration::from_json(&text).map_err(|error| format!("{name}: {}", said(error)))
}

pub async fn chapter(screen: &Screen, store: &Store, platform: Registration) -> Tour {
    screen.chapter("LTI launches");
    let deployment = platform.extra().get("deployment_id");
    let deployment = deployment.and_then(|id| id.as_str()).unwrap_or("1");
    let deployment = Deployment::new(deployment).map_err(said)?;
    let deployment_id = deployment.deployment_id().to_owned();

    let lti = Lti::new(store, &KeyRing::random());
    let contract = lti.store();
    let platform = contract.upsert_registration(platform).await.map_err(said)?;
    let added = contract.upsert_deployment(&platform, deployment).await;
    added.map_err(said)?;
    screen.yes("registered a platform", platform.issuer());

    let login = lti
        .begin_login(platform.issuer(), None)
        .await
        .map_err(said)?;
    let login = login.ok_or("a promise was broken: a registered platform is found")?;
    screen.yes("began a login", format!("nonce {}…", &login.nonce[..8]));

    let claims = LaunchClaims {
        issuer: platform.issuer(),
        client_id: platform.client_id(),
        deployment_id: &deployment_id,
        nonce: &login.nonce,
    };
    let first = lti.accept_launch(claims).await.map_err(said)?;
    let Launch::Accepted(accepted) = first else {
        return must(false, "the first launch with a nonce is accepted");
    };
    screen.yes(
        "accepted the launch, in its deployment",
        accepted.deployment.deployment_id(),
    );

    let replay = lti.accept_launch(claims).await.map_err(said)?;
    must(
        matches!(replay, Launch::Refused(Refusal::NonceUsed)),
        "a replay is refused",
    )?;
    screen.no("refused the same launch again", "its nonce was used");
    Ok(())
}
