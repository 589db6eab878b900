//! One of the servers that share an etcd is elected: it holds a key that goes with its lease.
//!
//! Whoever holds it lets go before anybody else can have it: the lease outlives the last sign of life that was confirmed
//! by some seconds more than the holder relies on it.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::store::kv::{Compare, Error, KeyRange, Kv, Leases, Op, Put, Range, Txn, Watch};

/// Between two attempts where the store does not answer.
const RETRY: Duration = Duration::from_secs(1);
/// How long a stop waits to hand the key on.
const RESIGN_LIMIT: Duration = Duration::from_secs(3);

const KEY: &str = "/leader";

/// How time is dealt with.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// Seconds after which another server may take over.
    ttl: u64,
    /// How long a holder relies on a confirmed sign of life: what it runs has the rest of the lease to end.
    relied: Duration,
    renew_every: Duration,
}

/// kube-controller-manager's.
const PACE: Pace = Pace { ttl: 15, relied: Duration::from_secs(10), renew_every: Duration::from_secs(2) };

/// A candidate. What it tells is whether it is the one that is elected.
pub struct Election<S> {
    store: S,
    pace: Pace,
    /// For people who look at the key.
    name: Bytes,
    elected: watch::Sender<bool>,
}

// === impl Election ===

impl<S: Kv + Leases> Election<S> {
    #[must_use]
    pub fn new(store: S, name: String) -> Election<S> {
        Election { store, pace: PACE, name: name.into(), elected: watch::Sender::new(false) }
    }

    #[must_use]
    pub fn elected(&self) -> watch::Receiver<bool> {
        self.elected.subscribe()
    }

