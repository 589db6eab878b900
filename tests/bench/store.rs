//! The store beside etcd from Debian, through the same API, by the same client: durable puts, linearizable gets,
//! watches, memory, and bytes to the disk; and beside what keeps nothing, or does nothing but sync.

use crate::bare::{self, Bare};
use crate::cores::Load;
use crate::etcd::Client;
use crate::group::{Group, dial};
use crate::load::percentile;
use crate::process::free_port;
use crate::{machine, row};
use bytes::Bytes;
use controlplane::etcd::wire::{
    PutRequest, PutResponse, RangeRequest, RangeResponse, WatchAsk, WatchCreateRequest, WatchRequest,
};
use controlplane::store::kv::{KeyRange, Op, Range, Txn};
use controlplane::store::{Config, Kv as _, Store};
use futures::{StreamExt as _, stream};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use std::time::{Duration, Instant};

/// Each store takes its turn in each round, so that what else the machine does falls on both; the middle round counts.
const ROUNDS: usize = 3;
const VALUE_BYTES: usize = 1024;
const KEYS: usize = 50_000;
const IN_FLIGHT: usize = 256;
const CONNECTIONS: usize = 8;
/// What is still done for the load when it has ended is counted, too.
const SETTLES: Duration = Duration::from_secs(1);

/// A load of many requests.
const PUTS: usize = 40_000;
const GETS: usize = 60_000;
/// A load of one client.
const PUTS_ALONE: usize = 3_000;

const WATCHERS: usize = 1_000;
const WATCHERS_OF_A_STREAM: usize = 50;
const WATCHED_FOR: Duration = Duration::from_secs(8);
const PUT_EVERY: Duration = Duration::from_millis(10);

const OBJECTS: usize = 100_000;
const OBJECT_BYTES: usize = 1536;
const UPDATES: usize = 20_000;
const IDLE_FOR: Duration = Duration::from_secs(20);

/// What a load came to.
#[derive(Clone, Copy)]
struct Done {
    /// For each processor second of all members.
    work: f64,
    /// A second.
    rate: f64,
    p50: Duration,
    p99: Duration,
    /// Bytes to the disks of all members for each byte put.
    written: f64,
}

/// Which requests a load is made of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Put,
    Get,
}

/// Does it on one thread of the core that makes the load.
fn measure(what: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let load = Load::begin();
    runtime.block_on(what);
    drop(load);
}

#[test]
#[ignore = "a measurement; cargo xtask bench store runs it"]
fn requests_of_one_member() {
    measure(async {
        requests(1).await;
        without_a_store().await;
    });
}

#[test]
#[ignore = "a measurement; cargo xtask bench store runs it"]
fn requests_of_three_members() {
    measure(requests(3));
}

#[test]
#[ignore = "a measurement; cargo xtask bench store runs it"]
fn watchers() {
    measure(watches());
}

#[test]
#[ignore = "a measurement; cargo xtask bench store runs it"]
fn memory_and_disk() {
    measure(objects());
}

#[test]
#[ignore = "a measurement; cargo xtask bench store runs it"]
fn without_a_network() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(in_process());
}

/// Our group and etcd's, of so many members.
fn groups(size: usize) -> Vec<Group> {
    let mut groups = vec![Group::ours(size)];
    match Group::etcd(size) {
        Some(etcd) => groups.push(etcd),
        None => row("etcd", "skipped: not installed (cargo xtask setup)"),
    }
    groups
}

/// Both in one line, and how ours compares.
fn compare(what: &str, groups: &[Group], show: impl Fn(usize) -> String, ours_to_etcd: impl Fn() -> f64) {
    let shown: Vec<String> =
        groups.iter().enumerate().map(|(i, group)| format!("{} {}", group.name, show(i))).collect();
    let ratio = if groups.len() > 1 { format!(" | {:.2}", ours_to_etcd()) } else { String::new() };
    row(what, &format!("{}{ratio}", shown.join(", ")));
}

// --- puts and gets ---

