//! What a connection hears, read from the socket in large pieces.
//!
//! The HTTP/2 library asks for eight kilobytes at a time, and the TLS library for four. Each time that a socket gives some
//! away, the system tells the sender how much room there is again, which on the way through its whole stack takes longer
//! than to copy them. So all that is there is read at once, and handed out in pieces as large as they are asked for.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is read in one go.
const AHEAD_BYTES: usize = 128 * 1024;

thread_local! {
    /// Of whoever needs it next: a connection mostly hands out all it has read before it waits.
    static SPARE: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// A stream that is read ahead. Writes pass through.
pub(crate) struct Ahead<S> {
    stream: S,
    held: Option<Held>,
}

/// Bytes that were read, of which some are to be handed out.
struct Held {
    bytes: Box<[u8]>,
    begin: usize,
    end: usize,
}

// === impl Ahead ===

impl<S> Ahead<S> {
    pub(crate) fn new(stream: S) -> Ahead<S> {
        Ahead { stream, held: None }
    }

    pub(crate) fn get_ref(&self) -> &S {
        &self.stream
    }
}

fn spare() -> Box<[u8]> {
    SPARE.take().unwrap_or_else(|| vec![0; AHEAD_BYTES].into())
}

impl<S: AsyncRead + Unpin> AsyncRead for Ahead<S> {
    fn poll_read(self: Pin<&mut Self>, ctx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let mut held = match this.held.take() {
            Some(held) => held,
            None => {
                let mut bytes = spare();
                let mut read = ReadBuf::new(&mut bytes);
                let polled = Pin::new(&mut this.stream).poll_read(ctx, &mut read);
                let end = read.filled().len();
                if end == 0 {
                    SPARE.set(Some(bytes));
                    ready!(polled)?;
                    return Poll::Ready(Ok(()));
                }
                Held { bytes, begin: 0, end }
            }
        };
        let length = to.remaining().min(held.end - held.begin);
        to.put_slice(&held.bytes[held.begin..held.begin + length]);
        held.begin += length;
        match held.begin < held.end {
            true => this.held = Some(held),
            false => SPARE.set(Some(held.bytes)),
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Ahead<S> {
    fn poll_write(self: Pin<&mut Self>, ctx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(ctx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(ctx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(ctx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(ctx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn what_was_read_at_once_is_handed_out_in_pieces() {
        let (mut far, near) = tokio::io::duplex(3 * AHEAD_BYTES);
        let mut ahead = Ahead::new(near);
        let sent: Vec<u8> = (0..=250).cycle().take(2 * AHEAD_BYTES + 5).collect();
        far.write_all(&sent).await.unwrap();
        let mut first = [0; 3];
        ahead.read_exact(&mut first).await.unwrap();
        assert_eq!(first, sent[..3]);
        assert!(SPARE.take().is_none() && ahead.held.is_some(), "the rest is held");
        let mut rest = vec![0; sent.len() - 3];
        ahead.read_exact(&mut rest).await.unwrap();
        assert_eq!(rest, sent[3..]);
        assert!(ahead.held.is_none() && SPARE.take().is_some(), "nothing is held for nothing");
        ahead.write_all(b"answer").await.unwrap();
        far.shutdown().await.unwrap();
        assert_eq!(ahead.read(&mut first).await.unwrap(), 0, "the end is told");
        let mut answer = [0; 6];
        far.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"answer");
    }

    #[tokio::test]
    async fn who_waits_holds_no_memory() {
        let (mut far, near) = tokio::io::duplex(16);
        let mut ahead = Ahead::new(near);
        let mut byte = [0];
        assert!(futures::poll!(std::pin::pin!(ahead.read(&mut byte))).is_pending());
        assert!(ahead.held.is_none());
        far.write_all(b"x").await.unwrap();
        assert_eq!(ahead.read(&mut byte).await.unwrap(), 1);
    }
}
