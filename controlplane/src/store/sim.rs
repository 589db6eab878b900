//! A whole group in one thread, driven by one seed: the same members as in a real store, on disks and a network that
//! fail in every way that the seed can draw.
//!
//! A seed gives the same run each time, to the bit. `CORACLE_SEEDS=N` runs N seeds, `CORACLE_SEED=S` replays one and
//! prints what it draws.

mod dice;
mod disk;
mod oracle;
mod options;
mod world;

use std::collections::BTreeMap;

use super::flaw::{Flaw, Planted};
use options::Options;
use world::World;

/// Runs of the ordinary test; more where CI has the time.
const SEEDS: u64 = 2_000;
const SEEDS_IN_CI: u64 = 20_000;
/// A planted bug has to be found within so many.
const SEEDS_TO_FIND: u64 = 500;

const FLAWS: [Flaw; 23] = [
    Flaw::AnswersBeforeSync,
    Flaw::VoteNotSynced,
    Flaw::AppliedApart,
    Flaw::CommitNotKept,
    Flaw::LearnerCounts,
    Flaw::ReadContextReused,
    Flaw::ReadBeforeApplied,
    Flaw::ReadWithoutQuorum,
    Flaw::SnapshotWithoutConf,
    Flaw::SnapshotMarkedEarly,
    Flaw::LogCutTooFar,
    Flaw::TailKept,
    Flaw::TermForgotten,
    Flaw::AmnesiaIgnored,
    Flaw::ConfWhenWritten,
    Flaw::ProposedTwice,
    Flaw::RevisionFromClock,
    Flaw::RenewedWithoutQuorum,
    Flaw::KeyStaysAttached,
    Flaw::LeaseTimeFromBefore,
    Flaw::RememberedTooLong,
    Flaw::SettledTooFar,
    Flaw::DataLeftOut,
];

/// How often each thing happened, by name.
type Counts = BTreeMap<&'static str, u64>;

/// One run; the error says what was violated.
fn run(seed: u64, planted: Planted) -> Result<(Counts, u64), String> {
    let options = Options::draw(seed);
    // A broken rule may show as an assertion of the library or of ours: found all the same.
    let ended = std::panic::catch_unwind(|| World::new(seed, options.clone(), planted).run());
    let ended = ended.unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().cloned();
        let said = said.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        Err(format!("a rule was broken: {}", said.unwrap_or_default()))
    });
    ended.map_err(|what| format!("seed {seed}: {what}\n{options:#?}"))
}

/// Runs seeds on all cores; the counts of all, or the first violation.
fn run_many(seeds: std::ops::Range<u64>, planted: Planted) -> Result<Counts, (u64, String)> {
    let next = std::sync::atomic::AtomicU64::new(seeds.start);
    let found = parking_lot::Mutex::new((Counts::new(), None::<(u64, String)>));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if seed >= seeds.end || found.lock().1.is_some() {
                        return;
                    }
                    let ended = run(seed, planted);
                    let mut found = found.lock();
                    match ended {
                        Ok((counts, _)) => {
                            for (what, count) in counts {
                                *found.0.entry(what).or_default() += count;
                            }
                        }
                        Err(what) => found.1 = Some((seed, what)),
                    }
                }
            });
        }
    });
    let (counts, violation) = found.into_inner();
    violation.map_or(Ok(counts), Err)
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number of seeds, or a seed"))
}

#[test]
fn a_group_keeps_its_promises() {
    if let Some(seed) = number("CORACLE_SEED") {
        println!("{:#?}", Options::draw(seed));
        println!("{:#?}", run(seed, Planted::default()).unwrap());
        return;
    }
    let seeds = number("CORACLE_SEEDS").unwrap_or(if std::env::var("CI").is_ok_and(|ci| ci == "true") {
        SEEDS_IN_CI
    } else {
        SEEDS
    });
    let counts = run_many(0..seeds, Planted::default()).map_err(|(_, what)| what).unwrap();
    println!("{seeds} seeds: {counts:#?}");
    for what in world::EVENTS {
        assert!(counts.contains_key(what), "no seed has drawn '{what}': the simulation has a blind spot");
    }
}

#[test]
fn a_seed_gives_the_same_run_each_time() {
    for seed in 0..20 {
        assert_eq!(run(seed, Planted::default()), run(seed, Planted::default()));
    }
}

#[test]
fn planted_bugs_are_found() {
    let mut missed = Vec::new();
    for flaw in FLAWS {
        match run_many(0..SEEDS_TO_FIND, Planted::one(flaw)) {
            Ok(_) => missed.push(flaw),
            Err((seed, what)) => println!(
                "{flaw:?}: {}",
                what.lines().next().unwrap_or_default().to_owned() + &format!(" (seed {seed})")
            ),
        }
    }
    assert!(missed.is_empty(), "not found within {SEEDS_TO_FIND} seeds: {missed:?}");
}
