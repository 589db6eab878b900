//! One stored object under the several kinds that serve it: `api::convert` for objects, and the versions of a custom
//! resource, by their definition's webhook if it has one. Costs a comparison of two texts where an object is served as
//! it is stored.
//!
//! A webhook is asked at the edge: by the request or the watch that needs the other version, which holds no lock
//! meanwhile. What is stored, remembered and watched stays as it was written.

mod together;

pub(super) use together::Together;

use super::{Destination, Registry};
use api::custom::{Custom, Webhook};
use api::kinds::Kind;
use api::object::edit;
use api::rejected::Reason;
use api::{Object, Rejected, Tree, custom};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;

/// Sends a JSON body to a webhook, and reads its answer; the error is what failed. Made outside: the registry knows no
/// HTTP.
pub type Ask = Arc<dyn Fn(Destination, Bytes) -> BoxFuture<'static, Result<Bytes, String>> + Send + Sync>;

/// kube-apiserver's for a conversion.
pub const WEBHOOK_LIMIT: Duration = Duration::from_secs(30);
/// What goes into one review at most, beside a single object that is larger.
const REVIEW_OBJECTS_MAX: usize = 1000;
const REVIEW_BYTES_MAX: usize = 2 * 1024 * 1024;

impl Registry {
    /// How webhooks are asked. Until then, and without it, those who need one are refused.
    pub fn ask_by(&self, ask: Ask) {
        // Whoever comes second asks just the same way.
        let _ = self.0.ask.set(ask);
    }

    /// The object as the kind that was asked for.
    pub(super) async fn out(&self, kind: &Kind, object: &Arc<Object>) -> Result<Arc<Object>, Rejected> {
        if by_webhook(kind, object).is_none() {
            return out(kind, object);
        }
        let mut all = self.out_all(kind, vec![Arc::clone(object)]).await?;
        all.pop().ok_or_else(|| Rejected::internal("no object"))
    }

    /// The same for many, in their order: as few reviews as hold them.
    pub(super) async fn out_all(
        &self,
        kind: &Kind,
        mut objects: Vec<Arc<Object>>,
    ) -> Result<Vec<Arc<Object>>, Rejected> {
        let mut places = Vec::new();
        for (place, object) in objects.iter_mut().enumerate() {
            match by_webhook(kind, object) {
                Some(_) => places.push(place),
                None => *object = out(kind, object)?,
            }
        }
        let Some((custom, webhook)) = places.first().and_then(|place| by_webhook(kind, &objects[*place])) else {
            return Ok(objects);
        };
        for batch in batches(&places, |place| objects[*place].json().len()) {
            let originals = batch.iter().map(|place| original(custom, &objects[*place])).collect();
            let converted = self.convert(webhook, kind, originals).await?;
            for (place, mut tree) in batch.iter().zip(converted) {
                custom::fit(&custom.schema, &mut tree);
                objects[*place] = made(kind, tree)?;
            }
        }
        Ok(objects)
    }

    /// The same for watches: of those that are told the same at the same time, one asks for all.
    pub(super) async fn out_together(
        &self,
        kind: &Arc<Kind>,
        objects: Vec<Arc<Object>>,
    ) -> Result<Vec<Arc<Object>>, Rejected> {
        let registry = self.clone();
        let ask = |kind: Arc<Kind>, objects| async move { registry.out_all(&kind, objects).await }.boxed();
        self.0.together.join(kind, objects, ask).await
    }

    /// A tree of a kind in the version that is stored, where a webhook has to make it.
    pub(super) async fn as_stored(&self, mut tree: Tree, kind: &Kind) -> Result<Tree, Rejected> {
        let custom = kind.custom.as_deref();
        let stored = custom.and_then(|custom| Some((custom.webhook.as_ref()?, custom.stored.as_ref()?)));
        match stored {
            Some((webhook, stored)) if !is_version(stored, edit::text(&tree, &["apiVersion"])) => {
                // Whoever is in the same process may leave it out.
                edit::set(&mut tree, &["apiVersion"], kind.api_version());
                let mut all = self.convert(webhook, stored, vec![tree]).await?;
                all.pop().ok_or_else(|| Rejected::internal("no object"))
            }
            _ => Ok(tree),
        }
    }

