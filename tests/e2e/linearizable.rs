//! Three real members that are killed, stopped and cut off from each other under load: whatever clients did and saw is
//! what one store would have done that does one thing after the other.
//!
//! `CORACLE_SEED` draws the same faults and calls again; `CORACLE_FAULTS` and `CORACLE_OPERATIONS` say how many.

use crate::etcd::{Client, Failure, Watch};
use crate::history::{Asked, Changes, LAST, Number, Operation, Outcome, check, merge};
use crate::hosts::Host;
use crate::process::eventually;
use crate::voters::{Deck, MEMBERS, Voters, dial};
use bytes::Bytes;
use controlplane::etcd::wire::{
    Compare, CompareTarget, DeleteRangeRequest, EventType, KeyValue, PutRequest, RangeRequest, RangeResponse, Request,
    RequestOp, TargetUnion, TxnRequest, TxnResponse, WatchAsk, WatchCreateRequest, WatchRequest,
};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;

/// So many that a sync of the disk is for several writes.
const CLIENTS: u64 = 64;
const KEYS: u64 = 8;
/// All keys begin like this.
const PREFIX: &str = "/faults/";
/// Comes after all of them.
const PREFIX_END: &str = "/faults0";
/// Usual numbers, and those where CI has the time.
const FAULTS: (u64, u64) = (20, 100);
const OPERATIONS: (u64, u64) = (10_000, 50_000);
/// Writes that are taken while something is broken: so the others go on.
const WRITES_MEANWHILE: u64 = 100;
/// Whoever asks a member that stands still turns to another one.
const CALL_LIMIT: Duration = Duration::from_millis(500);
/// Before a client turns to another member because the one that it asked has nothing to say.
const PAUSE: Duration = Duration::from_millis(5);

/// What the clients share.
struct Work {
    hosts: Arc<Vec<Host>>,
    clock: AtomicU64,
    numbers: AtomicU64,
    answered: AtomicU64,
    written: AtomicU64,
    is_over: AtomicBool,
    operations: Mutex<Vec<Operation>>,
    /// What each member tells of the past.
    told: Vec<Mutex<BTreeMap<u64, Changes>>>,
}

/// One client: asks any member, one call after the other.
struct Caller {
    work: Arc<Work>,
    random: SmallRng,
    clients: Vec<Option<Client>>,
    /// Revisions of keys as this client saw them last.
    known: BTreeMap<String, u64>,
}

// === impl Work ===

impl Work {
    fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    async fn connect(self: &Arc<Self>, member: usize) -> Option<Client> {
        let own = Arc::clone(self);
        let stream = tokio::task::spawn_blocking(move || dial(&own.hosts[member])).await.expect("it dials")?;
        Client::over(stream).await.ok()
    }

    /// Writes once more when all clients have ended, after whatever any of them saw; the revision of that.
    async fn end(self: &Arc<Self>) -> u64 {
        loop {
            let Some(mut client) = self.connect(0).await else { continue };
            let number = self.numbers.fetch_add(1, Ordering::SeqCst);
            let asked = Asked::Write { keys: Vec::new(), guard: None };
            let begun = self.now();
            let outcome = call(&mut client, number, &asked).await;
            let ended = self.now();
            // What was refused may have been done all the same, as far as this is concerned.
            let outcome = outcome.unwrap_or(Outcome::Unknown);
            let written = if let Outcome::Written { revision } = outcome { Some(revision) } else { None };
            self.operations.lock().expect("whole").push(Operation { number, asked, begun, ended, outcome });
            if let Some(revision) = written {
                return revision;
            }
        }
    }

