//! What this server tells those that extend it: whose client certificates to believe, and in which headers it says whom
//! a request is for. They read it from the ConfigMap `kube-system/extension-apiserver-authentication`.

use super::super::dial::FRONT_PROXY;
use crate::pki::Pki;
use crate::registry::{Call, Registry, User};
use api::object::edit;
use api::{Rejected, Resource, Tree};
use client::Patch;
use serde_json::json;

const NAMESPACE: &str = "kube-system";
const NAME: &str = "extension-apiserver-authentication";

/// Makes the ConfigMap, or puts right what is not so.
pub(super) async fn keep(registry: &Registry, pki: &Pki, client_cas: Option<&[u8]>) {
    let own = format!("{}{}", pki.ca_pem(), String::from_utf8_lossy(client_cas.unwrap_or_default()));
    if let Err(rejected) = put(registry, &own, pki.front_proxy_ca_pem()).await {
        tracing::warn!(%rejected, "what extension API servers have to know is not published");
    }
}

async fn put(registry: &Registry, client_ca: &str, front_proxy_ca: &str) -> Result<(), Rejected> {
    let resource = Resource::new("", "v1", "configmaps");
    let Some(kind) = registry.find(&resource) else { return Ok(()) };
    let user = User::system_admin();
    let call =
        Call { namespace: Some(NAMESPACE), name: NAME, field_manager: "kube-apiserver", ..Call::new(&user, &kind) };
    let there = match registry.get_at_least(call, 0).await {
        Ok(object) => Some(object.tree()),
        Err(rejected) if rejected.is_not_found() => None,
        Err(rejected) => return Err(rejected),
    };
    let before = there.as_ref().and_then(|tree| tree.get("data")).cloned().unwrap_or_default();
    let data = data(&before, client_ca, front_proxy_ca);
    let done = match &there {
        Some(_) if before == data => return Ok(()),
        Some(_) => registry.patch(call, Patch::Merge(json!({ "data": data }))).await,
        None => {
            let map = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": NAME}, "data": data});
            registry.create(Call { name: "", ..call }, map).await
        }
    };
    match done {
        Err(rejected) if !rejected.is_already_exists() && !rejected.is_conflict() => Err(rejected),
        _ => Ok(()),
    }
}

/// Members that have authorities of their own are all believed.
fn data(before: &Tree, client_ca: &str, front_proxy_ca: &str) -> Tree {
    let with = |key: &str, own: &str| {
        let known = edit::text(before, &[key]);
        if known.contains(own.trim()) { known.to_owned() } else { format!("{known}{own}") }
    };
    json!({
        "client-ca-file": with("client-ca-file", client_ca),
        "requestheader-allowed-names": json!([FRONT_PROXY]).to_string(),
        "requestheader-client-ca-file": with("requestheader-client-ca-file", front_proxy_ca),
        "requestheader-extra-headers-prefix": r#"["X-Remote-Extra-"]"#,
        "requestheader-group-headers": r#"["X-Remote-Group"]"#,
        "requestheader-uid-headers": r#"["X-Remote-Uid"]"#,
        "requestheader-username-headers": r#"["X-Remote-User"]"#,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_are_added_once() {
        let first = data(&Tree::Null, "A\n", "F\n");
        assert_eq!(edit::text(&first, &["requestheader-allowed-names"]), r#"["front-proxy-client"]"#);
        assert_eq!(data(&first, "A\n", "F\n"), first);
        let both = data(&first, "A\n", "G\n");
        assert_eq!(edit::text(&both, &["requestheader-client-ca-file"]), "F\nG\n");
    }
}
