//! Telling the API about pods: the newest state of each, one write at a time for each, a few at a time for all.

use super::{Agent, Message, Uid};
use crate::node::pod::State;
use crate::node::status;
use api::resource::PODS;
use api::time::{SignedDuration, Timestamp};
use api::view;
use bytes::Bytes;
use client::{DeleteOptions, Error, Patch, Target, WriteOptions};
use std::sync::Arc;

/// A pod that is only just starting is not told about for so long: most are ready by then, and need one write
/// instead of two.
const HOLD: SignedDuration = SignedDuration::from_millis(250);
/// After a failed write the next one waits.
const RETRY: SignedDuration = SignedDuration::from_secs(1);

/// What the API knows of one pod, and what it is to know.
pub(super) struct Report {
    hold_until: Timestamp,
    /// As JSON: a tree of it is ten times as large, and there are thousands of pods.
    wanted: Bytes,
    told: Bytes,
    /// The version of the pod that the last write made.
    told_at: u64,
    /// The newest version in which somebody else says otherwise.
    disputed_at: u64,
    is_busy: bool,
    retry_at: Option<Timestamp>,
    is_held: bool,
    /// The disk knows what is wanted.
    is_remembered: bool,
    is_deleting: bool,
}

/// How a status write went.
pub(super) enum Outcome {
    /// With the version of the pod that was written.
    Told(Bytes, u64),
    /// The pod is no more, or another has its name: nobody wants to know.
    Moot(Bytes),
    Failed,
}

// === impl Report ===

impl Report {
    pub(super) fn new(now: Timestamp) -> Report {
        Report {
            hold_until: now + HOLD,
            wanted: Bytes::new(),
            told: Bytes::new(),
            told_at: 0,
            disputed_at: 0,
            is_busy: false,
            retry_at: None,
            is_held: false,
            is_remembered: false,
            is_deleting: false,
        }
    }

    /// What the API has now. Whoever took this node for silent has written that its pods are not ready, and only the
    /// node can say that they are.
    pub(super) fn heard(&mut self, revision: u64, status: &view::PodStatus, state: &State) {
        let mut own = state.conditions.iter();
        let is_other =
            own.any(|own| status.condition(own.kind).is_some_and(|one| (one.status == "True") != own.is_true));
        if is_other {
            self.disputed_at = self.disputed_at.max(revision);
        }
    }

    fn is_told(&self, wanted: &Bytes) -> bool {
        self.told == wanted && self.disputed_at <= self.told_at
    }

    pub(super) fn next_at(&self) -> Option<Timestamp> {
        self.retry_at.or(Some(self.hold_until).filter(|_| self.is_held))
    }
}

// === impl Agent ===

impl Agent {
    /// Brings the API's knowledge of a pod up to date, if a write is possible now.
    pub(super) fn tell(&mut self, uid: &Uid) {
        let now = self.shared.now();
        let Some(entry) = self.entries.get_mut(uid) else { return };
        if entry.state.gone {
            return;
        }
        let tree = status::patch(&entry.state, self.shared.config.address);
        let report = &mut entry.report;
        let wanted = Bytes::from(tree.to_string());
        if report.wanted != wanted {
            report.wanted = wanted.clone();
            report.is_remembered = false;
        }
        let is_news = entry.state.is_ending() || entry.state.is_finished() || status::is_ready(&entry.state);
        report.is_held = report.told.is_empty() && !is_news && now < report.hold_until;
        if !report.is_held && !report.is_remembered {
            report.is_remembered = true;
            self.shared.remember_status(uid, wanted.clone());
        }
        if report.is_held || report.is_busy || report.retry_at.is_some_and(|at| now < at) {
            return;
        }
        report.retry_at = None;
        if report.is_told(&wanted) {
            if entry.is_finishing && !report.is_deleting {
                report.is_deleting = true;
                self.delete(uid);
            }
            return;
        }
        report.is_busy = true;
        let (shared, tx, uid) = (Arc::clone(&self.shared), self.tx.clone(), Arc::clone(uid));
        let pod = Arc::clone(&entry.state.pod);
        tokio::spawn(async move {
            let permit = shared.writes.acquire().await;
            let target = Target::namespaced(&PODS, &pod.metadata.namespace, &pod.metadata.name).subresource("status");
            let patch = Patch::Strategic(tree);
            let outcome = match shared.config.cluster.patch(target, patch, WriteOptions::by("kubelet")).await {
                Ok(written) => Outcome::Told(wanted, written.revision()),
                Err(Error::Rejected(error)) if error.is_not_found() || error.is_conflict() => Outcome::Moot(wanted),
                Err(error) => {
                    tracing::debug!(pod = pod.metadata.name, %error, "a pod's status was not told");
                    Outcome::Failed
                }
            };
            drop(permit);
            let _ = tx.send(Message::Reported(uid, outcome)).await;
        });
    }

    pub(super) fn reported(&mut self, uid: &Uid, outcome: Outcome) {
        let now = self.shared.now();
        if let Some(entry) = self.entries.get_mut(uid) {
            entry.report.is_busy = false;
            match outcome {
                Outcome::Told(status, at) => (entry.report.told, entry.report.told_at) = (status, at),
                Outcome::Moot(status) => (entry.report.told, entry.report.told_at) = (status, u64::MAX),
                Outcome::Failed => entry.report.retry_at = Some(now + RETRY),
            }
        }
        self.tell(uid);
        self.set_timer(uid);
    }

    /// Everything is told and stopped: the API may forget the pod.
    fn delete(&self, uid: &Uid) {
        let Some(entry) = self.entries.get(uid) else { return };
        let (shared, tx, uid) = (Arc::clone(&self.shared), self.tx.clone(), Arc::clone(uid));
        let pod = Arc::clone(&entry.state.pod);
        tokio::spawn(async move {
            let permit = shared.writes.acquire().await;
            let target = Target::namespaced(&PODS, &pod.metadata.namespace, &pod.metadata.name);
            let options =
                DeleteOptions { grace_period_seconds: Some(0), uid: Some(uid.to_string()), ..DeleteOptions::default() };
            let is_gone = match shared.config.cluster.delete(target, options).await {
                // A finalizer may keep it: then its end comes as an event.
                Ok(_) => true,
                Err(Error::Rejected(error)) => error.is_not_found() || error.is_conflict(),
                Err(_) => false,
            };
            drop(permit);
            let _ = tx.send(Message::Deleted(uid, is_gone)).await;
        });
    }

    pub(super) fn deleted(&mut self, uid: &Uid, is_gone: bool) {
        if is_gone {
            // The end itself comes with the watch, which also knows of pods that a finalizer keeps.
            return;
        }
        let now = self.shared.now();
        if let Some(entry) = self.entries.get_mut(uid) {
            entry.report.is_deleting = false;
            entry.report.retry_at = Some(now + RETRY);
        }
        self.set_timer(uid);
    }
}
