//! A stock kube-apiserver with our store in the place of its etcd.

use crate::kube_apiserver::{self, KubeApiserver};
use crate::process::{Process, eventually, free_port};
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

struct Stock {
    api: KubeApiserver,
    store: Process,
    folder: tempfile::TempDir,
    arguments: Vec<String>,
}

impl Stock {
    /// `None`, and said so, where there is no kube-apiserver.
    fn up() -> Option<Stock> {
        let program = kube_apiserver::program()?;
        let folder = tempfile::tempdir().expect("a folder");
        let [listen, etcd] = [(); 2].map(|()| format!("127.0.0.1:{}", free_port("127.0.0.1")));
        let options = ["server", "--listen", &listen, "--etcd-listen", &etcd, "--etcd-insecure"];
        let arguments: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        let store = start(folder.path(), &arguments);
        let api = KubeApiserver::start(&program, &format!("http://{etcd}"), folder.path());
        api.settle();
        Some(Stock { api, store, folder, arguments })
    }

    fn ask(&self, path: &str, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.api.curl(path, arguments)).unwrap_or_default()
    }

    fn send(&self, method: &str, path: &str, media: &str, body: &Value) -> Value {
        self.ask(path, &["-X", method, "-H", &format!("Content-Type: {media}"), "-d", &body.to_string()])
    }
}

fn start(folder: &std::path::Path, arguments: &[String]) -> Process {
    let data = folder.join("store");
    std::fs::create_dir_all(&data).expect("a folder");
    Process::start(&data, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn a_stock_kube_apiserver_keeps_its_state_in_the_store() {
    let Some(mut stock) = Stock::up() else { return };
    let names = |list: &Value| -> Vec<String> {
        let items = list["items"].as_array().cloned().unwrap_or_default();
        items.iter().filter_map(|item| item["metadata"]["name"].as_str().map(str::to_owned)).collect()
    };
    eventually("its namespaces", || (names(&stock.ask("/api/v1/namespaces", &[])).len() == 4).then_some(()));
    for number in 0..5 {
        let map = json!({"metadata": {"name": format!("m{number}")}, "data": {"number": number.to_string()}});
        let made = stock.send("POST", MAPS, "application/json", &map);
        assert_eq!(made["data"], map["data"], "{made}");
    }
    // Pages are ranges at a revision, with a limit.
    let first = stock.ask(&format!("{MAPS}?limit=2"), &[]);
    let next = first["metadata"]["continue"].as_str().expect("there is more").to_owned();
    let second = stock.ask(&format!("{MAPS}?limit=2&continue={next}"), &[]);
    assert_eq!([names(&first), names(&second)].concat(), ["m0", "m1", "m2", "m3"]);
    // Guaranteed updates are transactions that compare.
    let stale = json!({"metadata": {"name": "m0", "resourceVersion": "1"}});
    assert_eq!(stock.send("PUT", &format!("{MAPS}/m0"), "application/json", &stale)["reason"], "Conflict");
    let patch = json!({"metadata": {"labels": {"a": "b"}}});
    let patched = stock.send("PATCH", &format!("{MAPS}/m1"), "application/merge-patch+json", &patch);
    assert_eq!(patched["metadata"]["labels"]["a"], "b");
    stock.ask(&format!("{MAPS}/m2"), &["-X", "DELETE"]);
    // A watch from before tells both.
    let from = first["metadata"]["resourceVersion"].as_str().expect("a version");
    let told = stock.api.curl(&format!("{MAPS}?watch=1&resourceVersion={from}&timeoutSeconds=2"), &[]);
    let told: Vec<Value> = told.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let told: Vec<_> = told.iter().map(|event| (&event["type"], &event["object"]["metadata"]["name"])).collect();
    assert_eq!(told, [(&json!("MODIFIED"), &json!("m1")), (&json!("DELETED"), &json!("m2"))]);
    // The store comes back with all of it, and kube-apiserver goes on.
    stock.store.kill();
    stock.store = start(stock.folder.path(), &stock.arguments);
    eventually("all that was kept", || (names(&stock.ask(MAPS, &[])) == ["m0", "m1", "m3", "m4"]).then_some(()));
}
