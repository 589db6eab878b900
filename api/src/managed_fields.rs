//! Who owns which fields of an object: `metadata.managedFields`, and server-side apply on top of it.
//!
//! Knows ownership, not admission: callers default, validate and store what comes out. The time comes from them.

mod set;
mod shape;
mod walk;
mod check;
mod last_applied;
mod reset;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use crate::rejected::{Cause, Reason};
use crate::time::{self, Timestamp};
use crate::{Kind, Rejected, Tree};
use serde_json::{Map, json};
use set::Set;
use shape::Shape;

/// Who writes, and through which version and subresource.
#[derive(Debug, Clone, Copy)]
pub struct Writer<'a> {
    pub manager: &'a str,
    /// `apps/v1`
    pub api_version: &'a str,
    /// Empty for the object itself.
    pub subresource: &'a str,
}

/// What nobody owns.
const UNOWNED: [&[&str]; 10] = [
    &["apiVersion"],
    &["kind"],
    &["metadata", "name"],
    &["metadata", "namespace"],
    &["metadata", "creationTimestamp"],
    &["metadata", "selfLink"],
    &["metadata", "uid"],
    &["metadata", "generation"],
    &["metadata", "managedFields"],
    &["metadata", "resourceVersion"],
];

/// More Update entries than this, and the oldest become one.
const UPDATERS_MAX: usize = 10;
const ANCIENT_CHANGES: &str = "ancient-changes";
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// One entry of `managedFields`.
#[derive(Debug, Clone)]
struct Entry {
    manager: String,
    is_apply: bool,
    api_version: String,
    subresource: String,
    time: String,
    set: Set,
}

/// Notes in `new` what a create (`live` is `None`) or any write but an apply changed. Both are canonical trees. `sent` is
/// what the client wrote as `managedFields`: its own record, or `[]` and `[{}]`, which clear it.
///
/// Upstream calls it after defaulting and before admission, allocation and status: what those add has no owner.
pub fn update(
    kind: &Kind,
    live: Option<&Tree>,
    new: &mut Tree,
    sent: Option<&Tree>,
    writer: Writer<'_>,
    now: Timestamp,
) {
    let sent = sent.and_then(Tree::as_array).filter(|_| writer.subresource.is_empty());
    let clears = sent.is_some_and(|all| all.is_empty() || *all == [json!({})]);
    let mut entries: Vec<Entry> = match sent {
        _ if clears => Vec::new(),
        Some(all) => all.iter().filter_map(Entry::read).collect(),
        None => Vec::new(),
    };
    if entries.is_empty() && !clears {
        entries = live.map(read).unwrap_or_default();
    }
    // Without a record, nobody knows who owned what is there already.
    if live.is_some() && entries.is_empty() {
        write(new, Vec::new());
        return;
    }
    record(kind, live, new, &mut entries, writer, now);
    write(new, entries);
}

/// Lays `config`, as it was sent, over `live` for a manager: its former fields that `config` lacks go away, and fields of
/// others that `config` changes are a conflict unless `force`. The result is not canonical yet.
pub fn apply(
    kind: &Kind,
    live: Option<&Tree>,
    config: &Tree,
    writer: Writer<'_>,
    force: bool,
    now: Timestamp,
) -> Result<Tree, Rejected> {
    check::form(kind, config, writer)?;
    check::types(kind, config)?;
    let mut new = match merge(kind, live, config, writer, force, now) {
        Err(clashes) if last_applied::explains(kind, live, &clashes, writer) => {
            merge(kind, live, config, writer, true, now).map_err(|clashes| conflict(&clashes))?
        }
        merged => merged.map_err(|clashes| conflict(&clashes))?,
    };
    last_applied::refresh(&mut new, config, writer);
    Ok(new)
}

/// Gives `new` the record of `old` if nothing but times sets them apart: when somebody wrote is no change by itself.
pub fn keep_times(old: &Tree, new: &mut Tree) {
    let (before, after) = (entries(old), entries(new));
    let is_same = before.len() == after.len() && before.iter().zip(after).all(|(a, b)| equal_but_for(&["time"], a, b));
    let own = ["managedFields", "resourceVersion"];
    if before != after
        && is_same
        && equal_but_for(&["metadata"], old, new)
        && equal_but_for(&own, &old["metadata"], &new["metadata"])
    {
        new["metadata"]["managedFields"] = before.to_vec().into();
    }
}

