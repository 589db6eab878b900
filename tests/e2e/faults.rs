//! Three members that are killed and stopped at random while they are written to: nothing that was acknowledged is
//! lost, nothing that was refused is there, a read sees what was written before it, and all members tell the same.

use crate::members::Group;
use crate::process::eventually;
use client::{Error, Handle, ListOptions, Target, WriteOptions};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const MEMBERS: usize = 3;
const WRITERS: u64 = 8;
/// Overridden by `CORACLE_FAULTS`.
const FAULTS: u64 = 16;
/// Writes that are acknowledged between two faults: so the group goes on after each.
const WRITES_BETWEEN: u64 = 100;
/// Whoever asks a member that is stopped turns to another one.
const CALL_LIMIT: Duration = Duration::from_millis(300);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Acknowledged,
    Refused,
    Unknown,
}

/// What the writers share.
struct Work {
    members: Vec<Handle>,
    acknowledged: AtomicU64,
    is_over: AtomicBool,
    outcomes: Mutex<BTreeMap<String, Outcome>>,
}

impl Work {
    /// Writes by one member and reads by another, again and again.
    async fn write(self: Arc<Self>, writer: u64, seed: u64) {
        let mut random = SmallRng::seed_from_u64(seed + writer);
        for index in 0.. {
            if self.is_over.load(Ordering::Relaxed) {
                return;
            }
            let name = format!("f-{writer}-{index}");
            let (to, from) = (random.random_range(0..MEMBERS), random.random_range(0..MEMBERS));
            let outcome = self.create(to, &name).await;
            self.outcomes.lock().expect("whole").insert(name.clone(), outcome);
            if outcome == Outcome::Acknowledged {
                self.acknowledged.fetch_add(1, Ordering::Relaxed);
                self.read(from, &name).await;
            }
        }
    }

    async fn create(&self, member: usize, name: &str) -> Outcome {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"of": name}});
        let target = Target::namespaced(&api::resource::CONFIG_MAPS, "default", "");
        let call = self.members[member].create(target, object, WriteOptions::by("faults"));
        match tokio::time::timeout(CALL_LIMIT, call).await {
            Ok(Ok(_)) => Outcome::Acknowledged,
            Ok(Err(Error::Unreachable(_))) => Outcome::Refused,
            // "The store is not available": nothing was done.
            Ok(Err(Error::Rejected(error))) if error.code == 503 => Outcome::Refused,
            Ok(Err(Error::Rejected(error))) if error.code != 504 => panic!("{name}: {error}"),
            Ok(Err(_)) | Err(_) => Outcome::Unknown,
        }
    }

    /// A read that is answered knows of what was acknowledged before it.
    async fn read(&self, member: usize, name: &str) {
        let target = Target::namespaced(&api::resource::CONFIG_MAPS, "default", name);
        if let Ok(Err(Error::Rejected(error))) =
            tokio::time::timeout(CALL_LIMIT, self.members[member].get(target)).await
        {
            assert!(!error.is_not_found(), "{name} was acknowledged, and member {member} does not know of it");
        }
    }

    /// Every name with its version, as a member tells.
    async fn told(&self, member: usize) -> Option<BTreeMap<String, u64>> {
        let list = self.members[member].list(&api::resource::CONFIG_MAPS, Some("default"), ListOptions::default());
        let items = list.await.ok()?.items;
        Some(items.iter().map(|object| (object.name().to_owned(), object.revision())).collect())
    }
}

/// Kills a member or has it stand still, waits until the others have gone on, and brings it back.
fn fault(group: &mut Group, random: &mut SmallRng, go_on: impl Fn()) {
    let member = random.random_range(0..MEMBERS);
    if random.random_bool(0.5) {
        group.kill(member);
        go_on();
        group.restart(member);
    } else {
        let signal = |name: &str| {
            let id = group.id_of_process(member).to_string();
            assert!(Command::new("kill").args([name, &id]).status().expect("kill runs").success());
        };
        signal("-STOP");
        go_on();
        signal("-CONT");
    }
}

#[test]
fn nothing_acknowledged_is_lost_to_members_that_are_killed_or_stand_still() {
    let seed = std::env::var("CORACLE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random);
    let faults = std::env::var("CORACLE_FAULTS").ok().and_then(|text| text.parse().ok()).unwrap_or(FAULTS);
    println!("CORACLE_SEED={seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let mut group = Group::start(MEMBERS);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let members = (0..MEMBERS).map(|member| {
        let kubeconfig = group.kubeconfig(member);
        runtime.block_on(client::http::from_kubeconfig(&kubeconfig)).expect("it is usable")
    });
    let work = Arc::new(Work {
        members: members.collect(),
        acknowledged: AtomicU64::new(0),
        is_over: AtomicBool::new(false),
        outcomes: Mutex::default(),
    });
    let writers: Vec<_> = (0..WRITERS).map(|writer| runtime.spawn(Arc::clone(&work).write(writer, seed))).collect();
    for _ in 0..faults {
        fault(&mut group, &mut random, || {
            let goal = work.acknowledged.load(Ordering::Relaxed) + WRITES_BETWEEN;
            eventually("writes by the members that are left", || {
                let is_broken = writers.iter().any(tokio::task::JoinHandle::is_finished);
                (is_broken || work.acknowledged.load(Ordering::Relaxed) >= goal).then_some(())
            });
        });
    }
    work.is_over.store(true, Ordering::Relaxed);
    for writer in writers {
        runtime.block_on(writer).expect("a writer found nothing wrong");
    }
    let outcomes = std::mem::take(&mut *work.outcomes.lock().expect("whole"));
    let told: Vec<_> = (0..MEMBERS)
        .map(|member| eventually("what a member tells in the end", || runtime.block_on(work.told(member))))
        .collect();
    assert!(told.iter().all(|one| *one == told[0]), "the members tell different things");
    let count = |wanted: Outcome| outcomes.values().filter(|outcome| **outcome == wanted).count();
    let [acknowledged, refused, unknown] = [Outcome::Acknowledged, Outcome::Refused, Outcome::Unknown].map(count);
    println!("{faults} faults; {acknowledged} writes acknowledged, {refused} refused, {unknown} unknown");
    for (name, outcome) in &outcomes {
        match (outcome, told[0].contains_key(name)) {
            (Outcome::Acknowledged, false) => panic!("{name} was acknowledged and is lost"),
            (Outcome::Refused, true) => panic!("{name} was refused and is there"),
            _ => {}
        }
    }
}
