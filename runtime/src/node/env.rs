//! A container's environment and arguments, from its spec and what that refers to. Pure.

use super::sources::Sources;
use api::quantity::Quantity;
use api::view;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What fields and resources of a pod are on this node.
pub(super) struct Facts<'a> {
    pub(super) pod: &'a view::Pod,
    pub(super) pod_ip: IpAddr,
    pub(super) host_ip: IpAddr,
    /// Stand in for limits that are not set.
    pub(super) cpu_millis: u64,
    pub(super) memory_bytes: u64,
}

/// The environment, later entries of one name having replaced earlier ones. The error is the waiting message.
pub(super) fn environment(
    container: &view::Container,
    facts: &Facts<'_>,
    sources: &Sources,
) -> Result<Vec<(String, String)>, String> {
    let mut all = Environment::default();
    for from in &container.env_from {
        all.take_all(from, sources)?;
    }
    for var in &container.env {
        match &var.value_from {
            None => {
                let value = expand(&var.value, &all.values);
                all.put(&var.name, value);
            }
            Some(source) => {
                if let Some(value) = value_from(source, container, facts, sources)? {
                    all.put(&var.name, value);
                }
            }
        }
    }
    Ok(all.in_order())
}

/// `$(NAME)` becomes the variable's value, `$$(NAME)` stays as `$(NAME)`; an unknown name stays as it is.
pub(super) fn expand(text: &str, values: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match values.get(name) {
                Some(value) => out.push_str(value),
                None => {
                    out.push_str("$(");
                    out.push_str(name);
                    out.push(')');
                }
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

/// A pod's field as text; `None` if no such path is known.
pub(super) fn field(path: &str, facts: &Facts<'_>) -> Option<String> {
    let meta = &facts.pod.metadata;
    let keyed = |prefix: &str, map: &BTreeMap<String, String>| {
        let key = path.strip_prefix(prefix)?.strip_prefix("['")?.strip_suffix("']")?;
        Some(map.get(key).cloned().unwrap_or_default())
    };
    match path {
        "metadata.name" => Some(meta.name.clone()),
        "metadata.namespace" => Some(meta.namespace.clone()),
        "metadata.uid" => Some(meta.uid.clone()),
        "metadata.labels" => Some(listed(&meta.labels)),
        "metadata.annotations" => Some(listed(&meta.annotations)),
        "spec.nodeName" => Some(facts.pod.spec.node_name.clone()),
        "spec.serviceAccountName" => Some(facts.pod.spec.service_account_name.clone()),
        "status.hostIP" | "status.hostIPs" => Some(facts.host_ip.to_string()),
        "status.podIP" | "status.podIPs" => Some(facts.pod_ip.to_string()),
        _ => keyed("metadata.labels", &meta.labels).or_else(|| keyed("metadata.annotations", &meta.annotations)),
    }
}

/// A container's resource as text, divided and rounded up as the kubelet does.
pub(super) fn resource(
    reference: &view::ResourceFieldRef,
    own: Option<&view::Container>,
    facts: &Facts<'_>,
) -> Result<String, String> {
    let spec = &facts.pod.spec;
    let named = || spec.containers.iter().chain(&spec.init_containers).find(|one| one.name == reference.container_name);
    let container = if reference.container_name.is_empty() { own } else { named() };
    let container = container.ok_or_else(|| format!("container {} not found", reference.container_name))?;
    let (kind, name) = reference.resource.split_once('.').unwrap_or(("", &reference.resource));
    let set = if kind == "limits" { &container.resources.limits } else { &container.resources.requests };
    let parse = |text: &str| Quantity::parse(text).map_err(|error| format!("{text:?} is no quantity: {error}"));
    let milli = match (set.get(name), kind, name) {
        (Some(text), _, _) => parse(text)?.milli(),
        (None, "limits", "cpu") => i128::from(facts.cpu_millis),
        (None, "limits", "memory") => i128::from(facts.memory_bytes) * 1000,
        (None, _, _) => 0,
    };
    let divisor = match reference.divisor.as_deref() {
        None | Some("" | "0") => 1000,
        Some(text) => parse(text)?.milli().max(1),
    };
    Ok(((milli + divisor - 1) / divisor).to_string())
}

fn value_from(
    source: &view::EnvSource,
    container: &view::Container,
    facts: &Facts<'_>,
    sources: &Sources,
) -> Result<Option<String>, String> {
    let namespace = &facts.pod.metadata.namespace;
    if let Some(reference) = &source.field_ref {
        let path = &reference.field_path;
        return field(path, facts).map(Some).ok_or_else(|| format!("unsupported fieldPath: {path}"));
    }
    if let Some(reference) = &source.resource_field_ref {
        return resource(reference, Some(container), facts).map(Some);
    }
    let (kind, word, data, key) = match (&source.config_map_key_ref, &source.secret_key_ref) {
        (Some(key), _) => ("ConfigMap", "configmap", sources.config_map(&key.name), key),
        (None, Some(key)) => ("Secret", "secret", sources.secret(&key.name), key),
        (None, None) => return Ok(None),
    };
    match data {
        None if key.optional => Ok(None),
        None => Err(format!("{word} {:?} not found", key.name)),
        Some(data) => match data.get(&key.key) {
            Some(value) => Ok(Some(String::from_utf8_lossy(value).into_owned())),
            None if key.optional => Ok(None),
            None => Err(format!("couldn't find key {} in {kind} {namespace}/{}", key.key, key.name)),
        },
    }
}

/// `key="value"` lines, as the downward API writes maps.
fn listed(map: &BTreeMap<String, String>) -> String {
    let lines: Vec<String> = map.iter().map(|(key, value)| format!("{key}={value:?}")).collect();
    lines.join("\n")
}

#[derive(Default)]
struct Environment {
    order: Vec<String>,
    values: BTreeMap<String, String>,
}

// === impl Environment ===

impl Environment {
    fn take_all(&mut self, from: &view::EnvFrom, sources: &Sources) -> Result<(), String> {
        let (word, reference, data) = match (&from.config_map_ref, &from.secret_ref) {
            (Some(reference), _) => ("configmap", reference, sources.config_map(&reference.name)),
            (None, Some(reference)) => ("secret", reference, sources.secret(&reference.name)),
            (None, None) => return Ok(()),
        };
        let Some(data) = data else {
            return if reference.optional { Ok(()) } else { Err(format!("{word} {:?} not found", reference.name)) };
        };
        for (key, value) in data {
            let name = format!("{}{key}", from.prefix);
            if !name.contains('=') && !name.contains('\0') {
                self.put(&name, String::from_utf8_lossy(value).into_owned());
            }
        }
        Ok(())
    }

    fn put(&mut self, name: &str, value: String) {
        if self.values.insert(name.to_owned(), value).is_none() {
            self.order.push(name.to_owned());
        }
    }

    fn in_order(mut self) -> Vec<(String, String)> {
        let order = std::mem::take(&mut self.order);
        order.into_iter().filter_map(|name| self.values.remove_entry(&name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(container: serde_json::Value, expect: Result<&[(&str, &str)], &str>) {
        let pod = json!({ "metadata": { "name": "p", "namespace": "n", "labels": { "a": "x" } },
            "spec": { "nodeName": "node", "containers": [container] } });
        let pod: view::Pod = api::object::read_tree(&pod).unwrap();
        let ip: IpAddr = "10.0.0.1".parse().unwrap();
        let facts = Facts { pod: &pod, pod_ip: ip, host_ip: ip, cpu_millis: 2000, memory_bytes: 1 << 30 };
        let data = BTreeMap::from([("k".to_owned(), bytes::Bytes::from("v"))]);
        let sources = Sources::of(&[("m", &data)], &[("s", &data)]);
        let got = environment(&pod.spec.containers[0], &facts, &sources);
        let expect = expect.map(|all| all.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect::<Vec<_>>());
        assert_eq!(got, expect.map_err(str::to_owned));
    }

    #[test]
    fn variables() {
        check(
            json!({ "env": [{ "name": "A", "value": "1" }, { "name": "B", "value": "$(A)$$(A)$(C)$" }] }),
            Ok(&[("A", "1"), ("B", "1$(A)$(C)$")]),
        );
        check(
            json!({ "envFrom": [{ "prefix": "P_", "configMapRef": { "name": "m" } }, { "secretRef": { "name": "s" } }],
                "env": [{ "name": "k", "value": "own" }] }),
            Ok(&[("P_k", "v"), ("k", "own")]),
        );
        let field =
            |path: &str| json!({ "env": [{ "name": "F", "valueFrom": { "fieldRef": { "fieldPath": path } } }] });
        check(field("metadata.labels['a']"), Ok(&[("F", "x")]));
        check(field("status.podIP"), Ok(&[("F", "10.0.0.1")]));
        check(field("spec.foo"), Err("unsupported fieldPath: spec.foo"));
        let resource = json!({ "resource": "limits.memory", "divisor": "1Mi" });
        check(json!({ "env": [{ "name": "R", "valueFrom": { "resourceFieldRef": resource } }] }), Ok(&[("R", "1024")]));
    }

    #[test]
    fn what_is_missing_is_told_as_kubectl_users_know_it() {
        let key = |kind: &str, name: &str, key: &str, optional: bool| json!({ "env": [{ "name": "K", "valueFrom": { kind: { "name": name, "key": key, "optional": optional } } }] });
        check(key("configMapKeyRef", "m", "k", false), Ok(&[("K", "v")]));
        check(key("configMapKeyRef", "no", "k", false), Err("configmap \"no\" not found"));
        check(key("secretKeyRef", "s", "no", false), Err("couldn't find key no in Secret n/s"));
        check(key("secretKeyRef", "s", "no", true), Ok(&[]));
        check(json!({ "envFrom": [{ "secretRef": { "name": "no" } }] }), Err("secret \"no\" not found"));
    }
}
