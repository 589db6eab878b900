//! One container: from its image to its exit, and again.

use super::probes::Probes;
use super::{Effect, Ending, Setup, Slot, StartFailure, State, Up, normal, warning};
use crate::node::{Exit, Image, PullError};
use api::time::{SignedDuration, Timestamp};
use api::view;

/// Waits between attempts, for images and for restarts alike (kubelet's `MaxContainerBackOff` and image back-off).
const BACK_OFF_MIN: SignedDuration = SignedDuration::from_secs(10);
const BACK_OFF_MAX: SignedDuration = SignedDuration::from_secs(300);
/// `ErrImagePull` is told so long, then `ImagePullBackOff`, as kubectl users know it.
const TOLD_FOR: SignedDuration = SignedDuration::from_secs(1);
/// A container that ran so long is taken for well: its failures are forgotten.
const WELL_AFTER: SignedDuration = SignedDuration::from_secs(600);

#[derive(Debug, Clone)]
pub(in crate::node) struct Container {
    pub(in crate::node) image: ImageState,
    pub(in crate::node) run: Run,
    /// Tells attempts to start apart; also the number of the log file.
    pub(in crate::node) attempt: u32,
    /// Told as `restartCount`.
    pub(in crate::node) restarts: u32,
    /// Told as `lastState`.
    pub(in crate::node) last: Option<view::Terminated>,
    /// The wait before the next restart; `None`: at once.
    back_off: Option<SignedDuration>,
    pub(in crate::node) probes: Probes,
    /// The startup probe has passed, or there is none and the container runs.
    pub(in crate::node) is_started: bool,
    /// Started, and the readiness probe passes.
    pub(in crate::node) is_ready: bool,
    pub(in crate::node) serves: bool,
}

/// Whether a container's code is on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::node) enum ImageState {
    /// Ends when it is the container's turn.
    Wanted,
    /// Ends with `Event::Pulled`.
    /// `wait` is the back-off of the failure before.
    Pulling {
        since: Timestamp,
        wait: Option<SignedDuration>,
    },
    Ready(Image),
    /// Tried again at the time.
    Failed {
        reason: &'static str,
        message: String,
        wait: SignedDuration,
        retry_at: Timestamp,
    },
}

/// Whether a container runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::node) enum Run {
    /// Starts when its turn has come, its image is ready and the time is reached.
    Waiting { reason: &'static str, message: String, retry_at: Option<Timestamp> },
    /// Ends with `Event::Started`.
    Starting,
    /// Ends with `Event::Exited`.
    Running { since: Timestamp },
    /// Asked to stop: ends with `Event::Exited`.
    Stopping { since: Timestamp },
    /// Has ended, and `advance` decides whether it starts again.
    Ended(view::Terminated),
}

// === impl Container ===

impl Container {
    pub(super) fn adopt(
        spec: &view::Container,
        status: Option<&view::ContainerStatus>,
        pod: &view::Pod,
        now: Timestamp,
    ) -> Container {
        let mut container = Container {
            image: ImageState::Wanted,
            run: Run::Waiting { reason: "ContainerCreating", message: String::new(), retry_at: None },
            attempt: 0,
            restarts: 0,
            last: None,
            back_off: None,
            probes: Probes::new(spec),
            is_started: false,
            is_ready: false,
            serves: false,
        };
        let Some(status) = status else { return container };
        container.restarts = status.restart_count;
        container.attempt = status.restart_count;
        container.last = status.last_state.terminated.clone();
        if let Some(running) = &status.state.running {
            // It ran in an earlier process of this node, and has ended with it; nobody saw how.
            container.run = Run::Ended(view::Terminated {
                exit_code: 137,
                reason: "ContainerStatusUnknown".to_owned(),
                message: "The container ended together with the node agent that ran it".to_owned(),
                started_at: running.started_at,
                finished_at: Some(now),
                ..view::Terminated::default()
            });
        } else if let Some(ended) = &status.state.terminated {
            container.run = Run::Ended(ended.clone());
        } else if pod.is_finished() {
            container.run = Run::Ended(view::Terminated { exit_code: 137, ..view::Terminated::default() });
        }
        container
    }

    /// True once it ran, whatever it does now.
    pub(super) fn has_run(&self) -> bool {
        self.last.is_some() || matches!(self.run, Run::Running { .. } | Run::Stopping { .. } | Run::Ended(_))
    }

    /// True if the present attempt has got so far as to have an id.
    pub(in crate::node) fn has_begun(&self) -> bool {
        matches!(self.run, Run::Running { .. } | Run::Stopping { .. } | Run::Ended(_))
    }

    pub(super) fn is_live(&self) -> bool {
        matches!(self.run, Run::Starting | Run::Running { .. } | Run::Stopping { .. })
    }

