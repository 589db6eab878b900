//! A client of an existing etcd cluster, in place of our own store.
//!
//! Knows etcd's gRPC API and no Kubernetes. All keys lie under a prefix of their own, so that others can use the same
//! etcd. Requests go to one endpoint for as long as it answers, and then to the next one; a write whose outcome is not
//! known is never sent again.

pub mod compactor;
mod election;
mod link;
mod refusal;
mod secret;
mod watch;
mod wire;

pub use election::Election;
pub use link::endpoint;
pub use secret::{Secret, SecretError};

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{once, pending};
use futures::{FutureExt, StreamExt};
use parking_lot::Mutex;
use prost::Message;
use tonic::Status;

use crate::etcd::wire::{
    CompactionRequest, Done, Empty, LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveResponse, LeaseLeasesResponse,
    LeaseRequest, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse, RangeRequest, RangeResponse, ResponseHeader,
    TxnResponse,
};
use crate::store::kv::{Changes, Error, Granted, Kv, Lease, Leases, Op, Range, Ranged, Txn, TxnDone, Watch};
use crate::store::state;
use link::Link;
use refusal::Refusal;
use wire::{Prefix, number, signed};

/// How long one endpoint has for an answer: longer than etcd itself waits for its members to agree.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// The same for a range, which may be all there is.
const RANGE_LIMIT: Duration = Duration::from_secs(60);
/// For what only makes an error's text complete.
const DETAIL_LIMIT: Duration = Duration::from_secs(3);

// The methods of etcd's API.
const RANGE: &str = "/etcdserverpb.KV/Range";
const TXN: &str = "/etcdserverpb.KV/Txn";
const COMPACT: &str = "/etcdserverpb.KV/Compact";
const WATCH: &str = "/etcdserverpb.Watch/Watch";
const GRANT: &str = "/etcdserverpb.Lease/LeaseGrant";
const REVOKE: &str = "/etcdserverpb.Lease/LeaseRevoke";
const KEEP_ALIVE: &str = "/etcdserverpb.Lease/LeaseKeepAlive";
const TIME_TO_LIVE: &str = "/etcdserverpb.Lease/LeaseTimeToLive";
const LEASES: &str = "/etcdserverpb.Lease/LeaseLeases";

/// Where the etcd cluster is.
pub struct Config {
    /// `https://HOST:PORT` of each member, or `http://`.
    pub endpoints: Vec<String>,
    /// For `https`.
    pub secret: Secret,
    /// All keys begin with it.
    pub prefix: String,
}

/// The settings are of no use.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("there is no endpoint")]
    None,
    #[error("{endpoint:?} is not of the form https://HOST:PORT or http://HOST:PORT")]
    Endpoint { endpoint: String },
    #[error("{endpoint} cannot be used: {cause}")]
    Unusable { endpoint: String, cause: String },
}

/// A handle; clones share the connections.
#[derive(Clone)]
pub struct Remote(Arc<Shared>);

struct Shared {
    endpoints: Vec<Endpoint>,
    /// Which of them is asked.
    current: AtomicUsize,
    prefix: Prefix,
    /// The newest revision that any answer told.
    revision: AtomicU64,
    /// Whether the last request got through, as it was logged.
    reach: Mutex<Reach>,
}

struct Endpoint {
    url: String,
    link: Link,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    Untried,
    Reached,
    Away,
}

/// What becomes of a request that may have been received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nature {
    /// It may be sent once more.
    Read,
    Write,
}

// === impl Remote ===

impl Remote {
    /// Connects when it is first asked for something. Has to be called within a runtime.
    ///
    /// # Errors
    /// The settings are of no use.
    pub fn new(config: Config) -> Result<Remote, ConfigError> {
        let mut endpoints = Vec::new();
        for url in config.endpoints {
            let link = Link::new(&url, &config.secret)?;
            endpoints.push(Endpoint { url, link });
        }
        if endpoints.is_empty() {
            return Err(ConfigError::None);
        }
        Ok(Remote(Arc::new(Shared {
            endpoints,
            current: AtomicUsize::new(0),
            prefix: Prefix::new(config.prefix),
            revision: AtomicU64::new(0),
            reach: Mutex::new(Reach::Untried),
        })))
    }

    /// The endpoints, for people.
    #[must_use]
    pub fn place(&self) -> String {
        let urls: Vec<&str> = self.0.endpoints.iter().map(|endpoint| endpoint.url.as_str()).collect();
        urls.join(", ")
    }

