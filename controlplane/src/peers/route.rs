//! The way to one other member: dialled when there is something to say, and again after it broke.

use super::frame::{self, Answer, File, Hello, PIECE_BYTES};
use super::{ALPN, Tls, server_name, tune};
use crate::store::Store;
use crate::store::group::{Letter, Member, SnapshotData};
use bytes::{Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use rustls_pki_types::ServerName;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

const DIAL_TIMEOUT: Duration = Duration::from_secs(3);
/// A member that takes nothing for so long is as good as away.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// Until the receiver of a snapshot has all of it on its disk.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(60);
/// Between two attempts; doubled up to the maximum.
pub(super) const WAIT_MIN: Duration = Duration::from_millis(50);
const WAIT_MAX: Duration = Duration::from_secs(1);
/// Messages that are written together.
pub(super) const TOGETHER_MAX: usize = 128;

pub(super) struct Route {
    store: Store,
    to: Member,
    /// Where this member is answered.
    url: String,
    tls: Tls,
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Messages,
    Snapshot,
    Questions,
}

pub(super) type Wire = Framed<TlsStream<TcpStream>, LengthDelimitedCodec>;

// === impl Route ===

impl Route {
    pub(super) fn new(store: Store, to: Member, url: String, tls: Tls) -> Arc<Route> {
        Arc::new(Route { store, to, url, tls })
    }

    /// Carries what comes until nobody can send any more.
    pub(super) async fn run(self: Arc<Self>, mut letters: mpsc::Receiver<Letter>) {
        let (mut wait, mut is_up) = (WAIT_MIN, true);
        while let Some(first) = letters.recv().await {
            let error = match self.dial(Purpose::Messages).await {
                Ok(mut wire) => {
                    (wait, is_up) = (WAIT_MIN, true);
                    tracing::info!(member = format!("{:x}", self.to.id), url = self.to.url, "connected to a member");
                    match self.carry(&mut wire, first, &mut letters).await {
                        Ok(()) => return,
                        Err(error) => error,
                    }
                }
                Err(error) => {
                    self.lose(first);
                    error
                }
            };
            if std::mem::take(&mut is_up) {
                let (member, url) = (format!("{:x}", self.to.id), &self.to.url);
                tracing::warn!(member, url, %error, "a member of the store cannot be reached; trying on");
            }
            self.store.unreachable(self.to.id);
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(WAIT_MAX);
            // What waited meanwhile is old, and the group has noticed.
            while let Ok(letter) = letters.try_recv() {
                self.lose(letter);
            }
        }
    }

    fn lose(&self, letter: Letter) {
        if letter.snapshot.is_some() {
            self.store.snapshot_sent(self.to.id, false);
        }
    }

    async fn carry(
        self: &Arc<Self>,
        wire: &mut Wire,
        first: Letter,
        letters: &mut mpsc::Receiver<Letter>,
    ) -> io::Result<()> {
        let mut next = Some(first);
        loop {
            let letter = match next.take() {
                Some(letter) => letter,
                None => tokio::select! {
                    letter = letters.recv() => match letter {
                        Some(letter) => letter,
                        None => return Ok(()),
                    },
                    // Nothing comes this way but the end.
                    _ = wire.next() => return Err(io::ErrorKind::ConnectionAborted.into()),
                },
            };
            let mut letter = Some(letter);
            for _ in 0..TOGETHER_MAX {
                let Some(Letter { message, snapshot, .. }) = letter.take().or_else(|| letters.try_recv().ok()) else {
                    break;
                };
                match snapshot {
                    Some(data) => drop(tokio::spawn(Arc::clone(self).send_snapshot(message, data))),
                    None => within(WRITE_TIMEOUT, wire.feed(message)).await?,
                }
            }
            within(WRITE_TIMEOUT, SinkExt::<Bytes>::flush(wire)).await?;
        }
    }

    pub(super) async fn dial(&self, purpose: Purpose) -> io::Result<Wire> {
        let to = self.to.url.strip_prefix("https://").unwrap_or(&self.to.url).trim_end_matches('/');
        let tcp = within(DIAL_TIMEOUT, TcpStream::connect(to)).await?;
        tune(&tcp)?;
        let name = ServerName::try_from(server_name(self.to.id)).map_err(io::Error::other)?;
        let stream = within(DIAL_TIMEOUT, TlsConnector::from(self.tls.load_full()).connect(name, tcp)).await?;
        if stream.get_ref().1.alpn_protocol() != Some(ALPN) {
            return Err(io::Error::other("it does not speak to members"));
        }
        let mut wire = Framed::new(stream, frame::codec());
        let (cluster, from) = (self.store.cluster_id(), self.store.member_id());
        let (is_snapshot, is_asking) = (purpose == Purpose::Snapshot, purpose == Purpose::Questions);
        let hello = Hello { cluster, from, to: self.to.id, is_snapshot, url: self.url.clone(), is_asking };
        within(DIAL_TIMEOUT, wire.send(frame::encode(&hello))).await?;
        frame::decode::<Answer>(within(DIAL_TIMEOUT, async { Ok(wire.next().await) }).await?)?.check()?;
        Ok(wire)
    }

    async fn send_snapshot(self: Arc<Self>, message: Bytes, data: SnapshotData) {
        let member = format!("{:x}", self.to.id);
        let sent = self.snapshot(message, data.folder()).await;
        match &sent {
            Ok(bytes) => tracing::info!(member, bytes, "a snapshot was sent to a member"),
            Err(error) => tracing::warn!(member, %error, "a snapshot did not reach a member"),
        }
        self.store.snapshot_sent(self.to.id, sent.is_ok());
    }

    async fn snapshot(&self, message: Bytes, folder: &Path) -> io::Result<u64> {
        let mut wire = self.dial(Purpose::Snapshot).await?;
        within(WRITE_TIMEOUT, wire.send(message)).await?;
        let mut files = tokio::fs::read_dir(folder).await?;
        let mut sent = 0;
        while let Some(entry) = files.next_entry().await? {
            let mut file = tokio::fs::File::open(entry.path()).await?;
            let (name, bytes) = (entry.file_name().to_string_lossy().into_owned(), file.metadata().await?.len());
            within(WRITE_TIMEOUT, wire.feed(frame::encode(&File { name, bytes }))).await?;
            let mut left = bytes;
            while left > 0 {
                let mut piece = BytesMut::zeroed(usize::try_from(left).unwrap_or(usize::MAX).min(PIECE_BYTES));
                file.read_exact(&mut piece).await?;
                left -= piece.len() as u64;
                within(WRITE_TIMEOUT, wire.send(piece.freeze())).await?;
            }
            sent += bytes;
        }
        within(WRITE_TIMEOUT, wire.send(frame::encode(&File::default()))).await?;
        let answer = within(INSTALL_TIMEOUT, async { Ok(wire.next().await) }).await?;
        frame::decode::<Answer>(answer)?.check()?;
        Ok(sent)
    }
}

pub(super) async fn within<T>(limit: Duration, act: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(limit, act).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
