//! Who keeps the cluster's state, and how that changes: asked at any member, done by the one that leads.
//!
//! Knows the store and the way to other members; who may ask is `apiserver`'s.

use crate::pki::ClusterKeys;
use crate::store::Store;
use crate::store::archive::{self, Manifest};
use crate::store::figures::Figures;
use crate::store::group::{Member, MemberChange, Members, Role};
use crate::store::kv::Error;
use bytes::Bytes;
use client::http::{Config, Connection};
use http::{Method, StatusCode};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Where members ask each other for changes.
pub const CHANGES: &str = "/apis/coracle.dev/v1/members/changes";
/// A change is tried for so long: meanwhile a leader may be elected, or another change end.
const CHANGE_LIMIT: Duration = Duration::from_secs(10);
const NEW_LEADER_LIMIT: Duration = Duration::from_secs(1);
const RETRY: Duration = Duration::from_millis(200);
/// How long another member has to take over.
const HANDOVER_LIMIT: Duration = Duration::from_secs(3);
/// Between two attempts to promote learners.
const PROMOTE_EVERY: Duration = Duration::from_millis(500);
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// The cluster's keys in a snapshot.
pub const KEYS: &str = "keys.json";

/// How to call the member at a URL in this one's name; its certificate may be renewed meanwhile.
pub type Dial = Arc<dyn Fn(&str) -> Config + Send + Sync>;

/// The members of one cluster, as one of them sees them. Clones share it.
#[derive(Clone)]
pub struct Membership {
    store: Store,
    dial: Dial,
}

// === impl Membership ===

impl Membership {
    #[must_use]
    pub fn new(store: Store, dial: Dial) -> Membership {
        Membership { store, dial }
    }

    #[must_use]
    pub fn known(&self) -> Members {
        self.store.members().borrow().clone()
    }

    #[must_use]
    pub fn cluster_id(&self) -> u64 {
        self.store.cluster_id()
    }

