//! The claims of StatefulSets: made with their pods, and let go as the set's retention policy says (upstream 1.34).

use super::plan::is_wanted;
use super::pod;
use crate::controllers::pods::Found;
use crate::controllers::{MANAGER, Watched, owner, patch};
use api::Tree;
use api::object::Owner;
use api::resource::PERSISTENT_VOLUME_CLAIMS;
use api::view::{Meta, Owned, StatefulSet};
use client::{Error, Handle, Key, Target, WriteOptions};
use serde_json::json;

pub(super) struct Claims {
    cluster: Handle,
    watched: Watched<Owned>,
}

/// Who is to own a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    Nobody,
    Set,
    /// A pod that goes for good.
    Pod,
}

/// Pure: whom a claim goes with.
fn holder(set: &StatefulSet, ordinal: i32) -> Holder {
    let policy = &set.spec.persistent_volume_claim_retention_policy;
    let goes_with_place = policy.when_scaled == "Delete";
    if goes_with_place && !is_wanted(set, ordinal) {
        Holder::Pod
    } else if policy.when_deleted == "Delete" {
        Holder::Set
    } else {
        Holder::Nobody
    }
}

/// Pure: the claim's owners as they should be; `None` if they are. A claim with a controller of another kind is left
/// alone.
fn reowned(claim: &Meta, set: &Meta, pod: &Meta, holder: Holder) -> Option<Vec<Tree>> {
    let is_ours = |one: &Owner| *one.uid == *set.uid || *one.uid == *pod.uid;
    if claim.owner_references.iter().any(|one| one.controller && !is_ours(one)) {
        return None;
    }
    let wanted = match holder {
        Holder::Nobody => None,
        Holder::Set => Some(("apps/v1", "StatefulSet", set)),
        Holder::Pod => Some(("v1", "Pod", pod)),
    };
    let has: Vec<&Owner> = claim.owner_references.iter().filter(|one| is_ours(one)).collect();
    let is_right = match wanted {
        None => has.is_empty(),
        Some((_, _, meta)) => has.len() == 1 && *has[0].uid == *meta.uid,
    };
    if is_right {
        return None;
    }
    let others = claim.owner_references.iter().filter(|one| !is_ours(one)).map(|one| {
        json!({
            "apiVersion": one.api_version, "kind": one.kind, "name": one.name, "uid": one.uid,
            "controller": one.controller, "blockOwnerDeletion": one.block_owner_deletion,
        })
    });
    let ours = wanted.map(|(version, kind, meta)| owner(version, kind, &meta.name, &meta.uid));
    Some(others.chain(ours).collect())
}

// === impl Claims ===

impl Claims {
    pub(super) fn new(cluster: &Handle) -> Claims {
        let watched = Watched::new(cluster, &PERSISTENT_VOLUME_CLAIMS, |object| object.view().ok());
        Claims { cluster: cluster.clone(), watched }
    }

    pub(super) fn is_synced(&self) -> bool {
        self.watched.is_synced
    }

    pub(super) async fn changed(&mut self) {
        self.watched.changed().await;
    }

    /// Makes a claim; `None` if it is there.
    pub(super) async fn make(&mut self, set: &StatefulSet, name: &str, claim: Tree) -> Option<Result<(), Error>> {
        let namespace = &set.metadata.namespace;
        if self.watched.cache.value(&Key::new(namespace, name)).is_some() {
            return None;
        }
        let target = Target::namespaced(&PERSISTENT_VOLUME_CLAIMS, namespace, "");
        match self.cluster.create(target, claim, WriteOptions::by(MANAGER)).await {
            Ok(claim) => {
                self.watched.wrote(&claim);
                Some(Ok(()))
            }
            Err(error) if error.is_already_exists() => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// Lets the claims of the set's pods be owned by whom they are to go with.
    pub(super) async fn retain(&mut self, set: &StatefulSet, pods: &[Found]) -> Result<(), Error> {
        if set.spec.volume_claim_templates.is_empty() || set.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        for (_, pod) in pods {
            let Some(ordinal) = pod::ordinal(&set.metadata, &pod.metadata.name) else { continue };
            for (name, _) in pod::claims(set, ordinal) {
                let key = Key::new(&set.metadata.namespace, &name);
                let Some(claim) = self.watched.cache.value(&key) else { continue };
                let owners = reowned(&claim.metadata, &set.metadata, &pod.metadata, holder(set, ordinal));
                let Some(owners) = owners else { continue };
                let owners = if owners.is_empty() { Tree::Null } else { owners.into() };
                let tree = json!({ "metadata": { "uid": claim.metadata.uid, "ownerReferences": owners } });
                let written = patch(&self.cluster, &PERSISTENT_VOLUME_CLAIMS, &key, tree).await?;
                self.watched.wrote(&written);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_go_with_whom_the_policy_says() {
        let set = |deleted: &str, scaled: &str| -> StatefulSet {
            let policy = json!({ "whenDeleted": deleted, "whenScaled": scaled });
            let spec = json!({ "replicas": 1, "persistentVolumeClaimRetentionPolicy": policy });
            serde_json::from_value(json!({ "spec": spec })).expect("a set")
        };
        let of = |deleted, scaled| [0, 1].map(|ordinal| holder(&set(deleted, scaled), ordinal));
        assert_eq!(of("Retain", "Retain"), [Holder::Nobody, Holder::Nobody]);
        assert_eq!(of("Delete", "Retain"), [Holder::Set, Holder::Set]);
        assert_eq!(of("Retain", "Delete"), [Holder::Nobody, Holder::Pod]);
        assert_eq!(of("Delete", "Delete"), [Holder::Set, Holder::Pod]);
    }

    #[test]
    fn owners_are_changed_once_and_strangers_stay() {
        let meta = |uid: &str, owners: Tree| -> Meta {
            serde_json::from_value(json!({ "name": uid, "uid": uid, "ownerReferences": owners })).expect("metadata")
        };
        let (set, pod) = (meta("set", json!([])), meta("pod", json!([])));
        let free = meta("claim", json!([]));
        let owned = reowned(&free, &set, &pod, Holder::Set).expect("a change");
        assert_eq!(reowned(&meta("claim", json!(owned)), &set, &pod, Holder::Set), None);
        assert_eq!(reowned(&meta("claim", json!(owned)), &set, &pod, Holder::Nobody), Some(vec![]));
        let foreign = meta("claim", json!([{ "uid": "x", "controller": true }]));
        assert_eq!(reowned(&foreign, &set, &pod, Holder::Set), None);
    }
}
