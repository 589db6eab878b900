//! What to do about one pod: a state, events, and the effects that follow.
//!
//! Pure: no clock and no I/O, so every rule of a pod's life is a line in a test. The agent performs the effects and
//! brings their outcome back as events; what is outstanding stands in the state, so nothing is asked for twice.

mod container;
mod ending;
mod probes;

use super::{Exit, Image, PullError};
use api::time::{SignedDuration, Timestamp};
use api::view;
use std::net::IpAddr;
use std::sync::Arc;

pub(super) use container::{Container, ImageState, Run};
pub(super) use probes::ProbeKind;

/// A failed preparation (an address, volumes) is tried again after this.
const SETUP_RETRY: SignedDuration = SignedDuration::from_secs(2);

/// One pod of this node.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) pod: Arc<view::Pod>,
    /// `status.startTime`: when the agent first saw the pod.
    pub(super) seen_at: Timestamp,
    pub(super) setup: Setup,
    pub(super) init: Vec<Container>,
    pub(super) main: Vec<Container>,
    pub(super) ending: Ending,
    /// The API has forgotten the pod already; it only remains to stop.
    pub(super) gone: bool,
    /// It was taken off the network.
    pub(super) detached: bool,
    /// Why the pod failed as a whole, if not through its containers.
    pub(super) failure: Option<Failure>,
    /// When each condition last changed.
    pub(super) conditions: Vec<Condition>,
}

/// What the pod has besides containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Setup {
    /// Nothing yet; ends with the first `advance`.
    Wanted,
    /// An address and volumes are being made; ends with `Event::Prepared`.
    Preparing,
    /// They were not to be had; tried again at the time.
    Failed { message: String, retry_at: Timestamp },
    /// Containers may start.
    Ready { ip: IpAddr },
}

/// How far the end of the pod has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    /// The pod is to run.
    No,
    /// Requests under way are answered still, and proxies hear of the end; ends with `Event::Drained`.
    Draining { kill_at: Timestamp },
    /// Containers were asked to stop; ends when all have.
    Stopping { kill_at: Timestamp },
    /// Nothing runs any more. The API is told, and then has no such pod.
    Done,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) reason: String,
    pub(super) message: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) kind: &'static str,
    pub(super) is_true: bool,
    pub(super) reason: &'static str,
    pub(super) message: String,
    pub(super) since: Timestamp,
}

/// One container of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Slot {
    Init(usize),
    Main(usize),
}

/// All that can happen to a pod.
#[derive(Debug, Clone)]
pub(super) enum Event {
    /// Nothing but the time.
    Tick,
    /// The API has a newer version of it.
    Changed(Arc<view::Pod>),
    /// The API no longer has it.
    Gone,
    Prepared(Result<IpAddr, String>),
    Pulled {
        slot: Slot,
        result: Result<Image, PullError>,
    },
    /// `run` tells attempts apart, so that a late word about an earlier one changes nothing.
    Started {
        slot: Slot,
        run: u32,
        result: Result<Up, StartFailure>,
    },
    Exited {
        slot: Slot,
        run: u32,
        exit: Exit,
    },
    Probed {
        slot: Slot,
        run: u32,
        kind: ProbeKind,
        result: Result<(), String>,
    },
    Drained,
}

/// A container that came up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Up {
    /// False for a command: such a pod has nothing to drain.
    pub(super) serves: bool,
}

/// Why a container did not start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum StartFailure {
    /// Something that it refers to is missing: `CreateContainerConfigError`.
    Config(String),
    /// The engine refused: `RunContainerError`.
    Run(String),
}

/// What the agent has to do.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Effect {
    /// Give the pod its address, and make its volumes.
    Prepare,
    Pull {
        slot: Slot,
    },
    Start {
        slot: Slot,
        run: u32,
    },
    Probe {
        slot: Slot,
        run: u32,
        kind: ProbeKind,
    },
    /// Ask a container to stop within the grace.
    Stop {
        slot: Slot,
        grace: SignedDuration,
    },
    /// Tell when no request is under way and the least drain has passed, or when `until` comes.
    Drain {
        until: Timestamp,
    },
    Event(Report),
    /// Take the pod off the network.
    Detach,
    /// Tell the final status, then let the API forget the pod.
    Finish,
    /// Give back the address, and remove volumes and logs: nobody knows the pod any more.
    Forget,
}

