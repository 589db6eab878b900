//! List, then watch, for ever: the loop behind every cache.
//!
//! It survives what a watch can suffer (a closed stream, an expired revision, a server that is away) and tells its
//! owner only what matters: the state as it was listed, then each event.

use crate::cluster::{Error, Event, Events, Handle, List, ListOptions, WatchOptions};
use api::{Object, Resource};
use futures::StreamExt;
use rand::Rng;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Events that wait for a slow owner; then the watch is not read on, and the server may close it.
const EVENTS_MAX: usize = 1024;
/// The first wait after a failure; doubled up to `WAIT_MAX`, with jitter against storms.
const WAIT_MIN: Duration = Duration::from_millis(50);
const WAIT_MAX: Duration = Duration::from_secs(10);

/// What `follow` tells.
#[derive(Debug)]
pub enum Followed {
    /// The whole state; whatever was known before and is not in it is gone.
    Listed(Vec<Arc<Object>>),
    Event(Event),
}

/// Which objects to follow.
#[derive(Debug, Clone)]
pub struct Selection {
    pub resource: Resource,
    /// `None`: all namespaces.
    pub namespace: Option<String>,
    pub label_selector: String,
    pub field_selector: String,
}

// === impl Selection ===

impl Selection {
    #[must_use]
    pub fn all(resource: Resource) -> Selection {
        Selection { resource, namespace: None, label_selector: String::new(), field_selector: String::new() }
    }

    #[must_use]
    pub fn fields(resource: Resource, field_selector: String) -> Selection {
        Selection { resource, namespace: None, label_selector: String::new(), field_selector }
    }
}

/// Follows a selection until the receiver is dropped. Failures are logged and tried again.
#[must_use]
pub fn follow(cluster: Handle, selection: Selection) -> mpsc::Receiver<Followed> {
    let (tx, rx) = mpsc::channel(EVENTS_MAX);
    tokio::spawn(run(cluster, selection, tx));
    rx
}

async fn run(cluster: Handle, selection: Selection, tx: mpsc::Sender<Followed>) {
    let mut wait = WAIT_MIN;
    let mut seen: Option<u64> = None;
    while !tx.is_closed() {
        let outcome = round(&cluster, &selection, &tx, &mut seen).await;
        match outcome {
            Ok(()) => wait = WAIT_MIN,
            Err(error) => {
                if error.is_expired() {
                    seen = None;
                }
                tracing::debug!(resource = %selection.resource, %error, "following is interrupted");
                let jittered = wait.mul_f64(rand::rng().random_range(0.5..1.5));
                tokio::select! {
                    () = tokio::time::sleep(jittered) => {}
                    () = tx.closed() => return,
                }
                wait = (wait * 2).min(WAIT_MAX);
            }
        }
    }
}

/// One list (if nothing was seen yet) and one watch until it ends.
async fn round(
    cluster: &Handle,
    selection: &Selection,
    tx: &mpsc::Sender<Followed>,
    seen: &mut Option<u64>,
) -> Result<(), Error> {
    let revision = match *seen {
        Some(revision) => revision,
        None => {
            let list = list(cluster, selection).await?;
            let revision = list.revision;
            if tx.send(Followed::Listed(list.items)).await.is_err() {
                return Ok(());
            }
            *seen = Some(revision);
            revision
        }
    };
    let mut events = watch(cluster, selection, revision).await?;
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = tx.closed() => return Ok(()),
        };
        let Some(event) = event.transpose()? else { return Ok(()) };
        *seen = Some(event.revision());
        if !matches!(event, Event::Bookmark { .. }) && tx.send(Followed::Event(event)).await.is_err() {
            return Ok(());
        }
    }
}

async fn list(cluster: &Handle, selection: &Selection) -> Result<List, Error> {
    let options = ListOptions {
        label_selector: selection.label_selector.clone(),
        field_selector: selection.field_selector.clone(),
        ..ListOptions::default()
    };
    cluster.list(&selection.resource, selection.namespace.as_deref(), options).await
}

async fn watch(cluster: &Handle, selection: &Selection, revision: u64) -> Result<Events, Error> {
    let options = WatchOptions {
        label_selector: selection.label_selector.clone(),
        field_selector: selection.field_selector.clone(),
        revision,
        bookmarks: true,
        initial_events: None,
        lasts: None,
    };
    cluster.watch(&selection.resource, selection.namespace.as_deref(), options).await
}