    /// Asks one endpoint after the other until one has an answer.
    async fn ask<T, F>(&self, nature: Nature, limit: Duration, act: impl Fn(Link) -> F) -> Result<T, Refusal>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let mut refusal = Refusal::Away("there is no endpoint".into());
        // One more than there are: an old connection may have been cut meanwhile.
        for _ in 0..=self.0.endpoints.len() {
            let at = self.0.current.load(Ordering::Acquire);
            let endpoint = &self.0.endpoints[at];
            let tried = tokio::time::timeout(limit, act(endpoint.link.clone())).await;
            refusal = match tried {
                Ok(Ok(answer)) => {
                    self.reached();
                    return Ok(answer);
                }
                Ok(Err(status)) => refusal::of(&status),
                Err(_) => Refusal::Cut(format!("no answer within {limit:?}")),
            };
            match (&refusal, nature) {
                (Refusal::Away(_), _) | (Refusal::Cut(_), Nature::Read) => self.leave(at),
                (Refusal::Cut(_), Nature::Write) => {
                    self.leave(at);
                    break;
                }
                // It was refused, so it was heard.
                _ => {
                    self.reached();
                    return Err(refusal);
                }
            }
        }
        match &refusal {
            Refusal::Cut(why) if *self.0.reach.lock() == Reach::Untried => self.away(&self.guess(why)),
            Refusal::Away(why) | Refusal::Cut(why) => self.away(why),
            _ => {}
        }
        Err(refusal)
    }

    async fn call<A, Q>(&self, nature: Nature, limit: Duration, method: &'static str, ask: A) -> Result<Q, Refusal>
    where
        A: Message + Clone + 'static,
        Q: Message + Default + 'static,
    {
        self.ask(nature, limit, |link| link.call(method, ask.clone())).await
    }

    /// The next endpoint is asked from now on, unless somebody else has seen to that.
    fn leave(&self, at: usize) {
        let next = (at + 1) % self.0.endpoints.len();
        let _ = self.0.current.compare_exchange(at, next, Ordering::AcqRel, Ordering::Acquire);
    }

    fn reached(&self) {
        let before = std::mem::replace(&mut *self.0.reach.lock(), Reach::Reached);
        if before == Reach::Away {
            tracing::info!(endpoints = self.place(), "etcd is reached again");
        }
    }

    fn away(&self, why: &str) {
        let before = std::mem::replace(&mut *self.0.reach.lock(), Reach::Away);
        if before != Reach::Away {
            tracing::warn!(endpoints = self.place(), why, "etcd is not reached; it is tried again and again");
        }
    }

    /// A connection that is closed before it was of any use says little; in most cases this is the cause.
    fn guess(&self, why: &str) -> String {
        let is_secure = self.0.endpoints.iter().any(|endpoint| endpoint.url.starts_with("https://"));
        match is_secure {
            _ if why.contains("ertificate") => why.to_owned(),
            true => format!("{why}, as by an etcd that wants another client certificate (--etcd-certfile)"),
            false => format!("{why}, as by an etcd that speaks TLS alone (https://)"),
        }
    }

    fn saw(&self, header: Option<&ResponseHeader>) -> u64 {
        let revision = header.map_or(0, |header| number(header.revision));
        self.saw_revision(revision);
        revision
    }

    fn saw_revision(&self, revision: u64) {
        self.0.revision.fetch_max(revision, Ordering::AcqRel);
    }

    /// The oldest revision that can be read: etcd says it to watches alone.
    async fn oldest(&self, wanted: u64) -> u64 {
        let asked = tokio::time::timeout(DETAIL_LIMIT, watch::oldest(self)).await;
        asked.ok().flatten().unwrap_or(wanted + 1)
    }

    async fn newest(&self, wanted: u64) -> u64 {
        let nothing = RangeRequest { key: self.0.prefix.key(b"\0"), count_only: true, ..RangeRequest::default() };
        match self.call(Nature::Read, DETAIL_LIMIT, RANGE, nothing).await {
            Ok(RangeResponse { header, .. }) => self.saw(header.as_ref()),
            Err(_) => wanted.saturating_sub(1),
        }
    }

    /// The error with what etcd did not say.
    async fn explain(&self, nature: Nature, refusal: Refusal, asked: &Asked<'_>) -> Error {
        match refusal {
            Refusal::Compacted => {
                let oldest = self.oldest(asked.revision(|_| true)).await;
                Error::Compacted { wanted: asked.revision(|revision| revision < oldest), oldest }
            }
            Refusal::Future => {
                let newest = self.newest(asked.revision(|_| true)).await;
                Error::Future { wanted: asked.revision(|revision| revision > newest), newest }
            }
            Refusal::NoKey => Error::NoKey(asked.kept_key()),
            Refusal::NoLease => Error::NoLease(self.missing(&asked.leases()).await),
            Refusal::LeaseExists => Error::LeaseExists(asked.leases().first().copied().unwrap_or_default()),
            Refusal::Twice => Error::Twice,
            Refusal::NoSpace => Error::NoSpace,
            Refusal::TooLarge(why) => Error::TooLarge(why),
            Refusal::Invalid(why) => Error::Invalid(why),
            Refusal::Cut(why) if nature == Nature::Write => Error::Unknown(why),
            Refusal::Away(why) | Refusal::Cut(why) => Error::Unavailable(format!("etcd is not reached: {why}")),
        }
    }

    async fn of_lease<A, Q>(&self, nature: Nature, method: &'static str, id: i64, ask: A) -> Result<Q, Error>
    where
        A: Message + Clone + 'static,
        Q: Message + Default + 'static,
    {
        match self.call(nature, ANSWER_LIMIT, method, ask).await {
            Ok(answer) => Ok(answer),
            Err(refusal) => Err(self.explain(nature, refusal, &Asked::Lease(id)).await),
        }
    }

    /// Which of some leases is not there.
    async fn missing(&self, leases: &[i64]) -> i64 {
        if let [_, _, ..] = leases {
            for id in leases {
                if self.lease(*id, false).await == Err(Error::NoLease(*id)) {
                    return *id;
                }
            }
        }
        leases.first().copied().unwrap_or_default()
    }
}

impl Kv for Remote {
    fn range(&self, range: Range) -> BoxFuture<'_, Result<Ranged, Error>> {
        async move {
            state::check_range(&range.keys)?;
            let limit = if range.keys.end.is_some() { RANGE_LIMIT } else { ANSWER_LIMIT };
            match self.call(Nature::Read, limit, RANGE, self.0.prefix.range(&range)).await {
                Ok(answer) => {
                    let ranged = self.0.prefix.ranged(answer);
                    self.saw_revision(ranged.revision);
                    Ok(ranged)
                }
                Err(refusal) => Err(self.explain(Nature::Read, refusal, &Asked::Range(&range)).await),
            }
        }
        .boxed()
    }

    fn txn(&self, txn: Txn) -> BoxFuture<'_, Result<TxnDone, Error>> {
        async move {
            state::check(&txn)?;
            let nature = if txn.is_read() { Nature::Read } else { Nature::Write };
            let answer: Result<TxnResponse, _> = self.call(nature, ANSWER_LIMIT, TXN, self.0.prefix.txn(&txn)).await;
            match answer {
                Ok(answer) => {
                    let done = self.0.prefix.txn_done(answer);
                    self.saw_revision(done.revision);
                    Ok(done)
                }
                Err(refusal) => Err(self.explain(nature, refusal, &Asked::Txn(&txn)).await),
            }
        }
        .boxed()
    }

    fn watch(&self, watch: Watch) -> BoxFuture<'_, Result<Changes, Error>> {
        watch::begin(self.clone(), watch).boxed()
    }

    fn compact(&self, revision: u64) -> BoxFuture<'_, Result<(), Error>> {
        async move {
            let ask = CompactionRequest { revision: signed(revision), physical: false };
            let answer: Result<Done, _> = self.call(Nature::Write, ANSWER_LIMIT, COMPACT, ask).await;
            match answer {
                Ok(Done { header }) => {
                    self.saw(header.as_ref());
                    Ok(())
                }
                Err(refusal) => Err(self.explain(Nature::Write, refusal, &Asked::Revision(revision)).await),
            }
        }
        .boxed()
    }

    fn revision(&self) -> u64 {
        self.0.revision.load(Ordering::Acquire)
    }
}

