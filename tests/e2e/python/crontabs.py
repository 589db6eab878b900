"""A kopf operator of CronTabs: for each it keeps a ConfigMap, which it owns, and says so in the status; one that is
deleted leaves a ConfigMap that says who saw it go."""
import kopf
from kubernetes import client, config

config.load_kube_config()


def settings_of(name, spec):
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": f"crontab-{name}"},
        "data": {"schedule": spec["schedule"], "replicas": str(spec["replicas"])},
    }
    kopf.adopt(body)
    return body


@kopf.on.startup()
def configure(settings, **_):
    settings.posting.enabled = False
    settings.persistence.finalizer = "stable.example.com/finalizer"


@kopf.on.create("stable.example.com", "v1", "crontabs")
def created(name, namespace, spec, **_):
    client.CoreV1Api().create_namespaced_config_map(namespace, settings_of(name, spec))
    return {"made": f"crontab-{name}"}


@kopf.on.update("stable.example.com", "v1", "crontabs", field="spec")
def changed(name, namespace, spec, **_):
    client.CoreV1Api().patch_namespaced_config_map(f"crontab-{name}", namespace, settings_of(name, spec))


@kopf.on.delete("stable.example.com", "v1", "crontabs")
def deleted(name, namespace, **_):
    client.CoreV1Api().create_namespaced_config_map(
        namespace, {"metadata": {"name": f"gone-{name}"}, "data": {"by": "operator"}}
    )
