//! What the members of the store say to each other, over the API port.
//!
//! Each member dials every other one (`route`) with TLS, under the protocol name [`ALPN`], and says who it is and of
//! which cluster ([`frame::Hello`]); the other one (`inbox`) checks that against the certificate. Frames go one way on
//! a connection: answers travel on the one that the other side dials. A snapshot has a connection of its own, so that
//! heartbeats do not wait behind it, and so have questions to the leader (`asking`), which are answered where they were
//! asked. Knows no Raft rules, and may lose whatever it carries.

mod asking;
mod frame;
mod inbox;
mod route;

pub use inbox::Inbox;

use crate::store::Store;
use crate::store::group::{Carrier, Letter, Member, Members, Question};
use crate::store::kv::Error;
use arc_swap::ArcSwap;
use asking::{ANSWER_TIMEOUT, Asked, QUESTIONS_MAX};
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use route::Route;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};

/// The protocol's name in the TLS handshake; another version of the frames is another name.
pub const ALPN: &[u8] = b"coracle-peer/1";
/// Messages that wait for a connection; those that find no room are lost, and the group asks again.
const LETTERS_MAX: usize = 1024;
/// What was sent and is not confirmed for so long ends the connection: the way to the other host is cut.
const UNCONFIRMED_MAX: Duration = Duration::from_secs(3);
/// A connection on which nobody says anything is probed after this.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// How members are dialled: with the cluster's CA as the only root, and the member's own certificate. Replaced when
/// that is renewed.
pub type Tls = Arc<ArcSwap<rustls::ClientConfig>>;

/// The group of the members' certificates.
pub const MEMBERS: &str = "system:coracle:members";

/// The user of a member's certificate.
#[must_use]
pub fn user_name(member: u64) -> String {
    format!("system:coracle:member:{member:x}")
}

/// What a member's serving certificate is for besides its addresses, so that no member passes for another.
#[must_use]
pub fn server_name(member: u64) -> String {
    format!("{member:x}.members.coracle.internal")
}

/// Where the store puts its messages. Clones share it.
#[derive(Clone)]
pub struct Outbox(Arc<Shared>);

struct Shared {
    /// Of this member.
    url: String,
    questions: mpsc::Sender<Asked>,
    /// Until [`Outbox::run`] takes them.
    asked: Mutex<Option<mpsc::Receiver<Asked>>>,
    routes: Mutex<HashMap<u64, mpsc::Sender<Letter>>>,
    /// Where members that have said hello are to be reached: a newcomer has no other way to know whom it answers.
    heard: watch::Sender<HashMap<u64, String>>,
}

/// A route that is in use, and where it leads.
struct InUse {
    to: Member,
    task: AbortHandle,
}

// === impl Outbox ===

impl Outbox {
    /// `url`: where other members reach this one.
    #[must_use]
    pub fn new(url: String) -> Outbox {
        let (questions, asked) = mpsc::channel(QUESTIONS_MAX);
        let asked = Mutex::new(Some(asked));
        Outbox(Arc::new(Shared { url, questions, asked, routes: Mutex::default(), heard: watch::Sender::default() }))
    }

    /// Notes the address of a member that has said hello.
    fn hear(&self, member: u64, url: String) {
        self.0.heard.send_if_modified(|heard| {
            let is_new = heard.get(&member) != Some(&url);
            if is_new {
                heard.insert(member, url);
            }
            is_new
        });
    }

    /// The other members that can be reached.
    fn others(&self, known: &Members, own: u64) -> Vec<Member> {
        let heard = self.0.heard.borrow();
        let mut others: Vec<Member> = known.members.iter().map(|(member, _)| member.clone()).collect();
        for (id, url) in heard.iter() {
            match others.iter_mut().find(|member| member.id == *id) {
                Some(member) if member.url.is_empty() => member.url.clone_from(url),
                Some(_) => {}
                // Who is not known has been added lately, or this member is the one that was.
                None => others.push(Member { id: *id, url: url.clone(), ..Member::default() }),
            }
        }
        others.retain(|member| member.id != own && !member.url.is_empty());
        others
    }

    /// Keeps a route to every other member that has an address, until it is dropped.
    pub async fn run(self, store: Store, tls: Tls) {
        let own = store.member_id();
        let (mut members, mut heard) = (store.members(), self.0.heard.subscribe());
        let mut routes: HashMap<u64, InUse> = HashMap::new();
        let mut tasks = JoinSet::new();
        let asked = self.0.asked.lock().take();
        if let Some(asked) = asked {
            tasks.spawn(asking::run(self.clone(), store.clone(), tls.clone(), asked));
        }
        loop {
            heard.borrow_and_update();
            let others = self.others(&members.borrow_and_update(), own);
            routes.retain(|id, route| {
                let stays = others.iter().any(|other| (other.id, &other.url) == (route.to.id, &route.to.url));
                if !stays {
                    self.0.routes.lock().remove(id);
                    route.task.abort();
                }
                stays
            });
            for to in others {
                routes.entry(to.id).or_insert_with(|| {
                    let (letters, waiting) = mpsc::channel(LETTERS_MAX);
                    self.0.routes.lock().insert(to.id, letters);
                    let route = Route::new(store.clone(), to.clone(), self.0.url.clone(), tls.clone());
                    InUse { to, task: tasks.spawn(route.run(waiting)) }
                });
            }
            tokio::select! {
                Some(_) = tasks.join_next() => {}
                changed = members.changed() => if changed.is_err() { return },
                _ = heard.changed() => {}
            }
        }
    }
}

impl Carrier for Outbox {
    fn send(&self, letter: Letter) {
        if let Some(route) = self.0.routes.lock().get(&letter.to) {
            // Too slow, or away: the group asks again.
            let _ = route.try_send(letter);
        }
    }

    fn ask(&self, to: u64, question: Question) -> BoxFuture<'static, Result<u64, Error>> {
        let (done, answer) = oneshot::channel();
        let sent = self.0.questions.try_send(Asked { to, question, done });
        async move {
            sent.map_err(|_| Error::Unavailable("too many wait to ask the leader".into()))?;
            let answer = tokio::time::timeout(ANSWER_TIMEOUT, answer).await;
            let silent = || Error::Unavailable(format!("the leader {to:x} did not answer"));
            answer.map_err(|_| silent())?.map_err(|_| silent())?
        }
        .boxed()
    }
}

/// A way that is cut is noticed in seconds, and not when the kernel gives up.
fn tune(tcp: &TcpStream) -> std::io::Result<()> {
    tcp.set_nodelay(true)?;
    let socket = socket2::SockRef::from(tcp);
    socket.set_tcp_user_timeout(Some(UNCONFIRMED_MAX))?;
    socket.set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE))
}