    /// Asks for one version of some objects.
    async fn convert(&self, webhook: &Webhook, kind: &Kind, originals: Vec<Tree>) -> Result<Vec<Tree>, Rejected> {
        let uid = uuid::Uuid::new_v4().to_string();
        let bodies: Vec<Vec<u8>> = originals.iter().map(|one| one.to_string().into_bytes()).collect();
        let review = webhook.review(&uid, &kind.api_version(), bodies.iter().map(Vec::as_slice));
        drop(bodies);
        let of = originals.first().map(custom::conversion::gvk).unwrap_or_default();
        let failed = |why: String| refusal(format!("conversion webhook for {of} failed: {why}"));
        let answer = match (self.0.ask.get(), self.webhook(&webhook.client)) {
            (Some(ask), Ok(destination)) => ask(destination, review).await,
            (None, _) => Err("this server asks no webhooks".to_owned()),
            (_, Err(why)) => {
                let url = format!("{}?timeout={}s", webhook.client.shown(), WEBHOOK_LIMIT.as_secs());
                Err(format!("Post {url:?}: {why}"))
            }
        };
        webhook.converted(&uid, kind, &originals, &answer.map_err(failed)?).map_err(refusal)
    }
}

/// What fails in a webhook has no reason of Kubernetes' own, as upstream.
fn refusal(why: String) -> Rejected {
    Rejected::new(Reason::Unknown, why)
}

/// Whether a webhook may have to be asked to show an object as a kind.
pub(super) fn asks(kind: &Kind) -> bool {
    kind.custom.as_ref().is_some_and(|custom| custom.webhook.is_some())
}

/// The webhook that has to be asked to show an object as a kind.
fn by_webhook<'k>(kind: &'k Kind, object: &Object) -> Option<(&'k Custom, &'k Webhook)> {
    let custom = kind.custom.as_deref()?;
    let webhook = custom.webhook.as_ref()?;
    let version = &object.head().api_version;
    (!version.is_empty() && !is_version(kind, version)).then_some((custom, webhook))
}

/// An object as it is sent: what was stored under another schema goes out as its version's schema has it now.
fn original(custom: &Custom, object: &Object) -> Tree {
    let mut tree = object.tree();
    if let Some(stored) = custom.stored.as_ref().filter(|stored| is_version(stored, &object.head().api_version))
        && let Some(own) = stored.custom.as_ref().filter(|own| object.revision() < own.since)
    {
        custom::fit(&own.schema, &mut tree);
    }
    tree
}

/// Groups in order, each no more than a review may have.
fn batches<T>(all: &[T], size: impl Fn(&T) -> usize) -> Vec<&[T]> {
    let (mut batches, mut begin, mut bytes) = (Vec::new(), 0, 0);
    for (at, one) in all.iter().enumerate() {
        let is_full = at - begin >= REVIEW_OBJECTS_MAX || bytes + size(one) > REVIEW_BYTES_MAX;
        if is_full && at > begin {
            batches.push(&all[begin..at]);
            (begin, bytes) = (at, 0);
        }
        bytes += size(one);
    }
    if begin < all.len() {
        batches.push(&all[begin..]);
    }
    batches
}

/// The object as the kind that was asked for, where no webhook is needed.
pub(super) fn out(kind: &Kind, object: &Arc<Object>) -> Result<Arc<Object>, Rejected> {
    let is_of_version = is_version(kind, &object.head().api_version) || object.head().api_version.is_empty();
    let mut tree = match &kind.custom {
        // What was stored under another schema is shown as this one has it.
        Some(custom) if !is_of_version || object.revision() < custom.since => {
            let mut tree = object.tree();
            edit::set(&mut tree, &["apiVersion"], kind.api_version());
            custom::fit(&custom.schema, &mut tree);
            tree
        }
        _ if is_of_version => return Ok(Arc::clone(object)),
        _ => object.tree(),
    };
    if kind.custom.is_none() {
        api::convert::out_of_stored(kind, &mut tree);
    }
    made(kind, tree)
}

fn made(kind: &Kind, tree: Tree) -> Result<Arc<Object>, Rejected> {
    Object::from_tree(&api::codec::canonical(tree, kind)).map(Arc::new).map_err(Rejected::internal)
}

fn is_version(kind: &Kind, api_version: &str) -> bool {
    match api_version.rsplit_once('/') {
        Some((group, version)) => kind.group() == group && kind.version() == version,
        None => kind.group().is_empty() && kind.version() == api_version,
    }
}

/// A tree that came in, as the kind that is stored; that kind, if it is another.
pub(super) fn into_stored(kind: &Kind, tree: &mut Tree) -> Option<&'static Arc<Kind>> {
    api::convert::into_stored(kind, tree)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reviews_are_bounded_and_in_order() {
        let sizes = |all: &[usize]| -> Vec<usize> { batches(all, |size| *size).iter().map(|one| one.len()).collect() };
        assert!(sizes(&[]).is_empty());
        assert_eq!(sizes(&[1; 2500]), [1000, 1000, 500]);
        let large = REVIEW_BYTES_MAX;
        assert_eq!(sizes(&[large + 1, 1, large - 1, 1]), [1, 2, 1]);
    }
}
