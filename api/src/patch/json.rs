//! JSON patch (RFC 6902): a list of operations, of which all or none take effect.

use crate::Tree;
use crate::rejected::{Reason, Rejected};

/// kube-apiserver's limit.
pub const OPERATIONS_MAX: usize = 10_000;
/// What `copy` operations may add in all, so that a short patch cannot make a huge object.
const COPIED_BYTES_MAX: usize = 3 * 1024 * 1024;

/// The patched tree.
///
/// Upstream's library (evanphx/json-patch v4.13, kept for its leniency) decides what applies: a list's index may count
/// from the end, a member that is replaced need not be there, a missing `value` is null.
pub fn apply(current: &Tree, patch: &Tree) -> Result<Tree, Rejected> {
    let operations = decode(patch)?;
    let mut tree = current.clone();
    let mut copied = 0;
    for operation in &operations {
        // Upstream drops the reason, too: the message and empty details are all that a client gets to know.
        one(&mut tree, operation, &mut copied).ok_or_else(unprocessable)?;
    }
    for pointer in operations.iter().flat_map(|operation| [operation.path, operation.from]).flatten() {
        sort_along(&mut tree, pointer);
    }
    Ok(tree)
}

/// Upstream reads each object on its way into a map of Go, which it prints in order; the rest stays as it was.
fn sort_along(tree: &mut Tree, pointer: &str) {
    let (parents, _) = parts(pointer).unwrap_or_default();
    let mut here = Some(tree);
    let mut parents = parents.iter();
    while let Some(found) = here {
        if let Tree::Object(members) = found {
            members.sort_keys();
        }
        here = parents.next().and_then(|part| step(found, part));
    }
}

/// One operation. Names that are absent or null fail where they are needed.
struct Operation<'p> {
    op: &'p str,
    path: Option<&'p str>,
    from: Option<&'p str>,
    value: &'p Tree,
}

fn decode(patch: &Tree) -> Result<Vec<Operation<'_>>, Rejected> {
    let wrong = |found: &str, at: &str, wanted: &str| {
        Rejected::bad_request(format!(
            "error decoding patch: json: cannot unmarshal {found} into Go {at} of type {wanted}"
        ))
    };
    let Some(all) = patch.as_array() else {
        let found = crate::codec::named::found(patch);
        let message = format!(
            "error decoding patch: json: cannot unmarshal {found} into Go value of type []handlers.jsonPatchOp"
        );
        return Err(Rejected::bad_request(message));
    };
    let mut operations = Vec::with_capacity(all.len());
    for one in all {
        let Some(members) = one.as_object() else {
            let found = crate::codec::named::found(one);
            let message = format!(
                "error decoding patch: json: cannot unmarshal {found} into Go value of type handlers.jsonPatchOp"
            );
            return Err(Rejected::bad_request(message));
        };
        let text = |key: &str| match members.get(key) {
            None | Some(Tree::Null) => Ok(None),
            Some(Tree::String(text)) => Ok(Some(text.as_str())),
            Some(other) => {
                Err(wrong(crate::codec::named::found(other), &format!("struct field jsonPatchOp.{key}"), "string"))
            }
        };
        let (op, path, from) = (text("op")?, text("path")?, text("from")?);
        let value = members.get("value").unwrap_or(&Tree::Null);
        operations.push(Operation { op: op.unwrap_or_default(), path, from, value });
    }
    if operations.len() > OPERATIONS_MAX {
        let message =
            format!("The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {}", operations.len());
        return Err(Rejected::new(Reason::RequestEntityTooLarge, message));
    }
    Ok(operations)
}

fn unprocessable() -> Rejected {
    Rejected::unroutable(Reason::Invalid, "the server rejected our request due to an error in our request")
}

/// `None` if the operation does not apply.
fn one(tree: &mut Tree, operation: &Operation<'_>, copied: &mut usize) -> Option<()> {
    let path = operation.path;
    match operation.op {
        "add" => add(tree, path?, operation.value.clone()),
        "remove" => remove(tree, path?).map(|_| ()),
        "replace" => replace(tree, path?, operation.value.clone()),
        "move" => {
            let value = remove(tree, operation.from?)?;
            add(tree, path?, value)
        }
        "copy" => {
            let (holder, key) = find(tree, operation.from?)?;
            let value = member(holder, &key)?.clone();
            *copied += value.to_string().len();
            if *copied > COPIED_BYTES_MAX {
                return None;
            }
            add(tree, path?, value)
        }
        "test" => {
            let path = path?;
            let have = if path.is_empty() {
                &*tree
            } else {
                let (holder, key) = find(tree, path)?;
                member(holder, &key)?
            };
            same(have, operation.value).then_some(())
        }
        _ => None,
    }
}