fn equal_but_for(keys: &[&str], left: &Tree, right: &Tree) -> bool {
    let members = |tree: &Tree| -> Map<String, Tree> {
        let all = tree.as_object().into_iter().flatten().filter(|(key, _)| !keys.contains(&key.as_str()));
        all.map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    members(left) == members(right)
}

/// The fields of an entry that somebody else would change.
type Clash = (Entry, Vec<String>);

fn merge(
    kind: &Kind,
    live: Option<&Tree>,
    config: &Tree,
    writer: Writer<'_>,
    force: bool,
    now: Timestamp,
) -> Result<Tree, Vec<Clash>> {
    let shape = Shape::root(kind);
    let empty = nothing(kind);
    let mut entries = live.map(read).unwrap_or_default();
    if let (Some(live), true) = (live, entries.is_empty()) {
        record(kind, None, live, &mut entries, Writer { manager: BEFORE_FIRST_APPLY, ..writer }, now);
    }
    let live = live.unwrap_or(&empty);
    let last = take_apply(&mut entries, writer);
    let set = owned(kind, walk::stated(shape, config), writer.subresource);
    let merged = walk::merge(shape, live, &reset::without(kind, config, writer.subresource));

    let mut all = set.clone();
    for entry in &entries {
        all.join(entry.set.clone());
    }
    let before = last.as_ref().map(|entry| entry.set.clone()).unwrap_or_default();
    let mut new = walk::prune(shape, &merged, &before, &all).unwrap_or_else(|| json!({}));
    let changed = in_reach(kind, walk::difference(shape, Some(live), Some(&new)), writer.subresource);
    yield_to(&mut entries, &changed, force)?;

    let time = last.filter(|last| last.set == set).map_or_else(|| time::seconds(now), |last| last.time);
    if !set.is_empty() {
        entries.push(Entry { is_apply: true, ..Entry::of(writer, time, set) });
    }
    write(&mut new, entries);
    Ok(new)
}

/// Takes the changed fields from their other owners, or refuses.
fn yield_to(entries: &mut Vec<Entry>, changed: &walk::Difference, force: bool) -> Result<(), Vec<Clash>> {
    let mut touched = changed.modified.clone();
    touched.join(changed.added.clone());
    let clashes: Vec<Clash> = entries
        .iter()
        .map(|entry| (entry, entry.set.common(&touched).paths()))
        .filter(|(_, paths)| !paths.is_empty())
        .map(|(entry, paths)| (entry.clone(), paths))
        .collect();
    if !force && !clashes.is_empty() {
        return Err(clashes);
    }
    for entry in entries.iter_mut() {
        entry.lose(&touched, &changed.removed);
    }
    entries.retain(|entry| !entry.set.is_empty());
    Ok(())
}

fn conflict(clashes: &[Clash]) -> Rejected {
    let mut causes = Vec::new();
    let mut told: Vec<(String, &Vec<String>)> = clashes.iter().map(|(entry, paths)| (entry.told(), paths)).collect();
    told.sort();
    for (manager, paths) in &told {
        causes.extend(paths.iter().map(|path| Cause {
            reason: "FieldManagerConflict".to_owned(),
            message: format!("conflict with {manager}"),
            field: path.clone(),
        }));
    }
    let message = match causes.as_slice() {
        [only] => format!("Apply failed with 1 conflict: {}: {}", only.message, only.field),
        all => {
            let lines =
                told.iter().map(|(manager, paths)| format!("conflicts with {manager}:\n- {}", paths.join("\n- ")));
            format!("Apply failed with {} conflicts: {}", all.len(), lines.collect::<Vec<_>>().join("\n"))
        }
    };
    let mut rejected = Rejected::new(Reason::Conflict, message);
    rejected.details.causes = causes;
    rejected
}

/// Gives what changed to the writer's Update entry, and takes what is gone from everybody.
fn record(kind: &Kind, live: Option<&Tree>, new: &Tree, entries: &mut Vec<Entry>, writer: Writer<'_>, now: Timestamp) {
    let empty = nothing(kind);
    let changed = walk::difference(Shape::root(kind), Some(live.unwrap_or(&empty)), Some(new));
    let changed = in_reach(kind, changed, writer.subresource);
    let mut touched = changed.modified;
    touched.join(changed.added);
    let is_own = |entry: &Entry| {
        !entry.is_apply
            && entry.manager == writer.manager
            && entry.api_version == writer.api_version
            && entry.subresource == writer.subresource
    };
    let own = entries.iter().position(is_own).map(|at| entries.remove(at));
    for entry in entries.iter_mut() {
        entry.lose(&touched, &changed.removed);
    }
    entries.retain(|entry| !entry.set.is_empty());
    let mut touched_by_writer = owned(kind, touched, writer.subresource);
    let mut time = time::seconds(now);
    if let Some(own) = own {
        if touched_by_writer.is_empty() {
            time = own.time;
        }
        touched_by_writer.join(own.set.minus(&changed.removed));
    }
    if touched_by_writer.is_empty() {
        return;
    }
    entries.push(Entry::of(writer, time, touched_by_writer));
    cap(entries);
}

/// Joins the oldest Update entries of a version until there are few enough.
fn cap(entries: &mut Vec<Entry>) {
    entries.sort_by(|a, b| a.order().cmp(&b.order()));
    let mut at = entries.iter().take_while(|entry| entry.is_apply).count();
    let first_updater = at;
    while entries.len() - first_updater > UPDATERS_MAX && at < entries.len() {
        let is_same = |entry: &Entry| entry.api_version == entries[at].api_version;
        let Some(older) = entries[first_updater..at].iter().position(is_same) else {
            at += 1;
            continue;
        };
        let joined = entries.remove(at);
        let bucket = &mut entries[first_updater + older];
        bucket.manager = ANCIENT_CHANGES.to_owned();
        bucket.subresource.clear();
        bucket.set.join(joined.set);
        bucket.time = joined.time;
    }
}

/// An object of the kind before anybody wrote a field: Go's zero value.
fn nothing(kind: &Kind) -> Tree {
    crate::codec::canonical(json!({}), kind)
}

/// What changed, without what the server puts back: nobody loses that to a writer who left it out.
fn in_reach(kind: &Kind, mut changed: walk::Difference, subresource: &str) -> walk::Difference {
    for path in reset::fields(kind, subresource) {
        for set in [&mut changed.added, &mut changed.modified, &mut changed.removed] {
            set.forget(path);
        }
    }
    changed
}

/// The part of a set that a writer to this subresource can own.
fn owned(kind: &Kind, mut set: Set, subresource: &str) -> Set {
    for path in UNOWNED {
        set.forget(path);
    }
    for path in reset::fields(kind, subresource) {
        set.forget(path);
    }
    let metadata = set::Step::Field("metadata".to_owned());
    if let Some(metadata) = set.below.get_mut(&metadata) {
        metadata.owned = false;
    }
    set.below.retain(|below| !below.is_empty());
    set.owned = false;
    set
}

fn take_apply(entries: &mut Vec<Entry>, writer: Writer<'_>) -> Option<Entry> {
    let is_own =
        |entry: &Entry| entry.is_apply && entry.manager == writer.manager && entry.subresource == writer.subresource;
    entries.iter().position(is_own).map(|at| entries.remove(at))
}

fn entries(object: &Tree) -> &[Tree] {
    let all = object.get("metadata").and_then(|meta| meta.get("managedFields")).and_then(Tree::as_array);
    all.map(Vec::as_slice).unwrap_or_default()
}

fn read(object: &Tree) -> Vec<Entry> {
    entries(object).iter().filter_map(Entry::read).collect()
}

fn write(object: &mut Tree, mut entries: Vec<Entry>) {
    let Some(meta) = object.get_mut("metadata").and_then(Tree::as_object_mut) else { return };
    if entries.is_empty() {
        meta.shift_remove("managedFields");
        return;
    }
    entries.sort_by(|a, b| a.order().cmp(&b.order()));
    meta.insert("managedFields".to_owned(), entries.iter().map(Entry::to_json).collect());
}

// === impl Entry ===

impl Entry {
    /// An Update entry; nobody is called nothing.
    fn of(writer: Writer<'_>, time: String, set: Set) -> Entry {
        let manager = if writer.manager.is_empty() { "unknown" } else { writer.manager };
        Entry {
            manager: manager.to_owned(),
            is_apply: false,
            api_version: writer.api_version.to_owned(),
            subresource: writer.subresource.to_owned(),
            time,
            set,
        }
    }

    fn read(tree: &Tree) -> Option<Entry> {
        let text = |key: &str| tree.get(key).and_then(Tree::as_str).unwrap_or_default().to_owned();
        Some(Entry {
            manager: text("manager"),
            is_apply: tree.get("operation")?.as_str()? == "Apply",
            api_version: text("apiVersion"),
            subresource: text("subresource"),
            time: text("time"),
            set: Set::from_json(tree.get("fieldsV1")?),
        })
    }

    fn lose(&mut self, touched: &Set, removed: &Set) {
        self.set = std::mem::take(&mut self.set).minus(touched).minus(removed);
    }

    fn to_json(&self) -> Tree {
        let mut out = Map::new();
        let operation = if self.is_apply { "Apply" } else { "Update" };
        let texts = [("manager", &*self.manager), ("operation", operation), ("apiVersion", &*self.api_version)];
        for (key, value) in texts.into_iter().chain([("time", &*self.time)]).filter(|(_, value)| !value.is_empty()) {
            out.insert(key.to_owned(), value.into());
        }
        out.insert("fieldsType".to_owned(), "FieldsV1".into());
        out.insert("fieldsV1".to_owned(), self.set.to_json());
        if !self.subresource.is_empty() {
            out.insert("subresource".to_owned(), (*self.subresource).into());
        }
        Tree::Object(out)
    }

    fn order(&self) -> (bool, &str, &str, &str, &str) {
        (!self.is_apply, &self.time, &self.manager, &self.api_version, &self.subresource)
    }

    /// How a conflict names the manager.
    fn told(&self) -> String {
        let mut told = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            told.push_str(&format!(" with subresource {:?}", self.subresource));
        }
        if !self.is_apply {
            told.push_str(&format!(" using {}", self.api_version));
        }
        told
    }
}
