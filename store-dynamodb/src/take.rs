//! A take as one conditional update.
//!
//! DynamoDB adds and compares, and has no maximum: so whether a bucket's arrival
//! time is behind the clock or ahead of it is guessed from what was last seen,
//! and said in the condition. Behind, the new arrival time is a constant; ahead,
//! it is the old one and an increment. If the guess was wrong the server wrote
//! nothing and shows what there is, which decides: denied, or the other form.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use store_core::Version;
use store_core::limits::Take;

use crate::bucket::{TAT, TOKENS, UNTIL, name};
use crate::hints::Hints;
use crate::shared::Shared;
use crate::wire::{self, Item, TTL};

/// What is thought of the buckets: each quota's arrival time in nanoseconds,
/// zero for none, and when the server may remove them.
pub(crate) struct Guess {
    pub(crate) tats: Vec<u64>,
    pub(crate) ttl: u64,
}

impl Guess {
    pub(crate) fn from(hints: &Hints, own: &str, take: &Take<'_>) -> Self {
        let of = |part: &str| hints.get(own, part);
        Self {
            tats: take.quotas().iter().map(|quota| of(quota.name())).collect(),
            // No quota has this name.
            ttl: of(""),
        }
    }

    /// For the next take.
    pub(crate) fn note(&self, hints: &Hints, own: &str, take: &Take<'_>) {
        for (quota, tat) in take.quotas().iter().zip(&self.tats) {
            hints.set(own, quota.name(), *tat);
        }
        hints.set(own, "", self.ttl);
    }
}

/// The update that takes, if things are as guessed.
pub(crate) struct Update {
    set: Vec<String>,
    conditions: Vec<String>,
    pub(crate) names: HashMap<String, String>,
    pub(crate) values: Item,
    /// For each quota, whether its arrival time is ahead of the clock.
    ahead: Vec<bool>,
    ttl: u64,
}

impl Update {
    pub(crate) fn new(shared: &Shared, take: &Take<'_>, guess: &Guess) -> Self {
        let mut update = Self {
            set: vec!["version = :version".into()],
            conditions: Vec::new(),
            names: HashMap::new(),
            values: Item::new(),
            ahead: Vec::new(),
            ttl: guess.ttl,
        };
        update.value(":version", wire::text(Version::unique().to_string()));
        update.value(":now", wire::time(take.now()));
        for (i, (quota, tat)) in take.quotas().iter().zip(&guess.tats).enumerate() {
            let terms = take.terms(quota);
            let ahead = *tat > take.now().as_nanos();
            update.name(format!("#tat{i}"), name(TAT, quota.name()));
            update.name(format!("#until{i}"), name(UNTIL, quota.name()));
            update.name(format!("#tokens{i}"), name(TOKENS, quota.name()));
            update.set.push(format!("#until{i} = :until{i}"));
            update.value(format!(":until{i}"), wire::time(terms.expires_at));
            update.value(format!(":increment{i}"), wire::number(terms.increment));
            // A closure wrote those: see `take_by_update`.
            update
                .conditions
                .push(format!("attribute_not_exists(#tokens{i})"));
            if ahead {
                update
                    .set
                    .push(format!("#tat{i} = #tat{i} + :increment{i}"));
                update
                    .conditions
                    .push(format!("#tat{i} > :now AND #tat{i} <= :latest{i}"));
                update.value(format!(":latest{i}"), wire::time(terms.latest));
            } else {
                update.set.push(format!("#tat{i} = :now + :increment{i}"));
                update.conditions.push(format!(
                    "(attribute_not_exists(#tat{i}) OR #tat{i} <= :now)"
                ));
            }
            update.ahead.push(ahead);
        }
        update.keep(shared, take);
        update
    }

    /// Lets the server remove the item no sooner than it may: another take, from
    /// other quotas of this key, may have asked for later.
    fn keep(&mut self, shared: &Shared, take: &Take<'_>) {
        let last = take
            .quotas()
            .iter()
            .map(|quota| take.terms(quota).expires_at);
        let last = last.max().unwrap_or(take.now());
        let (ttl, most) = (shared.ttl(last), shared.ttl_at_most(last));
        self.name("#ttl", TTL);
        self.value(":most", wire::number(most));
        if self.ttl > most {
            self.conditions.push("#ttl > :most".into());
            return;
        }
        // Somewhat later is as good, so that clocks that are a little apart do
        // not make each other's guesses wrong.
        self.conditions
            .push("(attribute_not_exists(#ttl) OR #ttl <= :most)".into());
        self.set.push("#ttl = :ttl".into());
        self.value(":ttl", wire::number(ttl));
        self.ttl = ttl;
    }

    fn name(&mut self, placeholder: impl Into<String>, name: impl Into<String>) {
        self.names.insert(placeholder.into(), name.into());
    }

    fn value(&mut self, placeholder: impl Into<String>, value: AttributeValue) {
        self.values.insert(placeholder.into(), value);
    }

    pub(crate) fn expression(&self) -> String {
        format!("SET {}", self.set.join(", "))
    }

    pub(crate) fn condition(&self) -> String {
        self.conditions.join(" AND ")
    }

    /// What there is after it: the attributes that it set. The arrival times of
    /// before are the answer's other half.
    pub(crate) fn taken(
        &self,
        take: &Take<'_>,
        attributes: &Item,
    ) -> store_core::Result<(Guess, Vec<Option<u64>>)> {
        let mut tats = Vec::with_capacity(self.ahead.len());
        let mut before = Vec::with_capacity(self.ahead.len());
        for (quota, ahead) in take.quotas().iter().zip(&self.ahead) {
            let tat = wire::integer(attributes, &name(TAT, quota.name()))?;
            let tat = tat.ok_or_else(wire::malformed)?;
            tats.push(tat);
            // Behind the clock is as good as none.
            before.push(match ahead {
                true => {
                    let before = tat.checked_sub(take.terms(quota).increment);
                    Some(before.ok_or_else(wire::malformed)?)
                }
                false => None,
            });
        }
        let ttl = self.ttl;
        Ok((Guess { tats, ttl }, before))
    }
}
