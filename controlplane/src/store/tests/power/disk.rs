//! A file system as a power cut would leave it: what is sure to be there, and what may or may not be.
//!
//! The content of a file is durable when the file was synced, and a name when its folder was. Until then each block of
//! a write may be there or not, and so may the last changes of the names in a folder. These come in order, as in the
//! journals of file systems: RocksDB relies on it when it puts a new manifest into use.

use super::strace::{Call, Event};
use rand::Rng;
use rand::rngs::SmallRng;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

/// A file or folder, by its place among all that ever were.
type Inode = usize;

const ROOT: Inode = 0;

/// A promise of the kernel that the disk is to break, so that the tests are seen to notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lie {
    /// Syncing files whose names end like this does nothing.
    File(&'static str),
    Folders,
}

/// How much of what was not synced is there after a cut.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kept {
    Nothing,
    Everything,
    /// What came first.
    Beginning(f64),
    /// Each block with this chance, and each change of a name with that and all before it.
    Some(f64),
}

#[derive(Debug, Clone, Default)]
struct Node {
    content: Content,
    /// As it was opened last.
    name: String,
}

#[derive(Debug, Clone)]
enum Content {
    /// What is durable, and what was asked for since.
    File { bytes: Vec<u8>, pending: Vec<(u64, Change)>, len: u64 },
    /// The names that are durable, and those that a process sees.
    Folder { durable: BTreeMap<String, Inode>, seen: BTreeMap<String, Inode> },
}

#[derive(Debug, Clone)]
enum Change {
    Write { at: u64, bytes: Vec<u8> },
    Length(u64),
}

/// A change of names that is there as a whole or not at all.
#[derive(Debug, Clone)]
struct Naming {
    time: u64,
    changes: Vec<(Inode, String, Option<Inode>)>,
    moves: Option<Inode>,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    inode: Inode,
    at: u64,
    appends: bool,
}

pub(super) struct Disk {
    root: PathBuf,
    nodes: Vec<Node>,
    namings: Vec<Naming>,
    open: HashMap<i64, Open>,
    /// Syncs under way, and the time up to which they cover what was asked for.
    syncing: HashMap<usize, (Inode, u64)>,
    time: u64,
    lie: Option<Lie>,
}

// === impl Content ===

impl Default for Content {
    fn default() -> Content {
        Content::File { bytes: Vec::new(), pending: Vec::new(), len: 0 }
    }
}

impl Content {
    fn folder() -> Content {
        Content::Folder { durable: BTreeMap::new(), seen: BTreeMap::new() }
    }
}

// === impl Disk ===

impl Disk {
    /// What is under a path, as a copy of it is now; all of it durable.
    pub(super) fn of(root: &Path, copy: &Path, lie: Option<Lie>) -> Disk {
        let mut disk = Disk::new(root, lie);
        disk.load(copy);
        disk
    }

    pub(super) fn new(root: &Path, lie: Option<Lie>) -> Disk {
        Disk {
            root: root.into(),
            nodes: Vec::new(),
            namings: Vec::new(),
            open: HashMap::new(),
            syncing: HashMap::new(),
            time: 0,
            lie,
        }
    }

    fn load(&mut self, path: &Path) -> Inode {
        let inode = self.add(Content::folder());
        let mut names = BTreeMap::new();
        for entry in fs::read_dir(path).unwrap() {
            let entry = entry.unwrap();
            let child = match entry.file_type().unwrap().is_dir() {
                true => self.load(&entry.path()),
                false => {
                    let bytes = fs::read(entry.path()).unwrap();
                    let len = bytes.len() as u64;
                    self.add(Content::File { bytes, pending: Vec::new(), len })
                }
            };
            names.insert(entry.file_name().into_string().unwrap(), child);
        }
        self.nodes[inode].content = Content::Folder { durable: names.clone(), seen: names };
        inode
    }

    fn add(&mut self, content: Content) -> Inode {
        self.nodes.push(Node { content, name: String::new() });
        self.nodes.len() - 1
    }

    /// Another process begins, and the one before has ended: what it had written is as safe as before.
    pub(super) fn next_process(&mut self) {
        self.open.clear();
        self.syncing.clear();
    }

    /// Follows a call; true if it had to do with the folder.
    pub(super) fn follow(&mut self, event: Event, calls: &[Call]) -> bool {
        self.time += 1;
        match event {
            Event::Begin(at) => self.begin(at, &calls[at]),
            Event::End(at) if calls[at].answer >= 0 => self.end(at, &calls[at]),
            Event::End(_) => false,
        }
    }