async fn requests(size: usize) {
    let groups = groups(size);
    let mut clients = Vec::new();
    for group in &groups {
        let port = group.leader().await;
        let mut open = Vec::new();
        for _ in 0..CONNECTIONS {
            open.push(dial(port).await);
        }
        clients.push(open);
    }
    let members = if size == 1 { "1 member".to_owned() } else { format!("{size} members") };
    let loads = [
        (format!("1 KiB puts, {IN_FLIGHT} in flight, {members}"), Kind::Put, IN_FLIGHT, PUTS),
        (format!("1 KiB puts of one client, {members}"), Kind::Put, 1, PUTS_ALONE),
        (format!("linearizable 1 KiB gets, {IN_FLIGHT} in flight, {members}"), Kind::Get, IN_FLIGHT, GETS),
    ];
    for (what, kind, in_flight, count) in loads {
        let mut rounds = vec![Vec::new(); groups.len()];
        for round in 0..ROUNDS {
            for (i, group) in groups.iter().enumerate() {
                let seed = round as u64;
                rounds[i].push(load(group, &clients[i], kind, (in_flight, count), seed).await);
            }
        }
        let middle = |i: usize, of: fn(&Done) -> f64| {
            let mut all: Vec<f64> = rounds[i].iter().map(of).collect();
            all.sort_by(f64::total_cmp);
            all[all.len() / 2]
        };
        let ratio = |of: fn(&Done) -> f64| middle(0, of) / middle(1, of);
        let work: fn(&Done) -> f64 = |done| done.work;
        let rate: fn(&Done) -> f64 = |done| done.rate;
        let p50: fn(&Done) -> f64 = |done| done.p50.as_secs_f64() * 1000.0;
        let p99: fn(&Done) -> f64 = |done| done.p99.as_secs_f64() * 1000.0;
        compare(
            &format!("{what}: for each CPU-second"),
            &groups,
            |i| format!("{:.0}", middle(i, work)),
            || ratio(work),
        );
        compare(&format!("{what}: a second"), &groups, |i| format!("{:.0}", middle(i, rate)), || ratio(rate));
        compare(&format!("{what}: p50"), &groups, |i| format!("{:.2} ms", middle(i, p50)), || ratio(p50));
        compare(&format!("{what}: p99"), &groups, |i| format!("{:.2} ms", middle(i, p99)), || ratio(p99));
        if kind == Kind::Put {
            let written: fn(&Done) -> f64 = |done| done.written;
            let show = |i| format!("{:.2}", middle(i, written));
            compare(&format!("{what}: bytes to disk for each byte put"), &groups, show, || ratio(written));
        }
    }
}

/// What the machine and the library ask for, whatever keeps the data.
async fn without_a_store() {
    let times = |p50: Duration, p99: Duration| {
        format!("p50 {:.2} ms, p99 {:.2} ms", p50.as_secs_f64() * 1000.0, p99.as_secs_f64() * 1000.0)
    };
    for (server, does) in [(Bare::Http2, "answered at once"), (Bare::Http2Sync, "written, synced and answered")] {
        let group = Group::bare(server);
        let mut clients = Vec::new();
        for _ in 0..CONNECTIONS {
            clients.push(dial(group.leader().await).await);
        }
        if server == Bare::Http2 {
            let done = load(&group, &clients, Kind::Put, (IN_FLIGHT, PUTS), 0).await;
            let work = format!("{:.0} for each CPU-second", done.work);
            row(&format!("1 KiB puts, {IN_FLIGHT} in flight, {does} by the HTTP/2 library alone"), &work);
        }
        let done = load(&group, &clients, Kind::Put, (1, PUTS_ALONE), 0).await;
        row(&format!("1 KiB puts of one client, {does} by the HTTP/2 library alone"), &times(done.p50, done.p99));
    }
    let (p50, p99) = bare::synced(free_port("127.0.0.1"), PUTS_ALONE);
    row("1 KiB of one client, written and synced by a server that does nothing else", &times(p50, p99));
}

fn key(index: usize) -> Bytes {
    format!("/bench/objects/{index:08}").into()
}

/// Not to be compressed, which would flatter the bytes written.
fn value(random: &mut SmallRng, size: usize) -> Bytes {
    let mut bytes = vec![0; size];
    random.fill(&mut bytes[..]);
    bytes.into()
}

async fn put(client: &Client, key: Bytes, value: Bytes) {
    let question = PutRequest { key, value, ..PutRequest::default() };
    let _: PutResponse = client.clone().call("KV/Put", &question).await.expect("it is put");
}