    pub(super) fn next_at(&self) -> Option<Timestamp> {
        let image = match &self.image {
            ImageState::Failed { reason: "ErrImagePull", wait, retry_at, .. } => Some(*retry_at - *wait + TOLD_FOR),
            ImageState::Failed { retry_at, .. } => Some(*retry_at),
            ImageState::Wanted | ImageState::Pulling { .. } | ImageState::Ready(_) => None,
        };
        let run = match &self.run {
            Run::Waiting { retry_at, .. } => *retry_at,
            Run::Running { .. } => self.probes.next_at(self.is_started),
            Run::Starting | Run::Stopping { .. } | Run::Ended(_) => None,
        };
        image.into_iter().chain(run).min()
    }

    fn fail_image(&mut self, reason: &'static str, message: String, retries: bool, now: Timestamp) {
        let wait = match &self.image {
            ImageState::Pulling { wait: Some(wait), .. } => (*wait * 2).min(BACK_OFF_MAX),
            ImageState::Pulling { .. } | ImageState::Failed { .. } | ImageState::Wanted | ImageState::Ready(_) => {
                BACK_OFF_MIN
            }
        };
        let wait = if retries { wait } else { BACK_OFF_MAX };
        self.image = ImageState::Failed { reason, message, wait, retry_at: now + wait };
    }
}

pub(super) fn pulled(
    state: &mut State,
    slot: Slot,
    result: Result<Image, PullError>,
    now: Timestamp,
    effects: &mut Vec<Effect>,
) {
    let reference = state.spec(slot).image.clone();
    let container = state.container_mut(slot);
    match result {
        Ok(image) => {
            let message = match &container.image {
                ImageState::Pulling { since, .. } if !image.cached => {
                    let seconds = now.duration_since(*since).as_secs_f64();
                    let bytes = image.bytes;
                    format!(
                        "Successfully pulled image {reference:?} in {seconds:.3}s ({seconds:.3}s including waiting). Image size: {bytes} bytes."
                    )
                }
                _ => format!("Container image {reference:?} already present on machine"),
            };
            effects.push(normal(Some(slot), "Pulled", message));
            container.image = ImageState::Ready(image);
        }
        Err(error) => {
            let message = error.to_string();
            let (reason, retries) = match &error {
                PullError::InvalidName(_) => ("InvalidImageName", false),
                PullError::NeverPull(_) => ("ErrImageNeverPull", true),
                PullError::Failed(_) => ("ErrImagePull", true),
                PullError::Unusable(_) => ("CreateContainerError", true),
            };
            let told = match &error {
                PullError::InvalidName(_) => format!("Failed to apply default image tag {reference:?}: {message}"),
                PullError::Failed(_) => format!("Failed to pull image {reference:?}: {message}"),
                PullError::NeverPull(_) | PullError::Unusable(_) => format!("Error: {message}"),
            };
            effects.push(warning(Some(slot), if retries { "Failed" } else { "InspectFailed" }, told));
            effects.push(warning(Some(slot), "Failed", format!("Error: {reason}")));
            container.fail_image(reason, message, retries, now);
        }
    }
}

pub(super) fn started(
    state: &mut State,
    slot: Slot,
    run: u32,
    result: Result<Up, StartFailure>,
    now: Timestamp,
    effects: &mut Vec<Effect>,
) {
    let name = state.spec(slot).name.clone();
    let is_ending = state.is_ending();
    let container = state.container_mut(slot);
    if container.attempt != run || container.run != Run::Starting {
        return;
    }
    match result {
        Ok(up) => {
            effects.push(normal(Some(slot), "Created", format!("Created container: {name}")));
            effects.push(normal(Some(slot), "Started", format!("Started container {name}")));
            container.serves = up.serves;
            container.run = Run::Running { since: now };
            container.probes.begin(now);
            container.is_started = !container.probes.has_startup();
            container.is_ready = container.is_started && !container.probes.has_readiness();
            if is_ending {
                container.run = Run::Stopping { since: now };
                effects.push(Effect::Stop { slot, grace: SignedDuration::ZERO });
            }
        }
        Err(failure) => {
            let (reason, message) = match failure {
                StartFailure::Config(message) => ("CreateContainerConfigError", message),
                StartFailure::Run(message) => ("RunContainerError", message),
            };
            effects.push(warning(Some(slot), "Failed", format!("Error: {message}")));
            let wait = BACK_OFF_MIN;
            container.run = Run::Waiting { reason, message, retry_at: Some(now + wait) };
        }
    }
}

