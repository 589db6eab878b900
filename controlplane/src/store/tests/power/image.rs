//! A folder as a power cut left it: what a store makes of it, held against what was promised.

use super::super::contract::{everything, put, write};
use super::super::group::Post;
use super::strace::Call;
use super::work::{self, BUMP, Work};
use crate::store::command::Command;
use crate::store::kv::{Kv as _, Op, Range, Txn};
use crate::store::medium::Medium as _;
use crate::store::{Config, Join, OpenError, Store, open};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Writes of the cluster that the snapshot is of.
const BEFORE_SNAPSHOT: u64 = 7;

/// What others have heard up to some point.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// The last write that was acknowledged, and the last that was asked for.
    acknowledged: u64,
    begun: u64,
    is_restored: bool,
    /// Cluster and member, once there is one.
    opened: Option<(u64, u64)>,
    /// Members that were asked to join, and those that vote besides the first.
    joining: Vec<u64>,
    voters: Vec<u64>,
}

pub(super) struct Image {
    pub(super) work: Work,
    pub(super) root: PathBuf,
    pub(super) seen: Seen,
    pub(super) said: String,
}

// === impl Seen ===

impl Seen {
    /// Before a process has looked at what is there, which may be anything.
    pub(super) fn of_a_folder() -> Seen {
        Seen { begun: u64::MAX, ..Seen::default() }
    }

    /// Takes what a process prints; true if that is something.
    pub(super) fn hear(&mut self, call: &Call) -> bool {
        if call.name != "write" || call.arguments[0] != "1" {
            return false;
        }
        let said = String::from_utf8(call.bytes(1)).unwrap_or_default();
        let mut words = said.split_whitespace();
        let first = words.next().unwrap_or_default().to_owned();
        let mut number = || words.next().and_then(|word| word.parse::<u64>().ok()).expect("a number");
        match first.as_str() {
            "acknowledged" => {
                self.acknowledged = number();
                self.begun = if self.begun == u64::MAX { self.acknowledged } else { self.begun };
            }
            "begun" => self.begun = number(),
            "opened" => self.opened = Some((number(), number())),
            "restored" => self.is_restored = true,
            "joining" => self.joining.push(number()),
            "voters" => self.voters.push(number()),
            _ => return false,
        }
        true
    }
}

// === impl Image ===

impl Image {
    /// The error says what was promised and is not there. What is right is removed.
    pub(super) async fn check(&self) -> Result<(), String> {
        let checked = match self.work {
            Work::Members => self.check_members().await,
            _ => self.check_sole().await,
        };
        checked.map_err(|what| format!("{}, {}: {what} ({:?})", self.root.display(), self.said, self.seen))?;
        std::fs::remove_dir_all(&self.root).map_err(|error| error.to_string())
    }

    /// The revision of write `number`.
    fn revision(&self, number: u64) -> u64 {
        number + if self.work == Work::Restore { 1 + BEFORE_SNAPSHOT + BUMP } else { 1 }
    }

    async fn check_sole(&self) -> Result<(), String> {
        let folder = work::folder(&self.root);
        let store = match Store::open(self.work.config(&folder)) {
            Ok(store) => store,
            // Whoever restores was not told yet that it is done.
            Err(OpenError::Amnesia { .. }) if self.work == Work::Restore && !self.seen.is_restored => return Ok(()),
            Err(error) => return Err(format!("it does not open: {error}")),
        };
        if self.seen.opened.is_some_and(|known| known != (store.cluster_id(), store.member_id())) {
            return Err("it is another member".into());
        }
        let is_promised = self.work != Work::Restore || self.seen.is_restored;
        let last = work::last(&store).await;
        if is_promised {
            self.check_data(&store, last).await?;
        }
        let revision = store.revision();
        let done = store.txn(self.work.txn(last + 1)).await.map_err(|error| format!("it takes nothing: {error}"))?;
        if done.revision != revision + 1 {
            return Err(format!("revision {} after {revision}", done.revision));
        }
        store.close().await;
        Ok(())
    }

