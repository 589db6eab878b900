use super::*;
use serde_json::json;

/// A pod under test: events go in, and what is asked for is answered by the test.
struct Bench {
    state: State,
    now: Timestamp,
}

impl Bench {
    fn new(spec: serde_json::Value) -> Bench {
        let pod = json!({ "metadata": { "name": "p", "namespace": "n", "uid": "u" }, "spec": spec });
        let now = Timestamp::from_second(1_000_000).unwrap();
        Bench { state: State::new(Arc::new(api::object::read_tree(&pod).unwrap()), now), now }
    }

    fn send(&mut self, event: Event) -> Vec<String> {
        decide(&mut self.state, event, self.now).iter().filter_map(short).collect()
    }

    fn after(&mut self, seconds: i64) -> Vec<String> {
        self.now += SignedDuration::from_secs(seconds);
        self.send(Event::Tick)
    }

    fn up(&mut self, slot: Slot, run: u32, serves: bool) -> Vec<String> {
        self.send(Event::Started { slot, run, result: Ok(Up { serves }) })
    }

    fn image(&mut self, slot: Slot) -> Vec<String> {
        let image = Image { reference: "i".into(), digest: "sha256:1".into(), bytes: 1, cached: true };
        self.send(Event::Pulled { slot, result: Ok(image) })
    }

    fn exit(&mut self, slot: Slot, run: u32, exit: Exit) -> Vec<String> {
        self.send(Event::Exited { slot, run, exit })
    }

    fn set_up(&mut self) -> Vec<String> {
        self.send(Event::Prepared(Ok("10.64.0.2".parse().unwrap())))
    }

    /// From nothing to the first container running.
    fn running(spec: serde_json::Value, serves: bool) -> Bench {
        let mut bench = Bench::new(spec);
        assert_eq!(bench.send(Event::Tick), ["prepare", "pull Main(0)"]);
        bench.image(Slot::Main(0));
        assert_eq!(bench.set_up(), ["start Main(0) 0"]);
        bench.up(Slot::Main(0), 0, serves);
        bench
    }

    fn delete(&mut self, grace: i64) -> Vec<String> {
        let mut pod = (*self.state.pod).clone();
        pod.metadata.deletion_timestamp = Some(self.now);
        pod.metadata.deletion_grace_period_seconds = Some(grace);
        self.send(Event::Changed(Arc::new(pod)))
    }

    fn phase(&self) -> &'static str {
        crate::node::status::phase(&self.state)
    }

    fn is(&self, kind: &str) -> bool {
        self.state.conditions.iter().any(|one| one.kind == kind && one.is_true)
    }

    fn waiting(&self) -> (&'static str, Option<i64>) {
        match &self.state.main[0].run {
            Run::Waiting { reason, retry_at, .. } => (reason, retry_at.map(|at| at.duration_since(self.now).as_secs())),
            other => panic!("the container does not wait: {other:?}"),
        }
    }
}

fn short(effect: &Effect) -> Option<String> {
    Some(match effect {
        Effect::Prepare => "prepare".to_owned(),
        Effect::Pull { slot } => format!("pull {slot:?}"),
        Effect::Start { slot, run } => format!("start {slot:?} {run}"),
        Effect::Probe { kind, .. } => format!("probe {kind:?}"),
        Effect::Stop { slot, grace } => format!("stop {slot:?} {}", grace.as_secs()),
        Effect::Drain { .. } => "drain".to_owned(),
        Effect::Event(_) => return None,
        Effect::Detach => "detach".to_owned(),
        Effect::Finish => "finish".to_owned(),
        Effect::Forget => "forget".to_owned(),
    })
}

fn one() -> serde_json::Value {
    json!({ "restartPolicy": "Always", "containers": [{ "name": "c", "image": "i" }] })
}

fn probed(kind: ProbeKind, run: u32, is_well: bool) -> Event {
    let result = if is_well { Ok(()) } else { Err("status 500".to_owned()) };
    Event::Probed { slot: Slot::Main(0), run, kind, result }
}

#[test]
fn a_pod_without_probes_is_ready_as_soon_as_it_runs() {
    let bench = Bench::running(one(), true);
    assert_eq!(bench.phase(), "Running");
    assert!(bench.is("Ready") && bench.is("ContainersReady") && bench.is("Initialized"));
    assert_eq!(bench.state.next_at(), None, "nothing is polled");
}

