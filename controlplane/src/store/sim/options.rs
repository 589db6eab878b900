//! What a seed decides before the run begins. Rates are drawn for each seed, so that some runs are calm and others
//! are not, and rare things happen often in some.

use super::dice::Dice;
use crate::store::log::Kept;

#[derive(Debug, Clone)]
pub(super) struct Options {
    pub(super) voters: u64,
    /// Of messages, in a thousand.
    pub(super) loss: u64,
    pub(super) duplicates: u64,
    /// Messages take between 1 ms and this.
    pub(super) delay_max: u64,
    /// Between two faults, ms on average; the faults stop after `faulty`.
    pub(super) fault_every: u64,
    pub(super) faulty: u64,
    pub(super) operation_every: u64,
    pub(super) compact_every: u64,
    pub(super) conf_every: u64,
    pub(super) kept: Kept,
    /// Clocks run slower or faster by so many in a thousand.
    pub(super) drift: u64,
    /// May a disk lose what was synced?
    pub(super) rollbacks: bool,
    /// Even a sole member keeps a log.
    pub(super) keeps_log: bool,
    /// Keys that a member knows without asking its disk.
    pub(super) remembered: usize,
}

// === impl Options ===

impl Options {
    pub(super) fn draw(seed: u64) -> Options {
        let dice = &mut Dice::new(seed ^ 0x6f70_7469_6f6e_7321);
        let calm = dice.per_mille(100);
        Options {
            voters: *dice.one(&[1, 3, 3, 3, 5]).expect("there are some"),
            loss: if calm { 0 } else { dice.below(100) },
            duplicates: if calm { 0 } else { dice.below(50) },
            delay_max: *dice.one(&[2, 20, 100, 600, 3000]).expect("there are some"),
            fault_every: dice.within(300..4000),
            faulty: dice.within(10_000..30_000),
            operation_every: dice.within(10..150),
            compact_every: dice.within(500..10_000),
            conf_every: *dice.one(&[1_500, 4_000, 10_000, u64::MAX]).expect("there are some"),
            kept: Kept { entries: dice.within(1..60), bytes: 1 << 20 },
            drift: dice.below(60),
            rollbacks: dice.per_mille(250),
            keeps_log: dice.per_mille(500),
            remembered: *dice.one(&[1, 3, 1000]).expect("there are some"),
        }
    }
}
