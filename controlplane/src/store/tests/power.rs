//! Power cuts at any point of what the store really asks of its disk, on RocksDB: nothing that was acknowledged is lost.
//!
//! A process works with a store while strace writes down what it asks the kernel. From that comes, for any point in
//! between, a folder as a power cut would leave it; and a store is opened on it. `CORACLE_CUTS=N` makes N cuts for each
//! kind of work. A failure leaves the records and the folder, and says how the same cuts are made again.

mod disk;
mod image;
mod strace;
mod work;

use super::crash::copy;
use disk::{Disk, Kept, Lie};
use image::{Image, Seen};
use rand::rngs::SmallRng;
use rand::seq::IteratorRandom as _;
use rand::{Rng as _, SeedableRng as _};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use strace::{Call, Event};
use work::Work;

/// For the child that works: what it does, and where.
const WORK: &str = "CORACLE_POWER_WORK";
const ROOT: &str = "CORACLE_POWER_ROOT";
/// Where records of an earlier run are, to cut them again.
const RECORDS: &str = "CORACLE_POWER_RECORDS";
const CUTS: &str = "CORACLE_CUTS";
/// So near is a point to something that happens.
const MOMENT_POINTS: usize = 4;
/// One in so many cuts is at such a point.
const MOMENTS_SHARE: usize = 2;
/// Cuts within which a disk that lies is found out.
const CUTS_TO_FIND: usize = 60;

/// What one kind of work asked of the disk, process by process.
struct Record {
    work: Work,
    lives: Vec<Life>,
    /// The path that all of them worked under.
    root: PathBuf,
}

/// What one process asked for.
struct Life {
    /// What was there before, where that is not what the one before it has left.
    before: Option<PathBuf>,
    calls: Vec<Call>,
    events: Vec<Event>,
}

/// Not a test by itself: what is recorded.
#[tokio::test(flavor = "multi_thread")]
async fn child_that_is_recorded() {
    let (Ok(work), Some(root)) = (std::env::var(WORK), std::env::var_os(ROOT)) else { return };
    Work::named(&work).unwrap().run(Path::new(&root)).await;
}

// === impl Record ===

impl Record {
    /// Works and records; or reads what an earlier run left.
    fn take(work: Work, folder: &Path) -> Record {
        let mut record = Record { work, lives: Vec::new(), root: folder.join("root") };
        for life in 0..work.lives() {
            let (log, before) = (folder.join(format!("calls-{life}")), folder.join(format!("before-{life}")));
            if !log.exists() {
                record.prepare(&before);
                live(work, &record.root, &log);
                std::fs::write(&log, strace::settle(&std::fs::read_to_string(&log).unwrap())).unwrap();
            }
            let (calls, events) = strace::read(&std::fs::read_to_string(log).unwrap());
            let before = before.exists().then_some(before);
            record.lives.push(Life { before, calls, events });
        }
        for rename in work.renames() {
            let found = record.lives.iter().flat_map(|life| &life.calls).any(|call| is_rename(call, *rename));
            let (from, to) = rename;
            assert!(found, "{work:?} does not make {to} of {from}: the records have a blind spot");
        }
        record
    }

    /// Makes what the next process begins with.
    fn prepare(&self, before: &Path) {
        if self.lives.is_empty() {
            std::fs::create_dir_all(before).unwrap();
            if self.work == Work::Restore {
                image::write_snapshot(&work::snapshot(before));
            }
        } else if self.work == Work::Recovery {
            let points = self.follow(None, |_, _, _, _| {});
            let mut random = SmallRng::seed_from_u64(rand::random());
            let at = random.random_range(points / 2..points);
            self.follow(None, |point, _, disk, _| {
                if point == at {
                    disk.cut(Kept::draw(&mut random), &mut random, before);
                }
            });
            std::fs::remove_dir_all(&self.root).unwrap();
        } else {
            return;
        }
        copy(before, &self.root);
    }

    /// Follows all of it, and calls with each point: what has just begun or ended there, the disk, and what was promised.
    fn follow(&self, lie: Option<Lie>, mut act: impl FnMut(usize, &Call, &Disk, &Seen)) -> usize {
        let mut disk = Disk::new(&self.root, lie);
        let (mut seen, mut points) = (Seen::default(), 0);
        for life in &self.lives {
            match &life.before {
                Some(before) => (disk, seen) = (Disk::of(&self.root, before, lie), Seen::of_a_folder()),
                None => disk.next_process(),
            }
            for event in &life.events {
                let is_said = matches!(event, Event::End(call) if seen.hear(&life.calls[*call]));
                if !disk.follow(*event, &life.calls) && !is_said {
                    continue;
                }
                let (Event::Begin(call) | Event::End(call)) = *event;
                act(points, &life.calls[call], &disk, &seen);
                points += 1;
            }
        }
        points
    }