    #[must_use]
    pub fn own_id(&self) -> u64 {
        self.store.member_id()
    }

    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.store.members().borrow().leader == Some(self.own_id())
    }

    /// Does it here or has the leader do it; done when the group has settled it.
    ///
    /// # Errors
    /// Invalid: it makes no sense. Not ready: a learner has not caught up, or too few would be left. Unavailable: there
    /// is no leader. Unknown: it may come to stand.
    pub async fn change(&self, change: MemberChange) -> Result<(), Error> {
        let began = Instant::now();
        loop {
            let known = self.known();
            let tried = match known.leader {
                Some(id) if id != self.own_id() => self.ask(&known, id, &change).await,
                Some(id) if change == MemberChange::Remove(id) && self.other_voters().next().is_some() => {
                    self.hand_over().await.and(Err(Error::Unavailable("another member takes over".into())))
                }
                _ => self.store.change_members(change.clone()).await,
            };
            match tried {
                Err(error) if began.elapsed() < patience(&change, &error) => tokio::time::sleep(RETRY).await,
                tried => return tried,
            }
        }
    }

    /// As `change`, but only by this member; another one asks.
    ///
    /// # Errors
    /// As of `change`.
    pub async fn change_here(&self, change: MemberChange) -> Result<(), Error> {
        if !self.is_leader() {
            return Err(Error::Unavailable("this member does not lead".into()));
        }
        if change == MemberChange::Remove(self.own_id()) {
            self.hand_over().await?;
            return Err(Error::Unavailable("another member takes over".into()));
        }
        self.store.change_members(change).await
    }

    fn other_voters(&self) -> impl Iterator<Item = u64> {
        let own = self.own_id();
        let voters = self.known().members.into_iter().filter(|(_, role)| *role == Role::Voter);
        voters.map(|(member, _)| member.id).filter(move |id| *id != own)
    }

    async fn ask(&self, known: &Members, leader: u64, change: &MemberChange) -> Result<(), Error> {
        let away = |why: String| Error::Unavailable(format!("the leader {leader:x} cannot be asked: {why}"));
        let url = known.members.iter().find(|(member, _)| member.id == leader).map(|(member, _)| member.url.as_str());
        let url = url.filter(|url| !url.is_empty()).ok_or_else(|| away("its address is not known".into()))?;
        let connection = Connection::new((self.dial)(url)).map_err(|error| away(error.to_string()))?;
        let body = serde_json::to_vec(change).map_err(|error| Error::Invalid(error.to_string()))?;
        let headers = [("content-type", "application/json".to_owned())];
        let sent = connection.plain().send(Method::POST, CHANGES, &headers, body.into(), ANSWER_BYTES_MAX).await;
        let answer = sent.map_err(|error| away(error.to_string()))?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            StatusCode::BAD_REQUEST => Err(Error::Invalid(message(answer.body()))),
            StatusCode::CONFLICT => Err(Error::NotReady(message(answer.body()))),
            StatusCode::SERVICE_UNAVAILABLE => Err(Error::Unavailable(message(answer.body()))),
            _ => Err(Error::Unknown(message(answer.body()))),
        }
    }

    /// How this member's store is, and what it has done.
    ///
    /// # Errors
    /// As of [`Store::figures`].
    pub async fn figures(&self) -> Result<Figures, Error> {
        self.store.figures().await
    }

    /// A snapshot of the state with the cluster's keys beside it. Blocks.
    ///
    /// # Errors
    /// As of [`Store::take_snapshot`] and of [`archive::Taken::write`].
    pub fn save(&self, keys: &ClusterKeys, out: impl std::io::Write) -> Result<Manifest, archive::Error> {
        self.store.take_snapshot(&BTreeMap::from([(KEYS.to_owned(), keys.to_json())]))?.write(out)
    }

    /// Has another voter lead, if this member does. Whoever stops does it, so that nobody waits for an election.
    ///
    /// # Errors
    /// Unavailable: no other one took over in time.
    pub async fn hand_over(&self) -> Result<(), Error> {
        let own = self.own_id();
        let mut members = self.store.members();
        let others: Vec<u64> = self.other_voters().collect();
        for other in &others {
            if !self.is_leader() {
                return Ok(());
            }
            self.store.transfer_leadership(*other);
            let is_done = |known: &Members| known.leader.is_some_and(|leader| leader != own);
            let limit = HANDOVER_LIMIT / u32::try_from(others.len()).unwrap_or(1);
            if tokio::time::timeout(limit, members.wait_for(is_done)).await.is_ok_and(|done| done.is_ok()) {
                return Ok(());
            }
        }
        Err(Error::Unavailable("no other member took over".into()))
    }

    /// Resolves when this member leads, or does not.
    pub async fn leads(&self, leads: bool) {
        let own = self.own_id();
        let mut members = self.store.members();
        if members.wait_for(|known| (known.leader == Some(own)) == leads).await.is_err() {
            // The store has closed: nothing changes any more.
            std::future::pending::<()>().await;
        }
    }

    /// Tells the others where they, and clients of etcd's API, reach this member, as soon as there is somebody to lead.
    pub async fn announce(self, name: String, url: String, client_urls: Vec<String>) {
        let own = Member { id: self.own_id(), name, url, client_urls };
        loop {
            let mut members = self.store.members();
            // A member that nobody knows of yet has nothing to tell.
            let is_known =
                |known: &Members| known.leader.is_some() && known.members.iter().any(|(one, _)| one.id == own.id);
            if members.wait_for(is_known).await.is_err() {
                return;
            }
            if self.known().members.iter().any(|(member, _)| *member == own) {
                return;
            }
            match self.change(MemberChange::Update(own.clone())).await {
                Ok(()) => return,
                Err(error) => tracing::warn!(%error, "the address of this member is not told to the others yet"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Makes learners voters as soon as they have caught up, while this member leads.
    pub async fn promote_learners(self) {
        let mut members = self.store.members();
        let own = self.own_id();
        let is_mine =
            |known: &Members| known.leader == Some(own) && known.members.iter().any(|(_, role)| *role == Role::Learner);
        while members.wait_for(is_mine).await.is_ok() {
            let learners = self.known().members.into_iter().filter(|(_, role)| *role == Role::Learner);
            for (learner, _) in learners {
                match self.store.change_members(MemberChange::Promote(learner.id)).await {
                    Ok(()) => tracing::info!(member = format!("{:x}", learner.id), "a learner votes from now on"),
                    Err(error) => tracing::debug!(member = format!("{:x}", learner.id), %error, "a learner stays one"),
                }
            }
            tokio::time::sleep(PROMOTE_EVERY).await;
        }
    }

    /// Resolves when this member was one of the cluster and is not any more.
    pub async fn removed(self) {
        let mut members = self.store.members();
        let own = self.own_id();
        let is_one = |known: &Members| known.members.iter().any(|(member, _)| member.id == own);
        let was = members.wait_for(is_one).await.is_ok();
        if !was || members.wait_for(|known| !known.members.is_empty() && !is_one(known)).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// How long a change is tried again after an error.
fn patience(change: &MemberChange, error: &Error) -> Duration {
    match (error, change) {
        (Error::Unavailable(_), _) => CHANGE_LIMIT,
        // Whoever has only begun to lead has not heard of all yet.
        (Error::NotReady(_), MemberChange::Remove(_)) => NEW_LEADER_LIMIT,
        _ => Duration::ZERO,
    }
}

fn message(body: &Bytes) -> String {
    let status: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    status["message"].as_str().map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned)
}