    fn begin(&mut self, at: usize, call: &Call) -> bool {
        match call.name.as_str() {
            // Whoever opens a file may get the number before the call is over.
            "close" => drop(self.open.remove(&call.number(0))),
            "fsync" | "fdatasync" => {
                let Some(open) = self.open.get(&call.number(0)) else { return false };
                self.syncing.insert(at, (open.inode, self.time));
            }
            _ => {}
        }
        false
    }

    fn end(&mut self, at: usize, call: &Call) -> bool {
        let answer = call.answer.unsigned_abs();
        match call.name.as_str() {
            "open" => self.opened(call, None, 0),
            "openat" => self.opened(call, Some(0), 1),
            "write" => self.written(call.number(0), None, &call.bytes(1), answer),
            "writev" => self.written(call.number(0), None, &call.pieces(1), answer),
            "pwrite64" => self.written(call.number(0), Some(call.number(3)), &call.bytes(1), answer),
            "ftruncate" => self.change(call.number(0), Change::Length(call.number(1).unsigned_abs())),
            "fallocate" => self.allocated(call),
            "lseek" => self.open.get_mut(&call.number(0)).is_some_and(|open| {
                open.at = answer;
                false
            }),
            "fcntl" if call.arguments[1].starts_with("F_DUPFD") => {
                let open = self.open.get(&call.number(0)).copied();
                open.is_some_and(|open| self.open.insert(call.answer, open).is_some_and(|_| false))
            }
            "fsync" | "fdatasync" => self.synced(at),
            "rename" => self.renamed(self.place(call, None, 0), self.place(call, None, 1)),
            "renameat" | "renameat2" => self.renamed(self.place(call, Some(0), 1), self.place(call, Some(2), 3)),
            "link" => self.linked(self.place(call, None, 0), self.place(call, None, 1)),
            "linkat" => self.linked(self.place(call, Some(0), 1), self.place(call, Some(2), 3)),
            "unlink" | "rmdir" => self.unlinked(self.place(call, None, 0)),
            "unlinkat" => self.unlinked(self.place(call, Some(0), 1)),
            "mkdir" => self.made(self.place(call, None, 0)),
            "mkdirat" => self.made(self.place(call, Some(0), 1)),
            // They promise nothing.
            "close" | "sync_file_range" | "fcntl" => false,
            "mmap" => {
                let is_ours = call.arguments[4].parse().is_ok_and(|number| self.open.contains_key(&number));
                let writes = call.arguments[2].contains("PROT_WRITE") && call.arguments[3].contains("MAP_SHARED");
                assert!(!(is_ours && writes), "a file is written by its mapping: {call:?}");
                false
            }
            _ => {
                let is_ours = |argument: &String| {
                    argument.parse().is_ok_and(|number: i64| self.open.contains_key(&number))
                        || argument.contains(self.root.to_str().unwrap())
                };
                assert!(!call.arguments.iter().any(is_ours), "a call that is not understood: {call:?}");
                false
            }
        }
    }

    /// The folder and the name that a path stands for; `None` if it is not of this file system.
    fn place(&self, call: &Call, from: Option<usize>, at: usize) -> Option<(Inode, String)> {
        let path = call.path(at);
        let (mut folder, rest) = match Path::new(&path).strip_prefix(&self.root) {
            Ok(rest) => (ROOT, rest),
            Err(_) if path.starts_with('/') => return None,
            Err(_) => {
                let number = call.arguments.get(from?)?.parse().ok()?;
                (self.open.get(&number)?.inode, Path::new(&path))
            }
        };
        let mut parts: Vec<_> = rest.components().map(|part| part.as_os_str().to_str().unwrap().to_owned()).collect();
        parts.retain(|part| part != ".");
        let name = parts.pop().unwrap_or_default();
        for part in parts {
            folder = self.seen(folder, &part)?;
        }
        Some((folder, name))
    }

    fn seen(&self, folder: Inode, name: &str) -> Option<Inode> {
        match &self.nodes[folder].content {
            Content::Folder { .. } if name.is_empty() => Some(folder),
            Content::Folder { seen, .. } => seen.get(name).copied(),
            Content::File { .. } => None,
        }
    }

    fn opened(&mut self, call: &Call, from: Option<usize>, at: usize) -> bool {
        let Some((folder, name)) = self.place(call, from, at) else { return false };
        let flags = call.arguments[at + 1].clone();
        assert!(!flags.contains("O_TMPFILE") && !flags.contains("O_DIRECT|"), "not understood: {call:?}");
        let known = self.seen(folder, &name);
        let inode = known.unwrap_or_else(|| {
            let inode = self.add(Content::default());
            self.name(vec![(folder, name.clone(), Some(inode))], None);
            inode
        });
        self.nodes[inode].name = name;
        self.open.insert(call.answer, Open { inode, at: 0, appends: flags.contains("O_APPEND") });
        if known.is_some() && flags.contains("O_TRUNC") {
            return self.change(call.answer, Change::Length(0));
        }
        known.is_none()
    }

