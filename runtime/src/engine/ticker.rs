//! The engine's clock tick, at which a guest that computes gives its thread back: one OS thread, asleep while no
//! guest is live.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

/// The longest that a guest computes without giving way to its neighbours.
const TICK: Duration = Duration::from_millis(1);
/// Ticks without a live guest after which the thread goes to sleep; waking it costs a system call.
const IDLE_TICKS: u32 = 100;

pub(super) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
}

#[derive(Default)]
struct Shared {
    live: AtomicUsize,
    asleep: AtomicBool,
    ended: AtomicBool,
}

/// Keeps the ticks coming while it exists.
pub(super) struct Live(Arc<Shared>);

impl Ticker {
    pub(super) fn start(engine: wasmtime::Engine) -> Ticker {
        let shared = Arc::new(Shared::default());
        let told = shared.clone();
        let thread = thread::Builder::new().name("wasm-ticker".into()).spawn(move || run(&engine, &told));
        let thread = thread.expect("the system gives a new process its first threads").thread().clone();
        Ticker { shared, thread }
    }

    /// To be held by every live guest.
    pub(super) fn live(&self) -> Live {
        self.shared.live.fetch_add(1, Ordering::SeqCst);
        if self.shared.asleep.swap(false, Ordering::SeqCst) {
            self.thread.unpark();
        }
        Live(self.shared.clone())
    }
}

fn run(engine: &wasmtime::Engine, shared: &Shared) {
    let mut idle = 0;
    while !shared.ended.load(Ordering::SeqCst) {
        thread::park_timeout(TICK);
        engine.increment_epoch();
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

impl Drop for Live {
    fn drop(&mut self) {
        self.0.live.fetch_sub(1, Ordering::SeqCst);
    }
}
