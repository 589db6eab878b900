//! How a pod ends: deleted with grace, gone without a word, over its deadline, or simply done.

use super::{Effect, Ending, Failure, Run, Setup, Slot, State, normal};
use api::time::{SignedDuration, Timestamp};
use api::view;
use std::sync::Arc;

/// Kubernetes' default grace, for pods that reach the node without one.
const GRACE_SECONDS: i64 = 30;

/// The API has a newer version: its metadata counts at once, and a deletion begins the end.
pub(super) fn changed(state: &mut State, pod: Arc<view::Pod>, now: Timestamp, effects: &mut Vec<Effect>) {
    let is_same_shape =
        pod.spec.containers.len() == state.main.len() && pod.spec.init_containers.len() == state.init.len();
    if is_same_shape {
        state.pod = pod;
    }
    if state.pod.metadata.deletion_timestamp.is_none() {
        return;
    }
    let grace = state.pod.metadata.deletion_grace_period_seconds.unwrap_or(GRACE_SECONDS).max(0);
    let until = now + SignedDuration::from_secs(grace);
    match &mut state.ending {
        Ending::No => begin(state, until, now, effects),
        // Somebody lost patience: a shorter grace counts, a longer one does not.
        Ending::Draining { kill_at } if until < *kill_at => {
            *kill_at = until;
            if grace == 0 {
                drained(state, now, effects);
            }
        }
        Ending::Stopping { kill_at } if until < *kill_at => {
            *kill_at = until;
            stop_all(state, until, now, effects);
        }
        Ending::Draining { .. } | Ending::Stopping { .. } | Ending::Done => {}
    }
}

/// The API no longer has the pod: nothing is left to tell, and it stops now.
pub(super) fn gone(state: &mut State, now: Timestamp, effects: &mut Vec<Effect>) {
    if state.ending == Ending::Done {
        effects.push(Effect::Forget);
        return;
    }
    state.gone = true;
    state.ending = Ending::Stopping { kill_at: now };
    stop_all(state, now, now, effects);
}

fn begin(state: &mut State, kill_at: Timestamp, now: Timestamp, effects: &mut Vec<Effect>) {
    for slot in state.slots().filter(|slot| state.container(*slot).is_live()) {
        let name = &state.spec(slot).name;
        effects.push(normal(Some(slot), "Killing", format!("Stopping container {name}")));
    }
    let serves = state.slots().any(|slot| state.container(slot).serves && state.container(slot).is_live());
    if serves && kill_at > now {
        state.ending = Ending::Draining { kill_at };
        effects.push(Effect::Drain { until: kill_at });
    } else {
        state.ending = Ending::Stopping { kill_at };
        stop_all(state, kill_at, now, effects);
    }
}

/// The proxies know, and nothing is under way any more (or the grace is over).
pub(super) fn drained(state: &mut State, now: Timestamp, effects: &mut Vec<Effect>) {
    if let Ending::Draining { kill_at } = state.ending {
        state.ending = Ending::Stopping { kill_at };
        stop_all(state, kill_at, now, effects);
    }
}

fn stop_all(state: &mut State, kill_at: Timestamp, now: Timestamp, effects: &mut Vec<Effect>) {
    let grace = kill_at.duration_since(now).max(SignedDuration::ZERO);
    for slot in state.slots() {
        stop(state, slot, grace, effects);
    }
}

fn stop(state: &mut State, slot: Slot, grace: SignedDuration, effects: &mut Vec<Effect>) {
    let container = state.container_mut(slot);
    match container.run {
        Run::Running { since } | Run::Stopping { since } => {
            container.run = Run::Stopping { since };
            container.is_ready = false;
            effects.push(Effect::Stop { slot, grace });
        }
        // A container that is just starting is stopped when it is up.
        Run::Starting | Run::Waiting { .. } | Run::Ended(_) => {}
    }
}

/// Goes on with an end that has begun.
pub(super) fn advance(state: &mut State, _now: Timestamp, effects: &mut Vec<Effect>) {
    let is_stopping = matches!(state.ending, Ending::Stopping { .. });
    let is_live = state.slots().any(|slot| state.container(slot).is_live());
    if !is_stopping || is_live || state.setup == Setup::Preparing {
        return;
    }
    state.ending = Ending::Done;
    effects.push(Effect::Detach);
    effects.push(if state.gone { Effect::Forget } else { Effect::Finish });
}

/// A pod that ran longer than it may fails as a whole.
pub(super) fn check_deadline(state: &mut State, now: Timestamp, effects: &mut Vec<Effect>) {
    if state.is_finished() || state.deadline().is_none_or(|deadline| now < deadline) {
        return;
    }
    let message = "Pod was active on the node longer than the specified deadline".to_owned();
    effects.push(normal(None, "DeadlineExceeded", message.clone()));
    state.failure = Some(Failure { reason: "DeadlineExceeded".to_owned(), message });
}

/// The pod is finished, though not deleted: what still runs (sidecars, the rest of a failed pod) stops.
pub(super) fn wind_down(state: &mut State, effects: &mut Vec<Effect>) {
    let grace = state.pod.spec.termination_grace_period_seconds.unwrap_or(GRACE_SECONDS);
    let running: Vec<Slot> =
        state.slots().filter(|slot| matches!(state.container(*slot).run, Run::Running { .. })).collect();
    for slot in running {
        stop(state, slot, SignedDuration::from_secs(grace), effects);
    }
    if !state.detached && !state.slots().any(|slot| state.container(slot).is_live()) {
        state.detached = true;
        effects.push(Effect::Detach);
    }
}
