//! A client that calls again and again while something happens, and what came of each call.

use crate::process::get;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Between two calls: often enough to hit a gap, and not a load.
const PAUSE: Duration = Duration::from_millis(10);

/// `None`: nobody answered.
pub(crate) type Outcome = Option<(u16, String)>;

pub(crate) struct Calls {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    is_over: AtomicBool,
    outcomes: Mutex<Vec<Outcome>>,
}

/// What the answers say; a panic if a call was not answered.
pub(crate) fn answered(outcomes: Vec<Outcome>) -> Vec<String> {
    let good = |outcome: Outcome| match outcome {
        Some((200, text)) => text,
        other => panic!("a call failed: {other:?}"),
    };
    outcomes.into_iter().map(good).collect()
}

// === impl Calls ===

impl Calls {
    #[allow(clippy::disallowed_methods, reason = "a client of another process, on the real clock")]
    pub(crate) fn begin(address: IpAddr, port: u16, path: &str) -> Calls {
        let shared = Arc::new(Shared::default());
        let (own, path) = (Arc::clone(&shared), path.to_owned());
        let thread = std::thread::spawn(move || {
            while !own.is_over.load(Ordering::Relaxed) {
                let outcome = get(address, port, &path);
                own.outcomes.lock().expect("nobody panics with it").push(outcome);
                std::thread::sleep(PAUSE);
            }
        });
        Calls { shared, thread: Some(thread) }
    }

    /// What came of the calls that have ended since the last time that this was asked.
    pub(crate) fn take(&self) -> Vec<Outcome> {
        std::mem::take(&mut *self.shared.outcomes.lock().expect("nobody panics with it"))
    }

    /// Ends it; what came of the calls that were not taken yet.
    pub(crate) fn end(mut self) -> Vec<Outcome> {
        self.stop();
        self.take()
    }

    fn stop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        self.stop();
    }
}
