//! The next step of a Deployment, pure: which sets are made, sized and deleted, as upstream's deployment controller
//! (1.32) does it.

use crate::controllers::amount;
use api::Tree;
use api::view::{Deployment, ReplicaSet};
use client::Key;

pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub(super) const MAX: &str = "deployment.kubernetes.io/max-replicas";

/// A version of the Deployment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Version<'a> {
    pub(super) key: &'a Key,
    pub(super) set: &'a ReplicaSet,
}

/// What to do for one Deployment.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// The ReplicaSet of the template, to be made with so many replicas.
    pub(super) create: Option<i32>,
    /// New sizes.
    pub(super) scale: Vec<(Key, i32)>,
    /// Sets of old versions that the history no longer holds.
    pub(super) delete: Vec<Key>,
    /// A rollout is on, whose progress is judged; else only its size changes.
    pub(super) rolls: bool,
}

// === impl Version ===

impl Version<'_> {
    pub(super) fn wanted(&self) -> i32 {
        self.set.spec.replicas.unwrap_or(1)
    }

    pub(super) fn revision(&self) -> i64 {
        self.annotation(REVISION).unwrap_or(0)
    }

    fn available(&self) -> i32 {
        self.set.status.available_replicas
    }

    pub(super) fn annotation<N: std::str::FromStr>(&self, name: &str) -> Option<N> {
        self.set.metadata.annotations.get(name)?.parse().ok()
    }
}

/// All but the version of the template.
pub(super) fn older<'a>(versions: &[Version<'a>], new: Option<Version<'a>>) -> Vec<Version<'a>> {
    versions.iter().filter(|version| new.is_none_or(|new| new.key != version.key)).copied().collect()
}

