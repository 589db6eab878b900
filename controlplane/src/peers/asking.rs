//! What the leader is asked by another member: on one connection, which stays, and without waiting for one answer
//! before the next question. A lease is kept alive every few seconds by each of its owners.

use super::frame::{self, Asks, Says};
use super::route::{Purpose, Route, TOGETHER_MAX, WAIT_MIN, WRITE_TIMEOUT, Wire, within};
use super::{Outbox, Tls};
use crate::store::Store;
use crate::store::group::Question;
use crate::store::kv::Error;
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use std::collections::HashMap;
use std::io;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Questions that wait for the connection; more are refused.
pub(super) const QUESTIONS_MAX: usize = 1024;
/// Whoever has waited for so long asks again, perhaps another member.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// Questions under way after which those that nobody waits for are forgotten.
const WAITING_MAX: usize = 4 * QUESTIONS_MAX;

/// A question on its way.
pub(super) struct Asked {
    pub(super) to: u64,
    pub(super) question: Question,
    pub(super) done: oneshot::Sender<Result<u64, Error>>,
}

/// One connection, and what was asked on it.
struct Talk {
    to: u64,
    wire: Wire,
    waiting: HashMap<u64, (Question, oneshot::Sender<Result<u64, Error>>)>,
    last_number: u64,
}

/// Asks what comes until nobody can ask any more.
pub(super) async fn run(outbox: Outbox, store: Store, tls: Tls, mut asked: mpsc::Receiver<Asked>) {
    let mut next = None;
    loop {
        let first = match next.take() {
            Some(first) => first,
            None => match asked.recv().await {
                Some(first) => first,
                None => return,
            },
        };
        match dial(&outbox, &store, &tls, first.to).await {
            Ok(wire) => {
                let mut talk = Talk { to: first.to, wire, waiting: HashMap::new(), last_number: 0 };
                match talk.run(first, &mut asked).await {
                    Ok(other) => next = other,
                    Err(error) => tracing::debug!(to = format!("{:x}", talk.to), %error, "the leader is asked no more"),
                }
            }
            Err(error) => {
                tracing::debug!(to = format!("{:x}", first.to), %error, "the leader cannot be asked");
                refuse(first);
                // Those that wait for the same connection.
                while let Ok(other) = asked.try_recv() {
                    refuse(other);
                }
                tokio::time::sleep(WAIT_MIN).await;
            }
        }
    }
}

async fn dial(outbox: &Outbox, store: &Store, tls: &Tls, to: u64) -> io::Result<Wire> {
    let others = outbox.others(&store.members().borrow(), store.member_id());
    let unknown = || io::Error::other("its address is not known");
    let to = others.into_iter().find(|member| member.id == to).ok_or_else(unknown)?;
    Route::new(store.clone(), to, outbox.0.url.clone(), tls.clone()).dial(Purpose::Questions).await
}

fn refuse(Asked { to, done, .. }: Asked) {
    // Nobody may wait any more.
    let _ = done.send(Err(Error::Unavailable(format!("the leader {to:x} cannot be reached"))));
}

// === impl Talk ===

impl Talk {
    /// Goes on until another member is to be asked, which comes back. Who still waits then learns that there is no
    /// answer.
    async fn run(&mut self, first: Asked, asked: &mut mpsc::Receiver<Asked>) -> io::Result<Option<Asked>> {
        let mut next = Some(first);
        loop {
            if let Some(one) = next.take() {
                if one.to != self.to {
                    return Ok(Some(one));
                }
                next = self.ask(one, asked).await?;
                continue;
            }
            tokio::select! {
                one = asked.recv() => match one {
                    Some(one) => next = Some(one),
                    None => return Ok(None),
                },
                frame = self.wire.next() => {
                    let says: Says = frame::decode(frame)?;
                    if let Some((Question::Renew(lease) | Question::Left(lease), done)) = self.waiting.remove(&says.number) {
                        let _ = done.send(says.answer(lease));
                    }
                }
            }
        }
    }

    /// Sends a question, and those that wait behind it for the same member; the first that is for another comes back.
    async fn ask(&mut self, first: Asked, asked: &mut mpsc::Receiver<Asked>) -> io::Result<Option<Asked>> {
        let mut next = Some(first);
        for _ in 0..TOGETHER_MAX {
            let Some(one) = next.take().or_else(|| asked.try_recv().ok()) else { break };
            if one.to != self.to {
                next = Some(one);
                break;
            }
            self.last_number += 1;
            let asks = Asks::new(self.last_number, one.question);
            self.waiting.insert(asks.number, (one.question, one.done));
            within(WRITE_TIMEOUT, self.wire.feed(frame::encode(&asks))).await?;
        }
        if self.waiting.len() > WAITING_MAX {
            self.waiting.retain(|_, (_, done)| !done.is_closed());
        }
        within(WRITE_TIMEOUT, SinkExt::<Bytes>::flush(&mut self.wire)).await?;
        Ok(next)
    }
}
