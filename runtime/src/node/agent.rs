//! The one task that owns all pods of the node: it hears of events, lets `pod` decide, and has the effects performed.
//!
//! It never waits for anything but the next event: whatever takes time is a task that brings its outcome back as a
//! message. So a pod is never late because of another.

mod report;
mod shared;
mod work;

use super::events::Happened;
use super::pod::{self, Effect, Event, Slot, State};
use super::traffic::Router;
use super::{Config, Error, link, register};
use api::time::{SignedDuration, Timestamp};
use api::{Object, view};
use client::follow::{Followed, Selection, follow};
use report::Report;
use shared::Shared;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use work::Live;

/// Outcomes that wait for the agent; then their tasks wait.
const MESSAGES_MAX: usize = 4096;
/// After a start, the API is given so long to say which pods are still ours; then the disk speaks.
const RECALL_AFTER: Duration = Duration::from_secs(1);
/// Volumes made from objects are looked at again so often.
const REFRESH_PERIOD: Duration = Duration::from_secs(60);

type Uid = Arc<str>;

/// What tasks bring back.
enum Message {
    Pod(Uid, Event),
    Up {
        uid: Uid,
        slot: Slot,
        run: u32,
        live: Live,
    },
    Reported(Uid, report::Outcome),
    /// The API answered the deletion of a finished pod; false: try again.
    Deleted(Uid, bool),
}

/// All that wakes the agent.
enum Wake {
    Shutdown,
    Message(Message),
    Followed(Option<Followed>),
    Timer,
    Recall,
    Refresh,
}

struct Agent {
    shared: Arc<Shared>,
    entries: HashMap<Uid, Entry>,
    timers: BTreeSet<(Timestamp, Uid)>,
    /// Pods that the disk remembers, until the API or the time has spoken.
    recalled: Vec<shared::Recalled>,
    tx: mpsc::Sender<Message>,
    rx: mpsc::Receiver<Message>,
}

/// One pod with what its state cannot hold.
struct Entry {
    state: State,
    router: Arc<Router>,
    stops: HashMap<Slot, Arc<dyn Fn(Duration) + Send + Sync>>,
    report: Report,
    timer: Option<Timestamp>,
    is_attached: bool,
    is_finishing: bool,
}

/// Runs the agent until `shutdown`.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), Error> {
    let (shared, recalled) = Shared::open(config)?;
    let config = &shared.config;
    let stop = shutdown.child_token();
    let registering = tokio::spawn(register::run(Arc::clone(config), shared.cidr.clone(), stop.clone()));
    let linking = config.link.clone().map(|to| tokio::spawn(link::run(to, Arc::new(shared.served()), stop.clone())));
    let selection = Selection::fields(api::resource::PODS, format!("spec.nodeName={}", config.name));
    let followed = follow(Arc::clone(&config.cluster), selection);
    let (tx, rx) = mpsc::channel(MESSAGES_MAX);
    let mut agent =
        Agent { shared: Arc::clone(&shared), entries: HashMap::new(), timers: BTreeSet::new(), recalled, tx, rx };
    agent.run(followed, &shutdown).await;
    agent.stop_all();
    stop.cancel();
    let _ = registering.await;
    if let Some(linking) = linking {
        let _ = linking.await;
    }
    shared.disk.flush().await;
    Ok(())
}

// === impl Agent ===

impl Agent {
    async fn run(&mut self, mut followed: mpsc::Receiver<Followed>, shutdown: &CancellationToken) {
        let recall_at = tokio::time::Instant::now() + RECALL_AFTER;
        let mut refresh = tokio::time::interval_at(recall_at + REFRESH_PERIOD, REFRESH_PERIOD);
        loop {
            match self.next(&mut followed, shutdown, recall_at, &mut refresh).await {
                Wake::Shutdown | Wake::Followed(None) => return,
                Wake::Message(message) => self.message(message),
                Wake::Followed(Some(Followed::Listed(items))) => self.listed(&items),
                Wake::Followed(Some(Followed::Event(event))) => self.told(&event),
                Wake::Timer => self.tick(),
                Wake::Recall => self.recall(),
                Wake::Refresh => self.refresh(),
            }
        }
    }

    async fn next(
        &mut self,
        followed: &mut mpsc::Receiver<Followed>,
        shutdown: &CancellationToken,
        recall_at: tokio::time::Instant,
        refresh: &mut tokio::time::Interval,
    ) -> Wake {
        let due = self.timers.first().map(|(at, _)| *at);
        let wait = due.map(|at| at.duration_since(self.shared.now()).max(SignedDuration::ZERO));
        let wait = wait.map(|wait| wait.unsigned_abs());
        tokio::select! {
            biased;
            () = shutdown.cancelled() => Wake::Shutdown,
            message = self.rx.recv() => message.map_or(Wake::Shutdown, Wake::Message),
            event = followed.recv() => Wake::Followed(event),
            () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => Wake::Timer,
            () = tokio::time::sleep_until(recall_at), if !self.recalled.is_empty() => Wake::Recall,
            _ = refresh.tick() => Wake::Refresh,
        }
    }

