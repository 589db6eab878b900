//! JSON patch (RFC 6902): a list of operations, of which all or none take effect.

use crate::Tree;
use crate::rejected::{Cause, Reason, Rejected};

/// kube-apiserver's limit.
pub const OPERATIONS_MAX: usize = 10_000;
/// What `copy` operations may add in all, so that a short patch cannot make a huge object.
const COPIED_BYTES_MAX: usize = 3 * 1024 * 1024;

/// The patched tree.
pub fn apply(current: &Tree, patch: &Tree) -> Result<Tree, Rejected> {
    let Some(operations) = patch.as_array() else {
        return Err(Rejected::bad_request("error decoding patch: a JSON patch is a list of operations"));
    };
    if operations.len() > OPERATIONS_MAX {
        let message =
            format!("The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {}", operations.len());
        return Err(Rejected::new(Reason::RequestEntityTooLarge, message));
    }
    let mut tree = current.clone();
    let mut copied = 0;
    for operation in operations {
        one(&mut tree, operation, &mut copied).map_err(|why| unprocessable(&why))?;
    }
    Ok(tree)
}

/// Upstream's message says nothing; the cause tells what it was.
fn unprocessable(why: &str) -> Rejected {
    let message = "the server rejected our request due to an error in our request";
    let mut rejected = Rejected::new(Reason::Invalid, message);
    let cause = Cause { reason: "UnexpectedServerResponse".to_owned(), message: why.to_owned(), field: String::new() };
    rejected.details.causes.push(cause);
    rejected
}

fn one(tree: &mut Tree, operation: &Tree, copied: &mut usize) -> Result<(), String> {
    let text = |key: &str| operation.get(key).and_then(Tree::as_str);
    let name = text("op").unwrap_or_default();
    let path = pointer(text("path").ok_or("operation is missing path field")?)?;
    let value = || operation.get("value").cloned().ok_or_else(|| format!("{name} operation is missing value field"));
    let from = || pointer(text("from").ok_or_else(|| format!("{name} operation is missing from field"))?);
    match name {
        "add" => add(tree, &path, value()?),
        "remove" => remove(tree, &path).map(|_| ()),
        "replace" => {
            let value = value()?;
            *find_mut(tree, &path).ok_or_else(|| missing("replace", &path))? = value;
            Ok(())
        }
        "move" => {
            let from = from()?;
            if path.len() > from.len() && path.starts_with(&from) {
                return Err(format!("move operation cannot move {} into itself", shown(&from)));
            }
            let value = remove(tree, &from)?;
            add(tree, &path, value)
        }
        "copy" => {
            let from = from()?;
            let value = find(tree, &from).cloned().ok_or_else(|| missing("copy", &from))?;
            *copied += value.to_string().len();
            if *copied > COPIED_BYTES_MAX {
                return Err(format!("copy operations add more than {COPIED_BYTES_MAX} bytes"));
            }
            add(tree, &path, value)
        }
        "test" => {
            let expect = operation.get("value").unwrap_or(&Tree::Null);
            match find(tree, &path) {
                Some(have) if same(have, expect) => Ok(()),
                None if expect.is_null() => Ok(()),
                _ => Err(format!("testing value {} failed: test failed", shown(&path))),
            }
        }
        other => Err(format!("unexpected kind: {other}")),
    }
}

fn pointer(text: &str) -> Result<Vec<String>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let rest = text.strip_prefix('/').ok_or_else(|| format!("path {text:?} does not start with \"/\""))?;
    Ok(rest.split('/').map(|part| part.replace("~1", "/").replace("~0", "~")).collect())
}

fn shown(path: &[String]) -> String {
    path.iter().map(|part| format!("/{}", part.replace('~', "~0").replace('/', "~1"))).collect()
}

fn missing(operation: &str, path: &[String]) -> String {
    format!("{operation} operation does not apply: doc is missing path: {}: missing value", shown(path))
}

/// Only canonical numbers index a list.
fn index(part: &str) -> Option<usize> {
    let is_canonical = part == "0" || !part.starts_with(['0', '+']);
    if is_canonical { part.parse().ok() } else { None }
}

fn step<'t>(tree: &'t Tree, part: &str) -> Option<&'t Tree> {
    match tree {
        Tree::Object(members) => members.get(part),
        Tree::Array(all) => all.get(index(part)?),
        _ => None,
    }
}

fn step_mut<'t>(tree: &'t mut Tree, part: &str) -> Option<&'t mut Tree> {
    match tree {
        Tree::Object(members) => members.get_mut(part),
        Tree::Array(all) => all.get_mut(index(part)?),
        _ => None,
    }
}

fn find<'t>(tree: &'t Tree, path: &[String]) -> Option<&'t Tree> {
    path.iter().try_fold(tree, |tree, part| step(tree, part))
}

fn find_mut<'t>(tree: &'t mut Tree, path: &[String]) -> Option<&'t mut Tree> {
    path.iter().try_fold(tree, |tree, part| step_mut(tree, part))
}

fn add(tree: &mut Tree, path: &[String], value: Tree) -> Result<(), String> {
    let Some((last, parents)) = path.split_last() else {
        *tree = value;
        return Ok(());
    };
    match find_mut(tree, parents).ok_or_else(|| missing("add", path))? {
        Tree::Object(members) => {
            members.insert(last.clone(), value);
        }
        Tree::Array(all) => {
            let at = if last == "-" { Some(all.len()) } else { index(last) };
            let at = at.filter(|at| *at <= all.len());
            let at = at.ok_or_else(|| format!("add operation does not apply: {}: invalid array index", shown(path)))?;
            all.insert(at, value);
        }
        _ => return Err(missing("add", path)),
    }
    Ok(())
}

fn remove(tree: &mut Tree, path: &[String]) -> Result<Tree, String> {
    let Some((last, parents)) = path.split_last() else {
        return Ok(std::mem::take(tree));
    };
    let removed = match find_mut(tree, parents) {
        Some(Tree::Object(members)) => members.shift_remove(last),
        Some(Tree::Array(all)) => index(last).filter(|at| *at < all.len()).map(|at| all.remove(at)),
        _ => None,
    };
    removed.ok_or_else(|| missing("remove", path))
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
    fn what_does_not_apply_is_unprocessable() {
        let all = [
            json!([{"op": "remove", "path": "/x"}]),
            json!([{"op": "replace", "path": "/x", "value": 1}]),
            json!([{"op": "test", "path": "/a", "value": 2}]),
            json!([{"op": "add", "path": "/x/y", "value": 1}]),
            json!([{"op": "add", "path": "/l/2", "value": 1}]),
            json!([{"op": "add", "path": "/l/01", "value": 1}]),
            json!([{"op": "move", "from": "/a", "path": "/a/b"}]),
            json!([{"op": "spin", "path": "/a"}]),
            json!([{"op": "add", "path": "a", "value": 1}]),
            json!([{"op": "add", "path": "/a"}]),
        ];
        for patch in all {
            let rejected = apply(&json!({"a": 1, "l": [0]}), &patch).unwrap_err();
            assert_eq!((rejected.code, rejected.reason), (422, Reason::Invalid), "{patch}");
        }
        assert_eq!(apply(&json!({}), &json!({})).unwrap_err().code, 400);
        let many: Tree = vec![json!({"op": "test", "path": ""}); OPERATIONS_MAX + 1].into();
        assert_eq!(apply(&json!({}), &many).unwrap_err().code, 413);
    }
}