    /// Stands for election, again and again, until it is stopped; then hands the key on.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                vacant = self.vacancy() => if let Err(error) = vacant {
                    tracing::debug!(%error, "the election cannot be followed");
                    tokio::time::sleep(RETRY).await;
                    continue;
                },
            }
            let asked = Instant::now();
            let Ok(lease) = self.store.grant(0, self.pace.ttl).await else {
                tokio::time::sleep(RETRY).await;
                continue;
            };
            match self.take(lease.id).await {
                Ok(true) => {
                    self.elected.send_replace(true);
                    self.hold(lease.id, asked, &stop).await;
                    self.elected.send_replace(false);
                }
                Ok(false) => {}
                // It may have the key; it does not rely on it.
                Err(error) => tracing::debug!(%error, "the outcome of an election is not known"),
            }
            // If that fails, the lease ends by itself.
            let _ = tokio::time::timeout(RESIGN_LIMIT, self.store.revoke(lease.id)).await;
        }
    }

    /// Waits until nobody has the key.
    async fn vacancy(&self) -> Result<(), Error> {
        let found = self.store.range(Range::newest(KeyRange::key(KEY))).await?;
        if found.items.is_empty() {
            return Ok(());
        }
        let watch = Watch { keys: KeyRange::key(KEY), from: found.revision + 1, previous: false };
        let mut changes = self.store.watch(watch).await?;
        loop {
            match changes.next().await {
                Some(Ok(batch)) if batch.changes.iter().any(|change| change.is_delete) => return Ok(()),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
                None => return Err(Error::Unavailable("the watch has ended".into())),
            }
        }
    }

    async fn take(&self, lease: i64) -> Result<bool, Error> {
        let put = Put { key: KEY.into(), value: Some(self.name.clone()), lease: Some(lease), previous: false };
        let txn = Txn { compares: vec![Compare::absent(KEY)], success: vec![Op::Put(put)], failure: Vec::new() };
        self.store.txn(txn).await.map(|done| done.succeeded)
    }

    /// Returns when the key is not to be relied on any more.
    async fn hold(&self, lease: i64, asked: Instant, stop: &CancellationToken) {
        let mut until = asked + self.pace.relied;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(self.pace.renew_every) => {}
            }
            let asked = Instant::now();
            match tokio::time::timeout_at(until, self.confirm(lease)).await {
                Ok(Ok(true)) => until = asked + self.pace.relied,
                Ok(Ok(false)) => return,
                Ok(Err(error)) => tracing::debug!(%error, "the elected server is not confirmed"),
                Err(_) => return,
            }
            if Instant::now() >= until {
                return;
            }
        }
    }

    /// The lease lives on, and the key is still attached to it.
    async fn confirm(&self, lease: i64) -> Result<bool, Error> {
        match self.store.keep_alive(lease).await {
            Ok(_) => {}
            Err(Error::NoLease(_)) => return Ok(false),
            Err(error) => return Err(error),
        }
        let found = self.store.range(Range::newest(KeyRange::key(KEY))).await?;
        Ok(found.items.first().is_some_and(|kv| kv.lease == lease))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::Memory;

    struct Candidate {
        elected: watch::Receiver<bool>,
        stop: CancellationToken,
        task: tokio::task::JoinHandle<()>,
    }

    const QUICK: Pace = Pace { ttl: 2, relied: Duration::from_millis(1200), renew_every: Duration::from_millis(100) };

    fn stand(store: &Memory, name: &str) -> Candidate {
        let election = Election { pace: QUICK, ..Election::new(store.clone(), name.to_owned()) };
        let (elected, stop) = (election.elected(), CancellationToken::new());
        let task = tokio::spawn(election.run(stop.clone()));
        Candidate { elected, stop, task }
    }

    impl Candidate {
        async fn becomes(&mut self, elected: bool) {
            let limit = Duration::from_secs(20);
            tokio::time::timeout(limit, self.elected.wait_for(|it| *it == elected)).await.expect("in time").unwrap();
        }

        fn is_elected(&self) -> bool {
            *self.elected.borrow()
        }
    }

    #[tokio::test]
    async fn one_is_elected_and_hands_on_when_it_stops() {
        let store = Memory::new();
        let mut first = stand(&store, "first");
        first.becomes(true).await;
        let mut second = stand(&store, "second");
        let lives = Duration::from_secs(2 * QUICK.ttl);
        assert!(tokio::time::timeout(lives, second.elected.changed()).await.is_err(), "the first one is there");
        assert!(first.is_elected());
        first.stop.cancel();
        first.task.await.unwrap();
        assert!(!*first.elected.borrow());
        second.becomes(true).await;
        let held = store.range(Range::newest(KeyRange::key(KEY))).await.unwrap();
        assert_eq!(held.items[0].value, "second");
    }

    /// The lease of the key, once it is another one.
    async fn lease_after(store: &Memory, before: i64) -> i64 {
        let another = async {
            loop {
                let held = store.range(Range::newest(KeyRange::key(KEY))).await.unwrap();
                match held.items.first() {
                    Some(kv) if kv.lease != before => return kv.lease,
                    _ => tokio::task::yield_now().await,
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), another).await.expect("in time")
    }

    #[tokio::test]
    async fn a_key_that_is_taken_away_is_not_relied_on() {
        let store = Memory::new();
        let mut first = stand(&store, "first");
        first.becomes(true).await;
        let begun = lease_after(&store, 0).await;
        store.txn(Txn { success: vec![Op::delete(KeyRange::key(KEY))], ..Txn::default() }).await.unwrap();
        let again = lease_after(&store, begun).await;
        assert_eq!(store.leases().await, Ok(vec![again]), "the first one was given back");
        store.revoke(again).await.unwrap();
        lease_after(&store, again).await;
        first.becomes(true).await;
    }

    #[tokio::test]
    async fn whoever_is_away_is_replaced() {
        let store = Memory::new();
        let mut first = stand(&store, "first");
        first.becomes(true).await;
        first.task.abort();
        let began = Instant::now();
        let second = stand(&store, "second");
        let replaced = async {
            while !second.is_elected() {
                // In memory, a lease ends when something is asked.
                store.leases().await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), replaced).await.expect("in time");
        assert!(began.elapsed() > QUICK.relied, "whoever held it has let go");
    }
}
