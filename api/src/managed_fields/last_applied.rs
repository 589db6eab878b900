//! The way from client-side to server-side apply: `kubectl apply` left its configuration in an annotation, and
//! `kubectl apply --server-side` may change what that annotation explains, and keeps it up to date.

use super::shape::Shape;
use super::{Clash, Writer, walk};
use crate::{Kind, Tree};

const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Only the manager that kubectl is by default; others opt out.
const MANAGER: &str = "kubectl";

/// True if the annotation shows that kubectl itself made all fields that clash what they are.
pub(super) fn explains(kind: &Kind, live: Option<&Tree>, clashes: &[Clash], writer: Writer<'_>) -> bool {
    let Some(live) = live.filter(|_| writer.manager == MANAGER) else { return false };
    let last: Option<Tree> = annotation(live).and_then(|text| serde_json::from_str(text).ok());
    let Some(last) = last.filter(|last| last.get("apiVersion").and_then(Tree::as_str) == Some(writer.api_version))
    else {
        return false;
    };
    let shape = Shape::root(kind);
    let changed = walk::difference(shape, Some(&last), Some(live));
    let same = walk::stated(shape, &last).minus(&changed.modified).minus(&changed.added).minus(&changed.removed);
    let same = same.paths();
    clashes.iter().flat_map(|(_, paths)| paths).all(|path| same.contains(path))
}

/// Writes what was applied into the annotation, where there is one.
pub(super) fn refresh(new: &mut Tree, config: &Tree, writer: Writer<'_>) {
    if writer.manager != MANAGER || annotation(new).is_none_or(str::is_empty) {
        return;
    }
    let mut config = config.clone();
    if let Some(Tree::Object(all)) = config.get_mut("metadata").and_then(|meta| meta.get_mut("annotations")) {
        all.shift_remove(ANNOTATION);
    }
    let annotations = new.get_mut("metadata").and_then(|meta| meta.get_mut("annotations"));
    if let Some(Tree::Object(all)) = annotations {
        // One line, as the encoder of kubectl and of kube-apiserver ends it.
        all.insert(ANNOTATION.to_owned(), format!("{config}\n").into());
    }
}

fn annotation(object: &Tree) -> Option<&str> {
    object.get("metadata")?.get("annotations")?.get(ANNOTATION)?.as_str()
}
