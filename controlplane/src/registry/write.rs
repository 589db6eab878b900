//! create and update: from a tree that a client sent to bytes in the store.
//!
//! Every write is one transaction that holds only if the object is still as it was read; a patch that loses the race
//! is applied again to what won it.

use super::quota::Charge;
use super::{
    Attributes, Call, Registry, SHOWN_MAX, Written, admission, convert, encoded, failed, keys, namespace, prepare,
    services,
};
use crate::store::kv::{Compare, KeyRange, Op, Txn};
use api::kinds::Kind;
use api::object::edit;
use api::rejected::{Cause, Reason};
use api::{Object, Rejected, Tree, codec, managed_fields, strategy, validate};
use bytes::Bytes;
use std::sync::Arc;

const MANAGED_FIELDS: &[&str] = &["metadata", "managedFields"];
const RESOURCE_VERSION: &[&str] = &["metadata", "resourceVersion"];
/// How often a patch is tried on an object that others change meanwhile.
const TRIES: usize = 16;
/// How often another free name, address or port is drawn.
const DRAW_TRIES: usize = 32;

/// What is written together with an object.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// Keys that must be free, and are taken.
    pub(super) take: Vec<Bytes>,
    /// Keys that become free.
    pub(super) free: Vec<Bytes>,
    /// Quotas that are charged.
    pub(super) charges: Vec<Charge>,
}

/// Whether a change says itself who owns which field now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owners {
    Record,
    Recorded,
}

/// A decided write of one object.
pub(super) struct Put {
    pub(super) tree: Tree,
    pub(super) claims: Claims,
}

impl Claims {
    /// The transaction that writes the object at `key`, and all that goes with it.
    fn txn(self, held: Compare, put: Op, key: &Bytes) -> Txn {
        let mut compares = vec![held];
        compares.extend(self.take.iter().cloned().map(Compare::absent));
        compares.extend(self.charges.iter().map(|charge| Compare::unchanged(charge.key.clone(), charge.revision)));
        let mut success = vec![put];
        success.extend(self.take.into_iter().map(|taken| Op::put(taken, key.clone())));
        success.extend(self.free.into_iter().map(|key| Op::delete(KeyRange::key(key))));
        success.extend(self.charges.into_iter().map(|charge| Op::put(charge.key, charge.value)));
        Txn { compares, success, failure: Vec::new() }
    }
}

impl Registry {
    pub async fn create(&self, call: Call<'_>, object: Tree) -> Result<Written, Rejected> {
        self.create_owned(call, object, Owners::Record).await
    }

