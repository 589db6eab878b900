//! When a container is asked how it is, and what follows from its answers.

use super::{Effect, Run, Slot, State, warning};
use api::time::{SignedDuration, Timestamp};
use api::view;

/// Kubernetes' defaults, for pods that reach the node without them.
const PERIOD_SECONDS: u32 = 10;
const FAILURES: u32 = 3;

/// Which of the three questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::node) enum ProbeKind {
    Startup,
    Readiness,
    Liveness,
}

/// The probes of one container, as they stand.
#[derive(Debug, Clone)]
pub(in crate::node) struct Probes {
    startup: Option<Plan>,
    readiness: Option<Plan>,
    liveness: Option<Plan>,
}

#[derive(Debug, Clone)]
struct Plan {
    initial_delay: SignedDuration,
    period: SignedDuration,
    successes_needed: u32,
    failures_needed: u32,
    /// `None` while an answer is outstanding, or while the container does not run.
    due: Option<Timestamp>,
    successes: u32,
    failures: u32,
}

// === impl ProbeKind ===

impl ProbeKind {
    pub(in crate::node) const ALL: [ProbeKind; 3] = [ProbeKind::Startup, ProbeKind::Readiness, ProbeKind::Liveness];

    pub(in crate::node) fn of(self, container: &view::Container) -> Option<&view::Probe> {
        match self {
            ProbeKind::Startup => container.startup_probe.as_ref(),
            ProbeKind::Readiness => container.readiness_probe.as_ref(),
            ProbeKind::Liveness => container.liveness_probe.as_ref(),
        }
    }
}

// === impl Plan ===

impl Plan {
    fn new(probe: &view::Probe) -> Plan {
        Plan {
            initial_delay: SignedDuration::from_secs(probe.initial_delay_seconds.into()),
            period: SignedDuration::from_secs(probe.period_seconds.unwrap_or(PERIOD_SECONDS).max(1).into()),
            successes_needed: probe.success_threshold.unwrap_or(1).max(1),
            failures_needed: probe.failure_threshold.unwrap_or(FAILURES).max(1),
            due: None,
            successes: 0,
            failures: 0,
        }
    }

    fn begin(&mut self, now: Timestamp) {
        self.due = Some(now + self.initial_delay);
        self.successes = 0;
        self.failures = 0;
    }
}

// === impl Probes ===

impl Probes {
    pub(super) fn new(container: &view::Container) -> Probes {
        let plan = |kind: ProbeKind| kind.of(container).map(Plan::new);
        Probes {
            startup: plan(ProbeKind::Startup),
            readiness: plan(ProbeKind::Readiness),
            liveness: plan(ProbeKind::Liveness),
        }
    }

    pub(super) fn has_startup(&self) -> bool {
        self.startup.is_some()
    }

    pub(super) fn has_readiness(&self) -> bool {
        self.readiness.is_some()
    }

    /// The container has come up: the first question is asked as soon as its initial delay allows, at once without.
    pub(super) fn begin(&mut self, now: Timestamp) {
        for plan in [&mut self.startup, &mut self.readiness, &mut self.liveness].into_iter().flatten() {
            plan.begin(now);
        }
    }

    /// While the startup probe has not passed, the others wait.
    pub(super) fn next_at(&self, is_started: bool) -> Option<Timestamp> {
        if is_started {
            [&self.readiness, &self.liveness].into_iter().flatten().filter_map(|plan| plan.due).min()
        } else {
            self.startup.as_ref().and_then(|plan| plan.due)
        }
    }

    fn plan_mut(&mut self, kind: ProbeKind) -> Option<&mut Plan> {
        match kind {
            ProbeKind::Startup => self.startup.as_mut(),
            ProbeKind::Readiness => self.readiness.as_mut(),
            ProbeKind::Liveness => self.liveness.as_mut(),
        }
    }
}

/// Asks what is due.
pub(super) fn advance(state: &mut State, slot: Slot, now: Timestamp, effects: &mut Vec<Effect>) {
    let container = state.container_mut(slot);
    if !matches!(container.run, Run::Running { .. }) {
        return;
    }
    for kind in ProbeKind::ALL {
        if (kind == ProbeKind::Startup) == container.is_started {
            continue;
        }
        let run = container.attempt;
        let Some(plan) = container.probes.plan_mut(kind) else { continue };
        if plan.due.is_some_and(|due| due <= now) {
            plan.due = None;
            effects.push(Effect::Probe { slot, run, kind });
        }
    }
}

/// Takes an answer.
pub(super) fn probed(
    state: &mut State,
    (slot, run, kind): (Slot, u32, ProbeKind),
    result: Result<(), String>,
    now: Timestamp,
    effects: &mut Vec<Effect>,
) {
    let container = state.container_mut(slot);
    if container.attempt != run || !matches!(container.run, Run::Running { .. }) {
        return;
    }
    let Some(plan) = container.probes.plan_mut(kind) else { return };
    plan.due = Some(now + plan.period);
    match result {
        Ok(()) => {
            plan.failures = 0;
            plan.successes = plan.successes.saturating_add(1);
            if plan.successes >= plan.successes_needed {
                passed(state, slot, kind);
            }
        }
        Err(message) => {
            plan.successes = 0;
            plan.failures = plan.failures.saturating_add(1);
            let is_over = plan.failures >= plan.failures_needed;
            effects.push(warning(Some(slot), "Unhealthy", format!("{kind:?} probe failed: {message}")));
            if is_over {
                failed(state, slot, kind, now, effects);
            }
        }
    }
}

fn passed(state: &mut State, slot: Slot, kind: ProbeKind) {
    let container = state.container_mut(slot);
    match kind {
        ProbeKind::Startup => {
            container.is_started = true;
            container.is_ready = !container.probes.has_readiness();
        }
        ProbeKind::Readiness => container.is_ready = true,
        ProbeKind::Liveness => {}
    }
}

fn failed(state: &mut State, slot: Slot, kind: ProbeKind, now: Timestamp, effects: &mut Vec<Effect>) {
    if kind == ProbeKind::Readiness {
        state.container_mut(slot).is_ready = false;
        return;
    }
    let name = state.spec(slot).name.clone();
    let which = if kind == ProbeKind::Startup { "startup" } else { "liveness" };
    let own = kind.of(state.spec(slot)).and_then(|probe| probe.termination_grace_period_seconds);
    let grace = own.or(state.pod.spec.termination_grace_period_seconds).unwrap_or(30);
    let container = state.container_mut(slot);
    container.is_ready = false;
    container.run = Run::Stopping { since: started_at(&container.run, now) };
    let told = format!("Container {name} failed {which} probe, will be restarted");
    effects.push(super::normal(Some(slot), "Killing", told));
    effects.push(Effect::Stop { slot, grace: SignedDuration::from_secs(grace) });
}

fn started_at(run: &Run, now: Timestamp) -> Timestamp {
    match run {
        Run::Running { since } | Run::Stopping { since } => *since,
        Run::Waiting { .. } | Run::Starting | Run::Ended(_) => now,
    }
}