    fn message(&mut self, message: Message) {
        match message {
            Message::Pod(uid, event) => self.decide(&uid, event),
            Message::Up { uid, slot, run, live } => self.up(&uid, slot, run, live),
            Message::Reported(uid, outcome) => self.reported(&uid, outcome),
            Message::Deleted(uid, is_gone) => self.deleted(&uid, is_gone),
        }
    }

    /// The API says which pods are ours: what the disk remembers besides is gone.
    fn listed(&mut self, items: &[Arc<Object>]) {
        let known: HashMap<String, view::Pod> = std::mem::take(&mut self.recalled)
            .into_iter()
            .map(|(object, pod)| (object.uid().to_owned(), pod))
            .collect();
        let listed: HashSet<&str> = items.iter().map(|object| object.uid()).collect();
        for uid in known.keys().filter(|uid| !listed.contains(uid.as_str())) {
            self.shared.forget_unseen(uid);
        }
        let gone: Vec<Uid> = self.entries.keys().filter(|uid| !listed.contains(&***uid)).cloned().collect();
        for uid in gone {
            self.decide(&uid, Event::Gone);
        }
        for object in items {
            self.changed(object, known.get(object.uid()));
        }
    }

    fn told(&mut self, event: &client::Event) {
        match event {
            client::Event::Added(object) | client::Event::Modified(object) => {
                let known: Vec<_> = self.recalled.extract_if(.., |(known, _)| known.uid() == object.uid()).collect();
                self.changed(object, known.first().map(|(_, pod)| pod));
            }
            client::Event::Deleted(object) => self.decide(&Uid::from(object.uid()), Event::Gone),
            client::Event::Bookmark { .. } => {}
        }
    }

    /// The API did not answer in time: what the disk remembers is what this node has to do.
    fn recall(&mut self) {
        for (object, pod) in std::mem::take(&mut self.recalled) {
            tracing::info!(pod = object.head().path(), "a pod is started from the local store");
            self.begin(&object, Arc::new(pod));
        }
    }

    /// `known` is what this node last knew of a pod that it has not taken up yet.
    fn changed(&mut self, object: &Arc<Object>, known: Option<&view::Pod>) {
        let pod: Arc<view::Pod> = match object.view() {
            Ok(pod) => pod,
            Err(error) => return tracing::warn!(pod = object.head().path(), %error, "a pod cannot be read"),
        };
        let uid = Uid::from(object.uid());
        self.shared.remember(object, &pod);
        if let Some(entry) = self.entries.get_mut(&uid) {
            entry.report.heard(object.revision(), &pod.status, &entry.state);
            return self.decide(&uid, Event::Changed(pod));
        }
        // This node knows better than the API what became of its own pods.
        let pod = match known {
            Some(known) => Arc::new(view::Pod { status: known.status.clone(), ..(*pod).clone() }),
            None => pod,
        };
        self.begin(object, pod);
    }

    fn begin(&mut self, object: &Arc<Object>, pod: Arc<view::Pod>) {
        let uid = Uid::from(object.uid());
        let (now, is_deleting) = (self.shared.now(), pod.is_deleting());
        let entry = Entry {
            state: State::new(Arc::clone(&pod), now),
            router: Router::new(),
            stops: HashMap::new(),
            report: Report::new(now),
            timer: None,
            is_attached: false,
            is_finishing: false,
        };
        self.entries.insert(Arc::clone(&uid), entry);
        self.decide(&uid, if is_deleting { Event::Changed(pod) } else { Event::Tick });
    }

