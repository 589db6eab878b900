//! An HTTP/1.1 connection to a port of this machine that lives on from one request to the next.

use std::io::{Read, Write};
use std::net::TcpStream;

pub(crate) struct Connection {
    port: u16,
    stream: TcpStream,
}

impl Connection {
    pub(crate) fn open(port: u16) -> Connection {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the port listens");
        stream.set_nodelay(true).expect("a socket option");
        Connection { port, stream }
    }

    /// The status of one GET. Where the server announces the connection's end with it, the next request has a new one.
    pub(crate) fn get(&mut self) -> u16 {
        self.stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").expect("it takes the request");
        let mut buffer = [0; 4096];
        let mut bytes = Vec::new();
        loop {
            let count = self.stream.read(&mut buffer).expect("it answers");
            assert!(count > 0, "the connection ended after {:?}", String::from_utf8_lossy(&bytes));
            bytes.extend_from_slice(&buffer[..count]);
            let text = String::from_utf8_lossy(&bytes).to_lowercase();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            if !is_whole(head, body) {
                continue;
            }
            if head.contains("connection: close") {
                *self = Connection::open(self.port);
            }
            return head[9..12].parse().expect("a status line");
        }
    }
}

/// Whether a response is there to its end, by its length or its last chunk.
fn is_whole(head: &str, body: &str) -> bool {
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    length.map_or_else(|| body.ends_with("0\r\n\r\n"), |length| body.len() >= length)
}