/// The object or list that holds what a pointer names, and the last key. What stands before the first slash does not
/// matter.
fn find<'t>(tree: &'t Tree, pointer: &str) -> Option<(&'t Tree, String)> {
    let (parents, key) = parts(pointer)?;
    let holder = parents.iter().try_fold(tree, |tree, part| member(tree, part))?;
    (holder.is_object() || holder.is_array()).then_some((holder, key))
}

fn find_mut<'t>(tree: &'t mut Tree, pointer: &str) -> Option<(&'t mut Tree, String)> {
    let (parents, key) = parts(pointer)?;
    let holder = parents.iter().try_fold(tree, |tree, part| step(tree, part))?;
    (holder.is_object() || holder.is_array()).then_some((holder, key))
}

fn step<'t>(tree: &'t mut Tree, part: &str) -> Option<&'t mut Tree> {
    match tree {
        Tree::Object(members) => members.get_mut(part),
        Tree::Array(all) => {
            let at = index(part, all.len(), all.len())?;
            all.get_mut(at)
        }
        _ => None,
    }
}

fn parts(pointer: &str) -> Option<(Vec<String>, String)> {
    let mut parts = pointer.split('/').skip(1).map(|part| part.replace("~1", "/").replace("~0", "~"));
    let mut all: Vec<String> = parts.by_ref().collect();
    let key = all.pop()?;
    Some((all, key))
}

/// A member that is not there is null; a list's element has to be there.
fn member<'t>(holder: &'t Tree, key: &str) -> Option<&'t Tree> {
    match holder {
        Tree::Object(members) => Some(members.get(key).unwrap_or(&Tree::Null)),
        Tree::Array(all) => all.get(index(key, all.len(), all.len())?),
        _ => None,
    }
}

/// A place in a list; negative numbers count from `end`.
fn index(key: &str, end: usize, max: usize) -> Option<usize> {
    let at: i64 = key.parse().ok()?;
    let at = if at < 0 { usize::try_from(i64::try_from(end).ok()? + at).ok()? } else { usize::try_from(at).ok()? };
    (at <= max).then_some(at)
}

fn add(tree: &mut Tree, pointer: &str, value: Tree) -> Option<()> {
    match find_mut(tree, pointer)? {
        (Tree::Object(members), key) => _ = members.insert(key, value),
        (Tree::Array(all), key) if key == "-" => all.push(value),
        (Tree::Array(all), key) => {
            let at = index(&key, all.len() + 1, all.len())?;
            all.insert(at, value);
        }
        _ => return None,
    }
    Some(())
}

fn replace(tree: &mut Tree, pointer: &str, value: Tree) -> Option<()> {
    if pointer.is_empty() {
        let is_document = value.is_object() || value.is_array();
        return is_document.then(|| *tree = value);
    }
    match find_mut(tree, pointer)? {
        (Tree::Object(members), key) => _ = members.insert(key, value),
        (Tree::Array(all), key) => {
            let at = index(&key, all.len(), all.len())?;
            *all.get_mut(at)? = value;
        }
        _ => return None,
    }
    Some(())
}

fn remove(tree: &mut Tree, pointer: &str) -> Option<Tree> {
    match find_mut(tree, pointer)? {
        (Tree::Object(members), key) => members.shift_remove(&key),
        (Tree::Array(all), key) => {
            let at = index(&key, all.len(), all.len()).filter(|at| *at < all.len())?;
            Some(all.remove(at))
        }
        _ => None,
    }
}