pub(super) fn exited(state: &mut State, slot: Slot, run: u32, exit: &Exit, now: Timestamp) {
    let is_wanted = state.is_ending() || state.is_finished();
    let container = state.container_mut(slot);
    if container.attempt != run {
        return;
    }
    let (started_at, was_stopped) = match &container.run {
        Run::Running { since } => (Some(*since), false),
        Run::Stopping { since } => (Some(*since), true),
        Run::Starting => (Some(now), false),
        Run::Waiting { .. } | Run::Ended(_) => return,
    };
    let (exit_code, reason, message) = match exit {
        Exit::Code(0) => (0, "Completed", String::new()),
        Exit::Code(code) => (*code, "Error", String::new()),
        Exit::Trap(message) => (134, "Error", message.clone()),
        Exit::OutOfMemory => (137, "OOMKilled", String::new()),
        // A server that was asked to stop did so in order: as a process that ends itself on SIGTERM.
        Exit::Stopped if container.serves && is_wanted => (0, "Completed", String::new()),
        Exit::Stopped => (143, "Error", String::new()),
    };
    if !was_stopped && started_at.is_some_and(|at| now.duration_since(at) >= WELL_AFTER) {
        container.back_off = None;
    }
    container.is_started = false;
    container.is_ready = false;
    container.run = Run::Ended(view::Terminated {
        exit_code,
        reason: reason.to_owned(),
        message,
        started_at,
        finished_at: Some(now),
        ..view::Terminated::default()
    });
}

/// What follows for a container whose turn it is.
pub(super) fn advance(state: &mut State, slot: Slot, now: Timestamp, effects: &mut Vec<Effect>) {
    advance_image(state, slot, now, effects);
    restart(state, slot, now, effects);
    start(state, slot, now, effects);
    super::probes::advance(state, slot, now, effects);
}

fn advance_image(state: &mut State, slot: Slot, now: Timestamp, effects: &mut Vec<Effect>) {
    let reference = state.spec(slot).image.clone();
    let container = state.container_mut(slot);
    let before = match &container.image {
        ImageState::Wanted => None,
        ImageState::Failed { retry_at, wait, .. } if *retry_at <= now => Some(*wait),
        ImageState::Failed { reason: "ErrImagePull", message, wait, retry_at } => {
            if *retry_at - *wait + TOLD_FOR <= now {
                let message = format!("Back-off pulling image {reference:?}: ErrImagePull: {message}");
                let (wait, retry_at) = (*wait, *retry_at);
                container.image = ImageState::Failed { reason: "ImagePullBackOff", message, wait, retry_at };
                effects.push(normal(Some(slot), "BackOff", format!("Back-off pulling image {reference:?}")));
            }
            return;
        }
        ImageState::Failed { .. } | ImageState::Pulling { .. } | ImageState::Ready(_) => return,
    };
    container.image = ImageState::Pulling { since: now, wait: before };
    effects.push(Effect::Pull { slot });
}

/// Turns an end into a wait for the next start, where the restart policy wants one.
fn restart(state: &mut State, slot: Slot, now: Timestamp, effects: &mut Vec<Effect>) {
    let Run::Ended(ended) = &state.container(slot).run else { return };
    if !state.restarts_after(slot, ended.exit_code) {
        return;
    }
    let ended = ended.clone();
    let name = state.spec(slot).name.clone();
    let meta = &state.pod.metadata;
    let whole = format!("{}_{}({})", meta.name, meta.namespace, meta.uid);
    let container = state.container_mut(slot);
    let finished_at = ended.finished_at.unwrap_or(now);
    container.last = Some(ended);
    container.restarts += 1;
    container.attempt = container.attempt.wrapping_add(1);
    let wait = container.back_off;
    container.back_off = Some(wait.map_or(BACK_OFF_MIN, |wait| (wait * 2).min(BACK_OFF_MAX)));
    container.run = match wait {
        None => Run::Waiting { reason: "ContainerCreating", message: String::new(), retry_at: None },
        Some(wait) => {
            let told = format!("Back-off restarting failed container {name} in pod {whole}");
            effects.push(warning(Some(slot), "BackOff", told));
            let message = format!("back-off {} restarting failed container={name} pod={whole}", go_duration(wait));
            Run::Waiting { reason: "CrashLoopBackOff", message, retry_at: Some(finished_at + wait) }
        }
    };
}

fn start(state: &mut State, slot: Slot, now: Timestamp, effects: &mut Vec<Effect>) {
    let is_set_up = matches!(state.setup, Setup::Ready { .. }) && state.ending == Ending::No;
    let container = state.container_mut(slot);
    let Run::Waiting { retry_at, .. } = &container.run else { return };
    let is_due = retry_at.is_none_or(|at| at <= now);
    if is_set_up && is_due && matches!(container.image, ImageState::Ready(_)) {
        container.run = Run::Starting;
        effects.push(Effect::Start { slot, run: container.attempt });
    }
}

/// As Go prints whole seconds: `40s`, `1m20s`, `5m0s`.
fn go_duration(wait: SignedDuration) -> String {
    let (minutes, seconds) = (wait.as_secs() / 60, wait.as_secs() % 60);
    if minutes == 0 { format!("{seconds}s") } else { format!("{minutes}m{seconds}s") }
}
