//! Requests over keep-alive connections, and what the process under load pays for them.

use crate::process::eventually;
use crate::{machine, row};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const CLIENTS: usize = 16;
const LOAD: Duration = Duration::from_secs(5);

/// One keep-alive connection to a port of this machine.
pub(crate) struct Connection(TcpStream);

/// What a load did.
#[derive(Clone, Copy)]
pub(crate) struct Done {
    /// Requests a second.
    rate: f64,
    /// Requests for each processor second of the process under load.
    pub(crate) work: f64,
}

// === impl Connection ===

impl Connection {
    pub(crate) fn open(port: u16) -> Connection {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the port listens");
        stream.set_nodelay(true).expect("a socket option");
        Connection(stream)
    }

    /// The status of one GET.
    pub(crate) fn get(&mut self) -> u16 {
        self.0.write_all(b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n").expect("it takes the request");
        let mut buffer = [0; 4096];
        let mut text = Vec::new();
        loop {
            let count = self.0.read(&mut buffer).expect("it answers");
            assert!(count > 0, "the connection ended");
            text.extend_from_slice(&buffer[..count]);
            if is_whole(&text) {
                let status = std::str::from_utf8(&text[9..12]).expect("a status line");
                return status.parse().expect("a number");
            }
        }
    }
}

/// Whether a response is there to its end, by its length or its last chunk.
fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    length.map_or_else(|| body.ends_with("0\r\n\r\n"), |length| body.len() >= length)
}

/// As many requests as the clients get answered, to what process `pid` serves on `port`.
pub(crate) fn run(pid: u32, port: u16) -> Done {
    let (done, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let before = machine::cpu(pid);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut connection = Connection::open(port);
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(connection.get(), 200);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        eventually("the end of the load", || (began.elapsed() >= LOAD).then_some(()));
        stop.store(true, Ordering::Relaxed);
    });
    let (count, seconds) = (done.load(Ordering::Relaxed) as f64, began.elapsed().as_secs_f64());
    Done { rate: count / seconds, work: count / (machine::cpu(pid) - before) }
}

/// The round with the middle of the work.
pub(crate) fn middle(rounds: &mut [Done]) -> Done {
    rounds.sort_by(|one, other| one.work.total_cmp(&other.work));
    rounds[rounds.len() / 2]
}

// === impl Done ===

impl Done {
    pub(crate) fn show(self, what: &str) {
        let value = format!("{:.0} requests/s, {:.0} for each CPU-second", self.rate, self.work);
        row(&format!("{what}, {CLIENTS} clients on the same cores"), &value);
    }
}
