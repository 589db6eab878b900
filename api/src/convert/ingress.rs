//! Ingresses: `v1beta1` names a backend's Service in two fields, `v1` in a map of them.

use super::{Way, rename};
use crate::Tree;
use crate::walk::{Members, child, each, find, put};
use serde_json::json;

pub(super) fn change(object: &mut Members, way: Way) {
    let Some(spec) = child(object, "spec") else { return };
    let (from, to) = if way == Way::In { ("backend", "defaultBackend") } else { ("defaultBackend", "backend") };
    rename(spec, from, to);
    if let Some(one) = child(spec, to) {
        backend(one, way);
    }
    for rule in each(spec, "rules") {
        let Some(http) = find(rule, &["http"]) else { continue };
        for path in each(http, "paths") {
            if way == Way::In {
                put(path, "pathType", "ImplementationSpecific");
            }
            if let Some(one) = child(path, "backend") {
                backend(one, way);
            }
        }
    }
}

fn backend(one: &mut Members, way: Way) {
    match way {
        Way::In => {
            let name = one.shift_remove("serviceName");
            let port = match one.shift_remove("servicePort") {
                Some(Tree::String(name)) if !name.is_empty() => json!({"name": name}),
                Some(Tree::Number(number)) => json!({"number": number}),
                _ => json!({}),
            };
            if name.is_some() || port != json!({}) {
                one.insert("service".to_owned(), json!({"name": name.unwrap_or_else(|| "".into()), "port": port}));
            }
        }
        Way::Out => {
            let Some(Tree::Object(mut service)) = one.shift_remove("service") else { return };
            if let Some(name) = service.shift_remove("name") {
                one.insert("serviceName".to_owned(), name);
            }
            let port = child(&mut service, "port");
            let port = port.and_then(|port| port.shift_remove("name").or_else(|| port.shift_remove("number")));
            one.insert("servicePort".to_owned(), port.unwrap_or_else(|| 0.into()));
        }
    }
}
