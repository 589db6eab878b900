//! Requests that are wrong, hostile or endless: each gets the answer that kube-apiserver gives, and costs no memory.

use crate::process::{Server, free_port};
use crate::wire::{Answer, Wire, address, name, tls};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use std::fmt::Write as _;
use std::fs;
use std::sync::Arc;

const TOKENS: &str = "admin-token,admin,admin,system:masters\nalice-token,alice,alice,dev\n";
const ADMIN: &str = "Authorization: Bearer admin-token\r\n";
const JSON: &str = "Content-Type: application/json\r\n";
const YAML: &str = "Content-Type: application/yaml\r\n";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
/// kube-apiserver's, for a request.
const LIMIT: usize = 3 * 1024 * 1024;
/// How often each thing is asked while memory is watched.
const TIMES: usize = 1000;
/// How far memory may rise meanwhile: what an allocator keeps, less than any one of the bombs.
const KIB_MAX: u64 = 48 * 1024;

struct Target {
    server: Server,
    tls: Arc<ClientConfig>,
}

impl Target {
    fn start() -> Target {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("tokens");
        fs::write(&file, TOKENS).expect("written");
        let file = file.to_str().expect("utf-8");
        let server = Server::start("server", free_port("127.0.0.1"), &["--token-auth-file", file]);
        let tls = tls(&server, &[]);
        Target { server, tls }
    }

    fn wire(&self) -> Wire {
        Wire::open(&self.server, &self.tls)
    }

    /// One request of the administrator's, on a connection of its own.
    fn ask(&self, method: &str, path: &str, head: &str, body: impl AsRef<[u8]>) -> Answer {
        self.wire().ask(method, path, &format!("{ADMIN}{head}"), body.as_ref())
    }

    fn says(&self, method: &str, path: &str, head: &str, body: impl AsRef<[u8]>) -> (u16, String, String) {
        self.ask(method, path, head, body).says()
    }

    /// Asks the same thing many times; memory stays where the first few times left it.
    fn stays_flat(&self, what: &str, code: u16, mut ask: impl FnMut(&mut Wire) -> Answer) {
        let mut wire = self.wire();
        let mut before = 0;
        for time in 0..TIMES {
            let answer = ask(&mut wire);
            assert_eq!(answer.status, code, "{what}: {} {}", answer.head, answer.body);
            if answer.head.to_lowercase().contains("connection: close") {
                wire = self.wire();
            }
            if time == TIMES / 10 {
                before = self.server.process.resident_kib();
            }
        }
        let after = self.server.process.resident_kib();
        assert!(after < before + KIB_MAX, "{what}: {before} KiB became {after} KiB");
    }
}

fn map(name: &str) -> String {
    format!("{{\"metadata\":{{\"name\":\"{name}\"}},\"data\":{{\"a\":\"b\"}}}}")
}

/// Nine levels of nine aliases each: a billion words from 400 bytes.
fn alias_bomb() -> String {
    let mut text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bomb}\na: &a [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for (own, other) in ('b'..='j').zip('a'..='i') {
        let all = vec![format!("*{other}"); 9].join(",");
        let _ = writeln!(text, "{own}: &{own} [{all}]");
    }
    text + "data: *j\n"
}

fn nested(open: &str, close: &str, levels: usize) -> String {
    format!("{{\"metadata\":{{\"name\":\"deep\"}},\"data\":{}1{}}}", open.repeat(levels), close.repeat(levels))
}

