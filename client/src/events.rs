//! Kubernetes Events: what a component tells about objects, when there is time, and never worth waiting for.
//!
//! `Recorder::tell` never blocks: what finds the queue full is dropped and counted. One task writes, one event at a
//! time, after `correlate` has joined what repeats itself.

mod correlate;

pub use correlate::{About, Happened};

use crate::clock::Clock;
use crate::cluster::{Error, Handle, Patch, Target, WriteOptions};
use api::resource::EVENTS;
use correlate::{Correlator, Step};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;

/// Events that wait to be written; more are dropped (client-go's `maxQueuedEvents` is 1000; a burst of pods tells one
/// event for each).
const WAITING_MAX: usize = 4096;
/// Tries of one write while the server is away (client-go: 12, 10 s apart).
const TRIES_MAX: u32 = 12;
const RETRY: Duration = Duration::from_secs(10);

/// Where a component tells its events. Cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    tx: mpsc::Sender<Happened>,
    dropped: Arc<AtomicU64>,
}

// === impl Recorder ===

impl Recorder {
    /// Starts the task that writes; it ends when the last clone is gone. `host` is the node that tells, or empty.
    #[must_use]
    pub fn start(cluster: Handle, clock: Clock, host: &str) -> Recorder {
        let (tx, rx) = mpsc::channel(WAITING_MAX);
        tokio::spawn(run(cluster, clock, Correlator::new(host), rx));
        Recorder { tx, dropped: Arc::default() }
    }

    /// Tells, or drops if too many wait. Returns at once.
    pub fn tell(&self, happened: Happened) {
        if self.tx.try_send(happened).is_err() && self.dropped.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!("events are dropped: too many wait");
        }
    }

    /// Events that were dropped since the start.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Recorder({} dropped)", self.dropped())
    }
}

async fn run(cluster: Handle, clock: Clock, mut correlator: Correlator, mut rx: mpsc::Receiver<Happened>) {
    while let Some(happened) = rx.recv().await {
        let Some(step) = correlator.step(&happened, clock.now()) else { continue };
        let counts = matches!(step, Step::Count { .. });
        match write(&cluster, happened.component, step).await {
            Ok(()) => {}
            // It has expired: it is told anew.
            Err(error) if counts && error.is_not_found() => {
                let anew = correlator.anew(&happened, clock.now());
                if let Err(error) = write(&cluster, happened.component, anew).await {
                    untold(&happened, &error);
                }
            }
            Err(error) => untold(&happened, &error),
        }
    }
}

/// Writes one event; waits while the server is away.
async fn write(cluster: &Handle, component: &'static str, step: Step) -> Result<(), Error> {
    let mut tries = 0;
    loop {
        let options = WriteOptions::by(component);
        let outcome = match &step {
            Step::Create { namespace, event } => {
                cluster.create(Target::namespaced(&EVENTS, namespace, ""), event.clone(), options).await
            }
            Step::Count { namespace, name, patch } => {
                let target = Target::namespaced(&EVENTS, namespace, name);
                cluster.patch(target, Patch::Merge(patch.clone()), options).await
            }
        };
        tries += 1;
        match outcome {
            Ok(_) => return Ok(()),
            Err(Error::Unreachable(_)) if tries < TRIES_MAX => tokio::time::sleep(RETRY).await,
            Err(error) => return Err(error),
        }
    }
}

fn untold(happened: &Happened, error: &Error) {
    let about = &happened.about;
    tracing::debug!(%error, kind = about.kind, name = about.name, reason = happened.reason, "an event was not told");
}
