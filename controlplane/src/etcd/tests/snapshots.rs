//! Snapshots: whole, without the cluster's keys, and without a trace when nobody wants them any more.

use super::*;
use crate::etcd::snapshot::SNAPSHOTS_MAX;
use crate::store::archive;

impl Client {
    async fn snapshot(&self) -> Result<Streaming<SnapshotResponse>, Status> {
        let mut grpc = Grpc::new(Direct(self.face.clone()));
        let codec = Prost::<Empty, SnapshotResponse>::new();
        let answers = grpc.server_streaming(Request::new(Empty {}), path("Maintenance/Snapshot"), codec).await;
        answers.map(tonic::Response::into_inner)
    }

    /// More than waits on the way to a client that does not read.
    async fn fill(&self) {
        for index in 0..12 {
            let value: Vec<u8> = (0..1 << 20).map(|_| rand::random()).collect();
            let key = bytes(&format!("k{index}"));
            let _: PutResponse =
                self.ask("KV/Put", PutRequest { key, value: value.into(), ..PutRequest::default() }).await.unwrap();
        }
    }

    /// Waits until no snapshot is under way, and counts what they have left in the store's folder.
    async fn left_over(&self) -> usize {
        let all = u32::try_from(SNAPSHOTS_MAX).unwrap();
        drop(self.face.snapshots.acquire_many(all).await.unwrap());
        let names = std::fs::read_dir(self._dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().starts_with("image-")).count()
    }
}

#[tokio::test]
async fn a_snapshot_is_restored_from_its_pieces() {
    let client = Client::new();
    client.put("a", "1").await;
    client.fill().await;
    let mut pieces = client.snapshot().await.unwrap();
    client.put("later", "1").await;
    let first = pieces.message().await.unwrap().unwrap();
    assert_eq!(first.header.unwrap().revision, 14);
    let (mut whole, mut remaining) = (first.blob.to_vec(), first.remaining_bytes);
    while let Some(piece) = pieces.message().await.unwrap() {
        assert!(piece.blob.len() <= 256 << 10, "{}", piece.blob.len());
        assert!(piece.remaining_bytes < remaining || piece.remaining_bytes == 0);
        remaining = piece.remaining_bytes;
        whole.extend_from_slice(&piece.blob);
    }
    assert_eq!(remaining, 0);
    // etcdctl takes it for whole by its length, and says so if it is not.
    assert_eq!(whole.len() % 512, 32);
    let folder = tempfile::tempdir().unwrap();
    let (file, to) = (folder.path().join("file"), folder.path().join("to"));
    std::fs::write(&file, whole).unwrap();
    let (manifest, beside) = archive::restore(&file, &to, 0).unwrap();
    assert_eq!((manifest.revision, manifest.keys), (14, 13));
    assert!(beside.is_empty(), "no keys of the cluster go to a client of etcd: {:?}", beside.keys());
    assert_eq!(client.left_over().await, 0);
}

#[tokio::test]
async fn a_client_that_leaves_leaves_nothing_behind() {
    let client = Client::new();
    client.fill().await;
    let mut under_way = Vec::new();
    for _ in 0..SNAPSHOTS_MAX {
        let mut pieces = client.snapshot().await.unwrap();
        pieces.message().await.unwrap().unwrap();
        under_way.push(pieces);
    }
    let refused = client.snapshot().await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    drop(under_way);
    assert_eq!(client.left_over().await, 0);
    assert!(client.snapshot().await.is_ok());
}

#[tokio::test]
async fn a_stop_ends_a_snapshot_with_an_error() {
    let client = Client::new();
    client.fill().await;
    let mut pieces = client.snapshot().await.unwrap();
    pieces.message().await.unwrap().unwrap();
    client.face.stop.cancel();
    let ended = loop {
        match pieces.message().await {
            Ok(Some(_)) => {}
            ended => break ended,
        }
    };
    is_refused(ended, Code::Unavailable, "etcdserver: server stopped");
}