#[test]
fn a_body_over_the_limit_is_413_however_it_is_sent() {
    let target = Target::start();
    let too_large = (413, "RequestEntityTooLarge".to_owned(), "Request entity too large: limit is 3145728".to_owned());
    assert_eq!(target.says("POST", MAPS, JSON, vec![b' '; LIMIT + 1]), too_large);
    let mut wire = target.wire();
    let head = format!("POST {MAPS} HTTP/1.1\r\nHost: test\r\n{ADMIN}{JSON}Transfer-Encoding: chunked\r\n\r\n");
    assert!(wire.send(head.as_bytes()));
    let piece = [b' '; 64 * 1024];
    let send = |wire: &mut Wire| wire.send(b"10000\r\n") && wire.send(&piece) && wire.send(b"\r\n");
    for _ in 0..LIMIT / piece.len() + 4 {
        assert!(send(&mut wire));
    }
    wire.send(b"0\r\n\r\n");
    assert_eq!(wire.answer().expect("an answer").says(), too_large);
    // One that never ends of its own accord: the server has to end it.
    let mut wire = target.wire();
    assert!(wire.send(head.as_bytes()));
    let sent = (0..10 * LIMIT / piece.len()).take_while(|_| send(&mut wire)).count() * piece.len();
    assert!(sent < 9 * LIMIT, "{sent} bytes were taken");
    // At the limit it is read, and then found to be no object.
    assert_eq!(target.ask("POST", MAPS, JSON, vec![b' '; LIMIT]).status, 400);
    target.stays_flat("bodies over the limit", 413, |wire| {
        let head = format!("{ADMIN}{JSON}Connection: close\r\n");
        let answer = wire.ask("POST", MAPS, &head, &vec![b' '; LIMIT + 64 * 1024]);
        Answer { head: format!("{}\nconnection: close", answer.head), ..answer }
    });
}

#[test]
fn bombs_and_nesting_are_400_and_memory_stays_flat() {
    let target = Target::start();
    let deep = 100_000;
    let (open, close) = ("[".repeat(deep), "]".repeat(deep));
    let raw = format!("{{\"metadata\":{{\"name\":\"deep\",\"managedFields\":[{{\"fieldsV1\":{open}1{close}}}]}}}}");
    let bombs = [
        ("aliases", YAML, alias_bomb()),
        ("nested lists", JSON, nested("[", "]", deep)),
        ("nested objects", JSON, nested("{\"a\":", "}", deep)),
        ("nested lists in YAML", YAML, nested("[", "]", deep)),
        ("nested lists in a raw field", JSON, raw),
    ];
    for (what, media, body) in &bombs {
        let (code, reason, message) = target.says("POST", MAPS, media, body);
        assert_eq!((code, reason.as_str()), (400, "BadRequest"), "{what}: {message}");
        let head = format!("{ADMIN}{media}");
        target.stays_flat(what, 400, |wire| wire.ask("POST", MAPS, &head, body.as_bytes()));
    }
    let applied = format!("{ADMIN}Content-Type: application/apply-patch+yaml\r\n");
    let path = format!("{MAPS}/bomb?fieldManager=test");
    target.stays_flat("aliases in an apply", 400, |wire| wire.ask("PATCH", &path, &applied, alias_bomb().as_bytes()));
    assert_eq!(target.ask("GET", "/readyz", "", "").status, 200);
}

#[test]
fn malformed_bodies_and_wrong_types_are_400_in_upstreams_words() {
    let target = Target::start();
    for body in ["", "{", "{\"metadata\":{\"name\":\"a\"}", "nonsense", "[1]", "\"a\"", "12", "{\"a\":1}x"] {
        let (code, reason, message) = target.says("POST", MAPS, JSON, body);
        assert_eq!((code, reason.as_str()), (400, "BadRequest"), "{body:?}: {message}");
    }
    let body = "{\"metadata\":{\"name\":\"a\"},\"spec\":{\"replicas\":\"three\"}}";
    let message = target.says("POST", DEPLOYMENTS, JSON, body).2;
    let words = "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32";
    assert!(message.contains("cannot be handled as a Deployment") && message.contains(words), "{message}");
    let (code, _, message) = target.says("POST", MAPS, JSON, "{\"kind\":\"Secret\",\"apiVersion\":\"v1\"}");
    assert_eq!(code, 400, "{message}");
    let head = format!("{ADMIN}{JSON}");
    target.stays_flat("malformed bodies", 400, |wire| wire.ask("POST", MAPS, &head, b"{\"metadata\":{\"name\":"));
    target.stays_flat("wrong types", 400, |wire| wire.ask("POST", DEPLOYMENTS, &head, body.as_bytes()));
}