    /// Each key as it was after the last write, and the revisions of that.
    async fn check_data(&self, store: &Store, last: u64) -> Result<(), String> {
        let Seen { acknowledged, begun, .. } = self.seen;
        if last < acknowledged || last > begun.max(acknowledged) {
            return Err(format!("write {last} is the last one"));
        }
        if store.revision() != self.revision(last) {
            return Err(format!("revision {} after write {last}", store.revision()));
        }
        let found = store.range(Range::newest(everything())).await.map_err(|error| error.to_string())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let found: BTreeMap<_, _> =
            found.items.iter().map(|kv| (text(&kv.key), (text(&kv.value), kv.mod_revision))).collect();
        let mut wanted = self.work.expected(last);
        if self.work == Work::Restore {
            wanted.insert("old".to_owned(), (BEFORE_SNAPSHOT.to_string(), 0));
        }
        for (key, (value, number)) in &wanted {
            let revision = if key == "old" { 1 + BEFORE_SNAPSHOT } else { self.revision(*number) };
            match found.get(key) {
                Some((found, at)) if found == value && *at == revision => {}
                Some((_, at)) => return Err(format!("{key:?} is of revision {at}, not {revision}")),
                None => return Err(format!("{key:?} of write {number} is not there")),
            }
        }
        match found.keys().find(|key| !wanted.contains_key(*key)) {
            Some(key) => Err(format!("{key:?} was deleted and is there")),
            None => Ok(()),
        }
    }

    /// Whichever majority meets again, the member that it will elect has what was acknowledged.
    async fn check_members(&self) -> Result<(), String> {
        let Some((cluster, first)) = self.seen.opened else { return Ok(()) };
        let mut ends = vec![self.end(&self.root.join("1"), None)?];
        for id in &self.seen.joining {
            let join = Join { cluster, member: *id };
            ends.push(self.end(&self.root.join(id.to_string()), Some(join))?);
        }
        let voters = 1 + self.seen.voters.len();
        let majorities = (1_u32..1 << voters).filter(|some| some.count_ones() as usize > voters / 2);
        for majority in majorities {
            let ends = ends.iter().enumerate().filter(|(member, _)| majority & 1 << member != 0);
            let (log, last) = ends.map(|(_, end)| *end).max().expect("somebody");
            if last < self.seen.acknowledged {
                return Err(format!(
                    "members {majority:b} have write {last} as their last one, in a log up to {log:?}"
                ));
            }
        }
        if voters == 3 && self.seen.acknowledged.is_multiple_of(9) {
            self.check_election(cluster, first).await?;
        }
        Ok(())
    }

    /// Where the log of a member ends, by term and index, and the number of the last write in its data and log.
    fn end(&self, folder: &Path, join: Option<Join>) -> Result<((u64, u64), u64), String> {
        let config = Config { join, ..self.work.config(folder) };
        let opened = open::open(&config).map_err(|error| format!("{} does not open: {error}", folder.display()))?;
        let last = opened.disk.range(&Range::newest(crate::store::kv::KeyRange::key(work::LAST)));
        let last = last.map_err(|error| error.to_string())?.items.first().map_or(0, |kv| parse(&kv.value));
        let entries = opened.disk.with(|view| view.entries(opened.record.applied + 1));
        let entries = entries.map_err(|failure| failure.cause())?;
        let end = entries.last().map(|entry| (entry.term, entry.index));
        let mut logged = last;
        for entry in &entries {
            let command = Command::decode(bytes::Bytes::copy_from_slice(&entry.data));
            if let Ok(Command::Txn(Txn { success, .. })) = command
                && let Some(Op::Put(put)) = success.first()
            {
                logged = logged.max(put.value.as_ref().map_or(0, |value| parse(value)));
            }
        }
        let record = &opened.record;
        let end = end.unwrap_or((record.before_term.max(record.term), record.applied));
        Ok((end, logged))
    }

    /// They really meet: one leads, and all that was acknowledged is read from each.
    async fn check_election(&self, cluster: u64, first: u64) -> Result<(), String> {
        let post = Post::default();
        let mut stores = vec![post.open(&self.root.join("1"), None, first)];
        for id in [2, 3] {
            let join = Join { cluster, member: id };
            stores.push(post.open(&self.root.join(id.to_string()), Some(join), id));
        }
        super::super::group::until(&stores[0], |known| known.leader.is_some()).await;
        write(&stores[0], vec![put("after", "1")]).await;
        for store in &stores {
            let last = work::last(store).await;
            if last < self.seen.acknowledged {
                return Err(format!("after an election, write {last} is the last one"));
            }
        }
        post.close();
        Ok(())
    }
}

fn parse(value: &[u8]) -> u64 {
    std::str::from_utf8(value).unwrap().parse().unwrap()
}

/// A snapshot with one key.
pub(super) fn write_snapshot(to: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Store::open(Config::new(folder.path())).unwrap();
        for number in 1..=BEFORE_SNAPSHOT {
            write(&store, vec![put("old", &number.to_string())]).await;
        }
        let snapshot = store.take_snapshot(&BTreeMap::new()).unwrap();
        snapshot.write(std::fs::File::create_new(to).unwrap()).unwrap();
        store.close().await;
    });
}
