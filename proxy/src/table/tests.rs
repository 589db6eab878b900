use super::*;
use serde_json::json;

pub(crate) fn slice(port: &str, endpoints: &[(&str, &str, bool)]) -> EndpointSlice {
    let endpoints: Vec<_> = endpoints
        .iter()
        .map(|(ip, node, ready)| json!({"addresses": [ip], "nodeName": node, "conditions": {"ready": ready}}))
        .collect();
    let slice = json!({"addressType": "IPv4", "endpoints": endpoints, "ports": [{"name": port, "port": 8080}]});
    serde_json::from_value(slice).expect("the view reads a slice")
}

/// `shop/hello` with a ClusterIP and a NodePort, `shop/db` headless.
pub(crate) fn inputs() -> Inputs {
    let mut inputs = Inputs::default();
    let hello = json!({"spec": {"type": "NodePort", "clusterIP": "10.96.0.20",
        "ports": [{"name": "hello", "port": 80, "nodePort": 30080}]}});
    let db = json!({"spec": {"type": "ClusterIP", "clusterIP": "None", "ports": [{"name": "db", "port": 80}]}});
    inputs.service("shop", "hello", Some(serde_json::from_value(hello).expect("a Service")));
    inputs.service("shop", "db", Some(serde_json::from_value(db).expect("a Service")));
    inputs
}

fn addresses(table: &Table) -> Vec<String> {
    let entry = table.service("shop", "hello").expect("it is there");
    entry.ports[0].endpoints.iter().filter_map(|b| b.endpoint.ip).map(|ip| ip.to_string()).collect()
}

#[test]
fn only_endpoints_that_may_serve_are_in_the_table() {
    let mut inputs = inputs();
    let mut one = slice("hello", &[("10.64.0.1", "a", true), ("10.64.0.2", "b", false), ("10.64.0.3", "b", false)]);
    one.endpoints[2].conditions.serving = Some(true);
    one.endpoints[2].conditions.terminating = Some(true);
    inputs.slice("shop", "hello", "hello-1", Some(one));
    let table = inputs.table();
    assert_eq!(addresses(&table), ["10.64.0.1", "10.64.0.3"]);
    let (entry, port) = table.node_port(30080).expect("the NodePort is known");
    assert_eq!((entry.name.as_str(), port.endpoints[1].state), ("hello", State::Terminating));
    assert_eq!(port.endpoints[0].port, 8080);
}

#[test]
fn load_survives_a_rebuild_and_old_tables_do_not_change() {
    let mut inputs = inputs();
    inputs.slice("shop", "hello", "hello-1", Some(slice("hello", &[("10.64.0.1", "a", true)])));
    let old = inputs.table();
    let load = Load::on(&old.service("shop", "hello").expect("there").ports[0].endpoints[0].endpoint);
    inputs.slice(
        "shop",
        "hello",
        "hello-2",
        Some(slice("hello", &[("10.64.0.1", "a", true), ("10.64.0.5", "a", true)])),
    );
    let new = inputs.table();
    assert_eq!((addresses(&old).len(), addresses(&new).len()), (1, 2));
    assert_eq!(new.service("shop", "hello").expect("there").ports[0].endpoints[0].endpoint.in_flight(), 1);
    drop(load);
    assert_eq!(new.service("shop", "hello").expect("there").ports[0].endpoints[0].endpoint.in_flight(), 0);
}

#[test]
fn a_deleted_service_leaves_nothing_behind() {
    let mut inputs = inputs();
    assert!(inputs.table().node_port(30080).is_some());
    inputs.service("shop", "hello", None);
    let table = inputs.table();
    assert!(table.node_port(30080).is_none());
    assert!(table.service_at(IpAddr::from([10, 96, 0, 20])).is_none());
    assert!(table.service("shop", "hello").is_none());
}

#[test]
fn a_pods_node_is_known_by_its_range() {
    let mut inputs = inputs();
    let node = json!({"metadata": {"name": "b"}, "spec": {"podCIDR": "10.64.16.0/20"}, "status": {
        "addresses": [{"type": "InternalIP", "address": "192.0.2.2"}], "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}}}});
    inputs.node("b", Some(&serde_json::from_value(node).expect("a Node")));
    let table = inputs.table();
    assert_eq!(table.node_of(IpAddr::from([10, 64, 31, 255])), Some("b"));
    assert_eq!(table.node_of(IpAddr::from([10, 64, 32, 0])), None);
    assert_eq!(table.peer("b").and_then(|peer| peer.address), Some(SocketAddr::from(([192, 0, 2, 2], 10250))));
}

#[test]
fn ranges_are_checked() {
    assert!(Cidr::parse("10.0.0.0/33").is_none());
    assert!(Cidr::parse("10.0.0.0").is_none());
    assert!(Cidr::parse("0.0.0.0/0").is_some_and(|all| all.contains(IpAddr::from([1, 2, 3, 4]))));
    assert!(Cidr::parse("fd00::/8").is_some_and(|range| !range.contains(IpAddr::from([1, 2, 3, 4]))));
}