#[test]
fn unknown_and_duplicate_fields_are_refused_told_or_dropped() {
    let target = Target::start();
    let body =
        |name: &str| format!("{{\"metadata\":{{\"name\":\"{name}\",\"name\":\"{name}\"}},\"data\":{{}},\"bogus\":1}}");
    let (code, _, message) = target.says("POST", &format!("{MAPS}?fieldValidation=Strict"), JSON, body("a"));
    assert_eq!(code, 400);
    assert!(message.contains("strict decoding error: "), "{message}");
    assert!(message.contains("unknown field \"bogus\""), "{message}");
    assert!(message.contains("duplicate field \"metadata.name\""), "{message}");
    let warned = target.ask("POST", &format!("{MAPS}?fieldValidation=Warn"), JSON, body("b"));
    assert_eq!(warned.status, 201, "{}", warned.body);
    assert!(warned.head.contains("299 - \"unknown field \\\"bogus\\\"\""), "{}", warned.head);
    assert!(warned.head.contains("299 - \"duplicate field \\\"metadata.name\\\"\""), "{}", warned.head);
    let ignored = target.ask("POST", &format!("{MAPS}?fieldValidation=Ignore"), JSON, body("c"));
    assert_eq!(ignored.status, 201);
    assert!(!ignored.head.to_lowercase().contains("warning:") && !ignored.body.contains("bogus"), "{ignored:?}");
    assert_eq!(target.ask("POST", &format!("{MAPS}?fieldValidation=Loud"), JSON, body("d")).status, 422);
    let (path, head) = (format!("{MAPS}?fieldValidation=Strict"), format!("{ADMIN}{JSON}"));
    target.stays_flat("unknown fields", 400, |wire| wire.ask("POST", &path, &head, body("e").as_bytes()));
}

#[test]
fn media_types_that_are_not_spoken_are_415_and_406() {
    let target = Target::start();
    for media in ["text/plain", "application/xml", "application/cbor", "multipart/form-data"] {
        let (code, reason, message) = target.says("POST", MAPS, &format!("Content-Type: {media}\r\n"), map("a"));
        assert_eq!((code, reason.as_str()), (415, "UnsupportedMediaType"), "{message}");
        assert!(message.contains("accepted media types include: application/json"), "{message}");
    }
    let (code, reason, message) = target.says("PATCH", &format!("{MAPS}/a"), JSON, "{}");
    assert_eq!((code, reason.as_str()), (415, "UnsupportedMediaType"), "{message}");
    let (code, reason, message) = target.says("GET", MAPS, "Accept: text/html\r\n", "");
    assert_eq!((code, reason.as_str()), (406, "NotAcceptable"));
    assert!(message.starts_with("406: Not Acceptable\n\nAvailable representations: application/json, "), "{message}");
    let (code, reason, message) = target.says("GET", "/apis", "Accept: text/html\r\n", "");
    assert_eq!((code, reason.as_str()), (406, "NotAcceptable"));
    assert!(message.contains("only the following media types are accepted: application/json"), "{message}");
    let head = format!("{ADMIN}Content-Type: text/plain\r\n");
    target.stays_flat("wrong media types", 415, |wire| wire.ask("POST", MAPS, &head, b"{}"));
}

