//! Several real members in one process: who takes part changes, and a newcomer gets all that was.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use parking_lot::Mutex;

use super::contract::{one, put, write};
use crate::store::group::{Carrier, Letter, Member, MemberChange, Members, Question, Role};
use crate::store::kv::{Error, Op, Put};
use crate::store::{Config, Join, Leases as _, Store};

/// Carries messages between stores of one process, one after the other.
#[derive(Clone, Default)]
pub(super) struct Post(Arc<Mutex<HashMap<u64, Store>>>);

struct Sender {
    stores: Post,
    from: u64,
    post: std::sync::mpsc::Sender<(u64, Letter)>,
}

impl Post {
    /// Opens a member whose messages are carried.
    pub(super) fn open(&self, dir: &Path, join: Option<Join>, from: u64) -> Store {
        let (post, letters) = std::sync::mpsc::channel::<(u64, Letter)>();
        let stores = self.clone();
        std::thread::spawn(move || {
            for (from, letter) in letters {
                stores.deliver(from, &letter);
            }
        });
        let carrier = Arc::new(Sender { stores: self.clone(), from, post });
        let store = Store::open(Config { join, carrier, ..Config::new(dir) }).unwrap();
        self.0.lock().insert(store.member_id(), store.clone());
        store
    }

    fn deliver(&self, from: u64, letter: &Letter) {
        let store = |id: u64| self.0.lock().get(&id).cloned();
        let Some(to) = store(letter.to) else { return };
        let snapshot = letter.snapshot.as_ref().map(|data| {
            let received = to.receive_snapshot().unwrap();
            for file in std::fs::read_dir(data.folder()).unwrap() {
                let file = file.unwrap();
                // As it has to be before the group hears of it: durable.
                let mut to = std::fs::File::create_new(received.folder().join(file.file_name())).unwrap();
                to.write_all(&std::fs::read(file.path()).unwrap()).unwrap();
                to.sync_all().unwrap();
            }
            std::fs::File::open(received.folder()).unwrap().sync_all().unwrap();
            received
        });
        let is_snapshot = snapshot.is_some();
        let from_id = if from == 0 { raft_from(&letter.message) } else { from };
        to.receive(from_id, &letter.message, snapshot).unwrap();
        if is_snapshot && let Some(sender) = store(from_id) {
            sender.snapshot_sent(letter.to, true);
        }
    }

    pub(super) fn close(&self) {
        self.0.lock().clear();
    }
}

/// A founder's id is not known before it is open.
fn raft_from(message: &[u8]) -> u64 {
    use prost::Message as _;
    raft::eraftpb::Message::decode(message).unwrap().from
}

impl Carrier for Sender {
    fn send(&self, letter: Letter) {
        let _ = self.post.send((self.from, letter));
    }

    fn ask(&self, to: u64, question: Question) -> BoxFuture<'static, Result<u64, Error>> {
        let asked = self.stores.0.lock().get(&to).cloned();
        async move {
            match asked {
                Some(store) => store.answer(question).await,
                None => Err(Error::Unavailable("it is away".into())),
            }
        }
        .boxed()
    }
}

pub(super) fn member(id: u64, url: &str) -> Member {
    Member { id, name: format!("m{id}"), url: url.to_owned(), client_urls: Vec::new() }
}

pub(super) async fn until(store: &Store, what: impl Fn(&Members) -> bool) -> Members {
    let mut members = store.members();
    let found = tokio::time::timeout(Duration::from_secs(20), members.wait_for(what)).await;
    found.expect("in time").expect("the store is open").clone()
}

/// As whoever promotes learners does: again, until it has caught up.
pub(super) async fn promote(leader: &Store, id: u64) {
    change(leader, MemberChange::Promote(id)).await;
}

/// Again, until the leader is ready for it: one that was only just elected may not have heard of all others yet.
async fn change(leader: &Store, change: MemberChange) {
    loop {
        match leader.change_members(change.clone()).await {
            Ok(()) => return,
            Err(Error::NotReady(_) | Error::Unavailable(_)) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}

async fn leases_are_kept_alive_anywhere(leader: &Store, other: &Store) {
    leader.grant(5, 60).await.unwrap();
    let attached = Put { key: "leased".into(), value: Some("1".into()), lease: Some(5), previous: false };
    write(leader, vec![Op::Put(attached)]).await;
    assert_eq!(other.keep_alive(5).await, Ok(60));
    assert_eq!(other.keep_alive(6).await, Err(Error::NoLease(6)));
    let lease = other.lease(5, true).await.unwrap();
    assert_eq!((lease.granted, lease.keys), (60, vec![Bytes::from("leased")]));
    assert!((50..=60).contains(&lease.left), "{}", lease.left);
    // Only whoever leads answers for itself.
    assert!(matches!(other.answer(Question::Renew(5)).await, Err(Error::Unavailable(_))));
    other.revoke(5).await.unwrap();
    assert_eq!(other.keep_alive(5).await, Err(Error::NoLease(5)));
}

#[tokio::test(flavor = "multi_thread")]
async fn members_come_and_go() {
    let dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let post = Post::default();
    let first = post.open(dirs[0].path(), None, 0);
    let own = first.member_id();
    write(&first, vec![put("before", "1")]).await;
    // The only one that votes is not removed, and nobody is taken for somebody else.
    let refused = [
        MemberChange::Remove(own),
        MemberChange::Promote(own),
        MemberChange::Promote(7),
        MemberChange::Update(member(7, "")),
        MemberChange::Add(member(own, "")),
    ];
    for change in refused {
        let refusal = first.change_members(change.clone()).await;
        assert!(matches!(refusal, Err(Error::Invalid(_))), "{change:?}: {refusal:?}");
    }
    first.change_members(MemberChange::Update(member(own, "https://a"))).await.unwrap();
    assert_eq!(first.members().borrow().members, [(member(own, "https://a"), Role::Voter)]);
    let mut others = Vec::new();
    for (dir, id) in dirs[1..].iter().zip([2, 3]) {
        first.change_members(MemberChange::Add(member(id, ""))).await.unwrap();
        let join = Join { cluster: first.cluster_id(), member: id };
        let other = post.open(dir.path(), Some(join), id);
        promote(&first, id).await;
        first.change_members(MemberChange::Update(member(id, "https://b"))).await.unwrap();
        until(&other, |known| known.members.contains(&(member(id, "https://b"), Role::Voter))).await;
        // It came before this member did, and is known here without asking anyone.
        assert_eq!(one(&other, "before").await.unwrap().value, "1");
        others.push(other);
    }
    leases_are_kept_alive_anywhere(&first, &others[0]).await;
    // A write by a member that does not lead, read by the other one.
    write(&others[0], vec![put("after", "2")]).await;
    assert_eq!(one(&others[1], "after").await.unwrap().value, "2");
    first.transfer_leadership(2);
    until(&first, |known| known.leader == Some(2)).await;
    until(&others[0], |known| known.leader == Some(2)).await;
    change(&others[0], MemberChange::Remove(own)).await;
    until(&others[1], |known| known.members.iter().all(|(member, _)| member.id != own)).await;
    write(&others[1], vec![put("last", "3")]).await;
    assert_eq!(one(&others[0], "last").await.unwrap().value, "3");
    post.close();
}