    pub(super) async fn create_owned(&self, call: Call<'_>, object: Tree, owners: Owners) -> Result<Written, Rejected> {
        if let Some(subresource) = call.subresource {
            return self.create_below(&call, subresource, object).await;
        }
        if super::pods::is_binding(call.kind) {
            return self.create_binding(&call, &object).await;
        }
        if let Some(review) = self.reviewed(&call, &object)? {
            return Ok(Written { object: review, created: true, warnings: Vec::new() });
        }
        custom_create(&call, &object)?;
        let mut tree = object;
        let sent = sent_owners(&mut tree, owners);
        api::defaults::apply(call.kind, &mut tree);
        if owners == Owners::Record {
            // Before the server adds what is its own: that has no owner.
            let version = call.kind.api_version();
            tree = codec::canonical(tree, call.kind);
            let writer = writer(&call, &version);
            managed_fields::update(call.kind, None, &mut tree, sent.as_ref(), writer, self.clock().now());
        }
        let stored_kind = stored_form(call.kind, &mut tree);
        // Addresses are drawn into a Service, a Job selects by its uid, and a webhook makes another version. All else is
        // prepared a second time as it is, but for a name that was drawn.
        let is_job = stored_kind.group() == "batch" && stored_kind.kind == "Job";
        let undrawn = (is_job || services::is_service(stored_kind) || convert::asks(stored_kind)).then(|| tree.clone());
        for _ in 0..DRAW_TRIES {
            let drawn = prepare::create(&call, stored_kind, &mut tree, self.clock().now())?;
            self.check_namespace(&call, &tree)?;
            self.restrict_create(&call, &tree)?;
            let mut put = Put { tree, claims: Claims::default() };
            admission::create(self, stored_kind, &mut put.tree)?;
            if services::is_service(stored_kind) {
                services::prepare(None, &mut put.tree);
            }
            let causes = validate::create(stored_kind, &put.tree);
            let name = edit::text(&put.tree, &["metadata", "name"]).to_owned();
            if !causes.is_empty() {
                return Err(Rejected::invalid(stored_kind.group(), &stored_kind.kind, &name, causes));
            }
            self.check_escalation(&call, stored_kind, None, &put.tree)?;
            if services::is_service(stored_kind) {
                services::allocate(self, None, &mut put)?;
            }
            self.check_limits(stored_kind, &put.tree, true)?;
            // Before others have to wait: a webhook may be asked.
            put.tree = self.as_stored(put.tree, stored_kind).await?;
            let charging = self.charging(&call).await;
            put.claims.charges = self.charge(&call, stored_kind, &put.tree, None)?;
            let is_taken = || self.stored(&Call { name: &name, ..call }).is_some();
            if call.dry_run {
                if !drawn && is_taken() {
                    return Err(Rejected::already_exists(&call.kind.resource, &name));
                }
                return self.pretended(&call, stored_kind, put.tree).await;
            }
            check_unversioned(&put.tree)?;
            let (made, left) = self.put_new(&call, stored_kind, put, &name).await?;
            drop(charging);
            tree = undrawn.clone().unwrap_or(left);
            match made {
                Some(object) => {
                    let object = self.out(call.kind, &object).await?;
                    return Ok(Written { object, created: true, warnings: Vec::new() });
                }
                // Somebody has the name, or the address that was drawn: draw again, unless nothing was drawn.
                None if drawn => _ = edit::remove(&mut tree, &["metadata", "name"]),
                None if !is_taken() => {}
                None => return Err(self.taken(&Call { name: &name, ..call })),
            }
        }
        Err(Rejected::new(Reason::ServerTimeout, "no free name or address was found; try again"))
    }

    /// What a dry run would have made.
    async fn pretended(&self, call: &Call<'_>, kind: &Kind, tree: Tree) -> Result<Written, Rejected> {
        let object = encoded::unstored(tree, kind)?;
        Ok(Written { object: self.out(call.kind, &object).await?, created: true, warnings: Vec::new() })
    }

    /// There is one of that name.
    fn taken(&self, call: &Call<'_>) -> Rejected {
        let mut rejected = Rejected::already_exists(&call.kind.resource, call.name);
        if self.stored(call).is_some_and(|there| there.object.head().is_deleting) {
            rejected.message = format!("object is being deleted: {}", rejected.message);
        }
        rejected
    }

    /// The answer to an object that is a question, in the version that it was asked in.
    fn reviewed(&self, call: &Call<'_>, object: &Tree) -> Result<Option<Arc<Object>>, Rejected> {
        if !matches!(call.kind.group(), "authentication.k8s.io" | "authorization.k8s.io") {
            return Ok(None);
        }
        let Some(stored) = api::convert::stored(call.kind) else { return self.review(call, object) };
        let mut tree = object.clone();
        api::convert::into_stored(call.kind, &mut tree);
        let review = self.review(&Call { kind: stored, ..*call }, &tree)?;
        review.map(|review| convert::out(call.kind, &review)).transpose()
    }

    /// Makes what a PUT or an apply found missing; whoever does that must be allowed to create it.
    pub(super) async fn create_missing(
        &self,
        call: &Call<'_>,
        object: Tree,
        owners: Owners,
    ) -> Result<Written, Rejected> {
        let kind = call.kind;
        let attributes = Attributes {
            verb: "create",
            group: kind.group(),
            resource: &kind.resource.plural,
            namespace: call.namespace.unwrap_or_default(),
            name: call.name,
            ..Attributes::default()
        };
        self.check(call.user, &attributes)?;
        let mut object = object;
        edit::set(&mut object, &["metadata", "name"], call.name);
        edit::remove(&mut object, RESOURCE_VERSION);
        self.create_owned(*call, object, owners).await
    }