    fn written(&mut self, number: i64, at: Option<i64>, bytes: &[u8], count: u64) -> bool {
        let Some(open) = self.open.get(&number).copied() else { return false };
        let Content::File { len, .. } = &self.nodes[open.inode].content else { return false };
        let position = if open.appends { *len } else { at.map_or(open.at, i64::unsigned_abs) };
        if at.is_none() {
            self.open.insert(number, Open { at: position + count, ..open });
        }
        let bytes = bytes[..usize::try_from(count).unwrap()].to_vec();
        self.change(number, Change::Write { at: position, bytes })
    }

    fn allocated(&mut self, call: &Call) -> bool {
        // What is set aside without a change of the length is read by nobody.
        if call.arguments[1].contains("KEEP_SIZE") {
            return false;
        }
        assert_eq!(call.arguments[1], "0", "not understood: {call:?}");
        let end = (call.number(2) + call.number(3)).unsigned_abs();
        let open = self.open.get(&call.number(0));
        let len = open.map(|open| match &self.nodes[open.inode].content {
            Content::File { len, .. } => *len,
            Content::Folder { .. } => 0,
        });
        len.is_some_and(|len| len < end && self.change(call.number(0), Change::Length(end)))
    }

    fn change(&mut self, number: i64, change: Change) -> bool {
        let Some(open) = self.open.get(&number) else { return false };
        let Content::File { pending, len, .. } = &mut self.nodes[open.inode].content else { return false };
        *len = match &change {
            Change::Write { at, bytes } => (*len).max(at + bytes.len() as u64),
            Change::Length(len) => *len,
        };
        pending.push((self.time, change));
        true
    }

    fn name(&mut self, changes: Vec<(Inode, String, Option<Inode>)>, moves: Option<Inode>) {
        for (folder, name, inode) in &changes {
            let Content::Folder { seen, .. } = &mut self.nodes[*folder].content else { panic!("{name} is in a file") };
            set(seen, name, *inode);
        }
        self.namings.push(Naming { time: self.time, changes, moves });
    }

    fn renamed(&mut self, from: Option<(Inode, String)>, to: Option<(Inode, String)>) -> bool {
        let (Some(from), Some(to)) = (from, to) else { return false };
        let Some(inode) = self.seen(from.0, &from.1) else { return false };
        self.nodes[inode].name.clone_from(&to.1);
        self.name(vec![(from.0, from.1, None), (to.0, to.1, Some(inode))], Some(inode));
        true
    }

    fn linked(&mut self, from: Option<(Inode, String)>, to: Option<(Inode, String)>) -> bool {
        let (Some(from), Some(to)) = (from, to) else { return false };
        let Some(inode) = self.seen(from.0, &from.1) else { return false };
        self.name(vec![(to.0, to.1, Some(inode))], None);
        true
    }

    fn unlinked(&mut self, place: Option<(Inode, String)>) -> bool {
        let Some((folder, name)) = place else { return false };
        self.name(vec![(folder, name, None)], None);
        true
    }

    fn made(&mut self, place: Option<(Inode, String)>) -> bool {
        let Some((folder, name)) = place else { return false };
        let inode = self.add(Content::folder());
        self.name(vec![(folder, name, Some(inode))], None);
        true
    }

    fn synced(&mut self, at: usize) -> bool {
        let Some((inode, until)) = self.syncing.remove(&at) else { return false };
        let node = &mut self.nodes[inode];
        if matches!(self.lie, Some(Lie::File(end)) if node.name.ends_with(end)) {
            return true;
        }
        if let Content::File { bytes, pending, .. } = &mut node.content {
            let later = pending.split_off(pending.partition_point(|(time, _)| *time < until));
            for (_, change) in std::mem::replace(pending, later) {
                change.apply(bytes);
            }
            return true;
        }
        if self.lie == Some(Lie::Folders) {
            return true;
        }
        let is_covered =
            |naming: &Naming| naming.time < until && naming.changes.iter().any(|(folder, ..)| *folder == inode);
        let (covered, left) = std::mem::take(&mut self.namings).into_iter().partition(is_covered);
        self.namings = left;
        for naming in covered {
            for (folder, name, inode) in naming.changes {
                let Content::Folder { durable, .. } = &mut self.nodes[folder].content else { continue };
                set(durable, &name, inode);
            }
        }
        true
    }

