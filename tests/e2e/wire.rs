//! A client that says exactly what a test wants said, well formed or not: bytes over TLS.

use crate::process::{Process, Server};
use base64::Engine as _;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
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

/// A certificate with its key, as a client shows it.
pub(crate) struct Identity {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

/// Trust in the server's authority alone, and no certificate.
pub(crate) fn tls(server: &Server, protocols: &[&str]) -> Arc<ClientConfig> {
    tls_as(server, None, protocols)
}

/// The same as somebody.
pub(crate) fn tls_as(server: &Server, identity: Option<Identity>, protocols: &[&str]) -> Arc<ClientConfig> {
    let ca = kubeconfig(server, "/clusters/0/cluster/certificate-authority-data");
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).expect("PEM")).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.expect("versions").with_root_certificates(roots);
    let mut config = match identity {
        Some(Identity { chain, key }) => builder.with_client_auth_cert(chain, key).expect("a pair"),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

pub(crate) fn address(server: &Server) -> &str {
    server.url.trim_start_matches("https://")
}

/// What the server's certificate is checked for.
pub(crate) fn name(server: &Server) -> ServerName<'static> {
    let host = address(server).rsplit_once(':').expect("a port follows").0;
    ServerName::try_from(host.to_owned()).expect("an address")
}

/// A field of the admin's kubeconfig that is base64 there.
fn kubeconfig(server: &Server, path: &str) -> String {
    let text = std::fs::read_to_string(server.kubeconfig()).expect("the server wrote it");
    let config: serde_json::Value = serde_yaml::from_str(&text).expect("YAML");
    let field = config.pointer(path).and_then(|field| field.as_str()).expect("it is there");
    let bytes = base64::engine::general_purpose::STANDARD.decode(field).expect("base64");
    String::from_utf8(bytes).expect("PEM")
}

// === impl Identity ===

impl Identity {
    /// From PEM that holds both.
    pub(crate) fn from_pem(pem: &str) -> Identity {
        let chain = CertificateDer::pem_slice_iter(pem.as_bytes()).map(|one| one.expect("a certificate")).collect();
        Identity { chain, key: PrivateKeyDer::from_pem_slice(pem.as_bytes()).expect("a key") }
    }

    /// One of the two of a node, by its file in the node's `pki`.
    pub(crate) fn of_node(node: &Process, file: &str) -> Identity {
        let path = node.folder.join("pki").join(file);
        Identity::from_pem(&std::fs::read_to_string(path).expect("the node wrote it"))
    }

    pub(crate) fn admin(server: &Server) -> Identity {
        let part = |key: &str| kubeconfig(server, &format!("/users/0/user/{key}"));
        Identity::from_pem(&(part("client-certificate-data") + &part("client-key-data")))
    }

    /// Says what a node of the cluster says, in the name of another authority.
    pub(crate) fn foreign(node: &str) -> Identity {
        let (chain, key) = Identity::foreign_pem(&format!("system:node:{node}"), "system:nodes");
        Identity::from_pem(&(chain + &key))
    }

    /// The same of anybody: certificate and key.
    pub(crate) fn foreign_pem(name: &str, group: &str) -> (String, String) {
        let subject = |name: &str, group: &str| {
            let mut params = CertificateParams::default();
            params.distinguished_name = DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, name);
            params.distinguished_name.push(DnType::OrganizationName, group);
            params
        };
        // Also named as the cluster's is: a verifier that compares names alone would take it.
        let mut ca = subject("coracle-ca", "");
        ca.distinguished_name.remove(DnType::OrganizationName);
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = Issuer::new(ca, KeyPair::generate().expect("a key"));
        let mut params = subject(name, group);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &issuer).expect("it signs");
        (certificate.pem(), key.serialize_pem())
    }
}

// === impl Wire ===

impl Wire {
    pub(crate) fn open(server: &Server, tls: &Arc<ClientConfig>) -> Wire {
        let tcp = TcpStream::connect(address(server)).expect("the server listens");
        tcp.set_nodelay(true).expect("a socket");
        tcp.set_read_timeout(Some(READ_TIMEOUT)).expect("a time-out");
        let session = ClientConnection::new(Arc::clone(tls), name(server)).expect("a session");
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
