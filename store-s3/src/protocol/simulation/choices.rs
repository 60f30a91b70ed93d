//! Choosing the next step of a run: at random, or exhaustively.

use std::collections::HashSet;

use store_conformance::history::Dice;

use super::world::Move;

pub(super) trait Chooser {
    /// The index of the next step in `moves`; `None` if the state was visited before,
    /// which ends the run.
    fn choose(&mut self, moves: &[Move], place: &dyn Fn() -> u64) -> Option<usize>;
}

/// Random choices from a seed. Faults are rarer than other steps.
pub(super) struct ByChance {
    pub(super) dice: Dice,
    /// The percentage of steps that are faults, where faults are possible.
    pub(super) faults: u8,
    /// Whether a delayed request seldom (5 %) arrives while others wait.
    pub(super) delays_long: bool,
}

impl Chooser for ByChance {
    fn choose(&mut self, moves: &[Move], _: &dyn Fn() -> u64) -> Option<usize> {
        let sound = moves.iter().take_while(|one| !one.is_fault()).count();
        if sound < moves.len() && (sound == 0 || self.dice.chance(self.faults)) {
            return Some(sound + self.dice.below(moves.len() - sound));
        }
        let late = moves[..sound].iter();
        let late = late.filter(|one| matches!(one, Move::Deliver(_))).count();
        if self.delays_long && (1..sound).contains(&late) && !self.dice.chance(5) {
            return Some(self.dice.below(sound - late));
        }
        Some(self.dice.below(sound))
    }
}

/// Exhaustive choices, by depth-first search: the run is repeated, and each time the last
/// choice that has an untried alternative takes the next one.
///
/// A run that reaches a state which another run visited would continue as that one did,
/// so it ends there. If every process makes one call, this misses no violation of the
/// real-time order: all calls begin before the first step, and their answers are part of
/// the state.
#[derive(Default)]
pub(super) struct InTurn {
    /// For each choice, which alternative was taken and how many there were.
    path: Vec<(usize, usize)>,
    at: usize,
    seen: HashSet<u64>,
}

impl InTurn {
    /// Prepares the next run; false after the last.
    pub(super) fn advance(&mut self) -> bool {
        self.at = 0;
        while let Some((taken, of)) = self.path.pop() {
            if taken + 1 < of {
                self.path.push((taken + 1, of));
                return true;
            }
        }
        false
    }

    /// How many different states were visited.
    pub(super) fn places(&self) -> usize {
        self.seen.len()
    }
}

impl Chooser for InTurn {
    fn choose(&mut self, moves: &[Move], place: &dyn Fn() -> u64) -> Option<usize> {
        if self.at == self.path.len() {
            if !self.seen.insert(place()) {
                return None;
            }
            self.path.push((0, moves.len()));
        }
        let (taken, of) = self.path[self.at];
        assert_eq!(of, moves.len(), "the same choices lead to the same state");
        self.at += 1;
        Some(taken)
    }
}
