//! The members, the network between them, their clients, and what goes wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use raft::eraftpb::{ConfChangeSingle, ConfChangeType, ConfChangeV2, Message, MessageType};

use super::Counts;
use super::dice::Dice;
use super::disk::{POWER_CUT, Platter};
use super::options::Options;
use super::oracle::{Oracle, Wanted, value};
use crate::store::command::Command;
use crate::store::driver::{Driver, Setup};
use crate::store::flaw::{Flaw, Planted};
use crate::store::kv::{Compare, Delete, Error, KeyRange, Op, Put, Range, Txn};
use crate::store::medium::{Medium, Promise};
use crate::store::member::{self, Ask, Fatal};
use crate::store::open;
use crate::store::past;
use crate::store::record::Record;
use crate::store::state;

type Member = member::Member<Platter, u64, u64>;
type Effect = member::Effect<u64, u64, <Platter as Medium>::Image>;

/// What has to happen in some run, or the simulation would prove less than it says.
pub(super) const EVENTS: &[&str] = &[
    "a message lost",
    "a message twice",
    "a partition",
    "a one-way partition",
    "a broken link",
    "a pause",
    "a power cut",
    "a power cut in a write",
    "a restart",
    "a leader",
    "a leader asked to step down",
    "a notice",
    "a write beside a change of members",
    "a snapshot",
    "a learner added",
    "a learner promoted",
    "a member removed",
    "a member gone",
    "a member replaced",
    "a compaction",
    "a write of unknown outcome",
    "a read",
    "a lease granted",
    "a lease kept alive",
    "a lease revoked",
    "a lease that ended",
    "a disk rolled back",
    "a start refused",
];

const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];
/// After the last fault: until there is a leader and all have the same, ms.
const HEALING: u64 = 60_000;
const TICK: u64 = 100;
const MEMBERS_MAX: usize = 7;
/// A learner may be promoted when so few entries are missing.
const BEHIND_MAX: u64 = 10;

pub(super) struct World {
    options: Options,
    planted: Planted,
    dice: Dice,
    now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    queued: u64,
    nodes: BTreeMap<u64, Node>,
    /// Directed links that carry nothing.
    cut: BTreeSet<(u64, u64)>,
    is_healed: bool,
    oracle: Oracle,
    counts: Counts,
    seed: u64,
    lives: u64,
    operations: u64,
    probe: Option<u64>,
    is_probe_done: bool,
    trace: u64,
}

struct Node {
    disk: Arc<Platter>,
    member: Option<Member>,
    tick: u64,
    /// Events of an earlier life are not for this one.
    life: u64,
    paused_until: u64,
    was_rolled_back: bool,
    /// It refused to start, and never comes back.
    is_gone: bool,
}

enum Event {
    Tick { node: u64, life: u64 },
    Deliver { from: u64, message: Box<Message>, image: Option<<Platter as Medium>::Image> },
    Operate,
    Compact,
    Change,
    Fault,
    Mend(Vec<(u64, u64)>),
    Start(u64),
    Heal,
    Probe,
}

// === impl World ===

impl World {
    pub(super) fn new(seed: u64, options: Options, planted: Planted) -> World {
        let oracle = Oracle::new(shortest_tick(options.drift));
        World {
            options,
            planted,
            dice: Dice::new(seed),
            now: 0,
            queue: BTreeMap::new(),
            queued: 0,
            nodes: BTreeMap::new(),
            cut: BTreeSet::new(),
            is_healed: false,
            oracle,
            counts: Counts::new(),
            seed,
            lives: 0,
            operations: 0,
            probe: None,
            is_probe_done: false,
            trace: 0,
        }
    }

