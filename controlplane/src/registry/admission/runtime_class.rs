//! RuntimeClass: a pod costs what its class says, and goes to the nodes that can run it.

use super::super::{Registry, keys};
use api::object::edit;
use api::quantity::Quantity;
use api::{Rejected, Tree};

pub(super) fn apply(registry: &Registry, tree: &mut Tree) -> Result<(), Rejected> {
    let name = edit::text(tree, &["spec", "runtimeClassName"]).to_owned();
    if name.is_empty() {
        return overhead(tree, None);
    }
    let shelf = registry.0.memory.shelf(&keys::collection(&api::resource::RUNTIME_CLASSES));
    let Some(class) = shelf.get(&name) else {
        return Err(refused(tree, format!("pod rejected: RuntimeClass {name:?} not found")));
    };
    let class = class.object.tree();
    overhead(tree, edit::at(&class, &["overhead", "podFixed"]))?;
    nodes(tree, &class)
}

fn refused(tree: &Tree, why: String) -> Rejected {
    Rejected::forbidden(&api::resource::PODS, edit::text(tree, &["metadata", "name"]), why)
}

fn overhead(tree: &mut Tree, of_class: Option<&Tree>) -> Result<(), Rejected> {
    let own = edit::at(tree, &["spec", "overhead"]).and_then(Tree::as_object).filter(|own| !own.is_empty());
    let Some(of_class) = of_class else {
        return match own {
            Some(_) => {
                let why = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
                Err(refused(tree, why.to_owned()))
            }
            None => Ok(()),
        };
    };
    if own.is_some_and(|own| Some(amounts(own)) != of_class.as_object().map(amounts)) {
        let why = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";
        return Err(refused(tree, why.to_owned()));
    }
    edit::set(tree, &["spec", "overhead"], of_class.clone());
    Ok(())
}

/// What is equal however it is written.
fn amounts(list: &serde_json::Map<String, Tree>) -> Vec<(&str, Option<Quantity>)> {
    let amount = |value: &Tree| Quantity::parse(value.as_str().unwrap_or_default()).ok();
    let mut all: Vec<_> = list.iter().map(|(name, value)| (name.as_str(), amount(value))).collect();
    all.sort_by_key(|(name, _)| *name);
    all
}

fn nodes(tree: &mut Tree, class: &Tree) -> Result<(), Rejected> {
    let selector = edit::at(class, &["scheduling", "nodeSelector"]).and_then(Tree::as_object);
    for (key, wanted) in selector.into_iter().flatten() {
        if let Some(own) = edit::at(tree, &["spec", "nodeSelector", key]).filter(|own| *own != wanted) {
            let [wanted, own] = [wanted, own].map(|text| text.as_str().unwrap_or_default());
            let why = format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {wanted}; pod.spec.nodeSelector[{key}] = {own}"
            );
            return Err(refused(tree, why));
        }
        edit::set(tree, &["spec", "nodeSelector", key], wanted.clone());
    }
    for toleration in edit::list(class, &["scheduling", "tolerations"]) {
        if !edit::list(tree, &["spec", "tolerations"]).contains(toleration) {
            edit::push(tree, &["spec", "tolerations"], toleration.clone());
        }
    }
    Ok(())
}