/// The revision of the template's version: one more than all others had, unless it is the newest already.
pub(super) fn revision(versions: &[Version<'_>], new: Option<Version<'_>>) -> i64 {
    let newest = older(versions, new).iter().map(Version::revision).max().unwrap_or(0);
    new.map_or(0, |new| new.revision()).max(newest + 1)
}

/// `versions` are the Deployment's own sets, `new` the one of its template; `old_runs` says that pods of old versions
/// have not ended.
pub(super) fn plan(
    deployment: &Deployment,
    versions: &[Version<'_>],
    new: Option<Version<'_>>,
    old_runs: bool,
) -> Plan {
    let old = older(versions, new);
    let mut plan = Plan::default();
    if deployment.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    if deployment.spec.paused || is_resized(deployment, versions) {
        resize(&mut plan, deployment, &old, new);
        if deployment.spec.paused {
            history(&mut plan, deployment, &old);
        }
        return plan;
    }
    plan.rolls = true;
    if is_recreated(deployment) {
        recreate(&mut plan, total(deployment), &old, new, old_runs);
    } else {
        roll(&mut plan, deployment, &old, new);
    }
    if is_complete(deployment, versions, new) {
        history(&mut plan, deployment, &old);
    }
    plan
}

pub(super) fn total(deployment: &Deployment) -> i32 {
    deployment.spec.replicas.unwrap_or(1)
}

pub(super) fn is_recreated(deployment: &Deployment) -> bool {
    deployment.spec.strategy.kind == "Recreate"
}

/// The replicas were changed since the sets were last sized.
fn is_resized(deployment: &Deployment, versions: &[Version<'_>]) -> bool {
    let active = versions.iter().filter(|version| version.wanted() > 0);
    active.filter_map(|version| version.annotation::<i32>(DESIRED)).any(|desired| desired != total(deployment))
}

fn is_complete(deployment: &Deployment, versions: &[Version<'_>], new: Option<Version<'_>>) -> bool {
    let total = total(deployment);
    let sum = |of: fn(&ReplicaSet) -> i32| versions.iter().map(|version| of(version.set)).sum::<i32>();
    new.is_some_and(|new| new.set.status.replicas == total)
        && sum(|set| set.status.replicas) == total
        && sum(|set| set.status.available_replicas) == total
}

fn set_size(plan: &mut Plan, version: Version<'_>, replicas: i32) {
    if version.wanted() != replicas {
        plan.scale.push((version.key.clone(), replicas));
    }
}

/// Another size: of the only version that has pods, or of all of them in proportion while a rollout is under way.
fn resize(plan: &mut Plan, deployment: &Deployment, old: &[Version<'_>], new: Option<Version<'_>>) {
    let total = total(deployment);
    let mut active: Vec<Version<'_>> = old.iter().copied().chain(new).filter(|one| one.wanted() > 0).collect();
    if active.len() <= 1 {
        let newest = || old.iter().max_by_key(|version| version.set.metadata.creation_timestamp).copied();
        if let Some(one) = active.first().copied().or(new).or_else(newest) {
            set_size(plan, one, total);
        }
        return;
    }
    let is_saturated =
        |new: Version<'_>| new.annotation(DESIRED) == Some(total) && new.wanted() == total && new.available() == total;
    if new.is_some_and(is_saturated) {
        old.iter().for_each(|version| set_size(plan, *version, 0));
        return;
    }
    if is_recreated(deployment) {
        return;
    }
    let (surge, _) = bounds(deployment);
    let allowed = if total > 0 { total + surge } else { 0 };
    let to_add = allowed - active.iter().map(Version::wanted).sum::<i32>();
    // The largest first; among equals the newer grows first, the older shrinks first.
    active.sort_by_key(|version| version.set.metadata.creation_timestamp);
    if to_add > 0 {
        active.reverse();
    }
    active.sort_by_key(|version| std::cmp::Reverse(version.wanted()));
    let mut added = 0;
    let mut sizes = Vec::new();
    for version in &active {
        let part = proportion(deployment, *version, total, total + surge, to_add, added);
        sizes.push(version.wanted() + part);
        added += part;
    }
    // What rounding left over goes to the largest.
    sizes[0] = (sizes[0] + to_add - added).max(0);
    for (version, size) in active.iter().zip(sizes) {
        // Also where the size stays: the set's annotations say for which total it is.
        plan.scale.push((version.key.clone(), size));
    }
}

fn proportion(deployment: &Deployment, version: Version<'_>, total: i32, max: i32, to_add: i32, added: i32) -> i32 {
    let wanted = version.wanted();
    let fraction = if total == 0 {
        -wanted
    } else {
        let before: i32 = version.annotation(MAX).filter(|max| *max != 0).unwrap_or(deployment.status.replicas);
        if before == 0 {
            0
        } else {
            let size = (f64::from(wanted) * f64::from(max) / f64::from(before)).round();
            // As `as` does in Go: the size is bounded by two i32s' product over a third.
            rounded(size) - wanted
        }
    };
    let allowed = to_add - added;
    match to_add {
        0 => 0,
        1.. => fraction.min(allowed),
        _ => fraction.max(allowed),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "clamped to the range of i32 before")]
fn rounded(number: f64) -> i32 {
    number.clamp(f64::from(i32::MIN), f64::from(i32::MAX)) as i32
}

fn recreate(plan: &mut Plan, total: i32, old: &[Version<'_>], new: Option<Version<'_>>, old_runs: bool) {
    old.iter().for_each(|version| set_size(plan, *version, 0));
    if !plan.scale.is_empty() || old_runs {
        return;
    }
    match new {
        None => plan.create = Some(total),
        Some(new) => set_size(plan, new, total),
    }
}

/// Surge and unavailability, as numbers; never both 0.
pub(super) fn bounds(deployment: &Deployment) -> (i32, i32) {
    let total = total(deployment);
    if is_recreated(deployment) {
        return (0, 0);
    }
    let rolling = deployment.spec.strategy.rolling_update.clone().unwrap_or_default();
    let quarter = Tree::from("25%");
    let surge = amount(rolling.max_surge.as_ref().unwrap_or(&quarter), total, true);
    let unavailable = amount(rolling.max_unavailable.as_ref().unwrap_or(&quarter), total, false).min(total);
    if surge == 0 && unavailable == 0 { (0, 1.min(total)) } else { (surge, unavailable) }
}

fn roll(plan: &mut Plan, deployment: &Deployment, old: &[Version<'_>], new: Option<Version<'_>>) {
    let total = total(deployment);
    let (surge, unavailable) = bounds(deployment);
    let old_wanted: i32 = old.iter().map(Version::wanted).sum();
    let now = new.map_or(0, |new| new.wanted());
    let room = (total + surge - old_wanted - now).max(0);
    let next = if now > total { total } else { now + room.min(total - now) };
    let Some(new) = new else {
        plan.create = Some(next);
        return;
    };
    set_size(plan, new, next);
    if !plan.scale.is_empty() || old_wanted == 0 {
        return;
    }
    let least = total - unavailable;
    let missing_new = new.wanted() - new.available();
    let mut budget = old_wanted + new.wanted() - least - missing_new;
    if budget <= 0 {
        return;
    }
    let mut sizes: Vec<(Version<'_>, i32)> = old.iter().map(|version| (*version, version.wanted())).collect();
    sizes.sort_by_key(|(version, _)| version.set.metadata.creation_timestamp);
    // Pods that answer nobody go first, whatever the budget for the others.
    for (version, size) in &mut sizes {
        let broken = (*size - version.available()).clamp(0, budget);
        *size -= broken;
        budget -= broken;
    }
    let available = old.iter().map(Version::available).sum::<i32>() + new.available();
    let mut spare = (available - least).max(0);
    for (_, size) in &mut sizes {
        let cut = (*size).min(spare);
        *size -= cut;
        spare -= cut;
    }
    sizes.into_iter().for_each(|(version, size)| set_size(plan, version, size));
}

/// Old versions beyond `revisionHistoryLimit`, the oldest revision first; those that have or may have pods stay.
fn history(plan: &mut Plan, deployment: &Deployment, old: &[Version<'_>]) {
    let keep = usize::try_from(deployment.spec.revision_history_limit.unwrap_or(10)).unwrap_or(0);
    let is_alive = |version: &&Version<'_>| version.set.metadata.deletion_timestamp.is_none();
    let mut alive: Vec<&Version<'_>> = old.iter().filter(is_alive).collect();
    alive.sort_by_key(|version| version.revision());
    let excess = alive.len().saturating_sub(keep);
    let is_empty = |version: &&Version<'_>| {
        let set = version.set;
        set.status.replicas == 0 && version.wanted() == 0 && set.metadata.generation <= set.status.observed_generation
    };
    plan.delete.extend(alive.into_iter().take(excess).filter(is_empty).map(|version| version.key.clone()));
}

#[cfg(test)]
mod tests;