    /// Writes a folder as it may be found after a cut now.
    pub(super) fn cut(&self, kept: Kept, random: &mut SmallRng, to: &Path) {
        let mut names: HashMap<Inode, BTreeMap<String, Inode>> = HashMap::new();
        let (mut ended, mut lost) = (BTreeSet::new(), BTreeSet::new());
        let all = self.namings.len();
        for (index, naming) in self.namings.iter().enumerate() {
            // A change is not there without those before it.
            let goes_on = naming.changes.iter().all(|(folder, ..)| !ended.contains(folder))
                && naming.moves.is_none_or(|inode| !lost.contains(&inode));
            if goes_on && kept.keeps(index, all, random) {
                for (folder, name, inode) in &naming.changes {
                    let found = names.entry(*folder).or_insert_with(|| self.durable(*folder));
                    set(found, name, *inode);
                }
            } else {
                ended.extend(naming.changes.iter().map(|(folder, ..)| *folder));
                lost.extend(naming.moves);
            }
        }
        let block = 512 << random.random_range(0..=3);
        self.write(ROOT, &names, (kept, block), random, &mut HashMap::new(), to);
    }

    fn durable(&self, folder: Inode) -> BTreeMap<String, Inode> {
        match &self.nodes[folder].content {
            Content::Folder { durable, .. } => durable.clone(),
            Content::File { .. } => BTreeMap::new(),
        }
    }

    fn write(
        &self,
        folder: Inode,
        names: &HashMap<Inode, BTreeMap<String, Inode>>,
        (kept, block): (Kept, usize),
        random: &mut SmallRng,
        written: &mut HashMap<Inode, PathBuf>,
        to: &Path,
    ) {
        fs::create_dir_all(to).unwrap();
        let found = names.get(&folder).cloned().unwrap_or_else(|| self.durable(folder));
        for (name, inode) in found {
            let path = to.join(name);
            match &self.nodes[inode].content {
                Content::Folder { .. } => self.write(inode, names, (kept, block), random, written, &path),
                Content::File { bytes, pending, .. } => {
                    // The other names of a file have the same content.
                    if let Some(same) = written.get(&inode) {
                        fs::hard_link(same, &path).unwrap();
                        continue;
                    }
                    match pending.is_empty() {
                        true => fs::write(&path, bytes).unwrap(),
                        false => {
                            let mut bytes = bytes.clone();
                            torn(&mut bytes, pending, kept, block, random);
                            fs::write(&path, bytes).unwrap();
                        }
                    }
                    written.insert(inode, path);
                }
            }
        }
    }
}

/// Applies what is kept of the changes of a file, in blocks as a disk writes them.
fn torn(bytes: &mut Vec<u8>, pending: &[(u64, Change)], kept: Kept, block: usize, random: &mut SmallRng) {
    let blocks = |change: &Change| match change {
        Change::Write { at, bytes } => {
            let first = usize::try_from(*at).unwrap() / block;
            (usize::try_from(*at).unwrap() + bytes.len()).div_ceil(block) - first
        }
        Change::Length(_) => 1,
    };
    let all = pending.iter().map(|(_, change)| blocks(change)).sum();
    let mut index = 0;
    for (_, change) in pending {
        let Change::Write { at, bytes: written } = change else {
            if kept.keeps(index, all, random) {
                change.apply(bytes);
            }
            index += 1;
            continue;
        };
        let (mut from, at) = (0, usize::try_from(*at).unwrap());
        while from < written.len() {
            let until = ((at + from) / block + 1) * block - at;
            let until = until.min(written.len());
            if kept.keeps(index, all, random) {
                let at = (at + from) as u64;
                Change::Write { at, bytes: written[from..until].to_vec() }.apply(bytes);
            }
            (from, index) = (until, index + 1);
        }
    }
}

fn set(names: &mut BTreeMap<String, Inode>, name: &str, inode: Option<Inode>) {
    match inode {
        Some(inode) => names.insert(name.to_owned(), inode),
        None => names.remove(name),
    };
}

// === impl Kept ===

impl Kept {
    pub(super) fn draw(random: &mut SmallRng) -> Kept {
        match random.random_range(0..8) {
            0 => Kept::Nothing,
            1 => Kept::Everything,
            2 | 3 => Kept::Beginning(random.random()),
            _ => Kept::Some(random.random()),
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "a share of a few thousand")]
    fn keeps(self, index: usize, all: usize, random: &mut SmallRng) -> bool {
        match self {
            Kept::Nothing => false,
            Kept::Everything => true,
            Kept::Beginning(share) => (index as f64) < share * all as f64,
            Kept::Some(chance) => random.random_bool(chance),
        }
    }
}

// === impl Change ===

impl Change {
    fn apply(&self, file: &mut Vec<u8>) {
        match self {
            Change::Write { at, bytes } => {
                let at = usize::try_from(*at).unwrap();
                let end = at + bytes.len();
                if file.len() < end {
                    file.resize(end, 0);
                }
                file[at..end].copy_from_slice(bytes);
            }
            Change::Length(len) => file.resize(usize::try_from(*len).unwrap(), 0),
        }
    }
}
