//! What is written while the recorder looks on, by a process of its own, and what therefore has to be there.
//!
//! Write `n` is drawn from `n` alone, so whoever knows the last one knows every key and every revision.

use super::super::contract::{a_put, delete, one};
use super::super::group::{Post, member, promote};
use crate::store::archive;
use crate::store::group::MemberChange;
use crate::store::kv::{KeyRange, Kv as _, Op, Txn};
use crate::store::{Config, Join, Store};
use futures::future::join_all;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// The key that holds the number of the last write.
pub(super) const LAST: &str = "last";
const KEYS: u64 = 40;
/// Writes that are asked for before the first of them is answered.
const BURST: u64 = 5;
/// Larger than one in a hundred of a write buffer.
const LARGE_BYTES: usize = 100_000;
/// Added to the revision of a snapshot that is restored.
pub(super) const BUMP: u64 = 1_000;

/// How a process uses its store; each is recorded by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    /// A sole member, which leaves no log.
    Sole,
    /// As one of several members writes.
    Log,
    /// Enough for several write buffers and files.
    Large,
    /// Three members in one process; two of them join.
    Members,
    /// A snapshot becomes a new cluster.
    Restore,
    /// Each process begins with what a power cut left of the one before.
    Recovery,
}

impl Work {
    pub(super) const ALL: [Work; 6] =
        [Work::Sole, Work::Log, Work::Large, Work::Members, Work::Restore, Work::Recovery];

    pub(super) fn named(name: &str) -> Option<Work> {
        Work::ALL.into_iter().find(|work| format!("{work:?}") == name)
    }

    /// Large values make large images.
    pub(super) fn value_bytes(self) -> usize {
        match self {
            Work::Large => LARGE_BYTES,
            _ => 300,
        }
    }

    /// How many processes write one after the other; all but the last end without a close, in the middle of a write.
    pub(super) fn lives(self) -> u64 {
        match self {
            Work::Sole | Work::Log | Work::Recovery => 3,
            Work::Large | Work::Restore => 2,
            Work::Members => 1,
        }
    }

