//! What a put costs before anything is kept: servers that do nothing but what each server of the kind has to.
//!
//! They are processes of their own, of this program: what another one would be charged with must not be theirs.

use crate::cores;
use crate::load::percentile;
use crate::process::eventually;
use bytes::Bytes;
use controlplane::etcd::wire::{PutResponse, ResponseHeader};
use futures::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use prost::Message as _;
use std::cell::Cell;
use std::convert::Infallible;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt as _;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// For the process that serves: what it is, and on which port.
const SERVES: &str = "CORACLE_BARE";

/// As many bytes as etcd's API has for a put of 1 KiB on its way there, and back, and in a journal.
const ASKED_BYTES: usize = 1100;
const ANSWERED_BYTES: usize = 63;
const KEPT_BYTES: usize = 1292;
const FILE_BYTES: usize = 8 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bare {
    /// Takes puts of etcd's API by the HTTP/2 library, and answers each at once.
    Http2,
    /// The same, and before it answers, writes as many bytes to a file as a journal takes, and has them synced.
    Http2Sync,
    /// Takes so many bytes, writes as many to a file, has them synced, and answers.
    Sync,
}

#[test]
#[ignore = "not by itself: a server that a measurement begins"]
fn child_that_serves() {
    let Ok(what) = std::env::var(SERVES) else { return };
    let (name, port) = what.split_once(' ').expect("what, and where");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port.parse().expect("a port"))).expect("a free one");
    match name {
        "Http2" => serve_http2(listener, None),
        "Http2Sync" => serve_http2(listener, Some(Kept::new())),
        _ => serve_sync(&listener),
    }
}

impl Bare {
    /// Where it listens, on the servers' core.
    pub(crate) fn start(self, port: u16) -> Child {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["bare::child_that_serves", "--exact", "--ignored"]).env(SERVES, format!("{self:?} {port}"));
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        eventually("it listens", || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok());
        cores::pin(child.id(), cores::SERVERS);
        child
    }
}

/// A file that is written and synced, and nothing else: over what was written before, which is synced the soonest.
struct Kept {
    file: File,
    at: Cell<u64>,
}

impl Kept {
    fn new() -> Kept {
        let file = tempfile::tempfile().expect("a file");
        file.write_all_at(&vec![0; FILE_BYTES], 0).expect("room");
        file.sync_all().expect("synced");
        Kept { file, at: Cell::new(0) }
    }

    fn keep(&self) {
        let at = self.at.get();
        self.file.write_all_at(&[1; KEPT_BYTES], at).expect("written");
        self.file.sync_data().expect("synced");
        self.at.set((at + KEPT_BYTES as u64) % (FILE_BYTES - KEPT_BYTES) as u64);
    }
}

fn serve_http2(listener: TcpListener, kept: Option<Kept>) {
    let kept = Rc::new(kept);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, async {
        listener.set_nonblocking(true).expect("it can be");
        let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            stream.set_nodelay(true).expect("it can be");
            let kept = Rc::clone(&kept);
            let service = service_fn(move |request| answer(request, Rc::clone(&kept)));
            let server = hyper::server::conn::http2::Builder::new(Local);
            tokio::task::spawn_local(server.serve_connection(TokioIo::new(stream), service));
        }
    });
}

type Frames = StreamBody<stream::Iter<std::array::IntoIter<Result<Frame<Bytes>, Infallible>, 2>>>;

/// All on one thread.
#[derive(Clone)]
struct Local;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, call: F) {
        tokio::task::spawn_local(call);
    }
}

async fn answer(request: Request<Incoming>, kept: Rc<Option<Kept>>) -> Result<Response<Frames>, hyper::Error> {
    request.into_body().collect().await?;
    if let Some(kept) = &*kept {
        kept.keep();
    }
    let header = ResponseHeader { cluster_id: u64::MAX, member_id: u64::MAX, revision: 1 << 20, raft_term: 2 };
    let message = PutResponse { header: Some(header), ..PutResponse::default() }.encode_to_vec();
    let length = u32::try_from(message.len()).expect("a few bytes");
    let message = [&[0][..], &length.to_be_bytes(), &message].concat();
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().expect("a value"));
    let frames = [Ok(Frame::data(message.into())), Ok(Frame::trailers(trailers))];
    let mut response = Response::new(StreamBody::new(stream::iter(frames)));
    response.headers_mut().insert("content-type", "application/grpc".parse().expect("a value"));
    Ok(response)
}

fn serve_sync(listener: &TcpListener) {
    let (kept, mut asked) = (Kept::new(), [0; ASKED_BYTES]);
    loop {
        let (mut stream, _) = listener.accept().expect("a connection");
        stream.set_nodelay(true).expect("it can be");
        while stream.read_exact(&mut asked).is_ok() {
            kept.keep();
            stream.write_all(&[0; ANSWERED_BYTES]).expect("it is there");
        }
    }
}

/// How long one client waits for so many answers of a server that writes and syncs, one after the other: p50 and p99.
pub(crate) fn synced(port: u16, count: usize) -> (Duration, Duration) {
    let mut child = Bare::Sync.start(port);
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens");
    stream.set_nodelay(true).expect("it can be");
    let mut answered = [0; ANSWERED_BYTES];
    let mut times: Vec<Duration> = (0..count)
        .map(|_| {
            let asked = Instant::now();
            stream.write_all(&[0; ASKED_BYTES]).expect("it is there");
            stream.read_exact(&mut answered).expect("it answers");
            asked.elapsed()
        })
        .collect();
    times.sort();
    child.kill().expect("it runs");
    child.wait().expect("it has ended");
    (percentile(&times, 50), percentile(&times, 99))
}
