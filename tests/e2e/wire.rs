//! A client that says exactly what a test wants said, well formed or not: bytes over TLS.

use crate::process::Server;
use base64::Engine as _;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

/// Longer than any limit of the server, so that a read ends because of the server.
const READ_TIMEOUT: Duration = Duration::from_secs(90);

/// One HTTP/1.1 connection.
pub(crate) struct Wire {
    stream: StreamOwned<ClientConnection, TcpStream>,
    read: Vec<u8>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// As it was sent, without the blank line.
    pub(crate) head: String,
    pub(crate) body: String,
}

/// Trust in the server's authority alone.
pub(crate) fn tls(server: &Server, protocols: &[&str]) -> Arc<ClientConfig> {
    let text = std::fs::read_to_string(server.kubeconfig()).expect("the server wrote it");
    let config: serde_json::Value = serde_yaml::from_str(&text).expect("YAML");
    let ca = config.pointer("/clusters/0/cluster/certificate-authority-data").and_then(|ca| ca.as_str());
    let pem = base64::engine::general_purpose::STANDARD.decode(ca.expect("it holds the CA")).expect("base64");
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&pem).expect("PEM")).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = builder.expect("versions").with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

pub(crate) fn address(server: &Server) -> &str {
    server.url.trim_start_matches("https://")
}

pub(crate) fn name() -> ServerName<'static> {
    ServerName::try_from("127.0.0.1").expect("an address")
}

impl Wire {
    pub(crate) fn open(server: &Server, tls: &Arc<ClientConfig>) -> Wire {
        let tcp = TcpStream::connect(address(server)).expect("the server listens");
        tcp.set_nodelay(true).expect("a socket");
        tcp.set_read_timeout(Some(READ_TIMEOUT)).expect("a time-out");
        let session = ClientConnection::new(Arc::clone(tls), name()).expect("a session");
        Wire { stream: StreamOwned::new(session, tcp), read: Vec::new() }
    }

    /// Sends; false if the server does not take it any more.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).and_then(|()| self.stream.flush()).is_ok()
    }

    /// A whole request; `head` are header lines, each with its line end.
    pub(crate) fn ask(&mut self, method: &str, path: &str, head: &str, body: &[u8]) -> Answer {
        let length = body.len();
        let request = format!("{method} {path} HTTP/1.1\r\nHost: test\r\n{head}Content-Length: {length}\r\n\r\n");
        // What cannot be sent was refused before its end; the answer says why.
        let _ = self.send(request.as_bytes()) && self.send(body);
        self.answer().unwrap_or_else(|| panic!("{method} {path} has an answer"))
    }

    /// The next answer; `None` if the server ended the connection without one.
    pub(crate) fn answer(&mut self) -> Option<Answer> {
        let end = loop {
            match self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                Some(end) => break end,
                None if !self.more() => return None,
                None => {}
            }
        };
        let head = String::from_utf8_lossy(&self.read[..end]).into_owned();
        self.read.drain(..end + 4);
        let length = head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let length: usize = length.unwrap_or(0);
        while self.read.len() < length && self.more() {}
        let body: Vec<u8> = self.read.drain(..length.min(self.read.len())).collect();
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default();
        Some(Answer { status, head, body: String::from_utf8_lossy(&body).into_owned() })
    }

    /// Waits until the server ends the connection.
    pub(crate) fn closed(&mut self) {
        while self.more() {}
    }

    /// False at the end of the connection, however it came.
    fn more(&mut self) -> bool {
        let mut piece = [0; 16 * 1024];
        match self.stream.read(&mut piece) {
            Ok(0) => false,
            Ok(count) => {
                self.read.extend_from_slice(&piece[..count]);
                true
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock || error.kind() == ErrorKind::TimedOut => {
                panic!("the server neither answered nor closed within {READ_TIMEOUT:?}")
            }
            Err(_) => false,
        }
    }
}

impl Answer {
    /// The Status that it holds.
    pub(crate) fn says(&self) -> (u16, String, String) {
        let status: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_default();
        let text = |key: &str| status.get(key).and_then(|text| text.as_str()).unwrap_or_default().to_owned();
        (self.status, text("reason"), text("message"))
    }
}
