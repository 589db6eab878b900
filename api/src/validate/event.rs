//! Events, in the form of the core group, which is how they are stored.

use super::findings::Findings;
use super::place::Place;
use crate::names;

const TEXT_MAX: usize = 128;
const MESSAGE_MAX: usize = 1024;

/// Events with a time of their own come from newer clients, of which more is asked.
pub(super) fn event(root: &Place<'_, '_>, found: &mut Findings) {
    const ELSEWHERE: &str = "does not match event.namespace";
    let namespace = root.get("metadata").get("namespace").text();
    let object = root.get("involvedObject");
    let place = object.get("namespace");
    let is_new = root.has("eventTime");
    let fits = match (is_new, place.text()) {
        (false, "") => matches!(namespace, "" | "default"),
        (false, place) => place == namespace,
        (true, "") => matches!(namespace, "default" | "kube-system"),
        (true, _) => true,
    };
    if !fits {
        found.invalid_as(&place, place.text(), ELSEWHERE);
    }
    if !is_new {
        return;
    }
    let controller = root.get("reportingComponent");
    let shown = root.alias("reportingController", &controller);
    if controller.is_empty() {
        found.required(&shown, "");
    }
    found.test(&shown, names::qualified_name);
    for key in ["reportingInstance", "action", "reason"] {
        let at = root.get(key);
        if at.is_empty() {
            found.required(&at, "");
        } else if at.len() > TEXT_MAX {
            found.invalid_as(&at, "", format!("can have at most {TEXT_MAX} characters"));
        }
    }
    if root.get("message").len() > MESSAGE_MAX {
        found.invalid_as(&root.get("message"), "", format!("can have at most {MESSAGE_MAX} characters"));
    }
}
