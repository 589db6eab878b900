//! What a write through a subresource cannot change: the server puts it back, so nobody owns it by having sent it.

use crate::{Kind, Tree};

const SPEC: &[&str] = &["spec"];
const STATUS: &[&str] = &["status"];

/// Paths that stay as they are. The strategies of kube-apiserver 1.36 (`GetResetFields`).
pub(super) fn fields(kind: &Kind, subresource: &str) -> &'static [&'static [&'static str]] {
    match (subresource, kind.group(), kind.kind.as_str()) {
        ("", ..) if kind.subresource("status").is_some() => &[STATUS],
        ("status", "apps", "Deployment") => &[SPEC, &["metadata", "labels"]],
        ("status", "", "Pod") => &[SPEC, &["metadata", "ownerReferences"]],
        ("status", ..) if kind.is_custom() => &[SPEC, &["metadata"]],
        ("status" | "approval", ..) => &[SPEC],
        ("finalize" | "ephemeralcontainers" | "resize", ..) => &[STATUS],
        _ => &[],
    }
}

/// The configuration without them.
pub(super) fn without(kind: &Kind, config: &Tree, subresource: &str) -> Tree {
    let mut config = config.clone();
    for path in fields(kind, subresource) {
        let Some((last, parents)) = path.split_last() else { continue };
        let holder = parents.iter().try_fold(&mut config, |tree, key| tree.get_mut(*key));
        if let Some(Tree::Object(members)) = holder {
            members.shift_remove(*last);
        }
    }
    config
}
