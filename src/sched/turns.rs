//! Turns of workers, which have weights: one of weight 3 has three turns while another has one, spread out.

use std::num::NonZeroU32;

use crate::ids::WorkerId;

/// How many connections a worker gets in comparison with others.
pub type Weight = NonZeroU32;

/// What a turn counts for a worker of the least weight; for one of three times that weight a third.
pub const TURN: u64 = 1 << 24;

/// A worker that has turns.
#[derive(Debug)]
pub struct Member {
    pub worker: WorkerId,
    pub weight: Weight,
    /// The turns that it has had, in parts of [`TURN`]; also those from before it joined, or too long ago to be owed.
    pub turns: u64,
}

/// The weights of all members, as far as they matter for all.
#[derive(Debug)]
pub struct Weights {
    least: Weight,
    /// Whether all have the same.
    pub are_equal: bool,
}

impl Default for Weights {
    fn default() -> Self {
        Weights { least: Weight::MIN, are_equal: true }
    }
}

impl Weights {
    /// Of these members.
    pub fn of<'a>(members: impl IntoIterator<Item = &'a Member>) -> Self {
        let mut weights = members.into_iter().map(|member| member.weight);
        let Some(first) = weights.next() else { return Weights::default() };
        let (least, most) =
            weights.fold((first, first), |(least, most), weight| (least.min(weight), most.max(weight)));
        Weights { least, are_equal: least == most }
    }

    /// What a turn of a worker with that weight counts.
    pub fn turn(&self, weight: Weight) -> u64 {
        TURN * u64::from(self.least.get()) / u64::from(weight.get())
    }
}

/// Where members are that all have had their shares: the mean of their turns, by weight. None without any.
pub fn mean(members: impl Iterator<Item = (Weight, u64)>) -> Option<u64> {
    let (mut sum, mut total) = (0u128, 0u128);
    for (weight, turns) in members {
        sum += u128::from(weight.get()) * u128::from(turns);
        total += u128::from(weight.get());
    }
    u64::try_from(sum.checked_div(total)?).ok()
}

/// The place in the order of turns of a member that has had so many; the least comes first. Those that have had more than their
/// shares come last. Of the others, whoever would have had the fewest turns after this one: so the turns of one with
/// more weight lie between those of the others.
pub fn rank(turns: u64, turn: u64, mean: u64) -> (bool, u64) {
    (turns > mean, turns + turn)
}
