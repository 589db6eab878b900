//! The short names of contents: a 32-bit hash whose digits are spelled without vowels, as upstream's
//! `rand.SafeEncodeString` does.

use api::Tree;

const OFFSET: u32 = 2_166_136_261;
const PRIME: u32 = 16_777_619;
/// No vowels and no figures that look like letters: no words.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// FNV-1.
fn fnv1(bytes: &[u8]) -> u32 {
    bytes.iter().fold(OFFSET, |hash, byte| hash.wrapping_mul(PRIME) ^ u32::from(*byte))
}

/// FNV-1a.
fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(OFFSET, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(PRIME))
}

/// The decimal digits of a number, each as the letter that it stands for.
fn spelled(number: u32) -> String {
    number.to_string().bytes().map(|digit| char::from(ALPHABET[usize::from(digit) % ALPHABET.len()])).collect()
}

/// What a revision's name ends with: the same as upstream's for the same JSON.
pub(super) fn of_revision(data: &Tree, collisions: i32) -> String {
    spelled(fnv1(format!("{}{collisions}", sorted(data)).as_bytes()))
}

/// `pod-template-hash`: of the same form as upstream's, which hashes Go's own print of the template.
pub(super) fn of_template(template: &Tree, collisions: i32) -> String {
    let collisions = if collisions == 0 { String::new() } else { collisions.to_string() };
    spelled(fnv1a(format!("{}{collisions}", sorted(template)).as_bytes()))
}

/// A tree with the keys of all maps in order, as Go prints maps.
pub(super) fn sorted(tree: &Tree) -> Tree {
    match tree {
        Tree::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            keys.into_iter().map(|key| (key.clone(), sorted(&map[key]))).collect()
        }
        Tree::Array(list) => list.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_revision_is_named_as_upstream_names_it() {
        let container = json!({
            "image": "img:1", "imagePullPolicy": "IfNotPresent", "name": "c", "resources": {},
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
        });
        let spec = json!({
            "containers": [container], "dnsPolicy": "ClusterFirst", "restartPolicy": "Always",
            "schedulerName": "default-scheduler", "securityContext": {}, "terminationGracePeriodSeconds": 30,
        });
        let meta = json!({ "creationTimestamp": null, "labels": { "app": "web" } });
        let data = json!({ "spec": { "template": { "spec": spec, "metadata": meta, "$patch": "replace" } } });
        assert_eq!(of_revision(&data, 0), "664874858", "as kube-controller-manager 1.20 named it");
        assert_ne!(of_revision(&data, 1), of_revision(&data, 0));
    }

    #[test]
    fn the_order_of_keys_does_not_matter() {
        let one = json!({ "a": 1, "b": { "c": 2, "d": [3] } });
        let other: Tree = serde_json::from_str(r#"{"b":{"d":[3],"c":2},"a":1}"#).expect("JSON");
        assert_eq!(of_template(&one, 0), of_template(&other, 0));
        assert_ne!(of_template(&one, 0), of_template(&one, 1));
    }
}
