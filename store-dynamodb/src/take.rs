//! A take as one conditional update.
//!
//! DynamoDB can add and compare, but it has no maximum function. So the update has two
//! forms: one for an arrival time before the current time and one for an arrival time
//! after it. The last known state selects the form, and the update's condition checks it.
//! In the first form the new arrival time is a constant, in the second it is the old one
//! plus an increment. If the guess was wrong, the server writes nothing and returns the
//! stored item, which determines whether the take is denied or sent again in the other
//! form.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use store_core::Version;
use store_core::backend::gcra::Terms;
use store_core::limits::Take;

use crate::bucket;
use crate::hints::Hints;
use crate::shared::Shared;
use crate::wire::{self, Item};

/// The guessed state of the buckets: each quota's arrival time in nanoseconds,
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
            // The empty name stands for `remove_at`, because no quota has it.
            ttl: of(""),
        }
    }

    /// Stores the state as hints for the next take.
    pub(crate) fn note(&self, hints: &Hints, own: &str, take: &Take<'_>) {
        for (quota, tat) in take.quotas().iter().zip(&self.tats) {
            hints.set(own, quota.name(), *tat);
        }
        hints.set(own, "", self.ttl);
    }
}

/// The guessed state of a quota's bucket.
#[derive(Clone, Copy)]
enum Form {
    /// There is no bucket.
    New,
    /// Its arrival time is not after the current time.
    Behind,
    /// Its arrival time is after the current time.
    Ahead,
}

/// The update expression of a take, with the condition that the guess is right.
pub(crate) struct Update {
    set: Vec<String>,
    conditions: Vec<String>,
    names: HashMap<String, String>,
    pub(crate) values: Item,
    forms: Vec<Form>,
    ttl: u64,
}

impl Update {
    pub(crate) fn new(shared: &Shared, take: &Take<'_>, guess: &Guess) -> Self {
        let now = take.now().as_nanos();
        let form = |tat: &u64| match *tat {
            0 => Form::New,
            tat if tat <= now => Form::Behind,
            _ => Form::Ahead,
        };
        let mut update = Self {
            set: Vec::new(),
            conditions: Vec::new(),
            names: HashMap::new(),
            values: Item::new(),
            forms: guess.tats.iter().map(form).collect(),
            ttl: guess.ttl,
        };
        for (i, quota) in take.quotas().iter().enumerate() {
            update.take(i, quota.name(), take.terms(quota));
        }
        if update.forms.iter().any(|form| matches!(form, Form::New)) {
            update.set.push("version = :version".into());
            update.value(":version", wire::text(Version::unique().to_string()));
        }
        update.extend(shared, take);
        update
    }

    /// Takes from the quota's bucket. The attribute is a number only if a take wrote it;
    /// a bucket that a closure wrote is changed by `take_by_update`.
    fn take(&mut self, i: usize, quota: &str, terms: Terms) {
        let own = self.named(i, bucket::name(quota));
        let set = match self.forms[i] {
            Form::New | Form::Behind => {
                let next = terms.now.as_nanos() + terms.increment;
                self.value(format!(":next{i}"), wire::number(next));
                format!("{own} = :next{i}")
            }
            Form::Ahead => {
                self.value(format!(":more{i}"), wire::number(terms.increment));
                format!("{own} = {own} + :more{i}")
            }
        };
        let condition = match self.forms[i] {
            Form::New => format!("attribute_not_exists({own})"),
            Form::Behind => {
                self.value(":now", wire::time(terms.now));
                format!("{own} <= :now")
            }
            Form::Ahead => {
                self.value(":now", wire::time(terms.now));
                self.value(format!(":latest{i}"), wire::time(terms.latest));
                format!("{own} > :now AND {own} <= :latest{i}")
            }
        };
        self.set.push(set);
        self.conditions.push(condition);
    }

    /// The name of an attribute in expressions: its own, or a placeholder if it contains
    /// other characters than letters, digits and underscores.
    fn named(&mut self, i: usize, name: String) -> String {
        if name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return name;
        }
        let placeholder = format!("#quota{i}");
        self.names.insert(placeholder.clone(), name);
        placeholder
    }

    /// Moves `remove_at` to a later time if necessary. A later time that another take
    /// wrote is not changed.
    fn extend(&mut self, shared: &Shared, take: &Take<'_>) {
        let last = take
            .quotas()
            .iter()
            .map(|quota| take.terms(quota).expires_at);
        let last = last.max().unwrap_or(take.now());
        let least = shared.ttl(last);
        if self.ttl >= least {
            self.conditions.push("remove_at >= :remove".into());
            self.value(":remove", wire::number(least));
            return;
        }
        self.ttl = shared.ttl_ahead(last);
        self.set.push("remove_at = :remove".into());
        self.conditions
            .push("(attribute_not_exists(remove_at) OR remove_at < :remove)".into());
        self.value(":remove", wire::number(self.ttl));
    }

    fn value(&mut self, placeholder: impl Into<String>, value: AttributeValue) {
        self.values.insert(placeholder.into(), value);
    }

    /// DynamoDB refuses an empty map.
    pub(crate) fn names(&self) -> Option<HashMap<String, String>> {
        Some(self.names.clone()).filter(|names| !names.is_empty())
    }

    pub(crate) fn expression(&self) -> String {
        format!("SET {}", self.set.join(", "))
    }

    pub(crate) fn condition(&self) -> String {
        self.conditions.join(" AND ")
    }

    /// The values to return, if only the server knows them.
    pub(crate) fn returns(&self) -> Option<ReturnValue> {
        let is_ahead = |form: &Form| matches!(form, Form::Ahead);
        let adds = self.forms.iter().any(is_ahead);
        adds.then_some(ReturnValue::UpdatedNew)
    }

    /// The state after the update, from what the server returned, and the arrival times
    /// before it.
    pub(crate) fn taken(
        &self,
        take: &Take<'_>,
        returned: &Item,
    ) -> store_core::Result<(Guess, Vec<Option<u64>>)> {
        let mut tats = Vec::with_capacity(self.forms.len());
        let mut before = Vec::with_capacity(self.forms.len());
        for (quota, form) in take.quotas().iter().zip(&self.forms) {
            let increment = take.terms(quota).increment;
            if let Form::Ahead = form {
                let tat = wire::integer(returned, &bucket::name(quota.name()))?;
                let tat = tat.ok_or_else(wire::malformed)?;
                let was = tat.checked_sub(increment);
                before.push(Some(was.ok_or_else(wire::malformed)?));
                tats.push(tat);
            } else {
                // An arrival time before the current time has the same effect as none.
                before.push(None);
                tats.push(take.now().as_nanos() + increment);
            }
        }
        let ttl = self.ttl;
        Ok((Guess { tats, ttl }, before))
    }
}
