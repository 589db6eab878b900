//! Which names a definition gets, and what its status says about that: the first that asks for a name has it, within its
//! group.

use crate::object::edit;
use crate::time::{self, Timestamp};
use crate::walk::{at, list, text};
use crate::{Tree, custom::definition};
use serde_json::{Map, json};
use std::collections::BTreeSet;

/// Groups that are Kubernetes' own.
const PROTECTED: [&str; 2] = [".k8s.io", ".kubernetes.io"];
/// Where it is told who approved an API in such a group.
pub const APPROVED: &str = "api-approved.kubernetes.io";
pub const UNAPPROVED: &str = "protected groups must have approval annotation \"api-approved.kubernetes.io\", see \
     https://github.com/kubernetes/enhancements/pull/1111";

/// Whether APIs of a group need somebody's approval.
#[must_use]
pub fn is_protected(group: &str) -> bool {
    PROTECTED.iter().any(|end| group.ends_with(end) || group == &end[1..])
}

/// The status that a definition should have beside the other ones; `None` if it has it.
#[must_use]
pub fn settle<'t>(tree: &Tree, others: impl Iterator<Item = &'t Tree>, now: Timestamp) -> Option<Tree> {
    let group = text(tree, &["spec", "group"]);
    let (mut resources, mut kinds) = (BTreeSet::new(), BTreeSet::new());
    for other in others.filter(|other| text(other, &["spec", "group"]) == group) {
        let names = |key: &str| text(other, &["status", "acceptedNames", key]);
        resources.extend([names("plural"), names("singular")]);
        resources.extend(list(other, &["status", "acceptedNames", "shortNames"]).iter().filter_map(Tree::as_str));
        kinds.extend([names("kind"), names("listKind")]);
    }
    let mut status = tree.get("status").cloned().unwrap_or_else(|| json!({}));
    let clash = accept(tree, &mut status, &resources, &kinds);
    let names = match &clash {
        Some((reason, why)) => condition("NamesAccepted", false, reason, why),
        None => condition("NamesAccepted", true, "NoConflicts", "no conflicts found"),
    };
    put(&mut status, names, now);
    if is_protected(group) {
        put(&mut status, approval(tree), now);
    }
    if !definition::is_true(tree, "Established") {
        let established = match clash {
            Some(_) => condition("Established", false, "NotAccepted", "not all names are accepted"),
            None => condition("Established", true, "InitialNamesAccepted", "the initial names have been accepted"),
        };
        put(&mut status, established, now);
    }
    (tree.get("status") != Some(&status)).then_some(status)
}

/// Takes over the names that are free; what is wrong with the others.
fn accept(
    tree: &Tree,
    status: &mut Tree,
    resources: &BTreeSet<&str>,
    kinds: &BTreeSet<&str>,
) -> Option<(&'static str, String)> {
    let mut accepted: Map<String, Tree> =
        at(status, &["acceptedNames"]).and_then(Tree::as_object).cloned().unwrap_or_default();
    let mut clashes = Vec::new();
    let used = |name: &str| format!("{name:?} is already in use");
    for (key, taken, reason) in [
        ("plural", resources, "PluralConflict"),
        ("singular", resources, "SingularConflict"),
        ("shortNames", resources, "ShortNamesConflict"),
        ("kind", kinds, "KindConflict"),
        ("listKind", kinds, "ListKindConflict"),
    ] {
        let wanted = at(tree, &["spec", "names", key]);
        let names: Vec<&str> = match wanted {
            Some(Tree::Array(all)) => all.iter().filter_map(Tree::as_str).collect(),
            one => one.and_then(Tree::as_str).into_iter().collect(),
        };
        let clash: Vec<String> = names.iter().filter(|name| taken.contains(*name)).map(|name| used(name)).collect();
        match wanted {
            _ if !clash.is_empty() => clashes.push((reason, clash.join(", "))),
            Some(wanted) => _ = accepted.insert(key.to_owned(), wanted.clone()),
            None => _ = accepted.shift_remove(key),
        }
    }
    match at(tree, &["spec", "names", "categories"]) {
        Some(categories) => _ = accepted.insert("categories".to_owned(), categories.clone()),
        None => _ = accepted.shift_remove("categories"),
    }
    edit::set(status, &["acceptedNames"], Tree::Object(accepted));
    // Upstream tells the last one.
    clashes.pop()
}

