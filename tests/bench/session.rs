//! One client of a Kubernetes API over TLS: a connection of its own, which lives from one request to the next.

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use std::sync::Arc;
use tokio::net::TcpStream;

pub(crate) struct Session {
    requests: SendRequest<Full<Bytes>>,
    authorization: String,
}

impl Session {
    pub(crate) async fn open(port: u16, token: &str) -> Session {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("the API listens");
        stream.set_nodelay(true).expect("a socket option");
        let config = ClientConfig::builder().dangerous().with_custom_certificate_verifier(Arc::new(Anyone));
        let tls = tokio_rustls::TlsConnector::from(Arc::new(config.with_no_client_auth()));
        let name = ServerName::try_from("localhost").expect("a name");
        let stream = tls.connect(name, stream).await.expect("it speaks TLS");
        let (requests, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("it speaks HTTP");
        tokio::spawn(connection);
        Session { requests, authorization: format!("Bearer {token}") }
    }

    /// The answer's head, and its body as it comes.
    pub(crate) async fn begin(
        &mut self,
        method: Method,
        path: &str,
        kind: &str,
        body: Bytes,
    ) -> (StatusCode, Incoming) {
        self.requests.ready().await.expect("the connection lives");
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost")
            .header(header::AUTHORIZATION, &self.authorization)
            .header(header::CONTENT_TYPE, kind)
            .body(Full::new(body))
            .expect("a request");
        let (head, body) = self.requests.send_request(request).await.expect("it answers").into_parts();
        (head.status, body)
    }

    /// A whole answer; panics where it is a refusal.
    pub(crate) async fn call(&mut self, method: Method, path: &str, kind: &str, body: Bytes) -> Bytes {
        let (status, answer) = self.begin(method.clone(), path, kind, body).await;
        let bytes = answer.collect().await.expect("an answer").to_bytes();
        assert!(status.is_success(), "{method} {path}: {status} {}", String::from_utf8_lossy(&bytes));
        bytes
    }

    pub(crate) async fn get(&mut self, path: &str) -> Bytes {
        self.call(Method::GET, path, "application/json", Bytes::new()).await
    }
}

/// A measurement on this machine's own addresses need not know who serves; what TLS costs stays the same.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