/// Numbers are equal by value, whatever their spelling.
fn same(left: &Tree, right: &Tree) -> bool {
    match (left, right) {
        (Tree::Number(left), Tree::Number(right)) => left == right || left.as_f64() == right.as_f64(),
        (Tree::Array(left), Tree::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same(left, right))
        }
        (Tree::Object(left), Tree::Object(right)) => {
            let in_right = |(key, left): (&String, &Tree)| right.get(key).is_some_and(|right| same(left, right));
            left.len() == right.len() && left.iter().all(in_right)
        }
        _ => left == right,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn operations() {
        let check = |current: Tree, patch: Tree, expect: Tree| {
            assert_eq!(apply(&current, &patch).unwrap_or_else(|error| panic!("{patch}: {error:?}")), expect, "{patch}");
        };
        check(json!({"a": 1}), json!([{"op": "add", "path": "/b", "value": 2}]), json!({"a": 1, "b": 2}));
        check(json!({"a": [1, 3]}), json!([{"op": "add", "path": "/a/1", "value": 2}]), json!({"a": [1, 2, 3]}));
        check(json!({"a": [1]}), json!([{"op": "add", "path": "/a/-", "value": null}]), json!({"a": [1, null]}));
        check(json!({"a/b": 1, "c": 2}), json!([{"op": "remove", "path": "/a~1b"}]), json!({"c": 2}));
        check(json!({"a": {"~": 1}}), json!([{"op": "replace", "path": "/a/~0", "value": 2}]), json!({"a": {"~": 2}}));
        check(json!({"a": 1}), json!([{"op": "move", "from": "/a", "path": "/b"}]), json!({"b": 1}));
        check(json!({"a": 1}), json!([{"op": "copy", "from": "/a", "path": "/b"}]), json!({"a": 1, "b": 1}));
        check(
            json!({"a": {"b": 1, "c": 2}}),
            json!([{"op": "test", "path": "/a", "value": {"c": 2, "b": 1.0}}]),
            json!({"a": {"b": 1, "c": 2}}),
        );
        check(json!({"a": 1}), json!([{"op": "replace", "path": "", "value": {}}]), json!({}));
    }

    #[test]
    fn what_lies_on_the_way_is_in_order() {
        let current = json!({"b": {"y": 1, "x": [{"d": 1, "c": 1}]}, "a": {"y": 1, "x": 1}});
        let shown = |patch: Tree| apply(&current, &patch).expect("it applies").to_string();
        let far = json!([{"op": "test", "path": "/b/x/0/c", "value": 1}]);
        assert_eq!(shown(far), r#"{"a":{"y":1,"x":1},"b":{"x":[{"c":1,"d":1}],"y":1}}"#);
        let near = json!([{"op": "replace", "path": "/b", "value": {"y": 1, "x": 1}}]);
        assert_eq!(shown(near), r#"{"a":{"y":1,"x":1},"b":{"y":1,"x":1}}"#);
    }

    #[test]
    fn what_upstreams_library_lets_pass() {
        let check = |current: Tree, patch: Tree, expect: Tree| {
            assert_eq!(apply(&current, &patch).unwrap_or_else(|error| panic!("{patch}: {error:?}")), expect, "{patch}");
        };
        check(json!({}), json!([{"op": "replace", "path": "/x", "value": 1}]), json!({"x": 1}));
        check(json!({}), json!([{"op": "copy", "from": "/x", "path": "/y"}]), json!({"y": null}));
        check(json!({}), json!([{"op": "test", "path": "/x", "value": null}]), json!({}));
        check(json!({}), json!([{"op": "add", "path": "/a"}]), json!({"a": null}));
        check(json!({}), json!([{"op": "add", "path": "a/b", "value": 1}]), json!({"b": 1}));
        check(json!({"l": [1]}), json!([{"op": "add", "path": "/l/-1", "value": 2}]), json!({"l": [1, 2]}));
        check(json!({"l": [1, 2]}), json!([{"op": "remove", "path": "/l/-1"}]), json!({"l": [1]}));
    }

    #[test]
    fn what_does_not_apply_is_unprocessable() {
        let all = [
            json!([{"op": "remove", "path": "/x"}]),
            json!([{"op": "move", "from": "/x", "path": "/y"}]),
            json!([{"op": "test", "path": "/a", "value": 2}]),
            json!([{"op": "add", "path": "/x/y", "value": 1}]),
            json!([{"op": "add", "path": "/l/2", "value": 1}]),
            json!([{"op": "add", "path": "/l/x", "value": 1}]),
            json!([{"op": "replace", "path": "/l/1", "value": 1}]),
            json!([{"op": "move", "from": "/a", "path": "/a/b"}]),
            json!([{"op": "spin", "path": "/a"}]),
            json!([{"path": "/a", "value": 1}]),
            json!([{"op": "add", "value": 1}]),
            json!([{"op": "add", "path": "", "value": {}}]),
            json!([{"op": "add", "path": "a", "value": 1}]),
            json!([{"op": "replace", "path": "", "value": 1}]),
        ];
        for patch in all {
            let rejected = apply(&json!({"a": 1, "l": [0]}), &patch).unwrap_err();
            assert_eq!((rejected.code, rejected.reason), (422, Reason::Invalid), "{patch}");
            assert_eq!(rejected.status()["details"], json!({}), "{patch}");
        }
        let many: Tree = vec![json!({"op": "test", "path": ""}); OPERATIONS_MAX + 1].into();
        assert_eq!(apply(&json!({}), &many).unwrap_err().code, 413);
    }

    #[test]
    fn what_is_no_patch_is_a_bad_request() {
        let wrong = |found: &str| format!("error decoding patch: json: cannot unmarshal {found}");
        for (patch, why) in [
            (json!({"op": "add"}), wrong("object into Go value of type []handlers.jsonPatchOp")),
            (json!([1]), wrong("number into Go value of type handlers.jsonPatchOp")),
            (json!([{"op": 1}]), wrong("number into Go struct field jsonPatchOp.op of type string")),
        ] {
            let rejected = apply(&json!({}), &patch).unwrap_err();
            assert_eq!((rejected.code, rejected.message), (400, why));
        }
    }
}