    /// What was made, `None` if a key that must be free is not; and the tree that it was to be made of.
    async fn put_new(
        &self,
        call: &Call<'_>,
        kind: &Kind,
        mut put: Put,
        name: &str,
    ) -> Result<(Option<Arc<Object>>, Tree), Rejected> {
        let key = keys::object(&keys::collection(&kind.resource), &keys::place(call.namespace, name));
        let bytes = encoded::encode(&mut put.tree, kind);
        edit::remove(&mut put.tree, &["metadata", "resourceVersion"]);
        let txn = put.claims.txn(Compare::absent(key.clone()), Op::put(key.clone(), bytes.clone()), &key);
        let done = self.0.kv.txn(txn).await;
        let done = done.map_err(|error| failed(&error))?;
        self.0.memory.shows(done.revision, SHOWN_MAX).await;
        if !done.succeeded {
            return Ok((None, put.tree));
        }
        Ok((Some(self.shown(&Call { name, ..*call }, kind, &bytes, done.revision)?), put.tree))
    }

    /// What was written at a revision: as the memory has it, or, if that has gone on, read from the bytes.
    fn shown(&self, call: &Call<'_>, kind: &Kind, bytes: &[u8], revision: u64) -> Result<Arc<Object>, Rejected> {
        let shelf = self.0.memory.shelf(&keys::collection(&kind.resource));
        let stored = shelf.get(&keys::place(call.namespace, call.name));
        match stored.filter(|stored| stored.object.revision() == revision) {
            Some(stored) => Ok(Arc::clone(&stored.object)),
            None => encoded::at_revision(bytes, revision).ok_or_else(|| Rejected::internal("no object")),
        }
    }

    pub async fn update(&self, call: Call<'_>, object: Tree) -> Result<Written, Rejected> {
        super::patch::check_name(&call, &object)?;
        if call.subresource == Some("scale") {
            return self.update_scale(&call, |_| Ok(object.clone())).await;
        }
        check_kind(&call, &object)?;
        if call.subresource.is_none() && self.stored(&call).is_none() {
            self.refresh().await?;
            if self.stored(&call).is_none() {
                prepare::check_uid(&call, &Tree::Null, &object)?;
            }
        }
        if strategy::creates_on_update(call.kind) && call.subresource.is_none() && self.stored(&call).is_none() {
            match self.create_missing(&call, object.clone(), Owners::Record).await {
                Err(rejected) if rejected.is_already_exists() => {}
                done => return done,
            }
        }
        let same_object = |old: &Tree| {
            prepare::check_uid(&call, old, &object)?;
            Ok(object.clone())
        };
        self.change(&call, same_object, Owners::Record).await
    }

    /// Reads, changes and writes an object until nobody came between.
    /// A change that asks for one version of the object fails on any other.
    pub(super) async fn change(
        &self,
        call: &Call<'_>,
        new: impl Fn(&Tree) -> Result<Tree, Rejected>,
        owners: Owners,
    ) -> Result<Written, Rejected> {
        let resource = &call.kind.resource;
        for _ in 0..TRIES {
            let Some(stored) = self.stored(call) else {
                self.refresh().await?;
                if self.stored(call).is_some() {
                    continue;
                }
                return Err(Rejected::not_found(resource, call.name));
            };
            let old = self.out(call.kind, &stored.object).await?;
            let old_tree = old.tree();
            let new = new(&old_tree)?;
            let wanted = edit::text(&new, RESOURCE_VERSION);
            let is_conditional = is_version(wanted)?;
            if !is_conditional && !strategy::allows_unconditional_update(call.kind) {
                let cause = Cause::invalid("metadata.resourceVersion", &0.into(), "must be specified for an update");
                return Err(Rejected::invalid(call.kind.group(), &resource.plural, call.name, vec![cause]));
            }
            if is_conditional && wanted != edit::text(&old_tree, RESOURCE_VERSION) {
                // The memory may lag behind what the client has seen.
                self.refresh().await?;
                if self.stored(call).is_some_and(|now| now.object.revision() != old.revision()) {
                    continue;
                }
                return Err(Rejected::modified(resource, call.name));
            }
            if let Some(written) = self.replace(call, &stored.object, &old_tree, new, owners).await? {
                return Ok(written);
            }
        }
        Err(Rejected::modified(resource, call.name))
    }

