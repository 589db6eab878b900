//! Custom resources: what a CustomResourceDefinition makes of the objects of its kinds.
//!
//! Pure. `definition` reads a definition and makes its kinds, `conversion` is how a webhook is asked for another version;
//! `schema` is a structural schema as it is walked, `prune`, `defaults` and `validate` are what is done with it, `rules` is
//! what its expressions ask, `json_path` and `columns` are what tables show.

mod check;
pub mod columns;
pub mod conversion;
pub(crate) mod defaults;
pub mod definition;
pub mod json_path;
pub mod names;
pub(crate) mod prune;
pub mod rules;
pub mod schema;
pub mod typed;
pub mod validate;

pub use check::definition as check;
pub use conversion::Webhook;
pub use definition::{Custom, Definition};
pub use schema::Schema;

use crate::Tree;
use crate::object::edit;

/// Fits a tree to a schema: unknown fields go, defaults come. The unknown fields' paths, in order.
pub fn fit(schema: &Schema, tree: &mut Tree) -> Vec<String> {
    let unknown = prune::prune(schema, tree);
    defaults::fill(schema, tree);
    unknown
}

/// The object as the version that is stored.
pub fn into_stored(custom: &Custom, tree: &mut Tree) {
    if let Some(stored) = &custom.stored {
        edit::set(tree, &["apiVersion"], stored.api_version());
        if let Some(custom) = &stored.custom {
            fit(&custom.schema, tree);
        }
    }
}
