// The daily work of a program with Kubernetes' own JavaScript client; each check throws, or the last line is `done`.
import assert from "node:assert/strict";
import { once } from "node:events";
import { PassThrough } from "node:stream";
import * as k8s from "@kubernetes/client-node";

const config = new k8s.KubeConfig();
config.loadFromDefault();
const core = config.makeApiClient(k8s.CoreV1Api);
const apps = config.makeApiClient(k8s.AppsV1Api);
const batch = config.makeApiClient(k8s.BatchV1Api);
const custom = config.makeApiClient(k8s.CustomObjectsApi);
const objects = k8s.KubernetesObjectApi.makeApiClient(config);
const namespace = "default";
const MAPS = `/api/v1/namespaces/${namespace}/configmaps`;

// How long anything is waited for that comes by itself.
const SECONDS_MAX = 30;

function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not come`)), SECONDS_MAX * 1000);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// What an error of the client says: its code and, in its body, the reason.
async function refused(code, reason, promise) {
  await assert.rejects(promise, (error) => {
    assert.ok(error instanceof k8s.ApiException, error);
    const status = typeof error.body === "string" ? JSON.parse(error.body) : error.body;
    assert.deepEqual([error.code, status.reason], [code, reason]);
    return true;
  });
}

// --- versions and discovery ---
assert.ok(parseInt((await config.makeApiClient(k8s.VersionApi).getCode()).minor) >= 20);
const groups = (await config.makeApiClient(k8s.ApisApi).getAPIVersions()).groups.map((group) => group.name);
for (const group of ["apps", "batch", "rbac.authorization.k8s.io", "apiextensions.k8s.io"]) {
  assert.ok(groups.includes(group), group);
}
assert.ok((await core.getAPIResources()).resources.some((resource) => resource.name === "pods/log"));

// --- objects, and all kinds of patches ---
const settings = { name: "settings", namespace };
await core.createNamespacedConfigMap({ namespace, body: { metadata: { name: "settings" }, data: { a: "1" } } });
await refused(
  409, "AlreadyExists", core.createNamespacedConfigMap({ namespace, body: { metadata: { name: "settings" } } }),
);
const patch = (strategy, body, more = {}) => core.patchNamespacedConfigMap(
  { ...settings, body, ...more }, k8s.setHeaderOptions("Content-Type", strategy),
);
await patch(k8s.PatchStrategy.MergePatch, { data: { b: "2" } });
await patch(k8s.PatchStrategy.StrategicMergePatch, { metadata: { labels: { tier: "web" } } });
await patch(k8s.PatchStrategy.JsonPatch, [{ op: "remove", path: "/data/a" }]);
// Without a header it is a JSON patch or a strategic one, as the body has it.
await core.patchNamespacedConfigMap({ ...settings, body: [{ op: "add", path: "/data/c", value: "3" }] });
let held = await core.readNamespacedConfigMap(settings);
assert.deepEqual([held.data, held.metadata.labels], [{ b: "2", c: "3" }, { tier: "web" }]);
const applied = { apiVersion: "v1", kind: "ConfigMap", metadata: settings, data: { d: "4" } };
held = await patch(k8s.PatchStrategy.ServerSideApply, applied, { fieldManager: "tester" });
assert.equal(held.metadata.managedFields.find((entry) => entry.manager === "tester").operation, "Apply");
await refused(409, "Conflict", patch(
  k8s.PatchStrategy.ServerSideApply, { ...applied, data: { d: "5" } }, { fieldManager: "other" },
));
held = await patch(
  k8s.PatchStrategy.ServerSideApply, { ...applied, data: { d: "5" } }, { fieldManager: "other", force: true },
);
assert.deepEqual(held.data, { b: "2", c: "3", d: "5" });
await refused(422, "Invalid", patch(k8s.PatchStrategy.MergePatch, { data: { "not a key": "" } }));
await refused(409, "Conflict", core.replaceNamespacedConfigMap(
  { ...settings, body: { metadata: { name: "settings", resourceVersion: "1" } } },
));
held.data = { e: "6" };
held = await core.replaceNamespacedConfigMap({ ...settings, body: held });
assert.deepEqual(held.data, { e: "6" });
assert.ok(held.metadata.creationTimestamp instanceof Date);
await core.deleteNamespacedConfigMap(settings);
await refused(404, "NotFound", core.readNamespacedConfigMap(settings));

// --- secrets, labels, pages ---
for (let index = 0; index < 7; index++) {
  const metadata = { name: `s${index}`, labels: { odd: String(index % 2) } };
  await core.createNamespacedSecret({ namespace, body: { metadata, stringData: { key: "value" } } });
}
const names = (list) => list.items.map((item) => item.metadata.name);
assert.deepEqual((await core.readNamespacedSecret({ name: "s0", namespace })).data, { key: "dmFsdWU=" });
assert.deepEqual(names(await core.listNamespacedSecret({ namespace, labelSelector: "odd=1" })), ["s1", "s3", "s5"]);
const pages = [];
let page;
do {
  page = await core.listNamespacedSecret(
    { namespace, labelSelector: "odd", limit: 3, _continue: page?.metadata._continue },
  );
  pages.push(names(page));
} while (page.metadata._continue);
assert.deepEqual(pages, [["s0", "s1", "s2"], ["s3", "s4", "s5"], ["s6"]]);
await core.deleteCollectionNamespacedSecret({ namespace, labelSelector: "odd" });
assert.deepEqual(names(await core.listNamespacedSecret({ namespace, labelSelector: "odd" })), []);

// --- a watch from a version on, with bookmarks, that ends by itself ---
const { metadata: { resourceVersion } } = await core.listNamespacedConfigMap({ namespace });
await core.createNamespacedConfigMap({ namespace, body: { metadata: { name: "watched" } } });
await core.deleteNamespacedConfigMap({ name: "watched", namespace });
const seen = [];
const ended = await within(new Promise((resolve) => {
  new k8s.Watch(config).watch(
    MAPS,
    { resourceVersion, allowWatchBookmarks: true, timeoutSeconds: 1 },
    (type, object) => { if (type !== "BOOKMARK") seen.push(`${type} ${object.metadata.name}`); },
    resolve,
  );
}), "the watch's end");
assert.equal(ended, null);
assert.deepEqual(seen, ["ADDED watched", "DELETED watched"]);
const wrongly = await within(new Promise((resolve) => {
  new k8s.Watch(config).watch(MAPS, { resourceVersion: "yesterday" }, () => {}, resolve);
}), "a refusal of the watch");
assert.equal(wrongly.statusCode, 400);

// --- an informer, whose watches end each second: it goes on where they did ---
const list = () => core.listNamespacedConfigMap({ namespace });
const informer = k8s.makeInformer(config, `${MAPS}?timeoutSeconds=1`, list);
const told = [];
let connections = 0;
let look = () => {};
const until = (condition, what) => within(new Promise((resolve) => {
  look = () => { if (condition()) resolve(); };
  look();
}), what);
for (const verb of ["add", "update", "delete"]) {
  informer.on(verb, (object) => {
    if (object.metadata.name === "followed") told.push(`${verb} ${object.data?.a}`);
    look();
  });
}
informer.on("connect", () => { connections += 1; look(); });
informer.on("error", (error) => { told.push(String(error)); look(); });
await informer.start();
const followed = { name: "followed", namespace };
const merge = k8s.setHeaderOptions("Content-Type", k8s.PatchStrategy.MergePatch);
await core.createNamespacedConfigMap({ namespace, body: { metadata: { name: "followed" }, data: { a: "1" } } });
await until(() => told.length === 1, "what was made");
await until(() => connections >= 2, "another connection");
await core.patchNamespacedConfigMap({ ...followed, body: { data: { a: "2" } } }, merge);
await until(() => told.length === 2, "what was changed");
assert.equal(informer.get("followed", namespace).data.a, "2");
await core.deleteNamespacedConfigMap(followed);
await until(() => told.length === 3, "what was deleted");
await informer.stop();
assert.deepEqual(told, ["add 1", "update 2", "delete 2"]);
assert.equal(informer.get("followed", namespace), undefined);

// --- workloads and their subresources ---
const template = {
  metadata: { labels: { app: "web" } },
  spec: { containers: [{ name: "web", image: "nowhere:v1" }] },
};
const spec = { replicas: 0, selector: { matchLabels: { app: "web" } }, template };
await apps.createNamespacedDeployment({ namespace, body: { metadata: { name: "web" }, spec } });
const scaled = await apps.patchNamespacedDeploymentScale(
  { name: "web", namespace, body: { spec: { replicas: 1 } } }, merge,
);
assert.equal(scaled.spec.replicas, 1);
const sometimes = { template: { spec: { restartPolicy: "Sometimes", containers: template.spec.containers } } };
await refused(
  422, "Invalid", batch.createNamespacedJob({ namespace, body: { metadata: { name: "bad" }, spec: sometimes } }),
);

// --- a pod, its logs, and what it does not have ---
const pod = { name: "once", namespace };
await core.createNamespacedPod({ namespace, body: {
  metadata: { name: "once" },
  spec: { restartPolicy: "Never", containers: [{ name: "crash", image: "crash:v1" }] },
} });
await within(new Promise((resolve, reject) => {
  const watched = { fieldSelector: "metadata.name=once", resourceVersion: "0" };
  const check = (_, object) => { if (object.status?.phase === "Failed") resolve(); };
  new k8s.Watch(config).watch(`/api/v1/namespaces/${namespace}/pods`, watched, check, reject);
}), "the pod's end");
assert.match(await core.readNamespacedPodLog(pod), /about to break/);
const stream = new PassThrough();
const chunks = [];
stream.on("data", (chunk) => chunks.push(chunk));
await new k8s.Log(config).log(namespace, "once", "crash", stream, { tailLines: 1, timestamps: true });
await within(once(stream, "end"), "the logs' end");
assert.match(Buffer.concat(chunks).toString(), /^20\S+Z /);
await assert.rejects(new k8s.Log(config).log(namespace, "nobody", "crash", new PassThrough()), { code: 404 });
const exec = new k8s.Exec(config).exec(namespace, "once", "crash", "ls", process.stdout, null, null, false);
await assert.rejects(within(exec, "an answer to exec"), { message: "Unexpected server response: 405" });
// The plain call says why.
await assert.rejects(core.connectPostNamespacedPodExec({ ...pod, command: "ls" }), (error) => {
  assert.equal(error.code, 405);
  assert.match(JSON.stringify(error.body), /pods here are WebAssembly instances, not processes/);
  return true;
});

// --- custom resources, and objects of any kind ---
const group = "stable.example.com";
const crontabs = { group, version: "v1", namespace, plural: "crontabs" };
const tab = {
  apiVersion: `${group}/v1`, kind: "CronTab", metadata: { name: "nightly", namespace }, spec: { schedule: "0 1 * * *" },
};
const made = await custom.createNamespacedCustomObject({ ...crontabs, body: tab });
assert.equal(made.spec.replicas, 1);
const wrong = { ...tab, metadata: { name: "wrong" }, spec: { schedule: "now" } };
await refused(422, "Invalid", custom.createNamespacedCustomObject({ ...crontabs, body: wrong }));
const nightly = { ...crontabs, name: "nightly" };
const patched = await custom.patchNamespacedCustomObject({ ...nightly, body: { spec: { replicas: 3 } } }, merge);
assert.deepEqual(patched.spec, { schedule: "0 1 * * *", replicas: 3 });
const status = await custom.patchNamespacedCustomObjectStatus({ ...nightly, body: { status: { ok: true } } }, merge);
assert.deepEqual(status.status, { ok: true });
assert.deepEqual(names(await custom.listNamespacedCustomObject(crontabs)), ["nightly"]);
const read = await objects.read(tab);
assert.equal(read.spec.replicas, 3);
const asApplied = await objects.patch(
  { ...tab, spec: { schedule: "0 2 * * *" } }, undefined, undefined, "tester", true, k8s.PatchStrategy.ServerSideApply,
);
assert.deepEqual(asApplied.spec, { schedule: "0 2 * * *", replicas: 3 });
await objects.delete(tab);
await refused(404, "NotFound", custom.getNamespacedCustomObject(nightly));
console.log("done");
// Watches that have done their work are still open.
process.exit(0);