    /// Runs until the group has healed; what was counted, and a digest of all that happened.
    pub(super) fn run(mut self) -> Result<(Counts, u64), String> {
        let voters: Vec<u64> = (1..=self.options.voters).collect();
        for id in &voters {
            self.add_node(*id, &Record::first(id.to_string(), voters.clone()))?;
        }
        self.after(self.options.operation_every, Event::Operate);
        self.after(self.options.compact_every, Event::Compact);
        self.after(self.options.fault_every, Event::Fault);
        if self.options.conf_every != u64::MAX || self.options.rollbacks {
            self.after(self.options.conf_every.min(4_000), Event::Change);
        }
        self.after(self.options.faulty, Event::Heal);
        while let Some(((at, _), event)) = self.queue.pop_first() {
            self.now = at;
            self.happen(event).map_err(|what| format!("at {at} ms: {what}"))?;
            if self.is_probe_done && self.is_converged() {
                break;
            }
            if self.now > self.options.faulty + HEALING {
                return Err(format!("nothing fails any more, and the group does not heal: {}", self.describe()));
            }
        }
        let newest = self.nodes.values().filter_map(|node| node.member.as_ref()).map(|member| member.record().revision);
        let ended = self.oracle.judge(newest.max().unwrap_or(0))?;
        if ended > 0 {
            *self.counts.entry("a lease that ended").or_default() += ended;
        }
        if self.oracle.unknown() > 0 {
            *self.counts.entry("a write of unknown outcome").or_default() += self.oracle.unknown();
        }
        Ok((self.counts, self.trace))
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
        let bytes = what.bytes().fold(self.now, |mixed, byte| mixed.rotate_left(7) ^ u64::from(byte));
        self.trace = self.trace.rotate_left(9).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ bytes;
    }

    fn after(&mut self, delay: u64, event: Event) {
        self.queued += 1;
        self.queue.insert((self.now.saturating_add(delay.max(1)), self.queued), event);
    }