fn approval(tree: &Tree) -> Tree {
    let told = text(tree, &["metadata", "annotations", APPROVED]);
    let kind = "KubernetesAPIApprovalPolicyConformant";
    if told.is_empty() {
        return condition(kind, false, "MissingAnnotation", UNAPPROVED);
    }
    if told.starts_with("https://") || told.starts_with("http://") {
        return condition(kind, true, "ApprovedAnnotation", &format!("approved in {told}"));
    }
    condition(kind, false, "UnapprovedAnnotation", &format!("not approved: {told:?}"))
}

/// A condition that tells why.
#[must_use]
pub fn condition(kind: &str, is_true: bool, reason: &str, message: &str) -> Tree {
    json!({"type": kind, "status": if is_true { "True" } else { "False" }, "reason": reason, "message": message})
}

/// Sets a condition; its time stays unless its status changes.
pub fn put(status: &mut Tree, mut condition: Tree, now: Timestamp) {
    let mut all = list(status, &["conditions"]).to_vec();
    let place = all.iter().position(|one| text(one, &["type"]) == text(&condition, &["type"]));
    let before = place.map(|at| all[at].clone()).unwrap_or_default();
    let stays = text(&before, &["status"]) == text(&condition, &["status"]);
    let since = Some(text(&before, &["lastTransitionTime"])).filter(|since| stays && !since.is_empty());
    edit::set(&mut condition, &["lastTransitionTime"], since.map_or_else(|| time::seconds(now), str::to_owned));
    if let Some(generation) = before.get("observedGeneration").filter(|_| stays) {
        edit::set(&mut condition, &["observedGeneration"], generation.clone());
    }
    // In the order of the field table, so that what stays the same is equal.
    let keys = ["type", "status", "lastTransitionTime", "reason", "message", "observedGeneration"];
    let ordered: Map<String, Tree> =
        keys.iter().filter_map(|key| Some(((*key).to_owned(), condition.get(*key)?.clone()))).collect();
    match place {
        Some(at) => all[at] = Tree::Object(ordered),
        None => all.push(Tree::Object(ordered)),
    }
    edit::set(status, &["conditions"], Tree::Array(all));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(plural: &str, kind: &str) -> Tree {
        let names = json!({"plural": plural, "singular": plural, "kind": kind, "listKind": format!("{kind}List")});
        json!({"spec": {"group": "example.com", "names": names}})
    }

    #[test]
    fn the_first_has_the_name() {
        let now = time::parse("2026-01-01T00:00:00Z").expect("a time");
        let mut first = definition("things", "Thing");
        let status = settle(&first, std::iter::empty(), now).expect("a status");
        edit::set(&mut first, &["status"], status);
        assert!(definition::is_true(&first, "Established"));
        assert_eq!(text(&first, &["status", "acceptedNames", "listKind"]), "ThingList");
        assert_eq!(settle(&first, std::iter::empty(), now), None);

        let mut second = definition("others", "Thing");
        let status = settle(&second, [&first].into_iter(), now).expect("a status");
        edit::set(&mut second, &["status"], status);
        assert!(!definition::is_true(&second, "Established"));
        assert_eq!(text(&second, &["status", "acceptedNames", "plural"]), "others");
        let told = &list(&second, &["status", "conditions"])[0];
        assert_eq!(text(told, &["reason"]), "ListKindConflict");
        assert_eq!(text(told, &["message"]), r#""ThingList" is already in use"#);
        // It gets the name when the first one goes.
        let status = settle(&second, std::iter::empty(), now).expect("a status");
        edit::set(&mut second, &["status"], status);
        assert!(definition::is_true(&second, "Established"));
    }
}
