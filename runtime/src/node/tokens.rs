//! The service account tokens that pods' volumes want: asked for, renewed before they end, and kept on the disk for when
//! the API is away.

use super::disk::Disk;
use super::volumes;
use api::Tree;
use api::resource::SERVICE_ACCOUNTS;
use api::time::{SignedDuration, Timestamp};
use api::view;
use bytes::Bytes;
use client::{Clock, Error, Handle, Target, WriteOptions};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::{BTreeMap, HashMap};

/// How long a token lives where the pod does not say.
const SECONDS: i64 = 3607;
/// Of its life, after which the next one is asked for.
const RENEW_PERCENT: i64 = 80;
/// In the disk's names.
const PREFIX: &str = "token/";

/// All tokens of this node.
pub(super) struct Tokens {
    cluster: Handle,
    clock: Clock,
    disk: Disk,
    /// By pod and path.
    known: Mutex<HashMap<(String, String), Known>>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Known {
    token: String,
    renew_at: Timestamp,
}

#[derive(Deserialize)]
struct Answer {
    status: AnswerStatus,
}

#[derive(Deserialize)]
struct AnswerStatus {
    token: String,
}

// === impl Tokens ===

impl Tokens {
    /// `stored`: what the disk held at the start.
    pub(super) fn new(cluster: Handle, clock: Clock, disk: Disk, stored: &BTreeMap<String, Bytes>) -> Tokens {
        let tokens = stored.iter().filter_map(|(name, value)| {
            let (uid, path) = name.strip_prefix(PREFIX)?.split_once('/')?;
            Some(((uid.to_owned(), path.to_owned()), serde_json::from_slice(value).ok()?))
        });
        Tokens { cluster, clock, disk, known: Mutex::new(tokens.collect()) }
    }

    /// Those that a pod wants, by path. One that is due for renewal is better than none while the API is away.
    pub(super) async fn of(&self, pod: &view::Pod) -> Result<volumes::Tokens, String> {
        let mut tokens = BTreeMap::new();
        let parts = pod.spec.volumes.iter().filter_map(|volume| volume.projected.as_ref());
        for wanted in parts.flat_map(|one| &one.sources).filter_map(|one| one.service_account_token.as_ref()) {
            let key = (pod.metadata.uid.clone(), wanted.path.clone());
            let now = self.clock.now();
            let have = self.known.lock().get(&key).cloned();
            let token = match have {
                Some(have) if now < have.renew_at => have.token,
                have => match (self.ask(pod, wanted).await, have) {
                    (Ok(token), _) => {
                        let seconds = wanted.expiration_seconds.unwrap_or(SECONDS);
                        let renew_at = now + SignedDuration::from_secs(seconds / 100 * RENEW_PERCENT);
                        self.keep(key, Known { token: token.clone(), renew_at });
                        token
                    }
                    (Err(Error::Unreachable(_) | Error::Unknown(_)), Some(have)) => have.token,
                    (Err(error), _) => return Err(format!("failed to fetch token: {error}")),
                },
            };
            tokens.insert(wanted.path.clone(), token);
        }
        Ok(tokens)
    }

    pub(super) fn forget(&self, uid: &str) {
        let mut known = self.known.lock();
        let gone: Vec<_> = known.keys().filter(|(of, _)| of == uid).cloned().collect();
        for key in gone {
            known.remove(&key);
            self.disk.remove(name(&key));
        }
    }

    async fn ask(&self, pod: &view::Pod, wanted: &view::TokenProjection) -> Result<String, Error> {
        let meta = &pod.metadata;
        let account = Some(pod.spec.service_account_name.as_str()).filter(|name| !name.is_empty());
        let target = Target::namespaced(&SERVICE_ACCOUNTS, &meta.namespace, account.unwrap_or("default"));
        let answer = self.cluster.create(target.subresource("token"), request(pod, wanted), WriteOptions::default());
        let answer: Answer = answer.await?.read().map_err(|error| Error::Unknown(error.to_string()))?;
        Ok(answer.status.token)
    }

    fn keep(&self, key: (String, String), known: Known) {
        let text = serde_json::to_vec(&known).expect("strings and a time are JSON");
        self.disk.put(name(&key), text.into());
        self.known.lock().insert(key, known);
    }
}

/// A token that is good for this pod alone.
fn request(pod: &view::Pod, wanted: &view::TokenProjection) -> Tree {
    let meta = &pod.metadata;
    let audiences: Vec<&str> = Some(wanted.audience.as_str()).filter(|one| !one.is_empty()).into_iter().collect();
    json!({
        "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
        "spec": { "audiences": audiences, "expirationSeconds": wanted.expiration_seconds.unwrap_or(SECONDS),
            "boundObjectRef": { "kind": "Pod", "apiVersion": "v1", "name": meta.name, "uid": meta.uid } },
    })
}

fn name((uid, path): &(String, String)) -> String {
    format!("{PREFIX}{uid}/{path}")
}