#[test]
fn bad_selectors_versions_limits_and_tokens_are_named() {
    let target = Target::start();
    for (query, code) in [
        ("labelSelector=a%20in%20(", 400),
        ("labelSelector=-bad-%3Dx", 400),
        ("fieldSelector=metadata.name", 400),
        ("fieldSelector=spec.nonsense%3Dx", 400),
        ("resourceVersion=abc", 400),
        ("resourceVersion=-1", 400),
        ("limit=many", 400),
        ("limit=10&continue=nonsense", 400),
        ("continue=e30", 400),
        ("watch=1&resourceVersion=abc", 400),
        ("timeoutSeconds=soon&watch=1", 400),
    ] {
        let (found, reason, message) = target.says("GET", &format!("{MAPS}?{query}"), "", "");
        assert_eq!(found, code, "{query}: {reason} {message}");
        assert!(!message.is_empty(), "{query}");
    }
    let (code, _, message) = target.says("POST", &format!("{MAPS}?dryRun=Some"), JSON, map("a"));
    assert!(matches!(code, 400 | 422) && message.contains("dryRun"), "{code} {message}");
    let path = format!("{MAPS}?labelSelector=a%20in%20(");
    target.stays_flat("bad selectors", 400, |wire| wire.ask("GET", &path, ADMIN, b""));
    let path = format!("{MAPS}?limit=10&continue=nonsense");
    target.stays_flat("bad tokens", 400, |wire| wire.ask("GET", &path, ADMIN, b""));
}

#[test]
fn who_is_unknown_is_401_and_who_may_not_is_403() {
    let target = Target::start();
    let ask = |head: &str, path: &str| target.wire().ask("GET", path, head, b"");
    for head in [
        "Authorization: Bearer nonsense\r\n",
        "Authorization: Bearer abcdef.0123456789abcdef\r\n",
        "Authorization: Bearer a.b.c\r\n",
    ] {
        let answer = ask(head, MAPS);
        assert_eq!(answer.says(), (401, "Unauthorized".to_owned(), "Unauthorized".to_owned()), "{head}");
    }
    let (code, reason, message) = ask("", MAPS).says();
    assert_eq!((code, reason.as_str()), (403, "Forbidden"));
    let words = "configmaps is forbidden: User \"system:anonymous\" cannot list resource \"configmaps\" in API group \
                 \"\" in the namespace \"default\"";
    assert_eq!(message, words);
    let alice = "Authorization: Bearer alice-token\r\n";
    let words = "secrets \"x\" is forbidden: User \"alice\" cannot get resource \"secrets\" in API group \"\" in the \
                 namespace \"kube-system\"";
    assert_eq!(ask(alice, "/api/v1/namespaces/kube-system/secrets/x").says().2, words);
    assert_eq!(ask(alice, "/metrics").says().2, "forbidden: User \"alice\" cannot get path \"/metrics\"");
    let impersonated = format!("{alice}Impersonate-User: admin\r\n");
    let words = "users \"admin\" is forbidden: User \"alice\" cannot impersonate resource \"users\" in API group \
                 \"\" at the cluster scope";
    assert_eq!(ask(&impersonated, MAPS).says().2, words);
    target.stays_flat("unknown tokens", 401, |wire| wire.ask("GET", MAPS, "Authorization: Bearer nonsense\r\n", b""));
    target.stays_flat("forbidden reads", 403, |wire| wire.ask("GET", MAPS, alice, b""));
}

#[test]
fn floods_of_headers_and_unknown_methods_are_refused() {
    let target = Target::start();
    let many: String = (0..200).fold(String::new(), |all, n| all + &format!("X-{n}: y\r\n"));
    let large = format!("X-Large: {}\r\n", "y".repeat(1024 * 1024));
    for head in [&many, &large] {
        let mut wire = target.wire();
        wire.send(format!("GET /readyz HTTP/1.1\r\nHost: test\r\n{ADMIN}{head}\r\n").as_bytes());
        // A server that has heard enough may also end the connection before it is read from.
        let status = wire.answer().map(|answer| answer.status);
        assert!(matches!(status, Some(400 | 431) | None), "{status:?}");
    }
    assert_eq!(target.ask("BREW", MAPS, "", "").status, 405);
    let mut invented = 0;
    target.stays_flat("invented methods", 405, |wire| {
        invented += 1;
        wire.ask(&format!("BREW{invented}"), MAPS, ADMIN, b"")
    });
    let metrics = target.wire().ask("GET", "/metrics", ADMIN, b"").body;
    assert!(metrics.contains("verb=\"other\",code=\"405\"") && !metrics.contains("BREW"), "{metrics}");
}

