//! What other members say to this one.

use super::asking::{ANSWER_TIMEOUT, QUESTIONS_MAX};
use super::frame::{self, Answer, Asks, File, Hello, Says};
use super::{MEMBERS, Outbox, tune, user_name};
use crate::ahead::Ahead;
use crate::pki::certificate::Subject;
use crate::store::Store;
use crate::store::group::SnapshotData;
use bytes::Bytes;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, SinkExt, StreamExt};
use std::io;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two pieces of a snapshot.
const PIECE_TIMEOUT: Duration = Duration::from_secs(10);

/// Takes the connections of other members. Clones share it.
#[derive(Clone)]
pub struct Inbox {
    store: Store,
    outbox: Outbox,
}

type Wire = Framed<TlsStream<Ahead<TcpStream>>, LengthDelimitedCodec>;

// === impl Inbox ===

impl Inbox {
    #[must_use]
    pub fn new(store: Store, outbox: Outbox) -> Inbox {
        Inbox { store, outbox }
    }

    /// Serves a connection, whose other end has shown the certificate of `subject`, to its end.
    ///
    /// # Errors
    /// It broke, or what came is not what a member of this cluster says to this one.
    pub(crate) async fn serve(&self, stream: TlsStream<Ahead<TcpStream>>, subject: Option<&Subject>) -> io::Result<()> {
        tune(stream.get_ref().0.get_ref())?;
        let mut wire = Framed::new(stream, frame::codec());
        let hello: Hello = frame::decode(within(HELLO_TIMEOUT, wire.next()).await?)?;
        let refusal = self.refusal(&hello, subject);
        wire.send(frame::encode(&Answer { refusal: refusal.clone().unwrap_or_default() })).await?;
        if let Some(refusal) = refusal {
            tracing::warn!(from = format!("{:x}", hello.from), refusal, "a member was refused");
            return SinkExt::<Bytes>::close(&mut wire).await;
        }
        self.outbox.hear(hello.from, hello.url.clone());
        if hello.is_asking {
            return self.answer(&mut wire).await;
        }
        if hello.is_snapshot {
            return self.snapshot(&mut wire, &hello).await;
        }
        while let Some(message) = wire.next().await {
            self.take(&message?, &hello, None)?;
        }
        Ok(())
    }

    fn refusal(&self, hello: &Hello, subject: Option<&Subject>) -> Option<String> {
        let name = user_name(hello.from);
        let is_itself = subject.is_some_and(|one| one.name == name && one.groups.iter().any(|group| group == MEMBERS));
        let (cluster, member) = (self.store.cluster_id(), self.store.member_id());
        if !is_itself {
            Some(format!("the certificate is not that of member {:x}", hello.from))
        } else if hello.cluster != cluster {
            Some(format!("this is cluster {cluster:x}, and not {:x}", hello.cluster))
        } else if hello.to != member {
            Some(format!("this is member {member:x}, and not {:x}", hello.to))
        } else {
            None
        }
    }

    fn take(&self, message: &[u8], hello: &Hello, snapshot: Option<SnapshotData>) -> io::Result<()> {
        self.store.receive(hello.from, message, snapshot).map_err(|error| {
            tracing::warn!(from = format!("{:x}", hello.from), %error, "a member says what no member says");
            io::Error::new(io::ErrorKind::InvalidData, error)
        })
    }

    /// Answers what the other member asks, each question as soon as that is possible.
    async fn answer(&self, wire: &mut Wire) -> io::Result<()> {
        let mut answers = FuturesUnordered::new();
        loop {
            tokio::select! {
                frame = wire.next(), if answers.len() < QUESTIONS_MAX => {
                    let Some(frame) = frame else { return Ok(()) };
                    let asks: Asks = frame::decode(Some(frame))?;
                    answers.push(async move { Says::new(asks.number, self.store.answer(asks.question()).await) });
                }
                Some(says) = answers.next(), if !answers.is_empty() => {
                    wire.feed(frame::encode(&says)).await?;
                    while let Some(Some(says)) = answers.next().now_or_never() {
                        wire.feed(frame::encode(&says)).await?;
                    }
                    within(ANSWER_TIMEOUT, SinkExt::<Bytes>::flush(wire)).await??;
                }
            }
        }
    }

    /// A message and the files that belong to it; the group hears of it when all are on the disk.
    async fn snapshot(&self, wire: &mut Wire, hello: &Hello) -> io::Result<()> {
        let ended = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let message = within(PIECE_TIMEOUT, wire.next()).await?.ok_or_else(ended)??;
        let data = self.store.receive_snapshot()?;
        loop {
            let file: File = frame::decode(within(PIECE_TIMEOUT, wire.next()).await?)?;
            if file.name.is_empty() {
                break;
            }
            if !file.is_plain() {
                return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a file named {:?}", file.name)));
            }
            let mut to = tokio::fs::File::create_new(data.folder().join(&file.name)).await?;
            let mut left = file.bytes;
            while left > 0 {
                let piece = within(PIECE_TIMEOUT, wire.next()).await?.ok_or_else(ended)??;
                left = left.checked_sub(piece.len() as u64).ok_or(io::ErrorKind::InvalidData)?;
                to.write_all(&piece).await?;
            }
            to.flush().await?;
            to.sync_all().await?;
        }
        tokio::fs::File::open(data.folder()).await?.sync_all().await?;
        self.take(&message, hello, Some(data))?;
        wire.send(frame::encode(&Answer::default())).await?;
        SinkExt::<Bytes>::close(wire).await
    }
}

async fn within<T>(limit: Duration, act: impl Future<Output = T>) -> io::Result<T> {
    tokio::time::timeout(limit, act).await.map_err(|_| io::ErrorKind::TimedOut.into())
}