/// A Kubernetes Event about the pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) is_warning: bool,
    pub(super) reason: &'static str,
    pub(super) message: String,
    pub(super) slot: Option<Slot>,
}

/// Takes one event, and says what has to be done.
pub(super) fn decide(state: &mut State, event: Event, now: Timestamp) -> Vec<Effect> {
    let mut effects = Vec::new();
    match event {
        Event::Tick => {}
        Event::Changed(pod) => ending::changed(state, pod, now, &mut effects),
        Event::Gone => ending::gone(state, now, &mut effects),
        Event::Prepared(Ok(ip)) => state.setup = Setup::Ready { ip },
        Event::Prepared(Err(message)) => {
            effects.push(warning(None, "FailedMount", message.clone()));
            state.setup = Setup::Failed { message, retry_at: now + SETUP_RETRY };
        }
        Event::Pulled { slot, result } => container::pulled(state, slot, result, now, &mut effects),
        Event::Started { slot, run, result } => container::started(state, slot, run, result, now, &mut effects),
        Event::Exited { slot, run, exit } => container::exited(state, slot, run, &exit, now),
        Event::Probed { slot, run, kind, result } => {
            probes::probed(state, (slot, run, kind), result, now, &mut effects);
        }
        Event::Drained => ending::drained(state, now, &mut effects),
    }
    advance(state, now, &mut effects);
    refresh_conditions(state, now);
    effects
}

/// Everything that follows from state and time alone.
fn advance(state: &mut State, now: Timestamp, effects: &mut Vec<Effect>) {
    if state.ending != Ending::No {
        return ending::advance(state, now, effects);
    }
    ending::check_deadline(state, now, effects);
    if state.is_finished() {
        return ending::wind_down(state, effects);
    }
    match &state.setup {
        Setup::Wanted => prepare(state, effects),
        Setup::Failed { retry_at, .. } if *retry_at <= now => prepare(state, effects),
        Setup::Failed { .. } | Setup::Preparing | Setup::Ready { .. } => {}
    }
    for slot in state.startable() {
        container::advance(state, slot, now, effects);
    }
    if state.is_finished() {
        ending::wind_down(state, effects);
    }
}

fn prepare(state: &mut State, effects: &mut Vec<Effect>) {
    state.setup = Setup::Preparing;
    effects.push(Effect::Prepare);
}

pub(super) fn normal(slot: Option<Slot>, reason: &'static str, message: String) -> Effect {
    Effect::Event(Report { is_warning: false, reason, message, slot })
}

pub(super) fn warning(slot: Option<Slot>, reason: &'static str, message: String) -> Effect {
    Effect::Event(Report { is_warning: true, reason, message, slot })
}

fn refresh_conditions(state: &mut State, now: Timestamp) {
    let wanted = super::status::conditions(state);
    let old = std::mem::take(&mut state.conditions);
    state.conditions = wanted
        .into_iter()
        .map(|(kind, is_true, reason, message)| {
            let since = old.iter().find(|one| one.kind == kind && one.is_true == is_true).map_or(now, |one| one.since);
            Condition { kind, is_true, reason, message, since }
        })
        .collect();
}

// === impl State ===

impl State {
    /// A pod that this agent process sees for the first time. What an earlier process told about it is in its status:
    /// counts go on, and what ran then has ended with that process.
    pub(super) fn new(pod: Arc<view::Pod>, now: Timestamp) -> State {
        let is_finished = pod.is_finished();
        let adopt = |specs: &[view::Container], statuses: &[view::ContainerStatus]| -> Vec<Container> {
            let find = |name: &str| statuses.iter().find(|status| status.name == name);
            specs.iter().map(|spec| Container::adopt(spec, find(&spec.name), &pod, now)).collect()
        };
        let failure = (is_finished && !pod.status.reason.is_empty())
            .then(|| Failure { reason: pod.status.reason.clone(), message: pod.status.message.clone() });
        let mut state = State {
            seen_at: pod.status.start_time.unwrap_or(now),
            setup: Setup::Wanted,
            init: adopt(&pod.spec.init_containers, &pod.status.init_container_statuses),
            main: adopt(&pod.spec.containers, &pod.status.container_statuses),
            ending: Ending::No,
            gone: false,
            detached: false,
            failure,
            conditions: Vec::new(),
            pod,
        };
        state.conditions = super::status::adopt_conditions(&state, now);
        state
    }