    /// The files that change their names, as a sign that what the work is about has happened: a log that is written over,
    /// an image that is installed or made or restored, a segment of the journal that is used again.
    pub(super) fn renames(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Work::Sole => &[("identity.new", "identity"), ("image-0.tmp", "image-0")],
            Work::Log | Work::Recovery => &[("promise.new", "promise")],
            Work::Large => &[
                ("journal-0000000000000001", "spare-0000000000000001"),
                ("spare-0000000000000001", "db/journal-0000000000000003"),
            ],
            Work::Members => &[("2/image-0", "2/db-1"), ("3/image-0", "3/db-1")],
            Work::Restore => &[("image-restored", "store/db")],
        }
    }

    /// Does the store keep a log although it has one member?
    pub(super) fn config(self, folder: &Path) -> Config {
        // A short past, so that it is compacted and swept while the recorder looks on.
        let window = Duration::from_millis(if self == Work::Sole { 300 } else { 300_000 });
        Config { keeps_log: matches!(self, Work::Log | Work::Members | Work::Recovery), window, ..Config::new(folder) }
    }

    /// Does the work of one life under a folder; what is promised to others is printed.
    pub(super) async fn run(self, root: &Path) {
        if self == Work::Members {
            return members(root).await;
        }
        let folder = folder(root);
        if self == Work::Restore && !folder.exists() {
            archive::restore(&snapshot(root), &folder, BUMP).unwrap();
            println!("restored");
        }
        let store = Store::open(self.config(&folder)).unwrap();
        println!("opened {} {}", store.cluster_id(), store.member_id());
        let found = last(&store).await;
        // Whoever was shown it relies on it, also if it was never acknowledged.
        println!("acknowledged {found}");
        let rounds = if self == Work::Large { 24 } else { 8 };
        for round in 0..rounds {
            let from = found + 1 + round * 2 * BURST;
            for number in from..from + BURST {
                self.write(&store, number..=number).await;
            }
            self.write(&store, from + BURST..=from + 2 * BURST - 1).await;
            match (self, round) {
                (Work::Sole | Work::Log | Work::Recovery, 2) => store.defragment().await.unwrap(),
                (Work::Sole | Work::Log, 4) => store.compact(store.revision() - 5).await.unwrap(),
                (Work::Large, 12) => give_back(&store).await,
                (Work::Sole, 6) => drop(store.take_snapshot(&BTreeMap::new()).unwrap().write(std::io::sink()).unwrap()),
                _ => {}
            }
        }
        if found > 0 && self != Work::Sole {
            store.close().await;
            return;
        }
        // In the middle of a write, as a process is killed.
        let end = found + rounds * 2 * BURST;
        println!("begun {}", end + BURST);
        let writes = (end + 1..=end + BURST).map(|number| store.txn(self.txn(number)));
        tokio::select! {
            biased;
            _ = join_all(writes) => {}
            () = tokio::task::yield_now() => {}
        }
        std::process::exit(0);
    }

    async fn write(self, store: &Store, numbers: std::ops::RangeInclusive<u64>) {
        println!("begun {}", numbers.end());
        // They are asked for in order, so they come to stand in it.
        let done = join_all(numbers.clone().map(|number| store.txn(self.txn(number)))).await;
        for (number, done) in numbers.zip(done) {
            done.unwrap();
            println!("acknowledged {number}");
        }
    }

    /// Three keys at once, at most: a transaction is there as a whole.
    pub(super) fn txn(self, number: u64) -> Txn {
        let mut ops =
            vec![Op::Put(a_put(LAST, &number.to_string())), Op::Put(a_put(&key(number), &self.value(number)))];
        if number.is_multiple_of(3) {
            ops.push(delete(KeyRange::key(key(number + 1))));
        }
        Txn { success: ops, ..Txn::default() }
    }

    fn value(self, number: u64) -> String {
        let mut value = format!("{number} ");
        // Text that hardly repeats itself, so that tables are as large as what was written.
        let mut drawn = number;
        while value.len() < self.value_bytes() {
            drawn = drawn.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) ^ number;
            value.push_str(&format!("{drawn:x}"));
        }
        value
    }

    /// All keys after write `last`, with the number of the write that each is from.
    pub(super) fn expected(self, last: u64) -> BTreeMap<String, (String, u64)> {
        let mut expected = BTreeMap::new();
        for number in last.saturating_sub(4 * KEYS).max(1)..=last {
            expected.insert(LAST.to_owned(), (number.to_string(), number));
            expected.insert(key(number), (self.value(number), number));
            if number.is_multiple_of(3) {
                expected.remove(&key(number + 1));
            }
        }
        expected
    }
}

/// Most of what is there goes, so that files are free to be written over.
async fn give_back(store: &Store) {
    let revision = store.revision();
    store.compact(revision).await.unwrap();
    store.swept(revision).await.unwrap();
    store.defragment().await.unwrap();
}

/// Two levels that are not there at first: their names have to last as well.
pub(super) fn folder(root: &Path) -> std::path::PathBuf {
    root.join("data/store")
}

pub(super) fn snapshot(root: &Path) -> std::path::PathBuf {
    root.join("snapshot")
}

fn key(number: u64) -> String {
    format!("k{}", number.wrapping_mul(7) % KEYS)
}

/// The number of the last write.
pub(super) async fn last(store: &Store) -> u64 {
    let found = one(store, LAST).await;
    found.map_or(0, |kv| std::str::from_utf8(&kv.value).unwrap().parse().unwrap())
}

/// One member, then two, then three; each of the new ones begins with an image of the first one's data.
async fn members(root: &Path) {
    let post = Post::default();
    let first = post.open(&root.join("1"), None, 0);
    println!("opened {} {}", first.cluster_id(), first.member_id());
    let mut number = 0;
    let mut write = async |store: &Store| {
        for burst in [1, 1, 1, BURST, 1, BURST] {
            Work::Members.write(store, number + 1..=number + burst).await;
            number += burst;
        }
    };
    write(&first).await;
    for id in [2, 3] {
        first.change_members(MemberChange::Add(member(id, ""))).await.unwrap();
        let join = Join { cluster: first.cluster_id(), member: id };
        println!("joining {id}");
        let _other = post.open(&root.join(id.to_string()), Some(join), id);
        write(&first).await;
        promote(&first, id).await;
        println!("voters {id}");
        write(&first).await;
    }
    std::process::exit(0);
}
