//! A connection whose first request may come with an `:authority` that is none.
//!
//! etcd's clients up to 3.4 dial a member by its URL, `http://127.0.0.1:2379`, for what concerns that member alone
//! (`endpoint status`, `endpoint hashkv`, `defrag`), and send the URL as the authority of each request. That is not
//! allowed in HTTP, and the HTTP/2 library resets the stream before anybody here sees it. So the value is overwritten
//! on its way in, once: later requests of a connection refer to the first one's. Nothing is routed by it.
//!
//! The new value takes as many bytes as the old one did on the wire, so no length changes. It may be shorter than the
//! old one was before compression; then the tables of the two sides differ in size, and the one here forgets its
//! entries no sooner than the client does, which never asks for more.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const PREFACE_BYTES: usize = 24;
const FRAME_HEAD_BYTES: usize = 9;
/// The largest frame before another size is agreed on, and room for its head.
const HELD_BYTES_MAX: usize = 16_384 + FRAME_HEAD_BYTES;
const HEADERS: u8 = 1;
const FLAG_PADDED: u8 = 0x8;
const FLAG_PRIORITY: u8 = 0x20;
const PRIORITY_BYTES: usize = 5;
/// The place of `:authority` among the names that are known to both sides from the start.
const AUTHORITY: usize = 1;

/// Passes everything on, but for the value of the first `:authority`.
pub(super) struct Tolerant<S> {
    stream: S,
    /// Read, and not looked at yet.
    held: Vec<u8>,
    /// Looked at, and to be handed out.
    ready: Vec<u8>,
    looks_at: Part,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// What each connection begins with; a frame comes next.
    Preface,
    /// Frames until the first with headers.
    Frame,
    /// The rest.
    Nothing,
}

// === impl Tolerant ===

impl<S> Tolerant<S> {
    pub(super) fn new(stream: S) -> Tolerant<S> {
        Tolerant { stream, held: Vec::new(), ready: Vec::new(), looks_at: Part::Preface }
    }

    /// Looks at what is held, and hands out what is complete.
    fn look(&mut self) {
        loop {
            let (length, next) = match self.looks_at {
                Part::Nothing => (self.held.len(), Part::Nothing),
                Part::Preface => (PREFACE_BYTES, Part::Frame),
                Part::Frame => match self.held[..] {
                    [a, b, c, kind, ..] => {
                        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                        let next = if kind == HEADERS { Part::Nothing } else { Part::Frame };
                        (length + FRAME_HEAD_BYTES, next)
                    }
                    _ => return,
                },
            };
            if length > HELD_BYTES_MAX {
                // Not what this is about; the library knows what to say.
                self.looks_at = Part::Nothing;
                continue;
            }
            if self.held.is_empty() || self.held.len() < length {
                return;
            }
            if self.looks_at == Part::Frame && next == Part::Nothing {
                overwrite(&mut self.held[..length]);
            }
            self.ready.extend(self.held.drain(..length));
            self.looks_at = next;
        }
    }
}

/// Replaces the authority in a whole frame with headers, if it is there as it usually is.
fn overwrite(frame: &mut [u8]) -> Option<()> {
    let flags = *frame.get(4)?;
    let mut at = FRAME_HEAD_BYTES;
    at += usize::from(flags & FLAG_PADDED != 0);
    at += if flags & FLAG_PRIORITY != 0 { PRIORITY_BYTES } else { 0 };
    loop {
        let first = *frame.get(at)?;
        // Known as a whole, a change of the table's size, a value that is kept, or one that is not.
        let (bits, has_value) = match first {
            0x80.. => (7, false),
            0x40.. => (6, true),
            0x20.. => (5, false),
            _ => (4, true),
        };
        let (name, after) = number(frame, at, bits)?;
        at = after;
        if !has_value {
            continue;
        }
        if name == 0 {
            let (length, after) = number(frame, at, 7)?;
            at = after.checked_add(length)?;
        }
        let begins = at;
        let (length, after) = number(frame, at, 7)?;
        at = after.checked_add(length)?;
        if name == AUTHORITY {
            frame.get_mut(after..at)?.fill(b'x');
            // The value is not compressed any more.
            *frame.get_mut(begins)? &= 0x7f;
            return Some(());
        }
    }
}