#[test]
fn restarts_come_at_once_then_with_doubled_waits() {
    let mut bench = Bench::running(one(), false);
    assert_eq!(bench.exit(Slot::Main(0), 0, Exit::Code(1)), ["start Main(0) 1"]);
    bench.up(Slot::Main(0), 1, false);
    for (run, wait) in [(1, 10), (2, 20), (3, 40), (4, 80), (5, 160), (6, 300), (7, 300)] {
        assert!(bench.exit(Slot::Main(0), run, Exit::Code(1)).is_empty());
        assert_eq!(bench.waiting(), ("CrashLoopBackOff", Some(wait)));
        assert!(bench.after(wait - 1).is_empty());
        assert_eq!(bench.after(1), [format!("start Main(0) {}", run + 1)]);
        bench.up(Slot::Main(0), run + 1, false);
    }
    assert_eq!(bench.state.main[0].restarts, 8);
    bench.after(601);
    assert_eq!(bench.exit(Slot::Main(0), 8, Exit::Code(1)), ["start Main(0) 9"], "it ran well for ten minutes");
}

#[test]
fn restart_policies_end_pods() {
    let check = |policy: &str, code: i32, phase: &str| {
        let spec = json!({ "restartPolicy": policy, "containers": [{ "name": "c", "image": "i" }] });
        let mut bench = Bench::running(spec, false);
        bench.exit(Slot::Main(0), 0, Exit::Code(code));
        assert_eq!(bench.phase(), phase, "{policy} {code}");
    };
    check("Never", 0, "Succeeded");
    check("Never", 3, "Failed");
    check("OnFailure", 0, "Succeeded");
    check("OnFailure", 3, "Running");
    check("Always", 0, "Running");
}

#[test]
fn out_of_memory_is_told() {
    let mut bench = Bench::running(one(), true);
    bench.exit(Slot::Main(0), 0, Exit::OutOfMemory);
    let last = bench.state.main[0].last.clone().unwrap();
    assert_eq!((last.exit_code, last.reason.as_str()), (137, "OOMKilled"));
}

#[test]
fn init_containers_come_in_order_and_their_failure_fails_the_pod() {
    let spec = json!({ "restartPolicy": "Never", "containers": [{ "name": "c", "image": "i" }],
        "initContainers": [{ "name": "a", "image": "i" }, { "name": "b", "image": "i" }] });
    let mut bench = Bench::new(spec);
    assert_eq!(bench.send(Event::Tick), ["prepare", "pull Init(0)"]);
    bench.image(Slot::Init(0));
    assert_eq!(bench.set_up(), ["start Init(0) 0"]);
    bench.up(Slot::Init(0), 0, false);
    assert_eq!(bench.exit(Slot::Init(0), 0, Exit::Code(0)), ["pull Init(1)"]);
    assert_eq!(bench.image(Slot::Init(1)), ["start Init(1) 0"]);
    bench.up(Slot::Init(1), 0, false);
    assert_eq!(bench.phase(), "Pending");
    let mut failing = Bench { state: bench.state.clone(), now: bench.now };
    failing.exit(Slot::Init(1), 0, Exit::Code(1));
    assert_eq!(failing.phase(), "Failed");
    assert_eq!(bench.exit(Slot::Init(1), 0, Exit::Code(0)), ["pull Main(0)"]);
    assert!(bench.is("Initialized"));
}

#[test]
fn a_sidecar_lets_the_next_start_and_stops_at_the_end() {
    let spec = json!({ "restartPolicy": "Never", "containers": [{ "name": "c", "image": "i" }],
        "initContainers": [{ "name": "s", "image": "i", "restartPolicy": "Always" }] });
    let mut bench = Bench::new(spec);
    bench.send(Event::Tick);
    bench.image(Slot::Init(0));
    bench.set_up();
    assert_eq!(bench.up(Slot::Init(0), 0, true), ["pull Main(0)"]);
    bench.image(Slot::Main(0));
    bench.up(Slot::Main(0), 0, false);
    assert_eq!(bench.exit(Slot::Main(0), 0, Exit::Code(0)), ["stop Init(0) 30"]);
    assert_eq!(bench.exit(Slot::Init(0), 0, Exit::Stopped), ["detach"]);
    assert_eq!(bench.phase(), "Succeeded");
}

