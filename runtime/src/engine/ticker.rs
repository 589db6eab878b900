//! The engine's clock tick, at which a guest that computes gives its thread back: one OS thread, asleep while no
//! guest is live.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

/// The longest that a guest computes without giving way to its neighbours.
const TICK: Duration = Duration::from_millis(1);
/// Ticks that a guest computes before it is taken for one that goes on computing.
const LONG_TICKS: u64 = 2;
/// Ticks without computing that make a new beginning.
const PAUSE_TICKS: u64 = 20;
/// Ticks without a live guest after which the thread goes to sleep; waking it costs a system call.
const IDLE_TICKS: u32 = 100;

pub(super) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
}

#[derive(Default)]
struct Shared {
    /// So many since the start.
    ticks: AtomicU64,
    live: AtomicUsize,
    asleep: AtomicBool,
    ended: AtomicBool,
}

/// How long one guest has computed without a pause. Keeps the ticks coming while it exists.
pub(super) struct Pace {
    shared: Arc<Shared>,
    turn_began: AtomicU64,
    last_counted: AtomicU64,
    whole_ticks: AtomicU64,
}

impl Ticker {
    pub(super) fn start(engine: wasmtime::Engine) -> Ticker {
        let shared = Arc::new(Shared::default());
        let told = shared.clone();
        let thread = thread::Builder::new().name("wasm-ticker".into()).spawn(move || run(&engine, &told));
        let thread = thread.expect("the system gives a new process its first threads").thread().clone();
        Ticker { shared, thread }
    }

    /// To be held by every live guest.
    pub(super) fn pace(&self) -> Pace {
        self.shared.live.fetch_add(1, Ordering::SeqCst);
        if self.shared.asleep.swap(false, Ordering::SeqCst) {
            self.thread.unpark();
        }
        let never = || AtomicU64::new(0);
        Pace { shared: self.shared.clone(), turn_began: never(), last_counted: never(), whole_ticks: never() }
    }
}

fn run(engine: &wasmtime::Engine, shared: &Shared) {
    let mut idle = 0;
    while !shared.ended.load(Ordering::SeqCst) {
        thread::park_timeout(TICK);
        engine.increment_epoch();
        shared.ticks.fetch_add(1, Ordering::Relaxed);
        idle = if shared.live.load(Ordering::SeqCst) == 0 { idle + 1 } else { 0 };
        if idle < IDLE_TICKS {
            continue;
        }
        shared.asleep.store(true, Ordering::SeqCst);
        // A guest that came before the line above was seen by no one: look once more.
        while shared.asleep.load(Ordering::SeqCst) && shared.live.load(Ordering::SeqCst) == 0 {
            thread::park();
            if shared.ended.load(Ordering::SeqCst) {
                return;
            }
        }
        shared.asleep.store(false, Ordering::SeqCst);
        idle = 0;
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

// === impl Pace ===

impl Pace {
    /// The guest runs from now on.
    pub(super) fn begin_turn(&self) {
        self.turn_began.store(self.now(), Ordering::Relaxed);
    }

    /// The guest met a tick. True if it has computed since the tick before; a tick that came while it waited for
    /// something says nothing about it.
    pub(super) fn tick(&self) -> bool {
        let now = self.now();
        if now == self.turn_began.load(Ordering::Relaxed) {
            return false;
        }
        let before = self.last_counted.swap(now, Ordering::Relaxed);
        if now - before > PAUSE_TICKS {
            self.whole_ticks.store(0, Ordering::Relaxed);
        }
        self.whole_ticks.fetch_add(1, Ordering::Relaxed);
        true
    }

    pub(super) fn is_long(&self) -> bool {
        self.whole_ticks.load(Ordering::Relaxed) >= LONG_TICKS
    }

    fn now(&self) -> u64 {
        self.shared.ticks.load(Ordering::Relaxed)
    }
}

impl Drop for Pace {
    fn drop(&mut self) {
        self.shared.live.fetch_sub(1, Ordering::SeqCst);
    }
}