impl Leases for Remote {
    fn grant(&self, id: i64, ttl: u64) -> BoxFuture<'_, Result<Granted, Error>> {
        async move {
            let ttl = i64::try_from(ttl).map_err(|_| Error::Invalid(format!("a lease of {ttl} s is too long")))?;
            let ask = LeaseGrantRequest { ttl, id };
            let answer: LeaseGrantResponse = self.of_lease(Nature::Write, GRANT, id, ask).await?;
            let revision = self.saw(answer.header.as_ref());
            Ok(Granted { id: answer.id, ttl: number(answer.ttl), revision })
        }
        .boxed()
    }

    fn revoke(&self, id: i64) -> BoxFuture<'_, Result<u64, Error>> {
        async move {
            let Done { header } = self.of_lease(Nature::Write, REVOKE, id, LeaseRequest { id }).await?;
            Ok(self.saw(header.as_ref()))
        }
        .boxed()
    }

    fn keep_alive(&self, id: i64) -> BoxFuture<'_, Result<u64, Error>> {
        async move {
            let act = |link: Link| async move {
                let asks = once(std::future::ready(LeaseRequest { id })).chain(pending());
                let mut answers = link.stream(KEEP_ALIVE, asks).await?;
                answers.message().await
            };
            let answer: Result<Option<LeaseKeepAliveResponse>, _> = self.ask(Nature::Read, ANSWER_LIMIT, act).await;
            match answer {
                Ok(Some(answer)) if answer.ttl > 0 => {
                    self.saw(answer.header.as_ref());
                    Ok(number(answer.ttl))
                }
                Ok(_) => Err(Error::NoLease(id)),
                Err(refusal) => Err(self.explain(Nature::Read, refusal, &Asked::Lease(id)).await),
            }
        }
        .boxed()
    }

    fn lease(&self, id: i64, keys: bool) -> BoxFuture<'_, Result<Lease, Error>> {
        async move {
            let ask = LeaseTimeToLiveRequest { id, keys };
            let answer: LeaseTimeToLiveResponse = self.of_lease(Nature::Read, TIME_TO_LIVE, id, ask).await?;
            self.saw(answer.header.as_ref());
            if answer.ttl < 0 {
                return Err(Error::NoLease(id));
            }
            // In no order; and others may have attached theirs.
            let mut keys: Vec<Bytes> = answer.keys.iter().filter_map(|key| self.0.prefix.own(key)).collect();
            keys.sort_unstable();
            Ok(Lease { id, granted: number(answer.granted_ttl), left: number(answer.ttl), keys })
        }
        .boxed()
    }

    /// Also those that others have granted: a lease has no prefix.
    fn leases(&self) -> BoxFuture<'_, Result<Vec<i64>, Error>> {
        async move {
            let answer: LeaseLeasesResponse = self.of_lease(Nature::Read, LEASES, 0, Empty {}).await?;
            self.saw(answer.header.as_ref());
            let mut leases: Vec<i64> = answer.leases.into_iter().map(|lease| lease.id).collect();
            leases.sort_unstable();
            Ok(leases)
        }
        .boxed()
    }
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Remote({})", self.place())
    }
}

