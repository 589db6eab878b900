//! A watch that goes on where it was when its connection is cut.
//!
//! It asks etcd for all keys, not only for those that are wanted: every revision then counts as seen as soon as it is
//! there, whoever wrote it. etcd would tell that by itself only every ten minutes, and older versions answer a request
//! for it before the changes that it speaks of.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::{once, pending, unfold};
use tonic::Status;
use tonic::codec::Streaming;

use super::link::Link;
use super::refusal::Refusal;
use super::wire::{FIRST, number, signed};
use super::{ANSWER_LIMIT, Asked, Nature, Remote, WATCH};
use crate::etcd::wire::{Event, EventType, WatchAsk, WatchCreateRequest, WatchRequest, WatchResponse};
use crate::store::kv::{Change, ChangeBatch, Changes, Error, KeyRange, KeyValue, Watch};

/// Between two attempts to go on.
const RETRY: Duration = Duration::from_millis(250);

struct Following {
    remote: Remote,
    keys: KeyRange,
    previous: bool,
    /// The first revision that was not told yet.
    next: u64,
    open: Option<Streaming<WatchResponse>>,
}

pub(super) async fn begin(remote: Remote, watch: Watch) -> Result<Changes, Error> {
    let Watch { keys, from, previous } = watch;
    crate::store::state::check_range(&keys)?;
    let (next, open) = match open(&remote, from, previous).await {
        Ok((stream, revision)) if from == 0 => (revision + 1, Some(stream)),
        Ok((stream, _)) => (from, Some(stream)),
        // Where it begins is known, so it can begin later.
        Err(Refusal::Away(_) | Refusal::Cut(_)) if from != 0 => (from, None),
        Err(refusal) => return Err(remote.explain(Nature::Read, refusal, &Asked::Revision(from)).await),
    };
    let following = Following { remote, keys, previous, next, open };
    let batches = unfold(Some(following), async |following| {
        let mut following = following?;
        match following.batch().await {
            Ok(batch) => Some((Ok(batch), Some(following))),
            Err(error) => Some((Err(error), None)),
        }
    });
    Ok(batches.boxed())
}

/// The stream, and the revision that etcd is at.
async fn open(remote: &Remote, from: u64, previous: bool) -> Result<(Streaming<WatchResponse>, u64), Refusal> {
    let ask = WatchCreateRequest {
        key: FIRST,
        range_end: FIRST,
        start_revision: signed(from),
        prev_kv: previous,
        ..WatchCreateRequest::default()
    };
    let ask = WatchRequest { request_union: Some(WatchAsk::Create(ask)) };
    let act = |link: Link| {
        // The watch ends when there is nothing more to ask.
        let asks = once(std::future::ready(ask.clone())).chain(pending());
        async move {
            let mut stream: Streaming<WatchResponse> = link.stream(WATCH, asks).await?;
            // It is there once etcd says so.
            let created = stream.message().await?.ok_or_else(|| Status::unavailable("the watch ended as it began"))?;
            match created.canceled {
                true => Err(Status::permission_denied(created.cancel_reason)),
                false => Ok((stream, created)),
            }
        }
    };
    let (stream, created) = remote.ask(Nature::Read, ANSWER_LIMIT, act).await?;
    Ok((stream, remote.saw(created.header.as_ref())))
}

/// The oldest revision that can be read, where something was compacted.
pub(super) async fn oldest(remote: &Remote) -> Option<u64> {
    let (mut stream, revision) = open(remote, 1, false).await.ok()?;
    if revision <= 1 {
        return Some(1);
    }
    let answer = stream.message().await.ok()??;
    // Where the compacted revision is the first one, such a watch is not too late.
    Some(number(answer.compact_revision).max(1))
}

// === impl Following ===

impl Following {
    /// The next batch, however long that takes.
    async fn batch(&mut self) -> Result<ChangeBatch, Error> {
        loop {
            let Some(stream) = &mut self.open else {
                match open(&self.remote, self.next, self.previous).await {
                    Ok((stream, _)) => self.open = Some(stream),
                    Err(refusal) => {
                        tracing::debug!(?refusal, from = self.next, "a watch of etcd waits to go on");
                        tokio::time::sleep(RETRY).await;
                    }
                }
                continue;
            };
            match stream.message().await {
                Ok(Some(answer)) if answer.canceled => {
                    if answer.compact_revision > 0 {
                        let oldest = number(answer.compact_revision);
                        return Err(Error::Compacted { wanted: self.next, oldest });
                    }
                    self.cut(&answer.cancel_reason);
                }
                Ok(Some(answer)) => {
                    if let Some(batch) = self.told(answer) {
                        return Ok(batch);
                    }
                }
                Ok(None) => self.cut("the stream ended"),
                Err(status) => self.cut(status.message()),
            }
        }
    }

    fn cut(&mut self, why: &str) {
        tracing::debug!(why, from = self.next, "a watch of etcd was cut");
        self.open = None;
    }

    /// Whole revisions: without being asked to, etcd does not spread one over several answers.
    fn told(&mut self, answer: WatchResponse) -> Option<ChangeBatch> {
        let newest = answer.events.last().and_then(|event| event.kv.as_ref()).map(|kv| kv.mod_revision);
        let revision = number(newest.or(answer.header.map(|header| header.revision))?);
        if revision < self.next {
            return None;
        }
        let changes = answer.events.into_iter().filter_map(|event| self.change(event)).collect();
        self.next = revision + 1;
        self.remote.saw_revision(revision);
        Some(ChangeBatch { changes, revision })
    }

    fn change(&self, event: Event) -> Option<Change> {
        let prefix = &self.remote.0.prefix;
        let is_delete = event.r#type == i32::from(EventType::Delete);
        let kv =
            prefix.key_value(event.kv?).filter(|kv| self.keys.contains(&kv.key) && kv.mod_revision >= self.next)?;
        let kv = if is_delete { KeyValue::gone(kv.key, kv.mod_revision) } else { kv };
        Some(Change { kv, is_delete, previous: event.prev_kv.and_then(|kv| prefix.key_value(kv)) })
    }
}
