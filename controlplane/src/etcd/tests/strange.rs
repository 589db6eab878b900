//! Requests that no client should send, over a socket: refused as a real etcd beside it refuses them, and whoever
//! comes next is served.

use std::process::{Child, Command, Stdio};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use super::*;
use crate::etcd::wire::Request as Op;
use crate::etcd::{self, Security};

const LIMIT: Duration = Duration::from_secs(30);

/// One that is asked over a socket.
struct Target {
    address: String,
    pool: Pool<HttpConnector, Body>,
    _held: Held,
}

enum Held {
    Ours { stop: CancellationToken, _client: Client },
    Real { child: Child, _dir: tempfile::TempDir },
}

impl Drop for Held {
    fn drop(&mut self) {
        match self {
            Held::Ours { stop, .. } => stop.cancel(),
            Held::Real { child, .. } => {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}

#[derive(Clone)]
struct Dialled(Pool<HttpConnector, Body>);

impl GrpcService<Body> for Dialled {
    type ResponseBody = hyper::body::Incoming;
    type Error = hyper_util::client::legacy::Error;
    type Future = BoxFuture<'static, Result<http::Response<hyper::body::Incoming>, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        self.0.request(request).boxed()
    }
}

/// Messages as the bytes that they are.
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = ();
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        bytes::BufMut::put_slice(to, &item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = ();
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<()>, Status> {
        let length = bytes::Buf::remaining(from);
        bytes::Buf::advance(from, length);
        Ok(Some(()))
    }
}

impl Target {
    async fn ours() -> Target {
        let (client, stop) = (Client::new(), CancellationToken::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (membership, clock) = (alone(&client.store), client::Clock::system());
        let config = etcd::Config { listener, membership, security: Security::None, clock };
        tokio::spawn(serve_until(config, client.store.clone(), stop.clone()));
        Target::new(address, Held::Ours { stop, _client: client })
    }

    async fn real() -> Option<Target> {
        if Command::new("etcd").arg("--version").output().is_err() {
            eprintln!("skipped: no etcd to compare with; `cargo xtask setup` installs etcd-server");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let free = || format!("127.0.0.1:{}", crate::ports::free_port("127.0.0.1"));
        let (address, peer) = (free(), format!("http://{}", free()));
        let url = format!("http://{address}");
        let mut command = Command::new("etcd");
        command.arg("--data-dir").arg(dir.path().join("data"));
        command.args(["--listen-client-urls", &url, "--advertise-client-urls", &url]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &format!("default={peer}")]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let target = Target::new(address, Held::Real { child, _dir: dir });
        let is_up = async { while target.ask("Maintenance/Status", vec![]).await.0 != Code::Ok {} };
        tokio::time::timeout(LIMIT, is_up).await.expect("etcd answers");
        Some(target)
    }

    fn new(address: String, held: Held) -> Target {
        let pool = Pool::builder(TokioExecutor::new()).http2_only(true).build_http();
        Target { address, pool, _held: held }
    }

    async fn ask(&self, method: &str, question: Vec<u8>) -> (Code, String) {
        let origin = format!("http://{}", self.address).parse().unwrap();
        let mut grpc = Grpc::with_origin(Dialled(self.pool.clone()), origin);
        let service = if method.contains('.') { "" } else { "etcdserverpb." };
        let path = format!("/{service}{method}").parse().unwrap();
        match grpc.unary(Request::new(question), path, Raw).await {
            Ok(_) => (Code::Ok, String::new()),
            Err(status) => (status.code(), status.message().to_owned()),
        }
    }

    async fn serves(&self) {
        let asked = self.ask("KV/Range", range("a", 0).encode_to_vec());
        let answer = tokio::time::timeout(LIMIT, asked).await.expect("an answer");
        assert_eq!(answer, (Code::Ok, String::new()));
    }
}

async fn serve_until(config: etcd::Config, store: Store, stop: CancellationToken) {
    etcd::serve(config, store, stop).await.unwrap();
}

fn put(key: &str, bytes_count: usize) -> PutRequest {
    PutRequest { key: bytes(key), value: vec![b'v'; bytes_count].into(), ..PutRequest::default() }
}

fn put_op(key: &str) -> RequestOp {
    RequestOp { request: Some(Op::Put(put(key, 1))) }
}

fn delete_op(key: &str, end: &str) -> RequestOp {
    let delete = DeleteRangeRequest { key: bytes(key), range_end: bytes(end), prev_kv: false };
    RequestOp { request: Some(Op::DeleteRange(delete)) }
}

fn inner(success: Vec<RequestOp>) -> RequestOp {
    RequestOp { request: Some(Op::Txn(TxnRequest { success, ..TxnRequest::default() })) }
}

fn txn(success: Vec<RequestOp>) -> Vec<u8> {
    TxnRequest { success, ..TxnRequest::default() }.encode_to_vec()
}

fn range(key: &str, revision: i64) -> RangeRequest {
    RangeRequest { key: bytes(key), revision, ..RangeRequest::default() }
}

fn grant(id: i64, ttl: i64) -> Vec<u8> {
    LeaseGrantRequest { id, ttl }.encode_to_vec()
}

/// What prepares a target comes first.
fn questions() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let kept = PutRequest { ignore_value: true, ..put("a", 1) };
    let leased = PutRequest { ignore_lease: true, lease: 7, ..put("a", 1) };
    let unknown = PutRequest { lease: 7, ..put("a", 1) };
    let compare = |key: &str| Compare { key: bytes(key), ..Compare::default() };
    let compares = |count: usize| TxnRequest { compare: vec![compare("a"); count], ..TxnRequest::default() };
    let ops = |count: usize| (0..count).map(|index| put_op(&format!("n{index}"))).collect::<Vec<_>>();
    let urls = |urls: &[&str]| MemberUpdateRequest { id: 7, peer_urls: urls.iter().map(|url| (*url).into()).collect() };
    let (whole, none) = (put("a", 1).encode_to_vec(), PutRequest::default());
    vec![
        ("a put", "KV/Put", whole.clone()),
        ("a second one", "KV/Put", whole.clone()),
        ("a third one", "KV/Put", whole.clone()),
        ("compaction", "KV/Compact", CompactionRequest { revision: 3, physical: true }.encode_to_vec()),
        ("compaction once more", "KV/Compact", CompactionRequest { revision: 3, physical: false }.encode_to_vec()),
        (
            "compaction of what is to come",
            "KV/Compact",
            CompactionRequest { revision: 99, physical: true }.encode_to_vec(),
        ),
        ("a value over the limit", "KV/Put", put("a", 1_600_000).encode_to_vec()),
        ("a value as large as can be", "KV/Put", put("a", 1_500_000).encode_to_vec()),
        ("no key", "KV/Put", none.encode_to_vec()),
        ("no key in a range", "KV/Range", range("", 0).encode_to_vec()),
        ("no key in a deletion", "KV/DeleteRange", DeleteRangeRequest::default().encode_to_vec()),
        ("a value for a put that keeps it", "KV/Put", kept.encode_to_vec()),
        ("a lease for a put that keeps it", "KV/Put", leased.encode_to_vec()),
        ("an unknown lease", "KV/Put", unknown.encode_to_vec()),
        ("a revision to come", "KV/Range", range("a", 99).encode_to_vec()),
        ("a revision that is compacted", "KV/Range", range("a", 2).encode_to_vec()),
        ("a negative revision", "KV/Range", range("a", -5).encode_to_vec()),
        ("many operations", "KV/Txn", txn(ops(10_000))),
        ("one operation too many", "KV/Txn", txn(ops(129))),
        ("as many as can be", "KV/Txn", txn(ops(128))),
        ("one compare too many", "KV/Txn", compares(129).encode_to_vec()),
        ("a compare without a key", "KV/Txn", TxnRequest { compare: vec![compare("")], ..compares(0) }.encode_to_vec()),
        ("a key twice", "KV/Txn", txn(vec![put_op("b"), put_op("b")])),
        ("a key put and deleted", "KV/Txn", txn(vec![put_op("b"), delete_op("a", "z")])),
        ("a key deleted twice", "KV/Txn", txn(vec![delete_op("b", ""), delete_op("b", "")])),
        ("a key twice, once within", "KV/Txn", txn(vec![put_op("b"), inner(vec![put_op("b")])])),
        ("an operation without a key", "KV/Txn", txn(vec![put_op("")])),
        ("no operation", "KV/Txn", txn(vec![RequestOp { request: None }])),
        ("a revision to come, within", "KV/Txn", txn(vec![RequestOp { request: Some(Op::Range(range("a", 999))) }])),
        (
            "a revision that is compacted, within",
            "KV/Txn",
            txn(vec![RequestOp { request: Some(Op::Range(range("a", 2))) }]),
        ),
        ("an absurd time to live", "Lease/LeaseGrant", grant(0, i64::MAX)),
        ("a time to live over the limit", "Lease/LeaseGrant", grant(0, 9_000_000_001)),
        ("the longest time to live", "Lease/LeaseGrant", grant(5, 9_000_000_000)),
        ("a lease twice", "Lease/LeaseGrant", grant(5, 60)),
        ("a negative time to live", "Lease/LeaseGrant", grant(0, -5)),
        ("the end of an unknown lease", "Lease/LeaseRevoke", LeaseRequest { id: 7 }.encode_to_vec()),
        (
            "an unknown lease is looked at",
            "Lease/LeaseTimeToLive",
            LeaseTimeToLiveRequest { id: 7, keys: true }.encode_to_vec(),
        ),
        ("a hash to come", "Maintenance/HashKV", HashKvRequest { revision: 999 }.encode_to_vec()),
        ("a hash that is compacted", "Maintenance/HashKV", HashKvRequest { revision: 2 }.encode_to_vec()),
        ("an unknown leader", "Maintenance/MoveLeader", MoveLeaderRequest { target_id: 7 }.encode_to_vec()),
        ("an unknown member goes", "Cluster/MemberRemove", MemberRequest { id: 7 }.encode_to_vec()),
        ("an unknown member votes", "Cluster/MemberPromote", MemberRequest { id: 7 }.encode_to_vec()),
        ("an unknown member moves", "Cluster/MemberUpdate", urls(&["https://127.0.0.1:1"]).encode_to_vec()),
        ("a member moves to nowhere", "Cluster/MemberUpdate", urls(&["nowhere"]).encode_to_vec()),
        ("authentication", "Auth/Authenticate", vec![]),
        ("an unknown method", "KV/Nothing", vec![]),
        ("an unknown service", "nothing.Nothing/Nothing", vec![]),
    ]
}

#[tokio::test]
async fn strange_requests_are_refused_as_by_etcd() {
    let (ours, real) = (Target::ours().await, Target::real().await);
    let mut others = Vec::new();
    for (what, method, question) in questions() {
        let said = ours.ask(method, question.clone()).await;
        println!("{what}: {said:?}");
        if let Some(real) = &real {
            let wanted = real.ask(method, question).await;
            if said != wanted {
                others.push(format!("{what}: {said:?}, etcd: {wanted:?}"));
            }
        }
    }
    assert!(others.is_empty(), "{}", others.join("\n"));
}

/// etcd 3.4 ends at the second of them; later ones say what is said here.
#[tokio::test]
async fn unknown_orders_are_refused() {
    let ours = Target::ours().await;
    for odd in [
        RangeRequest { sort_order: 7, ..range("a", 0) },
        RangeRequest { sort_target: 7, ..range("a", 0) },
        RangeRequest { sort_target: -1, sort_order: 1, ..range("a", 0) },
    ] {
        let said = ours.ask("KV/Range", odd.encode_to_vec()).await;
        assert_eq!(said, (Code::InvalidArgument, "etcdserver: invalid sort option".to_owned()));
    }
}

/// The texts are those of the libraries; the codes are the same.
#[tokio::test]
async fn what_is_no_message_is_refused() {
    let (ours, real) = (Target::ours().await, Target::real().await);
    for (what, question, code) in [
        ("garbage", vec![0xff; 100], Code::Internal),
        ("a string that is none", vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f], Code::Internal),
        ("more than can be read", put("a", 3 << 20).encode_to_vec(), Code::ResourceExhausted),
    ] {
        for target in [Some(&ours), real.as_ref()].into_iter().flatten() {
            let said = target.ask("KV/Put", question.clone()).await;
            println!("{what}: {said:?}");
            assert_eq!(said.0, code, "{what}: {said:?}");
        }
        ours.serves().await;
    }
    // A field of a later version is none of our business.
    let mut newer = put("a", 1).encode_to_vec();
    newer.extend([0xf8, 0x07, 1]);
    for target in [Some(&ours), real.as_ref()].into_iter().flatten() {
        assert_eq!(target.ask("KV/Put", newer.clone()).await.0, Code::Ok);
    }
}

#[tokio::test]
async fn what_is_no_http2_ends_the_connection_and_nothing_else() {
    let ours = Target::ours().await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0].to_vec();
    let frame = |head: [u8; 9], content: usize| [head.to_vec(), vec![0xff; content]].concat();
    for (what, bytes) in [
        ("another protocol", b"GET / HTTP/1.1\r\nHost: test\r\n\r\n".to_vec()),
        ("noise", vec![0xa5; 4096]),
        (
            "a frame over the limit",
            [preface.clone(), settings.clone(), frame([0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1], 64)].concat(),
        ),
        ("data of no stream", [preface.clone(), settings.clone(), frame([0, 0, 8, 0, 0, 0, 0, 0, 7], 8)].concat()),
        ("garbled headers", [preface.clone(), settings.clone(), frame([0, 0, 64, 1, 5, 0, 0, 0, 1], 64)].concat()),
        ("settings of an odd size", [preface, frame([0, 0, 5, 4, 0, 0, 0, 0, 0], 5)].concat()),
    ] {
        let mut tcp = TcpStream::connect(&ours.address).await.unwrap();
        // It may be closed before all was sent.
        let _ = tcp.write_all(&bytes).await;
        let mut said = Vec::new();
        let ended = tokio::time::timeout(LIMIT, tcp.read_to_end(&mut said)).await;
        assert!(ended.is_ok(), "{what}: the connection stays open");
        ours.serves().await;
    }
}

#[tokio::test]
async fn headers_over_the_limit_are_refused() {
    let ours = Target::ours().await;
    for bytes in [20_000, 2_000_000] {
        let uri = format!("http://{}/etcdserverpb.KV/Range", ours.address);
        let request =
            http::Request::post(uri).header("content-type", "application/grpc").header("x", "y".repeat(bytes));
        let request = request.body(Body::empty()).unwrap();
        let answer = tokio::time::timeout(LIMIT, ours.pool.request(request)).await.expect("an answer");
        // Larger ones end the connection.
        assert!(answer.as_ref().map_or(true, |answer| answer.status() == 431), "{answer:?}");
        ours.serves().await;
    }
}

#[tokio::test]
async fn a_watch_of_what_is_compacted_ends_as_in_etcd() {
    let (ours, real) = (Target::ours().await, Target::real().await);
    let mut told = Vec::new();
    for target in [Some(&ours), real.as_ref()].into_iter().flatten() {
        for _ in 0..3 {
            target.ask("KV/Put", put("a", 1).encode_to_vec()).await;
        }
        target.ask("KV/Compact", CompactionRequest { revision: 3, physical: false }.encode_to_vec()).await;
        let create = WatchCreateRequest { key: bytes("a"), start_revision: 2, ..WatchCreateRequest::default() };
        let request = WatchRequest { request_union: Some(WatchAsk::Create(create)) };
        let origin = format!("http://{}", target.address).parse().unwrap();
        let mut grpc = Grpc::with_origin(Dialled(target.pool.clone()), origin);
        let asked = futures::StreamExt::chain(futures::stream::iter([request]), futures::stream::pending());
        let codec = Prost::<WatchRequest, WatchResponse>::new();
        let answers = grpc.streaming(Request::new(asked), path("Watch/Watch"), codec).await.unwrap();
        let mut answers = answers.into_inner();
        let mut said = Vec::new();
        while !said.last().is_some_and(|response: &WatchResponse| response.canceled) {
            let next = tokio::time::timeout(LIMIT, answers.message()).await.expect("it goes on");
            // The reason is told by ours alone; clients look at the revision.
            said.push(WatchResponse { header: None, cancel_reason: String::new(), ..next.unwrap().unwrap() });
        }
        told.push(said);
    }
    println!("{:#?}", told[0]);
    assert!(told.iter().all(|said| *said == told[0]), "ours, etcd's: {told:#?}");
}