/// What was asked for when it was refused. etcd says why, but not which of several parts was the cause.
enum Asked<'a> {
    Range(&'a Range),
    Txn(&'a Txn),
    Revision(u64),
    Lease(i64),
}

// === impl Asked ===

impl Asked<'_> {
    /// The operations, with those of inner transactions.
    fn ops(&self) -> Vec<&Op> {
        fn gather<'t>(txn: &'t Txn, ops: &mut Vec<&'t Op>) {
            for op in txn.success.iter().chain(&txn.failure) {
                match op {
                    Op::Txn(inner) => gather(inner, ops),
                    op => ops.push(op),
                }
            }
        }
        let mut ops = Vec::new();
        if let Asked::Txn(txn) = self {
            gather(txn, &mut ops);
        }
        ops
    }

    /// The first revision that is such.
    fn revision(&self, is_it: impl Fn(u64) -> bool) -> u64 {
        match self {
            Asked::Range(range) => range.revision,
            Asked::Revision(revision) => *revision,
            Asked::Lease(_) => 0,
            Asked::Txn(_) => {
                let revision = |op: &Op| if let Op::Range(range) = op { Some(range.revision) } else { None };
                let mut revisions = self.ops().into_iter().filter_map(revision).filter(|revision| *revision != 0);
                revisions.find(|revision| is_it(*revision)).unwrap_or_default()
            }
        }
    }

    /// The first key that was to keep what it has.
    fn kept_key(&self) -> Bytes {
        let kept = |op: &Op| match op {
            Op::Put(put) if put.value.is_none() || put.lease.is_none() => Some(put.key.clone()),
            _ => None,
        };
        self.ops().into_iter().find_map(kept).unwrap_or_default()
    }

    fn leases(&self) -> Vec<i64> {
        if let Asked::Lease(id) = self {
            return vec![*id];
        }
        let lease = |op: &Op| if let Op::Put(put) = op { put.lease.filter(|id| *id != 0) } else { None };
        let mut leases: Vec<i64> = self.ops().into_iter().filter_map(lease).collect();
        leases.dedup();
        leases
    }
}
