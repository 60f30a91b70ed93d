//! Freeing what no reader can reach any more.

use store_core::{Clock, Result, Swept};

use super::{Flaw, Shelf};

impl Shelf {
    pub(super) fn sweep_now(&self) -> Result<Swept> {
        let now = self.clock.now();
        let mut state = self.state()?;
        let state = &mut *state;
        let mut due = Vec::new();
        state.retired.retain(|&(at, content)| {
            due.extend((at <= now).then_some(content));
            at > now
        });
        if !self.has(Flaw::NeverReclaims) {
            state.uploads.retain(|&number, upload| {
                due.extend((upload.lease_until <= now).then_some(number));
                upload.lease_until > now
            });
        }
        let waits = state.retired.iter().map(|(at, _)| *at);
        let open = state.uploads.iter();
        let open = open.filter(|(number, _)| state.contents.contains_key(number));
        let next_due = waits
            .chain(open.map(|(_, upload)| upload.lease_until))
            .min();
        let freed = due
            .iter()
            .filter(|content| state.contents.remove(content).is_some());
        let mut removed = freed.count() as u64;
        if self.has(Flaw::CountsTwice) {
            // What another handle's sweep freed counts as freed by this one, too.
            removed += std::mem::replace(&mut state.swept, removed);
        }
        Ok(Swept {
            removed,
            more: false,
            next_due: next_due.filter(|_| !self.has(Flaw::HidesWhatWaits)),
        })
    }
}
