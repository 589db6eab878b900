//! ResourceQuota, the admission plugin: what is over a quota is refused, and what is let in is charged in the same
//! transaction. What comes back when objects go is counted by the controller.

use super::{Call, Registry, encoded, keys};
use api::kinds::Kind;
use api::object::edit;
use api::quota::{self, Amounts};
use api::view::ResourceQuota;
use api::{Object, Rejected, Tree, codec, managed_fields};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::MutexGuard;

/// Who is named in a quota's managed fields when it is charged.
const MANAGER: &str = "kube-apiserver";

/// A quota's new state, written with the object that it is charged for; it holds only if the quota is as it was read.
#[derive(Debug)]
pub(super) struct Charge {
    pub(super) key: Bytes,
    pub(super) revision: u64,
    pub(super) value: Bytes,
}

/// What one quota is asked for.
struct Asked<'a> {
    object: &'a Arc<Object>,
    quota: ResourceQuota,
    /// Its names that the object may use some of.
    names: BTreeSet<String>,
}

impl Registry {
    /// Writes that are charged to quotas, one at a time: they would only undo each other.
    pub(super) async fn charging(&self, call: &Call<'_>) -> Option<MutexGuard<'_, ()>> {
        if call.dry_run || self.quotas(call).is_empty() {
            return None;
        }
        Some(self.0.charging.lock().await)
    }

    fn quotas(&self, call: &Call<'_>) -> Vec<Arc<Object>> {
        let Some(namespace) = call.namespace.filter(|_| !self.is_disabled("ResourceQuota")) else { return Vec::new() };
        let shelf = self.0.memory.shelf(&keys::collection(&api::resource::RESOURCE_QUOTAS));
        shelf.range(&format!("{namespace}/"), || 0).0.iter().map(|stored| Arc::clone(&stored.object)).collect()
    }

    /// Charges a new object, or what a change makes it use more of, to the quotas of its namespace.
    pub(super) fn charge(
        &self,
        call: &Call<'_>,
        kind: &Kind,
        tree: &Tree,
        old: Option<&Tree>,
    ) -> Result<Vec<Charge>, Rejected> {
        let quotas = self.quotas(call);
        if quotas.is_empty() || old.is_some() && !changes_count(kind) {
            return Ok(Vec::new());
        }
        let resource = &kind.resource;
        let forbidden = |why: String| {
            let name = edit::text(tree, &["metadata", "name"]);
            Rejected::forbidden(&call.kind.resource, name, why)
        };
        let mut asked = Vec::new();
        for object in &quotas {
            let Ok(quota) = object.read::<ResourceQuota>() else { continue };
            let names = quota::relevant(quota.status.hard.keys(), resource);
            if names.is_empty() || !quota::is_in_scope(&quota, resource, tree) {
                continue;
            }
            let is_pod = resource.group.is_empty() && resource.plural == "pods";
            if let Some(why) = quota::unsaid(&names, tree).filter(|_| is_pod) {
                return Err(forbidden(format!("failed quota: {}: {why}", quota.metadata.name)));
            }
            let unknown: Vec<&str> =
                names.iter().copied().filter(|name| !quota.status.used.contains_key(*name)).collect();
            if !unknown.is_empty() {
                let (name, unknown) = (&quota.metadata.name, unknown.join(","));
                return Err(forbidden(format!("status unknown for quota: {name}, resources: {unknown}")));
            }
            let names = names.into_iter().map(str::to_owned).collect();
            asked.push(Asked { object, quota, names });
        }
        let now = self.clock().now();
        let mut delta = quota::usage(resource, tree, now);
        if let Some(old) = old {
            let before = quota::usage(resource, old, now);
            for (name, amount) in &mut delta {
                *amount = before.get(name).map_or(*amount, |before| *amount - *before);
            }
        }
        delta.retain(|_, amount| !amount.is_zero() && !amount.is_negative());
        if delta.is_empty() {
            return Ok(Vec::new());
        }
        let mut charges = Vec::new();
        for asked in &asked {
            charges.extend(asked.charge(&delta, now).map_err(forbidden)??);
        }
        Ok(charges)
    }
}

/// Kinds whose objects may come to use more by a change.
fn changes_count(kind: &Kind) -> bool {
    kind.group().is_empty() && matches!(&*kind.resource.plural, "services" | "persistentvolumeclaims")
}

impl Asked<'_> {
    /// Why there is no room, or the quota with its new usage; none if it does not change.
    fn charge(&self, delta: &Amounts, now: api::time::Timestamp) -> Result<Result<Option<Charge>, Rejected>, String> {
        let quota = &self.quota;
        let (hard, used) = (quota::parsed(&quota.status.hard), quota::parsed(&quota.status.used));
        let mut requested = delta.clone();
        requested.retain(|name, _| self.names.contains(name));
        if requested.is_empty() {
            return Ok(Ok(None));
        }
        let mut after = used.clone();
        quota::add(&mut after, &requested);
        let exceeded: BTreeSet<&String> =
            requested.keys().filter(|name| hard.get(*name).is_some_and(|hard| after.get(*name) > Some(hard))).collect();
        if !exceeded.is_empty() {
            let of = |amounts: &Amounts| {
                let mut amounts = amounts.clone();
                amounts.retain(|name, _| exceeded.contains(name));
                quota::shown(&amounts)
            };
            let name = &quota.metadata.name;
            let (requested, used, hard) = (of(&requested), of(&used), of(&hard));
            return Err(format!("exceeded quota: {name}, requested: {requested}, used: {used}, limited: {hard}"));
        }
        Ok(self.charged(&requested, &after, now).map(Some))
    }

    fn charged(&self, requested: &Amounts, after: &Amounts, now: api::time::Timestamp) -> Result<Charge, Rejected> {
        let resource = &api::resource::RESOURCE_QUOTAS;
        let kind = api::kinds::find(resource).ok_or_else(|| Rejected::internal("quotas are not served"))?;
        let old = self.object.tree();
        let mut new = old.clone();
        for name in requested.keys() {
            if let Some(amount) = after.get(name) {
                edit::set(&mut new, &["status", "used", name], amount.to_string());
            }
        }
        let mut new = codec::canonical(new, kind);
        let version = kind.api_version();
        let writer = managed_fields::Writer { manager: MANAGER, api_version: &version, subresource: "status" };
        managed_fields::update(kind, Some(&old), &mut new, None, writer, now);
        let place = keys::place(Some(self.object.namespace()), self.object.name());
        let key = keys::object(&keys::collection(resource), &place);
        Ok(Charge { key, revision: self.object.revision(), value: encoded::encode(&mut new, kind) })
    }
}