    fn happen(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Tick { node, life } => self.tick(node, life),
            Event::Deliver { from, message, image } => self.deliver(from, message, image),
            Event::Operate => self.operate(),
            Event::Compact => self.compact(),
            Event::Change => self.change(),
            Event::Fault => self.fail(),
            Event::Mend(links) => {
                for link in links {
                    self.cut.remove(&link);
                }
                Ok(())
            }
            Event::Start(id) => self.start(id),
            Event::Heal => self.heal(),
            Event::Probe => self.probe(),
        }
    }

    // --- members ---

    fn add_node(&mut self, id: u64, record: &Record) -> Result<(), String> {
        let disk = Arc::new(Platter::with_record(record, self.options.rollbacks));
        let drift = self.options.drift;
        let tick = shortest_tick(drift) + TICK * self.dice.below(2 * drift + 1) / 1000;
        let node = Node { disk, member: None, tick, life: 0, paused_until: 0, was_rolled_back: false, is_gone: false };
        self.nodes.insert(id, node);
        self.start(id)
    }

    fn start(&mut self, id: u64) -> Result<(), String> {
        let node = self.nodes.get_mut(&id).expect("it is known");
        if node.is_gone || node.member.is_some() {
            return Ok(());
        }
        node.disk.restart(&mut self.dice);
        let broken = |failure: state::Failure| failure.cause();
        let record = node.disk.with(|view| view.record()).map_err(broken)?.expect("a disk is made with one");
        let promise = match self.planted.is(Flaw::AmnesiaIgnored) {
            true => Promise::default(),
            false => node.disk.promised(),
        };
        let log = match open::log(&*node.disk, &record, promise).map_err(broken)? {
            Ok(log) => log,
            Err(_) if node.was_rolled_back => {
                node.is_gone = true;
                self.count("a start refused");
                return Ok(());
            }
            Err(what) => return Err(format!("member {id} refuses to start: {what}")),
        };
        self.lives += 1;
        let setup = Setup {
            keeps_log: self.options.keeps_log,
            kept: self.options.kept,
            remembered: self.options.remembered,
            planted: self.planted,
            ..Setup::new(id, self.seed)
        };
        let driver = Driver::new(setup, log, record.applied)?;
        // What was written in the moment of a power cut has told nobody of its changes.
        let from = self.oracle.newest() + 1;
        let untold = node.disk.with(|view| {
            let touched = view.changes_from((from, 0), usize::MAX)?;
            touched.into_iter().map(|touched| past::restore(view, touched)).collect::<Result<Vec<_>, _>>()
        });
        self.oracle.found(untold.map_err(broken)?);
        self.oracle.started(id, record.revision);
        let mut member = Member::new(driver, (Arc::clone(&node.disk), record), (id, self.lives), self.planted);
        if member.driver.is_sole() {
            member.driver.campaign();
        }
        (node.member, node.life) = (Some(member), self.lives);
        let (tick, life) = (node.tick, node.life);
        self.count("a restart");
        let first = self.dice.below(tick) + 1;
        self.after(first, Event::Tick { node: id, life });
        self.flush(id)
    }

    fn tick(&mut self, id: u64, life: u64) -> Result<(), String> {
        let now = self.now;
        let node = self.nodes.get_mut(&id).expect("it is known");
        if node.life != life || node.member.is_none() {
            return Ok(());
        }
        let tick = node.tick.max(node.paused_until.saturating_sub(now));
        let is_paused = now < node.paused_until;
        self.after(tick, Event::Tick { node: id, life });
        if is_paused {
            return Ok(());
        }
        let member = self.nodes.get_mut(&id).and_then(|node| node.member.as_mut()).expect("it was looked up");
        let mut effects = Vec::new();
        member.tick(&mut |effect| effects.push(effect));
        self.perform(id, effects)?;
        self.flush(id)
    }

    fn deliver(
        &mut self,
        from: u64,
        message: Box<Message>,
        image: Option<<Platter as Medium>::Image>,
    ) -> Result<(), String> {
        let id = message.to;
        if self.cut.contains(&(from, id)) {
            return Ok(());
        }
        let Some(node) = self.nodes.get_mut(&id) else { return Ok(()) };
        if self.now < node.paused_until {
            let delay = node.paused_until - self.now;
            self.after(delay, Event::Deliver { from, message, image });
            return Ok(());
        }
        let Some(member) = &mut node.member else { return Ok(()) };
        match member.receive(*message, image) {
            Ok(()) => self.flush(id),
            Err(fatal) => self.end(id, &fatal),
        }
    }

    fn flush(&mut self, id: u64) -> Result<(), String> {
        let Some(member) = self.nodes.get_mut(&id).and_then(|node| node.member.as_mut()) else { return Ok(()) };
        let mut effects = Vec::new();
        let ended = member.flush(&mut |effect| effects.push(effect));
        // A thread does so when nothing else waits for it.
        let is_idle = self.dice.per_mille(500);
        let notices = if is_idle && ended.is_ok() { member.driver.notices() } else { Vec::new() };
        let is_told = !notices.is_empty();
        effects.extend(notices.into_iter().map(|message| Effect::Send(Box::new(message), None)));
        let leads = member.driver.is_leader().then(|| member.driver.term());
        let record = ended.is_ok().then(|| member.record().clone());
        if let Some(term) = leads
            && self.oracle.leads(term, id)?
        {
            self.count("a leader");
        }
        if let Some(record) = record {
            self.oracle.stands(id, &record)?;
        }
        if is_told {
            self.count("a notice");
        }
        if ended.is_err() {
            // A reader looks at the disk, and by now that may hold what nobody was told.
            effects.retain(|effect| !matches!(effect, Effect::Readable(..)));
        }
        self.perform(id, effects)?;
        match ended {
            Ok(()) => Ok(()),
            Err(fatal) => self.end(id, &fatal),
        }
    }

    /// A member has ended by itself.
    fn end(&mut self, id: u64, fatal: &Fatal) -> Result<(), String> {
        let was_rolled_back = self.nodes[&id].was_rolled_back;
        match &*fatal.0 {
            POWER_CUT => {
                self.count("a power cut in a write");
                self.stop(id);
                let delay = self.dice.within(10..5_000);
                self.after(delay, Event::Start(id));
                Ok(())
            }
            _ if was_rolled_back => {
                self.stop(id);
                self.nodes.get_mut(&id).expect("it is known").is_gone = true;
                Ok(())
            }
            what => Err(format!("member {id} gave up: {what}")),
        }
    }

    fn stop(&mut self, id: u64) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.member = None;
        }
    }

    fn perform(&mut self, id: u64, effects: Vec<Effect>) -> Result<(), String> {
        let mut is_told = true;
        for effect in effects {
            match effect {
                Effect::Send(message, image) => self.send(id, message, image),
                Effect::Recorded(recorded, _) => {
                    is_told &= recorded.is_empty();
                    self.oracle.recorded(id, recorded, self.now)?;
                }
                Effect::Told => is_told = true,
                Effect::Restored(head) => {
                    self.count("a snapshot");
                    self.oracle.restored(id, head)?;
                }
                Effect::Answered(number, Ok(done)) => {
                    if self.probe == Some(number) {
                        self.is_probe_done = true;
                    }
                    match self.oracle.wanted(number) {
                        Wanted::Grant(..) => self.count("a lease granted"),
                        Wanted::Revoke(_) => self.count("a lease revoked"),
                        _ => {}
                    }
                    self.oracle.done(number, done)?;
                }
                Effect::Answered(_, Err(Error::Unknown(_))) => {}
                Effect::Answered(number, Err(_)) => self.oracle.refused(number),
                Effect::Readable(number, answer) => match (self.oracle.wanted(number).clone(), answer) {
                    (Wanted::Renew(lease), Ok(ttl)) => {
                        self.count("a lease kept alive");
                        self.oracle.renewed(number, lease, ttl)?;
                    }
                    (Wanted::Renew(lease), Err(Error::NoLease(_))) => self.oracle.denied(number, lease, self.now)?,
                    (_, Ok(_)) => self.read(id, number)?,
                    (_, Err(_)) => self.oracle.refused(number),
                },
                Effect::Changed(_) => {}
                Effect::Removed => self.count("a member gone"),
            }
        }
        if is_told { Ok(()) } else { Err(format!("member {id} woke nobody who waits for what it recorded")) }
    }

    fn read(&mut self, id: u64, number: u64) -> Result<(), String> {
        let everything = Range::newest(KeyRange::prefix(""));
        let read = self.nodes[&id].disk.with(|view| {
            let record = view.record()?.expect("a member has one");
            state::read(view, record.head(), &everything)
        });
        let ranged = read.map_err(state::Failure::cause)?;
        self.count("a read");
        self.oracle.read(number, ranged.revision, ranged.items)
    }

    fn send(&mut self, from: u64, message: Box<Message>, image: Option<<Platter as Medium>::Image>) {
        if !self.is_healed && self.dice.per_mille(self.options.loss) {
            self.count("a message lost");
            if message.msg_type() == MessageType::MsgSnapshot {
                self.report(from, message.to, false);
            }
            return;
        }
        let delay_max = if self.is_healed { 20 } else { self.options.delay_max };
        // The network carries a proposal once or not at all, as a connection does; for all else it makes no such
        // promise.
        let is_once = message.msg_type() == MessageType::MsgPropose;
        if !self.is_healed && !is_once && self.dice.per_mille(self.options.duplicates) {
            self.count("a message twice");
            let delay = self.dice.within(1..delay_max * 2);
            self.after(delay, Event::Deliver { from, message: message.clone(), image: image.clone() });
        }
        if message.msg_type() == MessageType::MsgSnapshot {
            self.report(from, message.to, true);
        }
        let delay = self.dice.within(1..delay_max);
        self.after(delay, Event::Deliver { from, message, image });
    }

    fn report(&mut self, from: u64, to: u64, is_sent: bool) {
        if let Some(member) = self.nodes.get_mut(&from).and_then(|node| node.member.as_mut()) {
            member.driver.report_snapshot(to, is_sent);
        }
    }

    // --- clients ---

    fn up(&self) -> Vec<u64> {
        let is_up = |node: &Node| node.member.is_some() && self.now >= node.paused_until;
        self.nodes.iter().filter(|(_, node)| is_up(node)).map(|(id, _)| *id).collect()
    }

    fn leader(&self) -> Option<u64> {
        self.leaders().into_iter().max_by_key(|id| self.term(*id))
    }

    /// Those that take themselves for the leader.
    fn leaders(&self) -> Vec<u64> {
        let leads = |id: &u64| self.nodes[id].member.as_ref().is_some_and(|member| member.driver.is_leader());
        self.up().into_iter().filter(leads).collect()
    }

    fn term(&self, id: u64) -> Option<u64> {
        self.nodes[&id].member.as_ref().map(|member| member.driver.term())
    }

    fn operate(&mut self) -> Result<(), String> {
        let delay = self.dice.within(1..self.options.operation_every * 2);
        if !self.is_healed {
            self.after(delay, Event::Operate);
        }
        let up = self.up();
        let Some(id) = self.dice.one(&up).copied() else { return Ok(()) };
        for _ in 0..=self.dice.below(3) {
            self.operations += 1;
            let key = Bytes::from_static(self.dice.one(&KEYS).expect("there are some").as_bytes());
            let leases = self.oracle.leases();
            let lease = self.dice.one(&leases).copied();
            let wanted = match (self.dice.below(32), lease) {
                (0..8, _) => Wanted::Put(vec![key]),
                (8..10, _) => Wanted::Put(vec!["x".into(), key]),
                (10..12, _) => Wanted::Swap(key.clone(), self.oracle.last_change(&key)),
                (12..14, _) => Wanted::Delete(key),
                (14, _) => Wanted::Grant(self.operations.cast_signed(), self.dice.within(1..6)),
                (15..19, Some(lease)) => Wanted::Attach(key, lease),
                (19..24, Some(lease)) => Wanted::Renew(lease),
                (24, Some(lease)) if self.dice.per_mille(300) => Wanted::Revoke(lease),
                _ => Wanted::Read,
            };
            // Leaders alone answer that, and one that leads no more without knowing it must not.
            let former = || self.leaders().into_iter().min_by_key(|id| self.term(*id));
            let asked = if matches!(wanted, Wanted::Renew(_)) { former().unwrap_or(id) } else { id };
            self.ask(asked, self.operations, wanted)?;
            if asked != id {
                self.flush(asked)?;
            }
        }
        self.flush(id)
    }

    fn ask(&mut self, id: u64, number: u64, wanted: Wanted) -> Result<(), String> {
        self.oracle.asked(number, wanted.clone(), self.now);
        let Some(member) = self.nodes.get_mut(&id).and_then(|node| node.member.as_mut()) else { return Ok(()) };
        let mut effects = Vec::new();
        let mut out = |effect| effects.push(effect);
        let put = |key: Bytes, lease: i64| {
            Op::Put(Put { key, value: Some(value(number)), lease: Some(lease), previous: true })
        };
        let command = match wanted {
            Wanted::Read => {
                member.read(Ask::Point, number, &mut out);
                None
            }
            Wanted::Renew(lease) => {
                member.read(Ask::Renew(lease), number, &mut out);
                None
            }
            Wanted::Conf => None,
            Wanted::Put(keys) => {
                Some(Command::Txn(Txn { success: keys.into_iter().map(|key| put(key, 0)).collect(), ..Txn::default() }))
            }
            Wanted::Attach(key, lease) => Some(Command::Txn(Txn { success: vec![put(key, lease)], ..Txn::default() })),
            Wanted::Swap(key, revision) => {
                let look = Op::Range(Range::newest(KeyRange::key(key.clone())));
                Some(Command::Txn(Txn {
                    compares: vec![Compare::unchanged(key.clone(), revision)],
                    success: vec![put(key, 0)],
                    failure: vec![look],
                }))
            }
            Wanted::Delete(key) => {
                let delete = Op::Delete(Delete { keys: KeyRange::key(key), previous: true });
                Some(Command::Txn(Txn { success: vec![delete], ..Txn::default() }))
            }
            Wanted::Grant(id, ttl) => Some(Command::Grant { id, ttl }),
            Wanted::Revoke(lease) => Some(Command::Revoke(lease)),
        };
        if let Some(command) = command {
            member.propose(command, number, &mut out);
        }
        self.perform(id, effects)
    }

    fn compact(&mut self) -> Result<(), String> {
        let delay = self.dice.within(1..self.options.compact_every * 2);
        self.after(delay, Event::Compact);
        let Some(id) = self.leader() else { return Ok(()) };
        let revision = self.oracle.newest().saturating_sub(self.dice.below(20));
        self.count("a compaction");
        let sweeps = self.up();
        let member = self.nodes.get_mut(&id).and_then(|node| node.member.as_mut()).expect("it is up");
        member.compact(revision);
        member.check();
        self.flush(id)?;
        for id in sweeps {
            let Some(member) = self.nodes.get_mut(&id).and_then(|node| node.member.as_mut()) else { continue };
            if let Err(fatal) = member.sweep() {
                self.end(id, &fatal)?;
            }
        }
        Ok(())
    }

    // --- membership ---

    fn change(&mut self) -> Result<(), String> {
        if self.is_healed {
            return Ok(());
        }
        let every = self.options.conf_every.min(4_000);
        let delay = self.dice.within(1..every * 2);
        self.after(delay, Event::Change);
        let Some(leader) = self.leader() else { return Ok(()) };
        let Some(changes) = self.draw_change(leader)? else { return Ok(()) };
        self.operations += 1;
        let number = self.operations;
        self.oracle.asked(number, Wanted::Conf, self.now);
        let Some(member) = self.nodes.get_mut(&leader).and_then(|node| node.member.as_mut()) else { return Ok(()) };
        let change = ConfChangeV2 { changes, ..ConfChangeV2::default() };
        let mut effects = Vec::new();
        member.propose_conf(change, number, &mut |effect| effects.push(effect));
        self.perform(leader, effects)?;
        if self.dice.per_mille(300) {
            self.count("a write beside a change of members");
            self.operations += 1;
            let key = self.dice.one(&KEYS).expect("there are some");
            self.ask(leader, self.operations, Wanted::Put(vec![Bytes::from_static(key.as_bytes())]))?;
        }
        self.flush(leader)
    }

    fn draw_change(&mut self, leader: u64) -> Result<Option<Vec<ConfChangeSingle>>, String> {
        let driver = &self.nodes[&leader].member.as_ref().expect("it is up").driver;
        let conf = driver.conf();
        let is_dead = |id: &&u64| self.nodes[*id].was_rolled_back;
        if let Some(dead) = conf.voters.iter().find(is_dead).copied() {
            self.count("a member removed");
            return Ok(Some(vec![single(ConfChangeType::RemoveNode, dead)]));
        }
        if self.options.conf_every == u64::MAX {
            return Ok(None);
        }
        let ready: Vec<u64> = conf.learners.iter().copied().filter(|id| driver.may_promote(*id, BEHIND_MAX)).collect();
        let removable: Vec<u64> =
            conf.voters.iter().chain(&conf.learners).copied().filter(|id| *id != leader).collect();
        let removable = match conf.voters.len() {
            0..=1 => conf.learners.clone(),
            _ => removable,
        };
        match self.dice.below(4) {
            0 if self.nodes.len() < 3 * MEMBERS_MAX && conf.voters.len() + conf.learners.len() < MEMBERS_MAX => {
                let id = self.nodes.last_key_value().map_or(1, |(id, _)| id + 1);
                self.count("a learner added");
                self.add_node(id, &Record::joining(id.to_string()))?;
                Ok(Some(vec![single(ConfChangeType::AddLearnerNode, id)]))
            }
            1 => Ok(self.dice.one(&removable).copied().map(|id| {
                self.count("a member removed");
                vec![single(ConfChangeType::RemoveNode, id)]
            })),
            2 if conf.voters.len() > 1 => Ok(self.dice.one(&ready).copied().and_then(|id| {
                let other = self.dice.one(&removable).copied()?;
                self.count("a member replaced");
                Some(vec![single(ConfChangeType::AddNode, id), single(ConfChangeType::RemoveNode, other)])
            })),
            _ => Ok(self.dice.one(&ready).copied().map(|id| {
                self.count("a learner promoted");
                vec![single(ConfChangeType::AddNode, id)]
            })),
        }
    }

    // --- faults ---

    fn fail(&mut self) -> Result<(), String> {
        if self.is_healed {
            return Ok(());
        }
        let delay = self.dice.within(1..self.options.fault_every * 2);
        self.after(delay, Event::Fault);
        let all: Vec<u64> = self.nodes.iter().filter(|(_, node)| !node.is_gone).map(|(id, _)| *id).collect();
        let Some(id) = self.dice.one(&all).copied() else { return Ok(()) };
        match self.dice.below(9) {
            0 => {
                self.count("a power cut");
                self.stop(id);
                let delay = self.dice.within(10..5_000);
                self.after(delay, Event::Start(id));
            }
            1 | 2 => {
                let id = if self.dice.per_mille(500) { self.leader().unwrap_or(id) } else { id };
                self.nodes[&id].disk.cut_power_soon(&mut self.dice);
            }
            3 => {
                self.count("a pause");
                let until = self.now + self.dice.within(50..5_000);
                self.nodes.get_mut(&id).expect("it is known").paused_until = until;
            }
            4 => {
                self.count("a partition");
                let side: Vec<u64> = all.iter().copied().filter(|_| self.dice.per_mille(500)).collect();
                let crosses = |(from, to): &(u64, u64)| side.contains(from) != side.contains(to);
                self.cut_links(pairs(&all).filter(crosses).collect());
            }
            5 => {
                self.count("a one-way partition");
                self.cut_links(pairs(&all).filter(|(from, _)| *from == id).collect());
            }
            6 => {
                self.count("a broken link");
                let other = self.dice.one(&all).copied().unwrap_or(id);
                self.cut_links(vec![(id, other), (other, id)]);
            }
            7 => {
                if let Some(member) = self.leader().and_then(|id| self.nodes.get_mut(&id)?.member.as_mut()) {
                    member.driver.transfer(id);
                    self.count("a leader asked to step down");
                }
            }
            _ => self.roll_back(id),
        }
        Ok(())
    }

    fn cut_links(&mut self, links: Vec<(u64, u64)>) {
        self.cut.extend(&links);
        let delay = self.dice.within(100..8_000);
        self.after(delay, Event::Mend(links));
    }

    /// One disk of a group goes back in time, where the others are enough without it.
    fn roll_back(&mut self, id: u64) {
        let has_lost_one = self.nodes.values().any(|node| node.was_rolled_back);
        if !self.options.rollbacks || self.options.voters < 3 || has_lost_one || self.options.conf_every != u64::MAX {
            return;
        }
        let node = self.nodes.get_mut(&id).expect("it is known");
        if !node.disk.roll_back(&mut self.dice) {
            return;
        }
        (node.was_rolled_back, node.member) = (true, None);
        self.count("a disk rolled back");
        let delay = self.dice.within(10..5_000);
        self.after(delay, Event::Start(id));
    }

    fn heal(&mut self) -> Result<(), String> {
        self.is_healed = true;
        self.cut.clear();
        let ids: Vec<u64> = self.nodes.keys().copied().collect();
        for id in ids {
            self.nodes.get_mut(&id).expect("it is known").paused_until = self.now;
            self.start(id)?;
        }
        self.probe()
    }

    fn probe(&mut self) -> Result<(), String> {
        if self.is_probe_done {
            return Ok(());
        }
        self.after(500, Event::Probe);
        let up = self.members();
        let Some(id) = self.dice.one(&up).copied() else { return Ok(()) };
        self.operations += 1;
        self.probe = Some(self.operations);
        self.ask(id, self.operations, Wanted::Put(vec!["probe".into()]))?;
        self.flush(id)
    }

    /// Those who take part, as the leader sees it, and can.
    fn members(&self) -> Vec<u64> {
        let Some(leader) = self.leader() else { return Vec::new() };
        let conf = self.nodes[&leader].member.as_ref().expect("it is up").driver.conf();
        let all = conf.voters.iter().chain(&conf.voters_outgoing).chain(&conf.learners).copied();
        all.filter(|id| self.nodes.get(id).is_some_and(|node| !node.is_gone)).collect()
    }

    fn is_converged(&self) -> bool {
        let members = self.members();
        let mut states = members.iter().map(|id| {
            let member = self.nodes[id].member.as_ref()?;
            let record = member.record();
            Some((record.applied, record.digest, member.driver.last()))
        });
        let Some(Some(first)) = states.next() else { return false };
        first.0 == first.2 && states.all(|state| state == Some(first))
    }

    fn describe(&self) -> String {
        let describe = |(id, node): (&u64, &Node)| match &node.member {
            None => format!("{id}: down{}", if node.is_gone { " for good" } else { "" }),
            Some(member) => {
                let (record, driver) = (member.record(), &member.driver);
                format!(
                    "{id}: term {} leader {:?} log {}..={} applied {} revision {} conf {:?}",
                    driver.term(),
                    driver.leader(),
                    driver.log_begins_after().index,
                    driver.last(),
                    record.applied,
                    record.revision,
                    driver.conf(),
                )
            }
        };
        let probed = if self.is_probe_done { "writes work" } else { "no write was settled" };
        format!("{probed}\n{}", self.nodes.iter().map(describe).collect::<Vec<_>>().join("\n"))
    }
}

/// Of a clock that runs fast.
fn shortest_tick(drift: u64) -> u64 {
    TICK * (1000 - drift) / 1000
}

fn single(kind: ConfChangeType, node_id: u64) -> ConfChangeSingle {
    let mut change = ConfChangeSingle { node_id, ..ConfChangeSingle::default() };
    change.set_change_type(kind);
    change
}

fn pairs(ids: &[u64]) -> impl Iterator<Item = (u64, u64)> {
    ids.iter().flat_map(|from| ids.iter().map(move |to| (*from, *to)))
}
