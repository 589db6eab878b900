//! The API server, beside a kube-apiserver with its etcd where one is at hand: writes, reads, lists, watches, memory, and
//! what a restart takes.

use crate::cores::Load;
use crate::load::percentile;
use crate::row;
use crate::served::Served;
use crate::session::Session;
use bytes::Bytes;
use futures::future;
use http::Method;
use http_body_util::BodyExt as _;
use std::time::{Duration, Instant};

const CLIENTS: usize = 32;
const PODS: usize = 5_000;
const GETS: usize = 20_000;
const LISTS: usize = 9;
const WATCHERS: usize = 200;
const UPDATES: usize = 100;
/// Of so many pods, which one is on a node of its own.
const FLEET: usize = 100_000;
const ON_A_NODE: usize = 30;
const KEPT: usize = 50_000;
/// What is still done for the load when it has ended is counted, too.
const SETTLES: Duration = Duration::from_secs(1);

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const CLUSTER: &str = "/api/v1/pods";
const SPACE: &str = "/api/v1/namespaces/default/pods";

/// What a load came to.
struct Done {
    /// A second, and for each processor second of all that serves.
    rate: f64,
    work: f64,
    times: Vec<Duration>,
}

#[test]
#[ignore = "a measurement; cargo xtask bench api runs it"]
fn requests() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let load = Load::begin();
    runtime.block_on(async {
        let mut all = vec![Served::ours()];
        match Served::kubernetes() {
            Some(peer) => all.push(peer),
            None => row("kube-apiserver", "skipped: not installed (cargo xtask bench --install-peers)"),
        }
        for served in &mut all {
            measure(served).await;
        }
    });
    drop(load);
}

#[test]
#[ignore = "a measurement; cargo xtask bench api runs it"]
fn a_large_fleet() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut served = Served::ours();
        let mut sessions = sessions(&served).await;
        create(&mut sessions, 0..KEPT).await;
        restart(&mut served).await;
        let mut sessions = self::sessions(&served).await;
        create(&mut sessions, KEPT..FLEET).await;
        let path = format!("{CLUSTER}?fieldSelector=spec.nodeName%3Dnode-{}", FLEET / ON_A_NODE / 2);
        let mut times = Vec::new();
        for _ in 0..LISTS {
            let began = Instant::now();
            let list = sessions[0].get(&path).await;
            times.push(began.elapsed());
            assert_eq!(items(&list), ON_A_NODE);
        }
        times.sort();
        let what = format!("{}: list by field selector, {ON_A_NODE} of {FLEET} pods", served.name);
        row(&what, &format!("p50 {}", ms(percentile(&times, 50))));
        let resident = served.resident() as f64;
        row(&format!("{}: resident with {FLEET} pods", served.name), &format!("{:.1} MB", resident / 1e6));
    });
}