    fn tick(&mut self) {
        let now = self.shared.now();
        while self.timers.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, uid)) = self.timers.pop_first() else { return };
            if let Some(entry) = self.entries.get_mut(&uid) {
                entry.timer = None;
            }
            self.decide(&uid, Event::Tick);
        }
    }

    /// The heart of the agent: decide, do, tell.
    fn decide(&mut self, uid: &Uid, event: Event) {
        let now = self.shared.now();
        let Some(entry) = self.entries.get_mut(uid) else { return };
        if let Event::Exited { slot, .. } = &event {
            entry.router.close(&ports(entry.state.spec(*slot)));
            entry.stops.remove(slot);
        }
        let effects = pod::decide(&mut entry.state, event, now);
        for effect in effects {
            self.perform(uid, effect);
        }
        self.tell(uid);
        self.set_timer(uid);
    }

    fn perform(&mut self, uid: &Uid, effect: Effect) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        let job = work::Job {
            shared: Arc::clone(&self.shared),
            uid: Arc::clone(uid),
            pod: Arc::clone(&entry.state.pod),
            router: Arc::clone(&entry.router),
            tx: self.tx.clone(),
        };
        match effect {
            Effect::Prepare => job.spawn(work::prepare),
            Effect::Pull { slot } => job.spawn(move |job| work::pull(job, slot)),
            Effect::Start { slot, run } => {
                let pod::ImageState::Ready(image) = entry.state.container(slot).image.clone() else { return };
                job.spawn(move |job| work::start(job, slot, run, image));
            }
            Effect::Probe { slot, run, kind } => job.spawn(move |job| work::probe(job, slot, run, kind)),
            Effect::Drain { until } => job.spawn(move |job| work::drain(job, until)),
            Effect::Stop { slot, grace } => {
                if let Some(stop) = entry.stops.get(&slot) {
                    stop(grace.unsigned_abs());
                }
            }
            Effect::Event(report) => {
                let mut happened = Happened::new(&entry.state.pod, report.is_warning, report.reason, report.message);
                if let Some(slot) = report.slot {
                    let list = if matches!(slot, Slot::Init(_)) { "initContainers" } else { "containers" };
                    happened.field_path = format!("spec.{list}{{{}}}", entry.state.spec(slot).name);
                }
                self.shared.events.tell(happened);
            }
            Effect::Detach => {
                if let (true, pod::Setup::Ready { ip }) = (entry.is_attached, &entry.state.setup) {
                    entry.is_attached = false;
                    self.shared.config.pods.detach(*ip);
                }
            }
            Effect::Finish => entry.is_finishing = true,
            Effect::Forget => {
                let entry = self.entries.remove(uid).expect("it was just found");
                if let Some(at) = entry.timer {
                    self.timers.remove(&(at, Arc::clone(uid)));
                }
                self.shared.forget(&entry.state.pod);
            }
        }
    }

    /// A container is up: from now on it answers, and can be stopped.
    fn up(&mut self, uid: &Uid, slot: Slot, run: u32, live: Live) {
        let Some(entry) = self.entries.get_mut(uid) else { return (live.stop)(Duration::ZERO) };
        let up = pod::Up { serves: live.http.is_some() };
        entry.stops.insert(slot, live.stop);
        if let Some(http) = live.http {
            entry.router.open(&ports(entry.state.spec(slot)), &http);
            if let (false, pod::Setup::Ready { ip }) = (entry.is_attached, &entry.state.setup) {
                entry.is_attached = true;
                let spec = &entry.state.pod.spec;
                let all = spec.containers.iter().chain(&spec.init_containers);
                let all: BTreeSet<u16> = all.flat_map(|one| super::traffic::effective(&ports(one))).collect();
                let all: Vec<u16> = all.into_iter().collect();
                self.shared.config.pods.attach(*ip, &all, entry.router.handler());
            }
        }
        self.decide(uid, Event::Started { slot, run, result: Ok(up) });
    }

    fn set_timer(&mut self, uid: &Uid) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        let at = entry.state.next_at().into_iter().chain(entry.report.next_at()).min();
        if at == entry.timer {
            return;
        }
        if let Some(old) = entry.timer.take() {
            self.timers.remove(&(old, Arc::clone(uid)));
        }
        if let Some(at) = at {
            entry.timer = Some(at);
            self.timers.insert((at, Arc::clone(uid)));
        }
    }

    fn refresh(&mut self) {
        for (uid, entry) in &self.entries {
            let is_wanted = matches!(entry.state.setup, pod::Setup::Ready { .. }) && !entry.state.is_ending();
            if is_wanted && !entry.state.is_finished() && work::has_files(&entry.state.pod) {
                let job = work::Job {
                    shared: Arc::clone(&self.shared),
                    uid: Arc::clone(uid),
                    pod: Arc::clone(&entry.state.pod),
                    router: Arc::clone(&entry.router),
                    tx: self.tx.clone(),
                };
                job.spawn(work::refresh);
            }
        }
    }

    fn stop_all(&mut self) {
        for entry in self.entries.values() {
            for stop in entry.stops.values() {
                stop(Duration::ZERO);
            }
            if let (true, pod::Setup::Ready { ip }) = (entry.is_attached, &entry.state.setup) {
                self.shared.config.pods.detach(*ip);
            }
        }
    }
}

fn ports(container: &view::Container) -> Vec<u16> {
    container.ports.iter().map(|port| port.container_port).collect()
}

#[cfg(test)]
mod tests;
