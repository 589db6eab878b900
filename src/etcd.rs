//! The port of etcd's API: bound before the members are told of it, served as soon as there is a store.

use crate::args::Control;
use crate::control::own_address;
use crate::folder;
use anyhow::{Context, Result, bail};
use client::Clock;
use controlplane::etcd::{self, Config, Security};
use controlplane::members::Membership;
use controlplane::pki::Pki;
use controlplane::registry;
use controlplane::store::Store;
use std::net::SocketAddr;
use std::path::Path;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Bound, and not served yet.
pub(crate) struct Port {
    listener: TcpListener,
    is_insecure: bool,
    /// Where clients reach it.
    pub(crate) url: String,
}

// === impl Port ===

impl Port {
    /// `None`: it is not wanted.
    pub(crate) async fn bind(args: &Control) -> Result<Option<Port>> {
        let Some(listen) = args.etcd_listen else { return Ok(None) };
        let is_insecure = args.etcd_insecure;
        if is_insecure && !listen.ip().is_loopback() {
            bail!("--etcd-insecure would open the whole store to everybody who reaches {listen}: choose 127.0.0.1");
        }
        let listener = TcpListener::bind(listen)
            .await
            .with_context(|| format!("cannot listen on {listen}: choose another address with --etcd-listen"))?;
        let address = listener.local_addr()?;
        let advertised = args.advertise_address.filter(|_| address.ip().is_unspecified());
        let reached = SocketAddr::new(advertised.unwrap_or_else(|| own_address(address.ip())), address.port());
        let url = format!("{}://{reached}", if is_insecure { "http" } else { "https" });
        Ok(Some(Port { listener, is_insecure, url }))
    }

    /// Serves it until `stop`; whoever uses it sees and changes everything, so it asks for an administrator's
    /// certificate, and writes one to `folder`.
    pub(crate) fn serve(
        self,
        store: Store,
        membership: Membership,
        pki: &Pki,
        folder: &Path,
        clock: Clock,
        stop: CancellationToken,
    ) -> Result<impl Future<Output = Result<()>> + Send + 'static> {
        let security = match self.is_insecure {
            true => Security::None,
            false => {
                write_client(pki, folder)?;
                Security::Tls(pki.server_tls(None, &[b"h2"])?)
            }
        };
        let config = Config { listener: self.listener, membership, security, clock };
        Ok(async move { etcd::serve(config, store, stop).await.context("the etcd API failed") })
    }
}

/// What etcdctl takes as `--cacert`, `--cert` and `--key`.
fn write_client(pki: &Pki, folder: &Path) -> Result<()> {
    let pair = pki.client_certificate("etcd-client", Some(registry::MASTERS))?;
    let files =
        [("etcd-ca.crt", pki.ca_pem()), ("etcd-client.crt", &pair.certificate_pem), ("etcd-client.key", &pair.key_pem)];
    for (name, text) in files {
        folder::write_private(&folder.join(name), text.as_bytes())?;
    }
    Ok(())
}
