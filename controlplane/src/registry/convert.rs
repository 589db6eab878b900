//! One stored object under the several kinds that serve it: `api::convert` for objects, and the versions of a custom
//! resource. Costs a comparison of two texts where an object is served as it is stored.

use api::kinds::Kind;
use api::object::edit;
use api::{Object, Rejected, Tree, custom};
use std::sync::Arc;

/// The object as the kind that was asked for.
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