    /// Notes all that a member tells, from the first change to the last, across its ends and starts.
    async fn watch(self: Arc<Self>, member: usize) {
        loop {
            if let Some(client) = self.connect(member).await {
                let told = self.told[member].lock().expect("whole").keys().next_back().copied().unwrap_or(1);
                let create = WatchCreateRequest {
                    key: PREFIX.into(),
                    range_end: PREFIX_END.into(),
                    start_revision: i64::try_from(told + 1).expect("small"),
                    ..WatchCreateRequest::default()
                };
                if let Ok(mut watch) =
                    client.watch(&[WatchRequest { request_union: Some(WatchAsk::Create(create)) }]).await
                {
                    self.follow(member, &mut watch).await;
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Until the connection ends.
    async fn follow(&self, member: usize, watch: &mut Watch) {
        while let Ok(told) = watch.next().await {
            assert!(!told.canceled, "member {member} ends a watch: {}", told.cancel_reason);
            let mut batch = BTreeMap::<u64, Changes>::new();
            for event in told.events {
                let kv = event.kv.expect("an event has a key");
                let number = (event.r#type == EventType::Put as i32).then(|| number(&kv));
                let changes = batch.entry(revision(kv.mod_revision)).or_default();
                assert!(changes.insert(key(&kv), number).is_none(), "{kv:?} twice in one revision");
            }
            let mut known = self.told[member].lock().expect("whole");
            let last = known.keys().next_back().copied().unwrap_or_default();
            assert!(batch.keys().all(|revision| *revision > last), "member {member} goes back: {batch:?} after {last}");
            known.extend(batch);
        }
    }
}

// === impl Caller ===

impl Caller {
    async fn call_again_and_again(mut self) {
        while !self.work.is_over.load(Ordering::Relaxed) {
            let member = self.random.random_range(0..MEMBERS);
            if self.clients[member].is_none() {
                self.clients[member] = self.work.connect(member).await;
            }
            let Some(mut client) = self.clients[member].take() else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let (number, asked) = (self.work.numbers.fetch_add(1, Ordering::SeqCst), self.draw());
            let begun = self.work.now();
            let outcome = tokio::time::timeout(CALL_LIMIT, call(&mut client, number, &asked)).await;
            let ended = self.work.now();
            let outcome = outcome.unwrap_or_else(|_| Err(Failure::Unknown("no answer in time".into())));
            let is_refused = matches!(outcome, Err(Failure::Refused(_)));
            if !matches!(outcome, Err(Failure::Unknown(_))) {
                self.clients[member] = Some(client);
            }
            let outcome = outcome.unwrap_or_else(|failure| match failure {
                Failure::Refused(_) => Outcome::Refused,
                Failure::Unknown(_) => Outcome::Unknown,
            });
            self.learn(&outcome);
            let operation = Operation { number, asked, begun, ended, outcome };
            self.work.operations.lock().expect("whole").push(operation);
            if is_refused {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    fn draw(&mut self) -> Asked {
        let key = format!("k{}", self.random.random_range(0..KEYS));
        let other = format!("k{}", self.random.random_range(0..KEYS));
        match self.random.random_range(0..10) {
            0..4 => Asked::Read(Some(key)),
            4 => Asked::Read(None),
            // What it saw may be the past by now.
            5..8 => {
                let guard = self.known.get(&key).map(|revision| (key.clone(), *revision));
                Asked::Write { keys: vec![(key, true)], guard }
            }
            8 if key != other => Asked::Write { keys: vec![(key, true), (other, true)], guard: None },
            8 => Asked::Write { keys: vec![(key, true)], guard: None },
            _ => Asked::Write { keys: vec![(key, false)], guard: None },
        }
    }

    fn learn(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Seen { found, .. } => {
                self.known.extend(found.iter().map(|(key, (_, revision))| (key.clone(), *revision)));
                self.work.answered.fetch_add(1, Ordering::SeqCst);
            }
            Outcome::Missed { .. } => {
                self.known.clear();
                self.work.answered.fetch_add(1, Ordering::SeqCst);
            }
            Outcome::Written { .. } => {
                self.work.answered.fetch_add(1, Ordering::SeqCst);
                self.work.written.fetch_add(1, Ordering::SeqCst);
            }
            Outcome::Refused | Outcome::Unknown => {}
        }
    }
}

async fn call(client: &mut Client, number: Number, asked: &Asked) -> Result<Outcome, Failure> {
    match asked {
        Asked::Read(key) => {
            let range = match key {
                Some(key) => RangeRequest { key: path(key), ..RangeRequest::default() },
                None => RangeRequest { key: PREFIX.into(), range_end: PREFIX_END.into(), ..RangeRequest::default() },
            };
            let answer: RangeResponse = client.call("KV/Range", &range).await?;
            let found = answer.kvs.iter().map(|kv| (self::key(kv), (self::number(kv), revision(kv.mod_revision))));
            let found = found.collect();
            Ok(Outcome::Seen { revision: revision(answer.header.expect("a head").revision), found })
        }
        Asked::Write { keys, guard } => {
            let answer: TxnResponse = client.call("KV/Txn", &transaction(number, keys, guard.as_ref())).await?;
            let revision = revision(answer.header.expect("a head").revision);
            Ok(if answer.succeeded { Outcome::Written { revision } } else { Outcome::Missed { revision } })
        }
    }
}

fn transaction(number: Number, keys: &[(String, bool)], guard: Option<&(String, u64)>) -> TxnRequest {
    let put = |key: &str| {
        let value = Bytes::from(number.to_string());
        Request::Put(PutRequest { key: path(key), value, ..PutRequest::default() })
    };
    let ops = keys.iter().map(|(key, is_put)| match is_put {
        true => put(key),
        false => Request::DeleteRange(DeleteRangeRequest { key: path(key), ..DeleteRangeRequest::default() }),
    });
    let ops = ops.chain([put(LAST)]).map(|request| RequestOp { request: Some(request) });
    let compare = guard.map(|(key, revision)| Compare {
        target: CompareTarget::Mod as i32,
        key: path(key),
        target_union: Some(TargetUnion::ModRevision(i64::try_from(*revision).expect("small"))),
        ..Compare::default()
    });
    TxnRequest { compare: compare.into_iter().collect(), success: ops.collect(), failure: Vec::new() }
}

fn path(key: &str) -> Bytes {
    format!("{PREFIX}{key}").into()
}

fn key(kv: &KeyValue) -> String {
    std::str::from_utf8(&kv.key).expect("text").strip_prefix(PREFIX).expect("one of ours").to_owned()
}

fn number(kv: &KeyValue) -> Number {
    std::str::from_utf8(&kv.value).ok().and_then(|text| text.parse().ok()).expect("a number")
}

fn revision(revision: i64) -> u64 {
    u64::try_from(revision).expect("it counts up")
}

fn setting(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

fn usual((usual, in_ci): (u64, u64)) -> u64 {
    if std::env::var("CI").is_ok_and(|ci| ci == "true") { in_ci } else { usual }
}

/// Waits until a count is reached, or a client has found something wrong.
fn reached(what: &str, count: &AtomicU64, goal: u64, clients: &[JoinHandle<()>]) {
    eventually(what, || {
        let is_broken = clients.iter().any(JoinHandle::is_finished);
        (is_broken || count.load(Ordering::SeqCst) >= goal).then_some(())
    });
}

#[test]
fn what_clients_see_is_linearizable_whatever_becomes_of_members_and_links() {
    let seed = setting("CORACLE_SEED").unwrap_or_else(rand::random);
    let faults = setting("CORACLE_FAULTS").unwrap_or(usual(FAULTS));
    let operations = setting("CORACLE_OPERATIONS").unwrap_or(usual(OPERATIONS));
    println!("CORACLE_SEED={seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let mut voters = Voters::start();
    let mut deck = Deck::new(voters.can_cut());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let work = Arc::new(Work {
        hosts: Arc::clone(&voters.hosts),
        clock: AtomicU64::new(1),
        numbers: AtomicU64::new(1),
        answered: AtomicU64::new(0),
        written: AtomicU64::new(0),
        is_over: AtomicBool::new(false),
        operations: Mutex::default(),
        told: (0..MEMBERS).map(|_| Mutex::default()).collect(),
    });
    let watches: Vec<_> = (0..MEMBERS).map(|member| runtime.spawn(Arc::clone(&work).watch(member))).collect();
    let clients = (0..CLIENTS).map(|client| {
        let random = SmallRng::seed_from_u64(seed ^ (client + 1));
        let clients = (0..MEMBERS).map(|_| None).collect();
        runtime
            .spawn(Caller { work: Arc::clone(&work), random, clients, known: BTreeMap::new() }.call_again_and_again())
    });
    let clients: Vec<_> = clients.collect();
    let mut counts = BTreeMap::<(&str, bool), u64>::new();
    for index in 0..faults {
        let leader = voters.leader(&runtime);
        let go_on = || {
            let goal = work.written.load(Ordering::SeqCst) + WRITES_MEANWHILE;
            reached("writes by the members that are left", &work.written, goal, &clients);
        };
        if index == faults / 2 {
            let member = random.random_range(0..MEMBERS);
            println!("fault {index}: {member} loses its disk while {leader} leads");
            *counts.entry(("disk lost", member == leader)).or_default() += 1;
            voters.lose_disk(member, go_on);
        } else {
            let fault = deck.draw(&mut random, leader);
            println!("fault {index}: {fault:?} while {leader} leads");
            *counts.entry((fault.name(), fault.strikes(leader))).or_default() += 1;
            voters.strike(fault);
            go_on();
            voters.heal(fault);
        }
        // What is left over is spread evenly.
        reached("operations between faults", &work.answered, operations * (index + 1) / faults, &clients);
    }
    work.is_over.store(true, Ordering::Relaxed);
    for client in clients {
        runtime.block_on(client).expect("a client found nothing wrong");
    }
    let end = runtime.block_on(work.end());
    let (operations, history) = conclude(&work, &watches, end);
    let count = |wanted: fn(&Outcome) -> bool| operations.iter().filter(|one| wanted(&one.outcome)).count();
    println!(
        "{} calls: {} written, {} missed, {} read, {} refused, {} unknown; faults, and of the leader: {counts:?}",
        operations.len(),
        count(|outcome| matches!(outcome, Outcome::Written { .. })),
        count(|outcome| matches!(outcome, Outcome::Missed { .. })),
        count(|outcome| matches!(outcome, Outcome::Seen { .. })),
        count(|outcome| matches!(outcome, Outcome::Refused)),
        count(|outcome| matches!(outcome, Outcome::Unknown)),
    );
    check(&operations, &history).unwrap_or_else(|what| panic!("not linearizable: {what}"));
}

/// What all clients noted, and what all members tell of the time until the last write.
fn conclude(work: &Work, watches: &[JoinHandle<()>], end: u64) -> (Vec<Operation>, BTreeMap<u64, Changes>) {
    let told = |member: usize| {
        let told = work.told[member].lock().expect("whole");
        // Writes that nobody was told of may still come.
        told.contains_key(&end).then(|| told.range(..=end).map(|(at, changes)| (*at, changes.clone())).collect())
    };
    let mut history = BTreeMap::new();
    for member in 0..MEMBERS {
        let told: BTreeMap<_, _> = eventually("the last write, from each member", || {
            assert!(watches.iter().all(|watch| !watch.is_finished()), "a member told what cannot be");
            told(member)
        });
        merge(&mut history, &told).expect("all members tell the same");
    }
    (std::mem::take(&mut *work.operations.lock().expect("whole")), history)
}
