//! Programs of several clients whose answers and final state are checked.
//!
//! Each runs over a store with lost requests, lost and late replies and dropped
//! calls. A call whose outcome its client cannot know may have had its effect or
//! not; everything else must add up exactly.

mod api_keys;
mod blobs;
mod identity;
mod limits;
mod lti;
mod records;

use std::pin::Pin;
use std::sync::Arc;

use super::world::World;
use crate::suite::CaseResult;

type Run = Pin<Box<dyn Future<Output = CaseResult> + Send>>;

/// A program of several clients.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// The contract that it is about.
    pub contract: &'static str,
    /// What must hold whatever the schedule.
    pub name: &'static str,
    run: fn(Arc<World>) -> Run,
}

impl Scenario {
    /// Runs it in `world`.
    ///
    /// # Errors
    /// What does not add up.
    pub async fn run(&self, world: Arc<World>) -> CaseResult {
        (self.run)(world).await
    }
}

macro_rules! scenarios {
    ($($contract:ident::$name:ident),* $(,)?) => {
        /// All of them.
        pub const ALL: &[Scenario] = &[$(Scenario {
            contract: stringify!($contract),
            name: stringify!($name),
            run: |world| Box::pin($contract::$name(world)),
        }),*];
    };
}

scenarios! {
    records::updates_are_counted_exactly,
    records::transfers_keep_the_total,
    api_keys::changes_and_lives_of_a_key_are_linearizable,
    api_keys::rotation_of_the_ring_loses_no_key,
    limits::no_schedule_grants_more_than_the_burst,
    limits::closures_of_one_bucket_lose_nothing,
    lti::a_nonce_is_accepted_once,
    lti::an_issuer_with_registrations_has_one_default,
    identity::relations_agree_and_nothing_outlives_its_owner,
    identity::a_quota_is_exact_at_every_moment,
    identity::tenants_and_their_identities_agree,
    blobs::readers_see_one_whole_object_and_sweeps_free_the_rest,
}