/// Everything that is measured of both.
async fn measure(served: &mut Served) {
    let mut sessions = sessions(served).await;
    let name = served.name;

    let cpu = served.cpu();
    let mut done = create(&mut sessions, 0..PODS).await;
    tokio::time::sleep(SETTLES).await;
    done.work = PODS as f64 / (served.cpu() - cpu);
    done.show(&format!("{name}: create {PODS} pods, {CLIENTS} clients"));

    let done = drive(served, &mut sessions, GETS, async |session, index| {
        session.get(&format!("{SPACE}/pod-{}", index % PODS)).await;
    });
    done.await.show(&format!("{name}: get a pod, {CLIENTS} clients"));

    let (mut times, mut size) = (Vec::new(), 0);
    let cpu = served.cpu();
    for _ in 0..LISTS {
        let began = Instant::now();
        let list = sessions[0].get(SPACE).await;
        times.push(began.elapsed());
        size = list.len();
        assert_eq!(items(&list), PODS);
    }
    times.sort();
    let each = (served.cpu() - cpu) / LISTS as f64 * 1000.0;
    let value = format!("p50 {}, {each:.0} ms of a processor, {:.1} MB", ms(percentile(&times, 50)), size as f64 / 1e6);
    row(&format!("{name}: list {PODS} pods"), &value);

    let done = drive(served, &mut sessions, PODS, async |session, index| {
        let patch = format!(r#"{{"metadata":{{"labels":{{"bench":"n{index}"}}}}}}"#);
        session.call(Method::PATCH, &format!("{SPACE}/pod-{index}"), MERGE, patch.into()).await;
    });
    done.await.show(&format!("{name}: merge-patch a label, {CLIENTS} clients"));

    watches(served).await;
    row(&format!("{name}: resident after that"), &format!("{:.1} MB", served.resident() as f64 / 1e6));
}

async fn sessions(served: &Served) -> Vec<Session> {
    future::join_all((0..CLIENTS).map(|_| Session::open(served.port, &served.token))).await
}

/// All sessions take turns at the numbers below `count`, each with one request at a time.
async fn drive(
    served: &Served,
    sessions: &mut [Session],
    count: usize,
    ask: impl AsyncFn(&mut Session, usize),
) -> Done {
    let cpu = served.cpu();
    let mut done = spread(sessions, 0..count, ask).await;
    tokio::time::sleep(SETTLES).await;
    done.work = count as f64 / (served.cpu() - cpu);
    done
}

async fn create(sessions: &mut [Session], which: std::ops::Range<usize>) -> Done {
    spread(sessions, which, async |session, index| {
        session.call(Method::POST, SPACE, JSON, pod(index)).await;
    })
    .await
}

async fn spread(
    sessions: &mut [Session],
    which: std::ops::Range<usize>,
    ask: impl AsyncFn(&mut Session, usize),
) -> Done {
    let (began, count) = (Instant::now(), which.len());
    let numbers = std::cell::RefCell::new(which);
    let each = sessions.iter_mut().map(async |session| {
        let mut times = Vec::new();
        loop {
            let Some(index) = numbers.borrow_mut().next() else { return times };
            let asked = Instant::now();
            ask(session, index).await;
            times.push(asked.elapsed());
        }
    });
    let mut times: Vec<Duration> = future::join_all(each).await.into_iter().flatten().collect();
    times.sort();
    Done { rate: count as f64 / began.elapsed().as_secs_f64(), work: 0.0, times }
}

/// Many watch the same pods, and one pod changes again and again, as fast as one client can change it.
async fn watches(served: &Served) {
    let mut writer = Session::open(served.port, &served.token).await;
    let list: serde_json::Value = serde_json::from_slice(&writer.get(&format!("{SPACE}?limit=1")).await).expect("JSON");
    let version = list["metadata"]["resourceVersion"].as_str().expect("a version").to_owned();
    let began = Instant::now();
    let mut bodies = Vec::new();
    for _ in 0..WATCHERS {
        let mut session = Session::open(served.port, &served.token).await;
        let path = format!("{SPACE}?watch=true&resourceVersion={version}");
        let (status, body) = session.begin(Method::GET, &path, JSON, Bytes::new()).await;
        assert!(status.is_success(), "{status}");
        bodies.push((session, body));
    }
    let (cpu, begun) = (served.cpu(), Instant::now());
    // What was read is looked into when all of it has come: a client that parses is what would be measured.
    let listen = bodies.iter_mut().map(async |(_, body)| {
        let (mut frames, mut lines) = (Vec::with_capacity(UPDATES), 0);
        while lines < UPDATES {
            let frame = body.frame().await.expect("the watch goes on").expect("the watch goes on");
            let data = frame.into_data().expect("data");
            lines += data.iter().filter(|byte| **byte == b'\n').count();
            frames.push((began.elapsed(), data));
        }
        frames
    });
    let write = async {
        for _ in 0..UPDATES {
            let patch = format!(r#"{{"metadata":{{"annotations":{{"sent":"{}"}}}}}}"#, began.elapsed().as_nanos());
            writer.call(Method::PATCH, &format!("{SPACE}/pod-0"), MERGE, patch.into()).await;
        }
    };
    let (frames, ()) = futures::join!(future::join_all(listen), write);
    let (took, cpu) = (begun.elapsed(), served.cpu() - cpu);
    let mut times: Vec<Duration> = frames.iter().flat_map(|frames| ages(frames)).collect();
    times.sort();
    let done = Done { rate: times.len() as f64 / took.as_secs_f64(), work: times.len() as f64 / cpu, times };
    done.show(&format!("{}: {WATCHERS} watchers, {UPDATES} updates, from the write to the event", served.name));
}

/// From the write of each event to when the end of it had come.
fn ages(frames: &[(Duration, Bytes)]) -> Vec<Duration> {
    let (mut ages, mut read) = (Vec::new(), Vec::new());
    for (at, frame) in frames {
        read.extend_from_slice(frame);
        while let Some(end) = read.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = read.drain(..=end).collect();
            let event: serde_json::Value = serde_json::from_slice(&line).expect("an event");
            let sent = event["object"]["metadata"]["annotations"]["sent"].as_str().expect("when it was sent");
            ages.push(*at - Duration::from_nanos(sent.parse().expect("a number")));
        }
    }
    ages
}

/// From the start of the process to the first list that has everything.
async fn restart(served: &mut Served) {
    let took = served.restart(|port, token| {
        Box::pin(async move {
            let mut session = Session::open(port, &token).await;
            assert_eq!(items(&session.get(CLUSTER).await), KEPT);
        })
    });
    let took = took.await;
    row(&format!("{}: restart with {KEPT} pods, to the first list of all", served.name), &ms(took));
}

/// About 1.2 kB of JSON.
fn pod(index: usize) -> Bytes {
    let filler = "x".repeat(64);
    let env: Vec<String> = (0..6).map(|i| format!(r#"{{"name":"VARIABLE_{i}","value":"{filler}"}}"#)).collect();
    let node = index / ON_A_NODE;
    let text = format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"pod-{index}","labels":{{"app":"bench","part":"p{}"}},"annotations":{{"note":"{filler}"}}}},"spec":{{"nodeName":"node-{node}","restartPolicy":"Always","containers":[{{"name":"main","image":"registry.example.com/bench/hello:v1","env":[{}],"ports":[{{"containerPort":8080,"name":"http"}}],"resources":{{"requests":{{"cpu":"10m","memory":"16Mi"}},"limits":{{"memory":"64Mi"}}}}}}],"tolerations":[{{"key":"edge","operator":"Exists","effect":"NoSchedule"}}]}}}}"#,
        index % 50,
        env.join(","),
    );
    text.into()
}

/// How many a list has, without a tree of it.
fn items(list: &[u8]) -> usize {
    #[derive(serde::Deserialize)]
    struct List {
        items: Vec<serde::de::IgnoredAny>,
    }
    serde_json::from_slice::<List>(list).expect("a list").items.len()
}

fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

// === impl Done ===

impl Done {
    fn show(&self, what: &str) {
        let (p50, p99) = (percentile(&self.times, 50), percentile(&self.times, 99));
        let Done { rate, work, .. } = self;
        row(what, &format!("{rate:.0}/s, {work:.0} for each CPU-second, p50 {}, p99 {}", ms(p50), ms(p99)));
    }
}
