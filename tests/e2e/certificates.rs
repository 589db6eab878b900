//! Every connection is of somebody: what is shown, what is refused, and what happens as certificates end.

use crate::calls::{Calls, answered};
use crate::fleet::{Fleet, Member, hello_on};
use crate::process::{eventually, get};
use crate::wire::{Identity, Wire, tls_as};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

const API_PORT: u16 = 6443;
const TUNNEL_PORT: u16 = 10250;
const TUNNEL: &str = "coracle-tunnel";
/// What an HTTP/2 client says first: the preface and empty settings, which the server answers with its own.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
const FILES: [&str; 2] = ["node-client.pem", "node-serving.pem"];

/// Whether a node's tunnel speaks with a client of these keys.
fn speaks(node: &Member, name: &str, tls: &Arc<ClientConfig>) -> bool {
    let tcp = TcpStream::connect((node.host.address, TUNNEL_PORT)).expect("the node listens");
    tcp.set_read_timeout(Some(Duration::from_secs(30))).expect("a time-out");
    let name = ServerName::try_from(format!("{name}.nodes.coracle.internal")).expect("a name");
    let mut stream = StreamOwned::new(ClientConnection::new(Arc::clone(tls), name).expect("a session"), tcp);
    // A refusal may come before or after this is sent.
    let _ = stream.write_all(HELLO).and_then(|()| stream.flush());
    match stream.read(&mut [0; 64]) {
        Ok(count) => count > 0,
        Err(error) => {
            let is_late = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
            assert!(!is_late, "the node neither speaks nor refuses");
            false
        }
    }
}

/// The second from which on a certificate is valid.
fn valid_from(identity: &Identity) -> i64 {
    let (_, certificate) = x509_parser::parse_x509_certificate(&identity.chain[0]).expect("a certificate");
    certificate.validity().not_before.timestamp()
}

#[test]
fn every_port_refuses_who_is_not_of_the_cluster() {
    let fleet = Fleet::start(&[]);
    let (one, two) = (fleet.join("one"), fleet.join("two"));
    fleet.server.push("hello", "hello:v1");
    fleet.apply(&hello_on("one", "first", ""));
    let node_port = fleet.server.node_port("first");
    // These and no others: a new one has to be thought of here.
    assert_eq!(fleet.host.ports(), BTreeSet::from([API_PORT]));
    for member in [&one, &two] {
        eventually("the ports of a node", || {
            (member.host.ports() == BTreeSet::from([TUNNEL_PORT, node_port])).then_some(())
        });
    }
    let as_whom = |identity: Option<Identity>, protocol: &str| tls_as(&fleet.server, identity, &[protocol]);
    let of = |file: &str| Some(Identity::of_node(&two.process, file));
    assert!(speaks(&one, "one", &as_whom(of("node-client.pem"), TUNNEL)), "another node is welcome");
    let strangers = [
        ("nobody", as_whom(None, TUNNEL)),
        ("a node of another authority", as_whom(Some(Identity::foreign("two")), TUNNEL)),
        ("an admin, who is no node", as_whom(Some(Identity::admin(&fleet.server)), TUNNEL)),
        ("a server's certificate", as_whom(of("node-serving.pem"), TUNNEL)),
        ("a node that speaks something else", as_whom(of("node-client.pem"), "h2")),
    ];
    for (who, tls) in &strangers {
        assert!(!speaks(&one, "one", tls), "{who} is let in");
    }
    assert_eq!(get(one.host.address, TUNNEL_PORT, "/"), None, "without TLS");
    // A node knows whom it dials, too.
    assert!(!speaks(&one, "two", &as_whom(of("node-client.pem"), TUNNEL)), "one is not two");

    let api = |identity| Wire::open(&fleet.server, &as_whom(identity, "http/1.1"));
    assert_eq!(api(None).ask("GET", "/api/v1/nodes", "", b"").status, 403, "nobody is system:anonymous");
    let mut foreign = api(Some(Identity::foreign("two")));
    foreign.send(b"GET /readyz HTTP/1.1\r\nHost: test\r\n\r\n");
    assert!(foreign.answer().is_none(), "a foreign certificate ends the connection");
    assert_eq!(get(fleet.host.address, API_PORT, "/readyz"), None, "without TLS");
    let upgrade = "Connection: Upgrade\r\nUpgrade: coracle-link\r\n";
    let link = |name: &str| {
        let path = format!("/apis/coracle.dev/v1/nodes/{name}/link");
        api(of("node-client.pem")).ask("GET", &path, upgrade, b"").status
    };
    assert_eq!((link("two"), link("one")), (101, 403), "a node answers for itself alone");
}

#[test]
fn certificates_are_replaced_while_they_are_in_use() {
    let fleet = Fleet::start(&["--cluster-signing-duration", "20s"]);
    let (one, two) = (fleet.join("one"), fleet.join("two"));
    fleet.server.push("hello", "hello:v1");
    fleet.apply(&hello_on("two", "far", ""));
    let port = fleet.server.node_port("far");
    eventually("a call across nodes", || get(one.host.address, port, "/").filter(|(status, _)| *status == 200));
    let calls = Calls::begin(one.host.address, port, "/");
    let begins = || [&one, &two].map(|node| FILES.map(|file| valid_from(&Identity::of_node(&node.process, file))));
    // Each lasts 20 s and is replaced after 14 at least: twice replaced, the first ones have ended.
    for _ in 0..2 {
        let before = begins();
        let after = eventually("new certificates on the disks of both nodes", || {
            let now = begins();
            let mut pairs = now.as_flattened().iter().zip(before.as_flattened());
            pairs.all(|(now, before)| now > before).then_some(now)
        });
        let pairs = after.as_flattened().iter().zip(before.as_flattened());
        assert!(pairs.clone().all(|(after, before)| after - before >= 14), "too early: {before:?} became {after:?}");
    }
    for name in ["one", "two"] {
        assert_eq!(fleet.ready(name), "True");
    }
    fleet.eventually_logs("far", one.host.address);
    // The only pod is on the other node: a call that finds no tunnel has nowhere else to go.
    answered(calls.end());
}