async fn load(group: &Group, clients: &[Client], kind: Kind, (in_flight, count): (usize, usize), seed: u64) -> Done {
    let mut random = SmallRng::seed_from_u64(seed);
    let questions: Vec<(usize, Bytes)> = (0..count)
        .map(|_| {
            let value = if kind == Kind::Put { value(&mut random, VALUE_BYTES) } else { Bytes::new() };
            (random.random_range(0..KEYS), value)
        })
        .collect();
    let (cpu, written, began) = (group.cpu(), machine::written(), Instant::now());
    let ask = async |(number, (index, value)): (usize, (usize, Bytes))| {
        let client = &clients[number % clients.len().min(in_flight)];
        let asked = Instant::now();
        match kind {
            Kind::Put => put(client, key(index), value).await,
            Kind::Get => {
                let question = RangeRequest { key: key(index), ..RangeRequest::default() };
                let _: RangeResponse = client.clone().call("KV/Range", &question).await.expect("it is read");
            }
        }
        asked.elapsed()
    };
    let mut times: Vec<Duration> =
        stream::iter(questions.into_iter().enumerate()).map(ask).buffer_unordered(in_flight).collect().await;
    let took = began.elapsed();
    tokio::time::sleep(SETTLES).await;
    times.sort();
    Done {
        work: count as f64 / (group.cpu() - cpu),
        rate: count as f64 / took.as_secs_f64(),
        p50: percentile(&times, 50),
        p99: percentile(&times, 99),
        written: (machine::written() - written) as f64 / (count * VALUE_BYTES) as f64,
    }
}

// --- watches ---

/// One key that many watch, and how soon they know of each put.
async fn watches() {
    let groups = groups(1);
    let mut done = Vec::new();
    for group in &groups {
        done.push(watched(group).await);
    }
    let what = format!("{WATCHERS} watchers of a key that is put {} times a second", 1000 / PUT_EVERY.as_millis());
    let ratio = |of: fn(&Done) -> f64| of(&done[0]) / of(&done[1]);
    let events = |i: usize| format!("{:.0}", done[i].work);
    compare(&format!("{what}: events for each CPU-second"), &groups, events, || ratio(|done| done.work));
    let rate = |i: usize| format!("{:.0}", done[i].rate);
    compare(&format!("{what}: events a second"), &groups, rate, || ratio(|done| done.rate));
    let p99 = |i: usize| format!("{:.2} ms", done[i].p99.as_secs_f64() * 1000.0);
    compare(&format!("{what}: p99 from the put to the event"), &groups, p99, || ratio(|done| done.p99.as_secs_f64()));
}

async fn watched(group: &Group) -> Done {
    let port = group.leader().await;
    let began = Instant::now();
    let watching = (0..WATCHERS / WATCHERS_OF_A_STREAM).map(async |_| {
        let create = WatchCreateRequest { key: key(0), ..WatchCreateRequest::default() };
        let ask = WatchRequest { request_union: Some(WatchAsk::Create(create)) };
        let mut watch = dial(port).await.watch(&vec![ask; WATCHERS_OF_A_STREAM]).await.expect("they begin");
        for _ in 0..WATCHERS_OF_A_STREAM {
            assert!(watch.next().await.expect("they begin").created);
        }
        watch
    });
    let mut streams = Vec::new();
    for watching in watching {
        streams.push(watching.await);
    }
    let writer = dial(port).await;
    let (cpu, begun) = (group.cpu(), Instant::now());
    let end = begun + WATCHED_FOR;
    let listen = streams.iter_mut().map(async |watch| {
        let mut times = Vec::new();
        while let Ok(response) = tokio::time::timeout_at(end.into(), watch.next()).await {
            for event in response.expect("the stream goes on").events {
                let value = event.kv.expect("what was put").value;
                let sent = u64::from_be_bytes(value[..8].try_into().expect("when it was sent"));
                times.push(began.elapsed() - Duration::from_nanos(sent));
            }
        }
        times
    });
    let write = async {
        let mut random = SmallRng::seed_from_u64(0);
        let mut ticks = tokio::time::interval(PUT_EVERY);
        while Instant::now() < end {
            ticks.tick().await;
            let mut bytes = value(&mut random, VALUE_BYTES).to_vec();
            let now = u64::try_from(began.elapsed().as_nanos()).expect("not in 500 years");
            bytes[..8].copy_from_slice(&now.to_be_bytes());
            put(&writer, key(0), bytes.into()).await;
        }
    };
    let (times, ()) = futures::join!(futures::future::join_all(listen), write);
    let mut times: Vec<Duration> = times.into_iter().flatten().collect();
    times.sort();
    Done {
        work: times.len() as f64 / (group.cpu() - cpu),
        rate: times.len() as f64 / begun.elapsed().as_secs_f64(),
        p50: percentile(&times, 50),
        p99: percentile(&times, 99),
        written: 0.0,
    }
}

