//! Requests that leave the cluster: the host's network, on behalf of a guest.

use crate::{Body, BoxError};
use http::{Request, Response, header};
use http_body_util::BodyExt;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls_pki_types::CertificateDer;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
const IDLE_PER_HOST_MAX: usize = 16;

/// Sends requests over the host's network; trusts what the host trusts, and the cluster's own CA.
pub struct Egress {
    cluster_ca: Option<CertificateDer<'static>>,
    // Built on first use: reading the host's CA bundle costs milliseconds and megabytes that most nodes never need.
    client: OnceLock<Client<HttpsConnector<HttpConnector>, Body>>,
}

impl Egress {
    #[must_use]
    pub fn new(cluster_ca: Option<CertificateDer<'static>>) -> Egress {
        Egress { cluster_ca, client: OnceLock::new() }
    }

    /// # Errors
    /// When no connection comes about or it breaks before the answer's head.
    pub async fn send(&self, mut request: Request<Body>) -> Result<Response<Body>, BoxError> {
        // The connection's own matters are this client's, not the guest's.
        for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE] {
            request.headers_mut().remove(name);
        }
        let client = self.client.get_or_init(|| self.connect());
        let response = client.request(request).await.map_err(|error| explain(&error))?;
        Ok(response.map(|body| body.map_err(BoxError::from).boxed_unsync()))
    }

    fn connect(&self) -> Client<HttpsConnector<HttpConnector>, Body> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots.add_parsable_certificates(self.cluster_ca.clone());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has a cipher suite for each protocol version")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(http);
        Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
            .build(connector)
    }
}

/// The client's own text names only its layer; the cause is what helps.
fn explain(error: &(dyn std::error::Error + 'static)) -> BoxError {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text.into()
}