    /// `None` if somebody else wrote the object meanwhile.
    async fn replace(
        &self,
        call: &Call<'_>,
        old: &Arc<Object>,
        old_tree: &Tree,
        mut new: Tree,
        owners: Owners,
    ) -> Result<Option<Written>, Rejected> {
        let is_below = call.subresource.is_some_and(|below| below != "scale");
        let sent = sent_owners(&mut new, owners);
        api::defaults::apply(call.kind, &mut new);
        // Whether anything changes can only be told of two trees in the same form.
        new = codec::canonical(new, call.kind);
        if owners == Owners::Record {
            let version = call.kind.api_version();
            let (writer, now) = (writer(call, &version), self.clock().now());
            managed_fields::update(call.kind, Some(old_tree), &mut new, sent.as_ref(), writer, now);
        }
        let kind = stored_form(call.kind, &mut new);
        let unconverted = if std::ptr::eq(kind, call.kind) { None } else { Some(old.tree()) };
        let old_stored = unconverted.as_ref().unwrap_or(old_tree);
        prepare::update(call, kind, old_stored, &mut new);
        self.restrict_update(call, old_stored, &new)?;
        let is_service = !is_below && services::is_service(kind);
        if is_service {
            services::prepare(Some(old_stored), &mut new);
        }
        let mut put = Put { tree: new, claims: Claims::default() };
        let is_namespace = kind.group().is_empty() && kind.kind == "Namespace";
        let causes = match call.subresource.filter(|_| is_below) {
            Some(below) if is_namespace => {
                let causes = validate::status(kind, &put.tree, old_stored);
                causes.into_iter().chain(namespace::check(below, &put.tree)).collect()
            }
            Some(_) => validate::status(kind, &put.tree, old_stored),
            None => validate::update(kind, &put.tree, old_stored),
        };
        if !causes.is_empty() {
            return Err(Rejected::invalid(kind.group(), &kind.kind, call.name, causes));
        }
        self.check_escalation(call, kind, Some(old_stored), &put.tree)?;
        if is_service {
            services::allocate(self, Some(old_stored), &mut put)?;
        }
        if !is_below {
            self.check_limits(kind, &put.tree, false)?;
            put.claims.charges = self.charge(call, kind, &put.tree, Some(old_stored))?;
        }
        managed_fields::keep_times(old_stored, &mut put.tree);
        let is_finished = prepare::is_finished(kind, &put.tree);
        put.tree = self.as_stored(put.tree, kind).await?;
        let bytes = encoded::encode(&mut put.tree, kind);
        if is_finished {
            // The client sees what it wrote, which nobody else ever will.
            let last = encoded::at_revision(&bytes, old.revision()).ok_or_else(|| Rejected::internal("no object"))?;
            let Some(_) = self.remove(call, old, &put.tree).await? else { return Ok(None) };
            return Ok(Some(written(self.out(call.kind, &last).await?)));
        }
        if encoded::is_same(&bytes, old) {
            return Ok(Some(written(self.out(call.kind, old).await?)));
        }
        if call.dry_run {
            let object = encoded::at_revision(&bytes, old.revision()).ok_or_else(|| Rejected::internal("no object"))?;
            return Ok(Some(written(self.out(call.kind, &object).await?)));
        }
        let key = self.key(call);
        let held = Compare::unchanged(key.clone(), old.revision());
        let txn = put.claims.txn(held, Op::put(key.clone(), bytes.clone()), &key);
        let done = self.0.kv.txn(txn).await;
        let done = done.map_err(|error| failed(&error))?;
        self.0.memory.shows(done.revision, SHOWN_MAX).await;
        if !done.succeeded {
            self.refresh().await?;
            return Ok(None);
        }
        let object = self.shown(call, kind, &bytes, done.revision)?;
        Ok(Some(written(self.out(call.kind, &object).await?)))
    }

