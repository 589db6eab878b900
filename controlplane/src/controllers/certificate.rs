//! Certificate requests of nodes: approved for who may have them, then signed.

use super::{Config, MANAGER, Watched, due, settle};
use api::object::edit;
use api::resource::CERTIFICATE_SIGNING_REQUESTS as REQUESTS;
use api::{Tree, time};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use client::{Error, Key, Queue, Target, WriteOptions};
use serde_json::json;
use std::sync::Arc;
use tokio::time::Instant;

const NODE_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const NODE_SERVING: &str = "kubernetes.io/kubelet-serving";

/// What a request needs next; pure.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Nothing,
    Approve(&'static str),
    Sign,
}

fn plan(request: &Tree) -> Step {
    let has = |kind: &str| {
        edit::list(request, &["status", "conditions"]).iter().any(|one| edit::text(one, &["type"]) == kind)
    };
    if has("Denied") || has("Failed") || !edit::text(request, &["status", "certificate"]).is_empty() {
        return Step::Nothing;
    }
    if has("Approved") {
        return Step::Sign;
    }
    let user = edit::text(request, &["spec", "username"]);
    let is_in = |group: &str| edit::list(request, &["spec", "groups"]).iter().any(|known| known == group);
    let is_node = user.starts_with("system:node:") && is_in("system:nodes");
    match edit::text(request, &["spec", "signerName"]) {
        NODE_CLIENT if is_in("system:bootstrappers") => {
            Step::Approve("Auto approving kubelet client certificate after SubjectAccessReview.")
        }
        NODE_CLIENT if is_node => {
            Step::Approve("Auto approving self kubelet client certificate after SubjectAccessReview.")
        }
        NODE_SERVING if is_node => Step::Approve("Auto approving the serving certificate of a node for itself."),
        _ => Step::Nothing,
    }
}

pub(super) async fn run(config: Config) {
    let mut requests: Watched<Tree> = Watched::new(&config.cluster, &REQUESTS, |object| Some(Arc::new(object.tree())));
    let mut queue: Queue<Key> = Queue::new();
    loop {
        tokio::select! {
            changes = requests.changed() => changes.into_iter().for_each(|change| queue.add(change.key)),
            () = due(&queue) => {}
        }
        while let Some(key) = queue.take(Instant::now()) {
            let outcome = match requests.cache.value(&key).cloned() {
                Some(request) => sync(&config, &key, &request).await,
                None => Ok(()),
            };
            settle(&mut queue, &key, "certificate", outcome);
        }
    }
}

async fn sync(config: &Config, key: &Key, request: &Tree) -> Result<(), Error> {
    let mut tree = request.clone();
    let now = time::seconds(config.clock.now());
    let subresource = match plan(request) {
        Step::Nothing => return Ok(()),
        Step::Approve(message) => {
            edit::push(
                &mut tree,
                &["status", "conditions"],
                json!({
                    "type": "Approved", "status": "True", "reason": "AutoApproved", "message": message,
                    "lastUpdateTime": now, "lastTransitionTime": now,
                }),
            );
            "approval"
        }
        Step::Sign => {
            match certificate(config, request) {
                Ok(pem) => edit::set(&mut tree, &["status", "certificate"], STANDARD.encode(pem)),
                Err(message) => edit::push(
                    &mut tree,
                    &["status", "conditions"],
                    json!({
                        "type": "Failed", "status": "True", "reason": "SignerValidationFailure", "message": message,
                        "lastUpdateTime": now, "lastTransitionTime": now,
                    }),
                ),
            }
            "status"
        }
    };
    let target = Target::cluster(&REQUESTS, &key.name).subresource(subresource);
    config.cluster.update(target, tree, WriteOptions::by(MANAGER)).await.map(|_| ())
}

fn certificate(config: &Config, request: &Tree) -> Result<String, String> {
    let sign = config.sign.as_ref().ok_or("no signer")?;
    let pem = STANDARD.decode(edit::text(request, &["spec", "request"])).map_err(|error| error.to_string())?;
    let pem = String::from_utf8(pem).map_err(|error| error.to_string())?;
    sign(&pem, edit::text(request, &["spec", "signerName"]), edit::text(request, &["spec", "username"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_nodes_and_machines_that_join_are_approved() {
        let request = |user: &str, groups: &[&str], signer: &str| {
            plan(&json!({"spec": {"username": user, "groups": groups, "signerName": signer}}))
        };
        assert!(matches!(request("system:bootstrap:abcdef", &["system:bootstrappers"], NODE_CLIENT), Step::Approve(_)));
        assert!(matches!(request("system:node:a", &["system:nodes"], NODE_SERVING), Step::Approve(_)));
        assert_eq!(request("system:bootstrap:abcdef", &["system:bootstrappers"], NODE_SERVING), Step::Nothing);
        assert_eq!(request("alice", &[], NODE_CLIENT), Step::Nothing);
    }
}
