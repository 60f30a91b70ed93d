//! Who decides what happens next: chance, or each possibility in its turn.

use std::collections::HashSet;

use store_conformance::history::Dice;

use super::world::Move;

pub(super) trait Chooser {
    /// Which of these happens; `None` if the rest of this run was seen already.
    fn choose(&mut self, moves: &[Move], place: &dyn Fn() -> u64) -> Option<usize>;
}

/// By chance from a seed; what goes wrong is rarer.
pub(super) struct ByChance {
    pub(super) dice: Dice,
    /// How many moves in a hundred are faults, where one may be.
    pub(super) faults: u8,
    /// Whether a request that is late arrives while others wait only once in twenty.
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

/// Every possibility: the run is repeated, and each time the last choice that
/// had another possibility takes it.
///
/// A run that comes to a place where another was goes on as that one did, so it
/// is given up there. Real time loses nothing by that if every process makes one
/// call: then all calls begin before the first move, and what each is answered
/// is part of the place.
#[derive(Default)]
pub(super) struct InTurn {
    /// At each choice, what was taken of how many.
    path: Vec<(usize, usize)>,
    at: usize,
    seen: HashSet<u64>,
}

impl InTurn {
    /// Goes on to the next run; false after the last.
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

    /// How many different places there were.
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
        assert_eq!(of, moves.len(), "the same choices lead to the same place");
        self.at += 1;
        Some(taken)
    }
}