// --- memory and disk ---

/// As many objects as a cluster of a few thousand pods has, and some updates.
async fn objects() {
    let groups = groups(1);
    let (mut resident, mut written, mut idle) = (Vec::new(), Vec::new(), Vec::new());
    for group in &groups {
        let client = dial(group.leader().await).await;
        let mut random = SmallRng::seed_from_u64(0);
        let before = machine::written();
        let mut puts: Vec<usize> = (0..OBJECTS).collect();
        puts.extend((0..UPDATES).map(|_| random.random_range(0..OBJECTS)));
        let puts: Vec<(usize, Bytes)> =
            puts.into_iter().map(|index| (index, value(&mut random, OBJECT_BYTES))).collect();
        let ask = async |(index, value)| put(&client, key(index), value).await;
        stream::iter(puts).map(ask).buffer_unordered(IN_FLIGHT).collect::<Vec<()>>().await;
        tokio::time::sleep(SETTLES * 10).await;
        resident.push(group.resident() as f64);
        written.push((machine::written() - before) as f64 / ((OBJECTS + UPDATES) * OBJECT_BYTES) as f64);
        let before = machine::written();
        tokio::time::sleep(IDLE_FOR).await;
        idle.push((machine::written() - before) as f64 / IDLE_FOR.as_secs_f64());
    }
    let ratio = |values: &[f64]| values[0] / values[1];
    let what = format!("{OBJECTS} objects of {OBJECT_BYTES} bytes and {UPDATES} updates");
    let show = |i: usize| format!("{:.1} MB", resident[i] / 1e6);
    compare(&format!("{what}: resident"), &groups, show, || ratio(&resident));
    let show = |i: usize| format!("{:.2}", written[i]);
    compare(&format!("{what}: bytes to disk for each byte put"), &groups, show, || ratio(&written));
    let show = |i: usize| format!("{:.0}", idle[i]);
    compare("idle: bytes to disk a second", &groups, show, || ratio(&idle));
}

// --- in process ---

/// The same puts and gets without a network: what the registry pays. The load's own work is counted.
async fn in_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(Config::new(folder.path())).expect("the store opens");
    let mut random = SmallRng::seed_from_u64(0);
    let puts: Vec<_> =
        (0..PUTS).map(|_| (key(random.random_range(0..KEYS)), value(&mut random, VALUE_BYTES))).collect();
    let keys: Vec<_> = puts.iter().map(|(key, _)| key.clone()).collect();
    let cpu = machine::cpu(std::process::id());
    let put = async |(key, value)| {
        let txn = Txn { success: vec![Op::put(key, value)], ..Txn::default() };
        store.txn(txn).await.expect("it is put");
    };
    stream::iter(puts).map(put).buffer_unordered(IN_FLIGHT).collect::<Vec<()>>().await;
    let put = machine::cpu(std::process::id());
    let get = async |key| {
        let range = Range::newest(KeyRange::key(key));
        store.range(range).await.expect("it is read");
    };
    stream::iter(keys).map(get).buffer_unordered(IN_FLIGHT).collect::<Vec<()>>().await;
    let got = machine::cpu(std::process::id());
    let rate = |seconds: f64| format!("{:.0} for each CPU-second", PUTS as f64 / seconds);
    row(&format!("in process: 1 KiB puts, {IN_FLIGHT} in flight, 1 member"), &rate(put - cpu));
    row("in process: linearizable 1 KiB gets, 1 member", &rate(got - put));
    store.close().await;
}
