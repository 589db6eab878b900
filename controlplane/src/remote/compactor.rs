//! Lets an etcd forget: it keeps all versions until somebody says that they are not needed.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::store::Kv;
use crate::store::kv::{Error, KeyRange, Range};

/// How long an old revision can be read and watched from; kube-apiserver's.
const WINDOW: Duration = Duration::from_secs(300);

/// Compacts what is older than the window, until it is stopped.
pub async fn run(kv: Arc<dyn Kv>, stop: CancellationToken) {
    run_with(WINDOW, kv, stop).await;
}

async fn run_with(window: Duration, kv: Arc<dyn Kv>, stop: CancellationToken) {
    let mut old = 0;
    loop {
        match kv.range(Range { count_only: true, ..Range::newest(KeyRange::key("/")) }).await {
            Ok(ranged) => {
                compact(&*kv, old).await;
                old = ranged.revision;
            }
            Err(error) => tracing::debug!(%error, "nothing is compacted"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(window) => {}
        }
    }
}

async fn compact(kv: &dyn Kv, revision: u64) {
    if revision == 0 {
        return;
    }
    match kv.compact(revision).await {
        // Somebody else was faster, or nothing was written meanwhile.
        Ok(()) | Err(Error::Compacted { .. }) => {}
        Err(error) => tracing::warn!(%error, revision, "old revisions are not compacted"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::kv::{Op, Txn};
    use crate::store::memory::Memory;

    #[tokio::test]
    async fn what_is_older_than_the_window_goes() {
        let store = Memory::new();
        let put = || store.txn(Txn { success: vec![Op::put("a", "1")], ..Txn::default() });
        let read = |revision| store.range(Range { revision, ..Range::newest(KeyRange::key("a")) });
        put().await.unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(run_with(Duration::from_millis(100), Arc::new(store.clone()), stop.clone()));
        let gone = async {
            while read(1).await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), gone).await.expect("it is compacted");
        assert_eq!(read(1).await, Err(Error::Compacted { wanted: 1, oldest: 2 }));
        let young = put().await.unwrap().revision;
        assert!(read(young - 1).await.is_ok(), "it was the newest until now");
        stop.cancel();
        task.await.unwrap();
    }
}
