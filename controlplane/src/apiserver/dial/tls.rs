//! Connections to one destination: dialled, and encrypted with somebody whose certificate is the right one.

use super::{BoxError, Connecting, FRONT_PROXY};
use crate::pki::{Pair, Pki};
use crate::registry::{Destination, Trust, Way};
use futures::FutureExt;
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rand::seq::SliceRandom;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// For one address, and for the handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Opens connections to a destination, whatever URI it is asked with.
#[derive(Clone)]
pub(super) struct Connector {
    ways: Arc<[(String, u16)]>,
    name: ServerName<'static>,
    tls: TlsConnector,
}

/// An open connection.
pub(super) struct Secured(TokioIo<TlsStream<TcpStream>>);

/// Checks a server's certificate as Go does: one that is itself in the bundle is believed, though it signs nothing.
#[derive(Debug)]
struct Verifier {
    /// `None`: anybody is believed.
    inner: Option<Arc<WebPkiServerVerifier>>,
    bundle: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

// === impl Connector ===

impl Connector {
    pub(super) fn new(to: &Destination, identity: Option<&Pki>) -> Result<Connector, String> {
        let name = ServerName::try_from(to.host.clone());
        let name = name.map_err(|_| format!("{:?} is no name that a certificate can be for", to.host))?;
        let dialled = |way: &Way| match way {
            Way::Dial { host, port } => Some((host.clone(), *port)),
            Way::Node { .. } => None,
        };
        let identity = identity.map(|pki| pki.front_proxy(FRONT_PROXY).map_err(|error| error.to_string()));
        let tls = TlsConnector::from(Arc::new(config(&to.trust, identity.transpose()?.as_ref())?));
        Ok(Connector { ways: to.ways.iter().filter_map(dialled).collect(), name, tls })
    }

    /// The first address that answers, in an order of chance.
    async fn dial(self) -> Result<Secured, BoxError> {
        let mut ways = self.ways.to_vec();
        ways.shuffle(&mut rand::rng());
        let mut failed: BoxError = "it has no address".into();
        for (host, port) in ways {
            let dialled = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect((host.as_str(), port))).await;
            match dialled {
                Ok(Ok(stream)) => return self.secure(stream).await,
                Ok(Err(why)) => failed = format!("dial tcp {}: {}", shown(&host, port), cause(&why)).into(),
                Err(_) => failed = format!("dial tcp {}: i/o timeout", shown(&host, port)).into(),
            }
        }
        Err(failed)
    }

    async fn secure(&self, stream: TcpStream) -> Result<Secured, BoxError> {
        stream.set_nodelay(true)?;
        let handshake = tokio::time::timeout(CONNECT_TIMEOUT, self.tls.connect(self.name.clone(), stream)).await;
        match handshake {
            Ok(Ok(stream)) => Ok(Secured(TokioIo::new(stream))),
            Ok(Err(why)) => Err(format!("tls: {why}").into()),
            Err(_) => Err("net/http: TLS handshake timeout".into()),
        }
    }
}

impl tower::Service<Uri> for Connector {
    type Response = Secured;
    type Error = BoxError;
    type Future = Connecting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Connecting {
        self.clone().dial().boxed()
    }
}

// === impl Secured ===

impl Connection for Secured {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Secured {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buf)
    }
}

impl Write for Secured {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

// === impl Verifier ===

impl Verifier {
    fn new(trust: &Trust) -> Result<Verifier, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        let bundle = match trust {
            Trust::Anyone => return Ok(Verifier { inner: None, bundle: Vec::new(), provider }),
            Trust::Host => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                Vec::new()
            }
            Trust::Bundle(pem) => {
                let bundle: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
                bundle.map_err(|why| format!("the caBundle cannot be read: {why}"))?
            }
        };
        roots.add_parsable_certificates(bundle.iter().cloned());
        if roots.is_empty() {
            return Err("there is no certificate to check it against: set a caBundle".to_owned());
        }
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
        let inner = Some(inner.map_err(|why| why.to_string())?);
        Ok(Verifier { inner, bundle, provider })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(inner) = &self.inner else { return Ok(ServerCertVerified::assertion()) };
        if self.bundle.iter().any(|one| one == certificate) {
            check_time(certificate, now)?;
            verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
            return Ok(ServerCertVerified::assertion());
        }
        inner.verify_server_cert(certificate, chain, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn config(trust: &Trust, identity: Option<&Pair>) -> Result<ClientConfig, String> {
    let verifier = Verifier::new(trust)?;
    let config = ClientConfig::builder_with_provider(Arc::clone(&verifier.provider))
        .with_safe_default_protocol_versions()
        .map_err(|why| why.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let Some(pair) = identity else { return Ok(config.with_no_client_auth()) };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pair.certificate_pem.as_bytes()).collect();
    let key = PrivateKeyDer::from_pem_slice(pair.key_pem.as_bytes()).map_err(|why| why.to_string())?;
    config.with_client_auth_cert(chain.map_err(|why| why.to_string())?, key).map_err(|why| why.to_string())
}

fn check_time(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let malformed = || Error::InvalidCertificate(rustls::CertificateError::BadEncoding);
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| malformed())?;
    let now = i64::try_from(now.as_secs()).map_err(|_| malformed())?;
    let validity = parsed.validity();
    if now < validity.not_before.timestamp() {
        return Err(Error::InvalidCertificate(rustls::CertificateError::NotValidYet));
    }
    if now > validity.not_after.timestamp() {
        return Err(Error::InvalidCertificate(rustls::CertificateError::Expired));
    }
    Ok(())
}

fn shown(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// As Go tells it, where that is known.
fn cause(why: &io::Error) -> String {
    match why.kind() {
        io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        _ => why.to_string(),
    }
}
