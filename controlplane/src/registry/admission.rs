//! What a new object is given or refused by the state of the cluster: by the admission plugins of kube-apiserver that do
//! the same.

mod runtime_class;

use super::{Call, Registry, keys, namespace, prepare};
use api::kinds::Kind;
use api::object::edit;
use api::rejected::Cause;
use api::{Rejected, Tree};
use serde_json::json;

const UNREACHABLE: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];
const TOLERATED_SECONDS: i64 = 300;

impl Registry {
    /// NamespaceLifecycle: nothing new in a namespace that is not there or is going away.
    pub(super) fn check_namespace(&self, call: &Call<'_>, tree: &Tree) -> Result<(), Rejected> {
        let Some(namespace) = call.namespace.filter(|_| !self.is_disabled("NamespaceLifecycle")) else { return Ok(()) };
        let shelf = self.0.memory.shelf(&keys::collection(&api::resource::NAMESPACES));
        let Some(stored) = shelf.get(namespace) else {
            return Err(Rejected::not_found(&api::resource::NAMESPACES, namespace));
        };
        if stored.object.head().is_deleting {
            let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
            let name = edit::text(tree, &["metadata", "name"]);
            let mut rejected = Rejected::forbidden(&call.kind.resource, name, why);
            rejected.details.causes = vec![Cause {
                reason: "NamespaceTerminating".to_owned(),
                message: format!("namespace {namespace} is being terminated"),
                field: "metadata.namespace".to_owned(),
            }];
            return Err(rejected);
        }
        Ok(())
    }

    pub(super) fn is_disabled(&self, plugin: &str) -> bool {
        self.0.config.disabled_admission.iter().any(|disabled| disabled == plugin)
    }
}

pub(super) fn create(registry: &Registry, kind: &Kind, tree: &mut Tree) -> Result<(), Rejected> {
    match (kind.group(), kind.kind.as_str()) {
        ("", "Pod") => pod(registry, tree),
        ("", "Namespace") => {
            namespace::hold(tree);
            Ok(())
        }
        ("", "Node") => {
            if !registry.is_disabled("TaintNodesByCondition") {
                not_ready(tree);
            }
            Ok(())
        }
        ("", "PersistentVolumeClaim") => {
            protect(registry, tree, "kubernetes.io/pvc-protection");
            Ok(())
        }
        ("", "PersistentVolume") => {
            protect(registry, tree, "kubernetes.io/pv-protection");
            Ok(())
        }
        ("batch", "Job") => {
            api::defaults::select_job(tree);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// TaintNodesByCondition: nothing is placed on a node that has not said that it is ready.
fn not_ready(tree: &mut Tree) {
    let taint = json!({"key": UNREACHABLE[0], "effect": "NoSchedule"});
    let is_same =
        |known: &Tree| ["key", "effect"].iter().all(|key| edit::at(known, &[key]) == edit::at(&taint, &[key]));
    if !edit::list(tree, &["spec", "taints"]).iter().any(is_same) {
        edit::push(tree, &["spec", "taints"], taint);
    }
}

/// StorageObjectInUseProtection: what pods use is kept until they are done.
fn protect(registry: &Registry, tree: &mut Tree, finalizer: &str) {
    let has = edit::list(tree, &["metadata", "finalizers"]).iter().any(|known| known == finalizer);
    if !has && !registry.is_disabled("StorageObjectInUseProtection") {
        edit::push(tree, &["metadata", "finalizers"], finalizer);
    }
}

/// ServiceAccount, LimitRanger, Priority, DefaultTolerationSeconds and RuntimeClass.
fn pod(registry: &Registry, tree: &mut Tree) -> Result<(), Rejected> {
    if !registry.is_disabled("ServiceAccount") && edit::text(tree, &["spec", "serviceAccountName"]).is_empty() {
        edit::set(tree, &["spec", "serviceAccountName"], "default");
        edit::set(tree, &["spec", "serviceAccount"], "default");
    }
    registry.fill_pod(tree);
    edit::set(tree, &["status", "qosClass"], prepare::qos(tree));
    if !registry.is_disabled("Priority") {
        priority(registry, tree)?;
    }
    if !registry.is_disabled("DefaultTolerationSeconds") {
        for key in UNREACHABLE {
            let covers = |toleration: &Tree| {
                let of = |name: &str| edit::text(toleration, &[name]).to_owned();
                (of("key") == key || of("key").is_empty()) && matches!(of("effect").as_str(), "NoExecute" | "")
            };
            if !edit::list(tree, &["spec", "tolerations"]).iter().any(covers) {
                let toleration = json!({
                    "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": TOLERATED_SECONDS,
                });
                edit::push(tree, &["spec", "tolerations"], toleration);
            }
        }
    }
    if !registry.is_disabled("RuntimeClass") {
        runtime_class::apply(registry, tree)?;
    }
    Ok(())
}

fn priority(registry: &Registry, tree: &mut Tree) -> Result<(), Rejected> {
    let name = edit::text(tree, &["spec", "priorityClassName"]).to_owned();
    let mut value = 0;
    let mut policy = "PreemptLowerPriority".to_owned();
    if !name.is_empty() {
        let shelf = registry.0.memory.shelf(&keys::collection(&api::resource::PRIORITY_CLASSES));
        let Some(class) = shelf.get(&name) else {
            let pod = edit::text(tree, &["metadata", "name"]);
            let why = format!("no PriorityClass with name {name} was found");
            return Err(Rejected::forbidden(&api::resource::PODS, pod, why));
        };
        let class = class.object.tree();
        value = edit::integer(&class, &["value"]).unwrap_or(0);
        let own = edit::text(&class, &["preemptionPolicy"]);
        if !own.is_empty() {
            own.clone_into(&mut policy);
        }
    }
    if let Some(given) = edit::integer(tree, &["spec", "priority"]).filter(|given| *given != value) {
        let why = format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller \
             computed {value} from the given PriorityClass name"
        );
        return Err(Rejected::forbidden(&api::resource::PODS, edit::text(tree, &["metadata", "name"]), why));
    }
    edit::set(tree, &["spec", "priority"], value);
    let given = edit::text(tree, &["spec", "preemptionPolicy"]);
    if !given.is_empty() && given != policy {
        let why = format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission \
             controller computed {policy} from the given PriorityClass name"
        );
        return Err(Rejected::forbidden(&api::resource::PODS, edit::text(tree, &["metadata", "name"]), why));
    }
    edit::set(tree, &["spec", "preemptionPolicy"], policy);
    Ok(())
}