    /// Takes an object out of the store. `None` if somebody else wrote it meanwhile.
    pub(super) async fn remove(
        &self,
        call: &Call<'_>,
        old: &Arc<Object>,
        last: &Tree,
    ) -> Result<Option<Arc<Object>>, Rejected> {
        if call.dry_run {
            return Ok(Some(Arc::clone(old)));
        }
        let key = self.key(call);
        let compares = vec![Compare::unchanged(key.clone(), old.revision())];
        let mut success = vec![Op::delete(KeyRange::key(key))];
        let claims = services::claims_of(call.kind, last);
        success.extend(claims.into_iter().map(|key| Op::delete(KeyRange::key(key))));
        let done = self.0.kv.txn(Txn { compares, success, failure: Vec::new() }).await;
        let done = done.map_err(|error| failed(&error))?;
        self.0.memory.shows(done.revision, SHOWN_MAX).await;
        if !done.succeeded {
            self.refresh().await?;
            return Ok(None);
        }
        Ok(Some(encoded::again(old, done.revision)))
    }

    fn key(&self, call: &Call<'_>) -> Bytes {
        keys::object(&keys::collection(&call.kind.resource), &keys::place(call.namespace, call.name))
    }
}

/// Whether a change asks for one version of the object: nothing and 0 are any.
fn is_version(version: &str) -> Result<bool, Rejected> {
    if version.is_empty() {
        return Ok(false);
    }
    match version.parse::<u64>() {
        Ok(version) => Ok(version > 0),
        Err(_) => Err(Rejected::bad_request(format!("strconv.ParseUint: parsing {version:?}: invalid syntax"))),
    }
}

/// What is new has no version yet. One that is none does not matter, as upstream has it.
fn check_unversioned(tree: &Tree) -> Result<(), Rejected> {
    if is_version(edit::text(tree, RESOURCE_VERSION)).unwrap_or(false) {
        return Err(Rejected::bad_request("resourceVersion should not be set on objects to be created"));
    }
    Ok(())
}

/// Makes a defaulted tree of `kind` one of the kind that is stored, which it returns.
fn stored_form<'a>(kind: &'a Arc<Kind>, tree: &mut Tree) -> &'a Arc<Kind> {
    codec::unset_empty(tree, kind);
    let Some(stored) = convert::into_stored(kind, tree) else { return kind };
    api::defaults::apply(stored, tree);
    stored
}

/// What a custom resource says it is has to be what its definition says; of other kinds the decoder has seen to that.
fn check_kind(call: &Call<'_>, object: &Tree) -> Result<(), Rejected> {
    let given = edit::text(object, &["kind"]);
    if !call.kind.is_custom() || given == call.kind.kind {
        return Ok(());
    }
    let cause = Cause::invalid("kind", &given.into(), format!("must be {}", call.kind.kind));
    Err(Rejected::invalid(call.kind.group(), given, edit::text(object, &["metadata", "name"]), vec![cause]))
}

/// A definition that is being deleted takes nothing new.
fn custom_create(call: &Call<'_>, object: &Tree) -> Result<(), Rejected> {
    check_kind(call, object)?;
    if call.kind.custom.as_ref().is_some_and(|custom| custom.is_ending) {
        let message = "create not allowed while custom resource definition is terminating";
        return Err(Rejected::new(Reason::MethodNotAllowed, message).about(&call.kind.resource, call.name));
    }
    Ok(())
}

/// What the client itself says of the owners, which no codec has tidied up: `[]` clears the record.
fn sent_owners(tree: &mut Tree, owners: Owners) -> Option<Tree> {
    match owners {
        Owners::Record => edit::remove(tree, MANAGED_FIELDS),
        Owners::Recorded => None,
    }
}

pub(super) fn writer<'a>(call: &Call<'a>, api_version: &'a str) -> managed_fields::Writer<'a> {
    let subresource = call.subresource.unwrap_or_default();
    managed_fields::Writer { manager: call.field_manager, api_version, subresource }
}

fn written(object: Arc<Object>) -> Written {
    Written { object, created: false, warnings: Vec::new() }
}