    pub(super) fn container(&self, slot: Slot) -> &Container {
        match slot {
            Slot::Init(index) => &self.init[index],
            Slot::Main(index) => &self.main[index],
        }
    }

    fn container_mut(&mut self, slot: Slot) -> &mut Container {
        match slot {
            Slot::Init(index) => &mut self.init[index],
            Slot::Main(index) => &mut self.main[index],
        }
    }

    pub(super) fn spec(&self, slot: Slot) -> &view::Container {
        match slot {
            Slot::Init(index) => &self.pod.spec.init_containers[index],
            Slot::Main(index) => &self.pod.spec.containers[index],
        }
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> + use<> {
        let (init, main) = (self.init.len(), self.main.len());
        (0..init).map(Slot::Init).chain((0..main).map(Slot::Main))
    }

    /// A sidecar is an init container that is always restarted, and lives as long as the pod.
    pub(super) fn is_sidecar(&self, slot: Slot) -> bool {
        matches!(slot, Slot::Init(_)) && self.spec(slot).restart_policy.as_deref() == Some("Always")
    }

    /// The first init container that is not done; `None` once the pod is initialized.
    pub(super) fn current_init(&self) -> Option<usize> {
        (0..self.init.len()).find(|index| {
            let container = &self.init[*index];
            if self.is_sidecar(Slot::Init(*index)) {
                let is_up = container.is_started && matches!(container.run, Run::Running { .. });
                // Once the main containers have had their turn, a sidecar that fails does not take it back.
                !is_up && !self.main.iter().any(Container::has_run)
            } else {
                !matches!(&container.run, Run::Ended(ended) if ended.exit_code == 0)
            }
        })
    }

    /// The containers whose turn it is: sidecars that had theirs, the current init container, or the main ones.
    fn startable(&self) -> Vec<Slot> {
        let current = self.current_init();
        let sidecars = (0..current.unwrap_or(self.init.len())).map(Slot::Init).filter(|slot| self.is_sidecar(*slot));
        match current {
            Some(index) => sidecars.chain([Slot::Init(index)]).collect(),
            None => sidecars.chain((0..self.main.len()).map(Slot::Main)).collect(),
        }
    }

    /// The restart policy that holds for a container.
    pub(super) fn restarts_after(&self, slot: Slot, exit_code: i32) -> bool {
        if self.is_sidecar(slot) {
            return true;
        }
        match (slot, self.pod.spec.restart_policy.as_str()) {
            (Slot::Init(_), "Never") => false,
            (Slot::Init(_), _) => exit_code != 0,
            (Slot::Main(_), "Never") => false,
            (Slot::Main(_), "OnFailure") => exit_code != 0,
            (Slot::Main(_), _) => true,
        }
    }

    /// True once no main container will run again. Such a pod stays so, whatever comes.
    pub(super) fn is_finished(&self) -> bool {
        if self.failure.is_some() || self.pod.is_finished() {
            return true;
        }
        let is_over = |slot: Slot| match &self.container(slot).run {
            Run::Ended(ended) => !self.restarts_after(slot, ended.exit_code),
            Run::Waiting { .. } | Run::Starting | Run::Running { .. } | Run::Stopping { .. } => false,
        };
        let init_failed = self.current_init().is_some_and(|index| is_over(Slot::Init(index)));
        init_failed || (!self.main.is_empty() && (0..self.main.len()).map(Slot::Main).all(is_over))
    }

    pub(super) fn is_ending(&self) -> bool {
        self.ending != Ending::No
    }

    /// When something is due although nothing happened.
    pub(super) fn next_at(&self) -> Option<Timestamp> {
        let setup = match &self.setup {
            Setup::Failed { retry_at, .. } if !self.is_ending() && !self.is_finished() => Some(*retry_at),
            Setup::Failed { .. } | Setup::Wanted | Setup::Preparing | Setup::Ready { .. } => None,
        };
        let deadline = Some(()).filter(|()| !self.is_ending() && !self.is_finished()).and_then(|()| self.deadline());
        let slots = if self.is_ending() || self.is_finished() { Vec::new() } else { self.startable() };
        let containers = slots.into_iter().filter_map(|slot| self.container(slot).next_at());
        containers.chain(setup).chain(deadline).min()
    }

    fn deadline(&self) -> Option<Timestamp> {
        self.pod.spec.active_deadline_seconds.map(|seconds| self.seen_at + SignedDuration::from_secs(seconds))
    }
}

#[cfg(test)]
mod tests;
