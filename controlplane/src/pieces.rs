//! What a thread writes and a client takes: the thread waits for a client that is slow, and not for one that stands
//! still.

use bytes::Bytes;
use std::io::{self, ErrorKind, Write};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio::sync::mpsc::{Receiver, Sender, channel as bounded};

/// Pieces that wait for the client.
const PIECES_MAX: usize = 16;
/// A client that takes nothing for so long is given up: what is written to it may hold a lot of the disk.
const STALLED_MAX: Duration = Duration::from_secs(60);

/// Where the thread writes; one of those that may block, of a runtime.
pub(crate) struct Pieces {
    to: Sender<Bytes>,
    stalled_max: Duration,
}

pub(crate) fn channel() -> (Pieces, Receiver<Bytes>) {
    let (to, taken) = bounded(PIECES_MAX);
    (Pieces { to, stalled_max: STALLED_MAX }, taken)
}

// === impl Pieces ===

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.to.send_timeout(Bytes::copy_from_slice(bytes), self.stalled_max);
        match Handle::current().block_on(sent) {
            Ok(()) => Ok(bytes.len()),
            Err(SendTimeoutError::Timeout(_)) => Err(io::Error::new(ErrorKind::TimedOut, "the client takes nothing")),
            Err(SendTimeoutError::Closed(_)) => Err(io::Error::new(ErrorKind::BrokenPipe, "the client is gone")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes more than may wait, to a client that takes the first piece alone, or leaves.
    async fn written(leaves: bool) -> io::Result<()> {
        let (mut pieces, mut taken) = channel();
        pieces.stalled_max = Duration::from_millis(50);
        let writing =
            tokio::task::spawn_blocking(move || (0..=PIECES_MAX + 1).try_for_each(|_| pieces.write_all(b"a")));
        assert_eq!(taken.recv().await.as_deref(), Some(b"a".as_slice()));
        let kept = (!leaves).then_some(taken);
        let written = writing.await.unwrap();
        drop(kept);
        written
    }

    #[tokio::test]
    async fn a_client_that_leaves_or_stands_still_ends_the_writing() {
        assert_eq!(written(true).await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        assert_eq!(written(false).await.unwrap_err().kind(), ErrorKind::TimedOut);
    }
}