/// A number that begins in the last bits of a byte, and where it ends.
fn number(bytes: &[u8], at: usize, bits: u32) -> Option<(usize, usize)> {
    let most = (1_usize << bits) - 1;
    let mut value = usize::from(*bytes.get(at)?) & most;
    let mut at = at + 1;
    if value < most {
        return Some((value, at));
    }
    for shift in [0, 7, 14] {
        let byte = usize::from(*bytes.get(at)?);
        at += 1;
        value += (byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some((value, at));
        }
    }
    None
}

impl<S: AsyncRead + Unpin> AsyncRead for Tolerant<S> {
    fn poll_read(self: Pin<&mut Self>, ctx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.ready.is_empty() {
            if this.looks_at == Part::Nothing && this.held.is_empty() {
                return Pin::new(&mut this.stream).poll_read(ctx, to);
            }
            let mut bytes = [0; 4096];
            let mut read = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut this.stream).poll_read(ctx, &mut read))?;
            if read.filled().is_empty() {
                // The end; what is left is nobody's request.
                this.looks_at = Part::Nothing;
                this.ready.append(&mut this.held);
                break;
            }
            this.held.extend_from_slice(read.filled());
            this.look();
        }
        let length = this.ready.len().min(to.remaining());
        to.put_slice(&this.ready[..length]);
        this.ready.drain(..length);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tolerant<S> {
    fn poll_write(self: Pin<&mut Self>, ctx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(ctx, bytes)
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

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        let mut frame = vec![0, 0, length, kind, flags, 0, 0, 0, 1];
        frame.extend_from_slice(payload);
        frame
    }

    /// A known field, a path, the authority, and something after it.
    fn headers(authority: &[u8]) -> Vec<u8> {
        let length = u8::try_from(authority.len()).unwrap();
        [&[0x83, 0x44, 2, b'/', b'p', 0x41, length][..], authority, &[0x40, 1, b'a', 1, b'b']].concat()
    }

    /// What comes out, however small the pieces that go in.
    async fn passed(bytes: &[u8]) -> Vec<u8> {
        let mut outcomes = Vec::new();
        for size in [1, 7, bytes.len()] {
            let (mut client, server) = tokio::io::duplex(64);
            let mut server = Tolerant::new(server);
            let write = async {
                for piece in bytes.chunks(size) {
                    client.write_all(piece).await.unwrap();
                }
                drop(client);
            };
            let mut read = Vec::new();
            let (_, done) = tokio::join!(write, server.read_to_end(&mut read));
            done.unwrap();
            outcomes.push(read);
        }
        assert!(outcomes.iter().all(|outcome| *outcome == outcomes[0]));
        outcomes.swap_remove(0)
    }

    #[tokio::test]
    async fn the_first_authority_is_overwritten_and_nothing_else() {
        let (preface, settings) = (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, &[0; 6]));
        let later = frame(HEADERS, 4, &headers(b"http://later"));
        for (flags, before) in [(4, &[][..]), (4 | FLAG_PRIORITY, &[0; 5]), (4 | FLAG_PADDED, &[0])] {
            let connection = |authority: &[u8]| {
                let first = frame(HEADERS, flags, &[before, &headers(authority)].concat());
                [preface.clone(), settings.clone(), first, later.clone()].concat()
            };
            assert_eq!(passed(&connection(b"http://a")).await, connection(b"xxxxxxxx"));
        }
    }

    #[tokio::test]
    async fn what_is_no_such_frame_passes() {
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        let odd = [
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            b"short".to_vec(),
            [preface.clone(), vec![0xff; 40]].concat(),
            [preface.clone(), frame(HEADERS, 4, &[0x41, 200, b'a'])].concat(),
            [preface.clone(), frame(HEADERS, 4, &[0x7f, 0xff, 0xff, 0xff, 0xff])].concat(),
            [preface, frame(HEADERS, 4, &[])].concat(),
        ];
        for bytes in odd {
            assert_eq!(passed(&bytes).await, bytes);
        }
    }
}