/// What two readers of the same bytes could take for different requests.
#[test]
fn ambiguous_requests_are_not_guessed_at() {
    let target = Target::start();
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n";
    let length = smuggled.len();
    for (what, head) in [
        ("two lengths", format!("Content-Length: {length}\r\nContent-Length: 3\r\n")),
        ("a list of lengths", format!("Content-Length: {length}, 3\r\n")),
        ("no number", "Content-Length: +5\r\n".to_owned()),
        ("an unknown coding", "Transfer-Encoding: xchunked\r\n".to_owned()),
        ("chunked not last", "Transfer-Encoding: chunked, identity\r\n".to_owned()),
        ("a blank before the colon", "Transfer-Encoding : chunked\r\n".to_owned()),
    ] {
        let mut wire = target.wire();
        wire.send(format!("POST {MAPS} HTTP/1.1\r\nHost: test\r\n{ADMIN}{JSON}{head}\r\n{smuggled}").as_bytes());
        let status = wire.answer().map(|answer| answer.status);
        assert!(matches!(status, Some(400) | None), "{what}: {status:?}");
        wire.closed();
    }
    // Chunks win over a length (RFC 9112, section 6.3); what follows is not taken for a request of its own length.
    let mut wire = target.wire();
    let head = format!("{ADMIN}{JSON}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n");
    wire.send(format!("POST {MAPS} HTTP/1.1\r\nHost: test\r\n{head}\r\n0\r\n\r\n").as_bytes());
    assert_eq!(wire.answer().map(|answer| answer.status), Some(400));
}

#[test]
fn clients_that_send_slowly_or_nothing_are_let_go() {
    let target = Target::start();
    let http2 = tls(&target.server, &["h2"]);
    let mut silent = target.wire();
    let mut half = target.wire();
    let mut silent_http2 = Wire::open(&target.server, &http2);
    silent.send(b"");
    silent_http2.send(b"PRI * HTTP/2.0\r\n");
    half.send(b"GET /readyz HTTP/1.1\r\nHost: te");
    // Each ends because the server ends it; a read of this client's own times out much later.
    half.closed();
    silent.closed();
    silent_http2.closed();
    assert_eq!(target.ask("GET", "/readyz", "", "").status, 200);
}

/// CVE-2023-44487: streams that are begun and reset at once, as fast as they can be.
#[tokio::test]
async fn rapid_resets_and_many_streams_cost_no_memory() {
    let target = Target::start();
    let tls = tokio_rustls::TlsConnector::from(tls(&target.server, &["h2"]));
    let mut before = 0;
    for round in 0..TIMES / 10 {
        let tcp = tokio::net::TcpStream::connect(address(&target.server)).await.expect("it listens");
        let stream = tls.connect(name(&target.server), tcp).await.expect("TLS");
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.expect("HTTP/2");
        let driver = tokio::spawn(connection);
        for _ in 0..200 {
            let request = http::Request::get(format!("https://test{MAPS}?watch=1"));
            let request = request.header("authorization", "Bearer admin-token").body(Empty::<Bytes>::new());
            let answer = tokio::spawn(sender.send_request(request.expect("well formed")));
            tokio::task::yield_now().await;
            answer.abort();
        }
        drop(sender);
        driver.abort();
        if round == TIMES / 100 {
            before = target.server.process.resident_kib();
        }
    }
    let after = target.server.process.resident_kib();
    assert!(after < before + KIB_MAX, "{before} KiB became {after} KiB");
    let tcp = tokio::net::TcpStream::connect(address(&target.server)).await.expect("it listens");
    let stream = tls.connect(name(&target.server), tcp).await.expect("TLS");
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.expect("HTTP/2");
    tokio::spawn(connection);
    let request = http::Request::get("https://test/readyz").body(Empty::<Bytes>::new()).expect("well formed");
    let response = sender.send_request(request).await.expect("an answer");
    assert_eq!(response.status(), 200);
    assert_eq!(response.into_body().collect().await.expect("a body").to_bytes(), "ok");
}
