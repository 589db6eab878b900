//! The snapshot of the Maintenance service: the data as our own archive, in pieces.
//!
//! The archive holds what a client of this port can read anyway, and nothing else. The keys of the cluster, which
//! `coracle snapshot save` puts beside the data, are not for everybody who reaches an etcd.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, stream};
use tokio::sync::mpsc::Receiver;
use tokio::task::{JoinHandle, spawn_blocking};
use tonic::Status;

use super::wire::{Empty, ResponseHeader, SnapshotResponse};
use super::{Face, refusal};
use crate::pieces;
use crate::store::archive::{self, Manifest};

/// At a time: each keeps files on the disk that compaction would remove.
pub(super) const SNAPSHOTS_MAX: usize = 4;

/// A snapshot on its way to a client.
struct Sending {
    face: Arc<Face>,
    /// Goes with the first piece, and tells the revision.
    header: Option<ResponseHeader>,
    pieces: Receiver<Bytes>,
    /// Of the archive, without the checksum that ends it.
    remaining_bytes: u64,
    writing: JoinHandle<Result<Manifest, archive::Error>>,
}

pub(super) async fn snapshot(
    face: Arc<Face>,
    _: Empty,
) -> Result<impl Stream<Item = Result<SnapshotResponse, Status>>, Status> {
    let place = Arc::clone(&face.snapshots).try_acquire_owned().map_err(|_| refusal::too_many_snapshots())?;
    let store = face.store.clone();
    let taken = spawn_blocking(move || store.take_snapshot(&BTreeMap::new())).await;
    let taken = taken.map_err(broken)?.map_err(broken)?;
    let (header, remaining_bytes) = (face.header(taken.revision()), taken.bytes());
    let (to, pieces) = pieces::channel();
    // It ends when the client is gone, and gives back what it holds of the disk.
    let writing = spawn_blocking(move || {
        let _place = place;
        taken.write(to)
    });
    let sending = Sending { face, header, pieces, remaining_bytes, writing };
    Ok(stream::unfold(Some(sending), async |sending| {
        let mut sending = sending?;
        let next = sending.next().await?;
        let goes_on = next.is_ok().then_some(sending);
        Some((next, goes_on))
    }))
}

// === impl Sending ===

impl Sending {
    async fn next(&mut self) -> Option<Result<SnapshotResponse, Status>> {
        let piece = tokio::select! {
            piece = self.pieces.recv() => piece,
            () = self.face.stop.cancelled() => return Some(Err(refusal::stopped())),
        };
        if let Some(blob) = piece {
            self.remaining_bytes = self.remaining_bytes.saturating_sub(blob.len() as u64);
            let remaining_bytes = self.remaining_bytes;
            return Some(Ok(SnapshotResponse { header: self.header.take(), remaining_bytes, blob }));
        }
        match (&mut self.writing).await.map_err(broken) {
            Ok(Ok(manifest)) => {
                tracing::info!(revision = manifest.revision, keys = manifest.keys, "a snapshot was fetched");
                None
            }
            Ok(Err(error)) => Some(Err(broken(error))),
            Err(status) => Some(Err(status)),
        }
    }
}

/// What was sent until then is of no use, and the client is told.
fn broken(error: impl std::error::Error + 'static) -> Status {
    tracing::warn!(error = &error as &dyn std::error::Error, "a snapshot broke off");
    Status::internal(format!("etcdserver: the snapshot broke off: {error}"))
}
