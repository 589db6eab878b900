//! Requests over keep-alive connections, and what the process under load pays for them.

use crate::connection::Connection;
use crate::process::eventually;
use crate::{machine, row};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const CLIENTS: usize = 16;
const LOAD: Duration = Duration::from_secs(5);

/// What a load did.
#[derive(Clone, Copy)]
pub(crate) struct Done {
    /// Requests a second.
    rate: f64,
    /// Requests for each processor second of the process under load.
    pub(crate) work: f64,
}

/// Times of answers.
pub(crate) struct Latency {
    count: usize,
    p50: Duration,
    p99: Duration,
}

impl std::fmt::Display for Latency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        write!(f, "p50 {:.2} ms, p99 {:.2} ms of {}", ms(self.p50), ms(self.p99), self.count)
    }
}

/// As many requests as the clients get answered, to what process `pid` serves on `port`.
pub(crate) fn run(pid: u32, port: u16) -> Done {
    let (done, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let before = machine::cpu(pid);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut connection = Connection::open(port);
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(connection.get(), 200);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        eventually("the end of the load", || (began.elapsed() >= LOAD).then_some(()));
        stop.store(true, Ordering::Relaxed);
    });
    let (count, seconds) = (done.load(Ordering::Relaxed) as f64, began.elapsed().as_secs_f64());
    Done { rate: count / seconds, work: count / (machine::cpu(pid) - before) }
}

/// How long answers take while some clients ask without a pause.
pub(crate) fn latency(port: u16, clients: usize, time: Duration) -> Latency {
    let began = Instant::now();
    let mut times: Vec<Duration> = std::thread::scope(|scope| {
        let asking = |_| {
            scope.spawn(move || {
                let (mut connection, mut times) = (Connection::open(port), Vec::new());
                while began.elapsed() < time {
                    let asked = Instant::now();
                    assert_eq!(connection.get(), 200);
                    times.push(asked.elapsed());
                }
                times
            })
        };
        let all: Vec<_> = (0..clients).map(asking).collect();
        all.into_iter().flat_map(|one| one.join().expect("it asked")).collect()
    });
    times.sort();
    Latency { count: times.len(), p50: percentile(&times, 50), p99: percentile(&times, 99) }
}

/// The time that so many of a hundred stay below.
pub(crate) fn percentile(sorted: &[Duration], part: usize) -> Duration {
    sorted[(sorted.len() * part / 100).min(sorted.len() - 1)]
}

/// The round with the middle of the work.
pub(crate) fn middle(rounds: &mut [Done]) -> Done {
    rounds.sort_by(|one, other| one.work.total_cmp(&other.work));
    rounds[rounds.len() / 2]
}

// === impl Done ===

impl Done {
    pub(crate) fn show(self, what: &str) {
        let value = format!("{:.0} requests/s, {:.0} for each CPU-second", self.rate, self.work);
        row(&format!("{what}, {CLIENTS} clients on the same cores"), &value);
    }
}
