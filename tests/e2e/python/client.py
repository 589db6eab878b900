"""The daily work of a program with Kubernetes' own Python client; each check raises, or the last line is `done`."""
import json
import threading

from kubernetes import client, config, dynamic, watch

config.load_kube_config()
core, apps, batch = client.CoreV1Api(), client.AppsV1Api(), client.BatchV1Api()


def meta(name, **more):
    return client.V1ObjectMeta(name=name, **more)


def same(got, expected):
    assert got == expected, f"{got!r} is not {expected!r}"


def refused(status, reason, call, *arguments):
    try:
        call(*arguments)
    except client.ApiException as error:
        same((error.status, json.loads(error.body)["reason"]), (status, reason))
    else:
        raise AssertionError(f"{call.__name__}{arguments} was not refused")


# --- versions and discovery ---
assert int(client.VersionApi().get_code().minor.rstrip("+")) >= 20
groups = {group.name for group in client.ApisApi().get_api_versions().groups}
assert {"apps", "batch", "rbac.authorization.k8s.io", "apiextensions.k8s.io"} <= groups, groups
assert any(resource.name == "pods/log" for resource in core.get_api_resources().resources)

# --- objects, and a watch that sees what becomes of them ---
seen, begun = [], threading.Event()


def listen():
    listed = core.list_namespaced_config_map("default")
    begun.set()
    stream = watch.Watch().stream(
        core.list_namespaced_config_map, "default", resource_version=listed.metadata.resource_version, timeout_seconds=30
    )
    for event in stream:
        seen.append((event["type"], event["object"].metadata.name, event["object"].data))
        if event["type"] == "DELETED":
            return


listener = threading.Thread(target=listen)
listener.start()
begun.wait()
core.create_namespaced_config_map("default", client.V1ConfigMap(metadata=meta("settings"), data={"a": "1"}))
refused(
    409, "AlreadyExists", core.create_namespaced_config_map, "default", client.V1ConfigMap(metadata=meta("settings"))
)
core.patch_namespaced_config_map("settings", "default", {"data": {"b": "2"}})
core.patch_namespaced_config_map("settings", "default", [{"op": "remove", "path": "/data/a"}])
held = core.read_namespaced_config_map("settings", "default")
stale = client.V1ConfigMap(metadata=meta("settings", resource_version="1"), data={})
refused(409, "Conflict", core.replace_namespaced_config_map, "settings", "default", stale)
held.data = {"c": "3"}
core.replace_namespaced_config_map("settings", "default", held)
core.delete_namespaced_config_map("settings", "default")
listener.join(timeout=30)
same(
    seen,
    [
        ("ADDED", "settings", {"a": "1"}),
        ("MODIFIED", "settings", {"a": "1", "b": "2"}),
        ("MODIFIED", "settings", {"b": "2"}),
        ("MODIFIED", "settings", {"c": "3"}),
        ("DELETED", "settings", {"c": "3"}),
    ],
)
refused(404, "NotFound", core.read_namespaced_config_map, "settings", "default")

# --- secrets, labels, pages ---
for index in range(7):
    secret = client.V1Secret(metadata=meta(f"s{index}", labels={"odd": str(index % 2)}), string_data={"key": "value"})
    core.create_namespaced_secret("default", secret)
same(core.read_namespaced_secret("s0", "default").data, {"key": "dmFsdWU="})
odd = core.list_namespaced_secret("default", label_selector="odd=1")
same([secret.metadata.name for secret in odd.items], ["s1", "s3", "s5"])
names, token = [], None
while token != "":
    page = core.list_namespaced_secret("default", label_selector="odd", limit=3, _continue=token)
    names += [secret.metadata.name for secret in page.items]
    token = page.metadata._continue or ""
same(names, [f"s{index}" for index in range(7)])
core.delete_collection_namespaced_secret("default", label_selector="odd")
same(core.list_namespaced_secret("default", label_selector="odd").items, [])

# --- workloads and their subresources ---
template = client.V1PodTemplateSpec(
    metadata=meta(None, labels={"app": "web"}),
    spec=client.V1PodSpec(containers=[client.V1Container(name="web", image="nowhere:v1")]),
)
spec = client.V1DeploymentSpec(replicas=0, selector={"matchLabels": {"app": "web"}}, template=template)
apps.create_namespaced_deployment("default", client.V1Deployment(metadata=meta("web"), spec=spec))
same(apps.patch_namespaced_deployment_scale("web", "default", {"spec": {"replicas": 1}}).spec.replicas, 1)
status = apps.patch_namespaced_deployment_status("web", "default", {"status": {"observedGeneration": 1}})
same(status.metadata.generation, 2)
job = client.V1JobSpec(template=client.V1PodTemplateSpec(spec=client.V1PodSpec(
    restart_policy="Sometimes", containers=[client.V1Container(name="a", image="nowhere:v1")]
)))
refused(422, "Invalid", batch.create_namespaced_job, "default", client.V1Job(metadata=meta("bad"), spec=job))

# --- the dynamic client, with apply ---
anything = dynamic.DynamicClient(client.ApiClient())
deployments = anything.resources.get(api_version="apps/v1", kind="Deployment")
same([item.metadata.name for item in deployments.get(namespace="default").items], ["web"])
maps = anything.resources.get(api_version="v1", kind="ConfigMap")
body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}, "data": {"a": "1"}}
maps.server_side_apply(body=body, namespace="default", field_manager="tester")
try:
    maps.server_side_apply(body={**body, "data": {"a": "2"}}, namespace="default", field_manager="other")
    raise AssertionError("the conflict was not seen")
except dynamic.exceptions.ConflictError as error:
    assert 'conflict with \\"tester\\": .data.a' in error.body, error.body
print("done")
