//! What a connection says, held until its task has nothing to add.
//!
//! The HTTP/2 library hands over each larger frame by itself, and asks for it to be sent at once. A write to a socket
//! takes more time than most answers do; so all frames of one turn of the task leave together, in as few writes as
//! they fit into.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// With so much held, it is sent before more is taken; if it cannot be sent, nothing more is taken.
const HELD_BYTES_MAX: usize = 64 * 1024;

thread_local! {
    /// Of whoever needs it next: most connections hold nothing between two turns.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A stream whose output is held until [`Cork::poll_release`]. Clones share it.
pub(super) struct Cork<S>(Arc<Mutex<Held<S>>>);

struct Held<S> {
    stream: S,
    bytes: Vec<u8>,
    /// How many of them were sent.
    sent: usize,
    /// Why nothing more can be sent.
    failure: Option<io::ErrorKind>,
}

// === impl Cork ===

impl<S: AsyncWrite + Unpin> Cork<S> {
    pub(super) fn new(stream: S) -> Cork<S> {
        Cork(Arc::new(Mutex::new(Held { stream, bytes: Vec::new(), sent: 0, failure: None })))
    }

    /// Sends what is held. An error comes again when the stream is used next.
    pub(super) fn poll_release(&self, ctx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.lock().poll_release(ctx)
    }
}

impl<S> Clone for Cork<S> {
    fn clone(&self) -> Cork<S> {
        Cork(Arc::clone(&self.0))
    }
}

// === impl Held ===

impl<S: AsyncWrite + Unpin> Held<S> {
    fn poll_release(&mut self, ctx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.bytes.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let sent = ready!(self.poll_send(ctx));
        self.failure = sent.as_ref().err().map(io::Error::kind);
        self.bytes.clear();
        self.sent = 0;
        SPARE.set(std::mem::take(&mut self.bytes));
        Poll::Ready(sent)
    }

    fn poll_send(&mut self, ctx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.bytes.len() {
            match ready!(Pin::new(&mut self.stream).poll_write(ctx, &self.bytes[self.sent..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.sent += sent,
            }
        }
        Pin::new(&mut self.stream).poll_flush(ctx)
    }

    fn check(&self) -> io::Result<()> {
        self.failure.map_or(Ok(()), |kind| Err(kind.into()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Cork<S> {
    fn poll_read(self: Pin<&mut Self>, ctx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut held = self.0.lock();
        held.check()?;
        Pin::new(&mut held.stream).poll_read(ctx, to)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Cork<S> {
    fn poll_write(self: Pin<&mut Self>, ctx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut held = self.0.lock();
        if held.bytes.len() >= HELD_BYTES_MAX {
            ready!(held.poll_release(ctx))?;
        }
        held.check()?;
        if held.bytes.capacity() == 0 {
            held.bytes = SPARE.take();
        }
        held.bytes.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    /// Done by whoever releases it.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.lock().check())
    }

    fn poll_shutdown(self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut held = self.0.lock();
        ready!(held.poll_release(ctx))?;
        Pin::new(&mut held.stream).poll_shutdown(ctx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn output_leaves_when_it_is_released_or_too_much() {
        let (near, mut far) = tokio::io::duplex(4 * HELD_BYTES_MAX);
        let cork = Cork::new(near);
        let mut stream = cork.clone();
        for part in [b"one ".as_slice(), b"two"] {
            stream.write_all(part).await.unwrap();
            stream.flush().await.unwrap();
        }
        let mut read = [0; 7];
        assert!(futures::poll!(std::pin::pin!(far.read_exact(&mut read))).is_pending(), "it is held");
        poll_fn(|ctx| cork.poll_release(ctx)).await.unwrap();
        far.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"one two");

        stream.write_all(&[7; HELD_BYTES_MAX]).await.unwrap();
        stream.write_all(b"more").await.unwrap();
        let mut read = vec![0; HELD_BYTES_MAX];
        far.read_exact(&mut read).await.unwrap();
        stream.shutdown().await.unwrap();
        read.clear();
        far.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"more", "what is held leaves before the end");
    }

    #[tokio::test]
    async fn nothing_is_taken_that_cannot_be_sent_and_an_error_stays() {
        let (near, far) = tokio::io::duplex(16);
        let cork = Cork::new(near);
        let mut stream = cork.clone();
        stream.write_all(&[7; HELD_BYTES_MAX]).await.unwrap();
        assert!(futures::poll!(std::pin::pin!(stream.write_all(b"more"))).is_pending());
        drop(far);
        let kind = |result: io::Result<()>| result.unwrap_err().kind();
        assert_eq!(kind(poll_fn(|ctx| cork.poll_release(ctx)).await), io::ErrorKind::BrokenPipe);
        assert_eq!(kind(stream.write_all(b"more").await), io::ErrorKind::BrokenPipe);
        assert_eq!(kind(stream.read_u8().await.map(drop)), io::ErrorKind::BrokenPipe);
    }
}
