//! What keeps the cluster's state: our own store, of which this process is a member, or an etcd elsewhere.

use crate::args::Control;
use crate::control::JoinAs;
use crate::member::{self, Credentials};
use anyhow::{Context, Result, bail};
use client::Clock;
use controlplane::apiserver::Backing;
use controlplane::apiserver::members::Joining;
use controlplane::members::Membership;
use controlplane::peers::{self, Inbox, Outbox};
use controlplane::pki::{Names, Pki};
use controlplane::remote::{self, Election, Remote, Secret};
use controlplane::store::{Kv, Store};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// A member that was removed goes on for so long: the others may need its vote to settle that.
const REMOVED_LINGER: Duration = Duration::from_secs(2);

pub(crate) enum Keeper {
    Own(Box<Own>),
    Etcd(Etcd),
}

/// What a server says of itself when it begins.
pub(crate) struct Beginning<'a> {
    /// How it becomes a member, if it is to be one of a cluster that exists.
    pub(crate) join: Option<JoinAs<'a>>,
    pub(crate) own: Joining,
    /// Where it serves etcd's API.
    pub(crate) client_urls: Vec<String>,
    /// What its certificate covers.
    pub(crate) names: Names,
}

/// One of the members of our store.
pub(crate) struct Own {
    pub(crate) store: Store,
    pub(crate) membership: Membership,
    credentials: Arc<Credentials>,
    outbox: Outbox,
    /// What other members need of this one until its store is closed.
    peering: JoinSet<()>,
}

pub(crate) struct Etcd {
    remote: Remote,
    elected: watch::Receiver<bool>,
    resign: CancellationToken,
    election: JoinSet<()>,
}

/// Which of several servers runs controllers and scheduler.
#[derive(Clone)]
pub(crate) enum Post {
    Member(Membership),
    Elected(watch::Receiver<bool>),
}

// === impl Keeper ===

impl Keeper {
    /// Opens what keeps the state, and the keys beside it: other members call this one by a name of its own.
    pub(crate) async fn open(
        args: &Control,
        folder: &Path,
        beginning: Beginning<'_>,
        clock: &Clock,
    ) -> Result<(Keeper, Arc<Pki>)> {
        if args.etcd.servers.is_empty() {
            return Own::open(folder, beginning, clock).await;
        }
        let pki = Pki::open_or_create(&folder.join("pki"), beginning.names, clock.clone())?;
        Ok((Keeper::Etcd(Etcd::open(args, beginning.own.name)?), Arc::new(pki)))
    }

    pub(crate) fn kv(&self) -> Arc<dyn Kv> {
        match self {
            Keeper::Own(own) => Arc::new(own.store.clone()),
            Keeper::Etcd(etcd) => Arc::new(etcd.remote.clone()),
        }
    }

    /// What the API server shows of it.
    pub(crate) fn backing(&self) -> Backing {
        match self {
            Keeper::Own(own) => Backing::Member {
                membership: own.membership.clone(),
                inbox: Inbox::new(own.store.clone(), own.outbox.clone()),
            },
            Keeper::Etcd(etcd) => Backing::Etcd { place: etcd.remote.place() },
        }
    }

    pub(crate) fn post(&self) -> Post {
        match self {
            Keeper::Own(own) => Post::Member(own.membership.clone()),
            Keeper::Etcd(etcd) => Post::Elected(etcd.elected.clone()),
        }
    }

    /// What is to be renewed together with the serving certificate.
    pub(crate) fn credentials(&self) -> Option<Arc<Credentials>> {
        match self {
            Keeper::Own(own) => Some(Arc::clone(&own.credentials)),
            Keeper::Etcd(_) => None,
        }
    }

    /// Before a stop: lets another member lead, so that nobody has to wait for an election.
    pub(crate) async fn resign(&self) {
        let Keeper::Own(own) = self else { return };
        let is_alone = own.membership.known().members.len() < 2;
        if !is_alone
            && own.membership.is_leader()
            && let Err(error) = own.membership.hand_over().await
        {
            tracing::warn!(%error, "this member stops while it leads");
        }
    }