    /// The points when what the work is about happens.
    fn moments(&self) -> BTreeSet<usize> {
        let mut moments = BTreeSet::new();
        self.follow(None, |point, call, _, _| {
            if self.work.renames().iter().any(|rename| is_rename(call, *rename)) {
                moments.extend(point.saturating_sub(MOMENT_POINTS)..=point + MOMENT_POINTS);
            }
        });
        moments
    }

    /// Cuts at points drawn from a seed, some of them when something happens, and looks at what a store makes of each; how
    /// many were looked at, or the first that broke a promise.
    fn cut(&self, cuts: usize, seed: u64, lie: Option<Lie>, images: &Path) -> Result<usize, String> {
        let mut random = SmallRng::seed_from_u64(seed);
        let points = self.follow(lie, |_, _, _, _| {});
        let moments = self.moments().into_iter().choose_multiple(&mut random, cuts / MOMENTS_SHARE);
        let rest = (0..points).filter(|point| !moments.contains(point));
        let mut at = rest.choose_multiple(&mut random, cuts - moments.len());
        at.extend(moments);
        at.sort_unstable();
        let (send, receive) = std::sync::mpsc::sync_channel::<Image>(4);
        let receive = parking_lot::Mutex::new(receive);
        let check = || -> Result<usize, String> {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            let mut found = Ok(0);
            loop {
                let Ok(image) = receive.lock().recv() else { return found };
                // After the first that is wrong, the rest is only taken.
                found = found.and_then(|looked_at| runtime.block_on(image.check()).map(|()| looked_at + 1));
            }
        };
        std::thread::scope(|scope| {
            let checks = [scope.spawn(check), scope.spawn(check)];
            self.follow(lie, |point, _, disk, seen| {
                if at.binary_search(&point).is_err() {
                    return;
                }
                let kept = Kept::draw(&mut random);
                let root = images.join(format!("{:?}-{point}", self.work));
                disk.cut(kept, &mut random, &root);
                let image = Image { work: self.work, root, seen: seen.clone(), said: format!("{kept:?} at {point}") };
                send.send(image).expect("somebody looks");
            });
            drop(send);
            let mut looked_at = 0;
            for check in checks {
                looked_at += check.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            }
            Ok(looked_at)
        })
    }
}

fn is_rename(call: &Call, (from, to): (&str, &str)) -> bool {
    call.name == "rename" && call.path(0).ends_with(from) && call.path(1).ends_with(to)
}

/// One process that works, recorded.
fn live(work: Work, root: &Path, log: &Path) {
    let mut command = strace::record(log);
    command.arg(std::env::current_exe().unwrap());
    command.args(["store::tests::power::child_that_is_recorded", "--exact", "--nocapture"]);
    command.env(WORK, format!("{work:?}")).env(ROOT, root).stdin(Stdio::null());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("acknowledged"), "{work:?}: {said}");
}

fn is_skipped() -> bool {
    let refusal = strace::refusal();
    if let Some(why) = &refusal {
        eprintln!("skipped: power cuts on the real database ({why})");
    }
    refusal.is_some()
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

fn cuts_of(work: Work) -> usize {
    let usual = match work {
        Work::Sole | Work::Log => 80,
        Work::Members => 60,
        Work::Restore | Work::Recovery => 50,
        Work::Large => 40,
    };
    number(CUTS).map_or(usual, |cuts| usize::try_from(cuts).unwrap())
}

#[test]
fn nothing_acknowledged_is_lost_to_power_cuts() {
    if is_skipped() {
        return;
    }
    let seed = number("CORACLE_SEED").unwrap_or_else(rand::random);
    println!("CORACLE_SEED={seed}");
    let folder = tempfile::tempdir().unwrap();
    let records = std::env::var_os(RECORDS).map_or_else(|| folder.path().to_owned(), PathBuf::from);
    let mut all = 0;
    for work in Work::ALL {
        let record = Record::take(work, &records.join(format!("{work:?}")));
        match record.cut(cuts_of(work), seed, None, &folder.path().join("images")) {
            Ok(cuts) => {
                println!("{work:?}: {cuts} cuts");
                all += cuts;
            }
            Err(what) => {
                let kept = folder.keep();
                let records = std::env::var_os(RECORDS).map_or(kept, PathBuf::from);
                panic!("{what}\nagain: {RECORDS}={} CORACLE_SEED={seed}", records.display());
            }
        }
    }
    println!("{all} power cuts, and nothing acknowledged was lost");
    assert!(number(CUTS).is_some() || all >= 200, "only {all} cuts");
}

#[test]
fn a_disk_that_lies_is_found_out() {
    if is_skipped() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let record = Record::take(Work::Log, &folder.path().join("record"));
    for lie in [Lie::File("journal-0000000000000001"), Lie::File(".sst"), Lie::File("identity.new"), Lie::Folders] {
        let found = record.cut(CUTS_TO_FIND, 1, Some(lie), &folder.path().join(format!("{lie:?}")));
        let found = found.expect_err(&format!("{lie:?} was not noticed in {CUTS_TO_FIND} cuts"));
        println!("{lie:?}: {}", found.lines().next().unwrap_or_default());
    }
}