#[test]
fn probes_gate_each_other_and_liveness_restarts() {
    let get = json!({ "httpGet": { "path": "/", "port": 80 }, "periodSeconds": 5, "failureThreshold": 2 });
    let mut spec = one();
    spec["containers"][0]["startupProbe"] = get.clone();
    spec["containers"][0]["readinessProbe"] = get.clone();
    spec["containers"][0]["livenessProbe"] = get;
    let mut bench = Bench::new(spec);
    bench.send(Event::Tick);
    bench.image(Slot::Main(0));
    bench.set_up();
    assert_eq!(bench.up(Slot::Main(0), 0, true), ["probe Startup"], "the first question comes at once");
    assert!(!bench.is("Ready"));
    assert!(bench.send(probed(ProbeKind::Startup, 0, false)).is_empty());
    assert_eq!(bench.after(5), ["probe Startup"]);
    assert_eq!(bench.send(probed(ProbeKind::Startup, 0, true)), ["probe Readiness", "probe Liveness"]);
    bench.send(probed(ProbeKind::Readiness, 0, true));
    assert!(bench.is("Ready"));
    assert!(bench.send(probed(ProbeKind::Liveness, 0, false)).is_empty());
    bench.after(5);
    assert_eq!(bench.send(probed(ProbeKind::Liveness, 0, false)), ["stop Main(0) 30"]);
    assert!(!bench.is("Ready"));
    assert_eq!(bench.exit(Slot::Main(0), 0, Exit::Stopped), ["start Main(0) 1"]);
}

#[test]
fn a_deleted_server_is_unready_at_once_and_answers_until_it_has_drained() {
    let mut bench = Bench::running(one(), true);
    assert_eq!(bench.delete(30), ["drain"]);
    assert!(!bench.is("Ready"));
    assert_eq!(bench.send(Event::Drained), ["stop Main(0) 30"]);
    assert_eq!(bench.exit(Slot::Main(0), 0, Exit::Stopped), ["detach", "finish"]);
    assert_eq!(bench.phase(), "Succeeded");
    assert_eq!(bench.send(Event::Gone), ["forget"]);
}

#[test]
fn ends_without_grace() {
    let mut bench = Bench::running(one(), true);
    assert_eq!(bench.delete(0), ["stop Main(0) 0"]);
    let mut command = Bench::running(one(), false);
    assert_eq!(command.delete(30), ["stop Main(0) 30"], "a command has nothing to drain");
    assert_eq!(command.delete(1), ["stop Main(0) 1"], "somebody lost patience");
    let mut gone = Bench::running(one(), true);
    assert_eq!(gone.send(Event::Gone), ["stop Main(0) 0"]);
    assert_eq!(gone.exit(Slot::Main(0), 0, Exit::Stopped), ["detach", "forget"]);
    let mut never = Bench::new(one());
    never.send(Event::Tick);
    assert!(never.delete(30).is_empty(), "the preparation is still under way");
    assert_eq!(never.set_up(), ["detach", "finish"]);
}

#[test]
fn a_container_that_comes_up_too_late_is_stopped() {
    let mut bench = Bench::new(one());
    bench.send(Event::Tick);
    bench.image(Slot::Main(0));
    bench.set_up();
    assert!(bench.delete(30).is_empty());
    assert_eq!(bench.up(Slot::Main(0), 0, true), ["stop Main(0) 0"]);
    assert_eq!(bench.exit(Slot::Main(0), 0, Exit::Stopped), ["detach", "finish"]);
}

#[test]
fn images_back_off() {
    let mut bench = Bench::new(one());
    bench.send(Event::Tick);
    let fail = || Event::Pulled { slot: Slot::Main(0), result: Err(PullError::Failed("no route".to_owned())) };
    for wait in [10, 20, 40] {
        bench.send(fail());
        assert!(matches!(bench.state.main[0].image, ImageState::Failed { reason: "ErrImagePull", .. }));
        bench.after(1);
        assert!(matches!(bench.state.main[0].image, ImageState::Failed { reason: "ImagePullBackOff", .. }));
        assert_eq!(bench.after(wait - 1), ["pull Main(0)"]);
    }
}

#[test]
fn after_a_restart_of_the_agent_counts_go_on_and_the_past_is_told() {
    let pod = json!({ "metadata": { "name": "p", "namespace": "n", "uid": "u" }, "spec": one(), "status": { "phase": "Running",
        "containerStatuses": [{ "name": "c", "restartCount": 4, "state": { "running": { "startedAt": "2026-01-01T00:00:00Z" } } }] } });
    let now = Timestamp::from_second(1_000_000).unwrap();
    let mut bench = Bench { state: State::new(Arc::new(api::object::read_tree(&pod).unwrap()), now), now };
    assert_eq!(bench.send(Event::Tick), ["prepare", "pull Main(0)"]);
    let container = &bench.state.main[0];
    assert_eq!((container.restarts, container.last.as_ref().unwrap().exit_code), (5, 137));
    assert_eq!(bench.phase(), "Running");
}

#[test]
fn a_deadline_fails_the_pod() {
    let mut spec = one();
    spec["activeDeadlineSeconds"] = 60.into();
    let mut bench = Bench::running(spec, true);
    assert_eq!(bench.state.next_at().map(|at| at.duration_since(bench.now).as_secs()), Some(60));
    assert_eq!(bench.after(60), ["stop Main(0) 30"]);
    assert_eq!(bench.phase(), "Failed");
}