    /// After all that uses it has ended.
    pub(crate) async fn close(self) {
        match self {
            Keeper::Own(own) => {
                let Own { store, membership, mut peering, .. } = *own;
                peering.shutdown().await;
                drop(membership);
                store.close().await;
            }
            Keeper::Etcd(mut etcd) => {
                etcd.resign.cancel();
                while etcd.election.join_next().await.is_some() {}
            }
        }
    }
}

// === impl Own ===

impl Own {
    async fn open(folder: &Path, beginning: Beginning<'_>, clock: &Clock) -> Result<(Keeper, Arc<Pki>)> {
        let Beginning { join, own, client_urls, mut names } = beginning;
        let outbox = Outbox::new(own.url.clone());
        let store = open_store(folder, join, &own, &outbox).await?;
        names.dns.push(peers::server_name(store.member_id()));
        let pki = Arc::new(Pki::open_or_create(&folder.join("pki"), names, clock.clone())?);
        let credentials = Credentials::new(&pki, store.member_id())?;
        let membership = Membership::new(store.clone(), credentials.dial());
        let mut peering = JoinSet::new();
        peering.spawn(outbox.clone().run(store.clone(), credentials.tls.clone()));
        peering.spawn(membership.clone().announce(own.name, own.url, client_urls));
        peering.spawn(membership.clone().promote_learners());
        Ok((Keeper::Own(Box::new(Own { store, membership, credentials, outbox, peering })), pki))
    }
}

/// Opens the store of a folder; an empty one begins a cluster, or becomes a member of the one to join.
async fn open_store(folder: &Path, join: Option<JoinAs<'_>>, own: &Joining, outbox: &Outbox) -> Result<Store> {
    let mut config = controlplane::store::Config::new(folder.join("store"));
    config.carrier = Arc::new(outbox.clone());
    let is_new = config.begins_anew();
    if join.is_none() && is_new && folder.join("pki/ca.key").exists() {
        // It would answer as that cluster, without its data.
        bail!(
            "the data folder {} holds the keys of a cluster, and not its store: it was lost, or the server that joins has \
             not got so far; join the cluster as a new member (--join, --token), or restore a snapshot into an empty \
             folder",
            folder.display()
        );
    }
    if let Some(JoinAs { server, token }) = join.filter(|_| is_new) {
        let token = token.context("to become a member takes a token (--token) from `coracle member add`")?;
        config.join = Some(member::join(server, token, own, &folder.join("pki")).await?);
    }
    Ok(Store::open(config)?)
}

// === impl Etcd ===

impl Etcd {
    fn open(args: &Control, name: String) -> Result<Etcd> {
        let etcd = &args.etcd;
        let secret = Secret::load(etcd.cafile.as_deref(), etcd.certfile.as_deref(), etcd.keyfile.as_deref())?;
        let config = remote::Config { endpoints: etcd.servers.clone(), secret, prefix: etcd.prefix.clone() };
        let remote = Remote::new(config).context("--etcd-servers")?;
        let election = Election::new(remote.clone(), name);
        let (elected, resign) = (election.elected(), CancellationToken::new());
        let mut running = JoinSet::new();
        running.spawn(election.run(resign.clone()));
        Ok(Etcd { remote, elected, resign, election: running })
    }
}

// === impl Post ===

impl Post {
    /// Resolves when this server is the one, or is not.
    pub(crate) async fn leads(&self, leads: bool) {
        match self {
            Post::Member(membership) => membership.leads(leads).await,
            Post::Elected(elected) => {
                if elected.clone().wait_for(|elected| *elected == leads).await.is_err() {
                    // Nothing changes any more.
                    std::future::pending::<()>().await;
                }
            }
        }
    }

    /// Ends with an error when this member was removed.
    pub(crate) async fn leave(self, stop: CancellationToken) -> Result<()> {
        let Post::Member(membership) = self else {
            stop.cancelled().await;
            return Ok(());
        };
        tokio::select! {
            () = stop.cancelled() => Ok(()),
            () = membership.removed() => {
                tokio::time::sleep(REMOVED_LINGER).await;
                bail!("this member was removed from the cluster; to have it back, add it anew with an empty data folder")
            }
        }
    }
}
