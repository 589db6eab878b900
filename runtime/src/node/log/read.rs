//! Reading a container's log: the last lines, those since a time, and those still to come.

use super::{FILES_MAX, Log, Logs, Position, Whose, attempt_path, attempts, part_path};
use api::time::Timestamp;
use bytes::Bytes;
use futures::Stream;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Pieces that wait for a slow reader; then reading waits too.
const PIECES_MAX: usize = 16;

/// As kubectl asks: all of them narrow what is sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::node) struct Options {
    pub(in crate::node) follow: bool,
    pub(in crate::node) previous: bool,
    pub(in crate::node) timestamps: bool,
    pub(in crate::node) tail_lines: Option<usize>,
    pub(in crate::node) since: Option<Timestamp>,
    pub(in crate::node) limit_bytes: Option<usize>,
}

/// Turns stored lines into sent ones.
struct Lines {
    options: Options,
    /// What may still be sent.
    left: usize,
    out: Vec<u8>,
}

// === impl Logs ===

impl Logs {
    /// The log as pieces; `None` if there is no such attempt.
    pub(in crate::node) fn read(
        &self,
        whose: Whose<'_>,
        options: Options,
    ) -> Option<impl Stream<Item = Bytes> + Send + use<>> {
        let dir = self.container_dir(whose);
        let all = attempts(&dir);
        let last = *all.last()?;
        let attempt = if options.previous { *all.iter().rev().nth(1)? } else { last };
        let path = attempt_path(&dir, attempt);
        let log = self.open.lock().get(&path).cloned();
        let (tx, rx) = mpsc::channel(PIECES_MAX);
        tokio::spawn(async move {
            // A reader that goes away ends this through the closed channel.
            let _ = send(path, log, options, tx).await;
        });
        Some(tokio_stream(rx))
    }
}

fn tokio_stream(mut rx: mpsc::Receiver<Bytes>) -> impl Stream<Item = Bytes> + Send {
    futures::stream::poll_fn(move |cx| rx.poll_recv(cx))
}

async fn send(path: PathBuf, log: Option<Arc<Log>>, options: Options, tx: mpsc::Sender<Bytes>) -> io::Result<()> {
    let mut written = log.as_ref().map(|log| log.written.subscribe());
    // What is written from here on is the follower's; what was before is read now.
    let mut position = written.as_mut().map_or(Position::default(), |written| *written.borrow_and_update());
    let follow = options.follow && log.is_some();
    let begin = path.clone();
    let upto = log.is_some().then_some(position.bytes);
    let (mut lines, pieces, mut file) = blocking(move || history(&begin, options, upto)).await?;
    for piece in pieces {
        if tx.send(piece).await.is_err() {
            return Ok(());
        }
    }
    let Some(written) = written.as_mut().filter(|_| follow) else { return Ok(()) };
    let mut read = position.bytes;
    loop {
        let now = *written.borrow_and_update();
        let (open, bytes, rotated) = (file, now.bytes, now.rotations != position.rotations);
        let path = path.clone();
        let (back, new_file, at, piece) = blocking(move || more(lines, open, read, bytes, rotated, &path)).await?;
        (lines, file, read, position) = (back, new_file, at, now);
        if !piece.is_empty() && tx.send(piece).await.is_err() {
            return Ok(());
        }
        if now.is_closed || lines.left == 0 {
            return Ok(());
        }
        tokio::select! {
            changed = written.changed() => if changed.is_err() { return Ok(()) },
            () = tx.closed() => return Ok(()),
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// Everything up to now, newest part first until the tail is full.
fn history(path: &PathBuf, options: Options, upto: Option<u64>) -> io::Result<(Lines, Vec<Bytes>, Option<File>)> {
    let tail = options.tail_lines.unwrap_or(usize::MAX);
    let mut kept: VecDeque<Vec<u8>> = VecDeque::new();
    for part in 0..FILES_MAX {
        let file = match File::open(part_path(path, part)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        };
        let limit = if part == 0 { upto.unwrap_or(u64::MAX) } else { u64::MAX };
        let mut here: VecDeque<Vec<u8>> = VecDeque::new();
        for line in BufReader::new(file.take(limit)).split(b'\n') {
            here.push_back(line?);
            if here.len() > tail - kept.len() {
                here.pop_front();
            }
        }
        here.append(&mut kept);
        kept = here;
        if kept.len() >= tail {
            break;
        }
    }
    let mut lines = Lines { left: options.limit_bytes.unwrap_or(usize::MAX), options, out: Vec::new() };
    let mut pieces = Vec::new();
    for line in kept {
        lines.put(&line);
        if lines.out.len() > 64 << 10 {
            pieces.push(lines.take());
        }
    }
    pieces.push(lines.take());
    pieces.retain(|piece| !piece.is_empty());
    Ok((lines, pieces, File::open(path).ok()))
}

/// What has come since. After a rotation, the rest of the old file comes first.
fn more(
    mut lines: Lines,
    file: Option<File>,
    from: u64,
    upto: u64,
    rotated: bool,
    path: &PathBuf,
) -> io::Result<(Lines, Option<File>, u64, Bytes)> {
    let (mut file, mut from) = (file, from);
    if rotated {
        if let Some(old) = &mut file {
            lines.copy(old, from, u64::MAX)?;
        }
        file = File::open(path).ok();
        from = 0;
    }
    if let Some(file) = &mut file {
        lines.copy(file, from, upto.saturating_sub(from))?;
    }
    let piece = lines.take();
    Ok((lines, file, upto, piece))
}

// === impl Lines ===

impl Lines {
    fn copy(&mut self, file: &mut File, from: u64, bytes: u64) -> io::Result<()> {
        file.seek(SeekFrom::Start(from))?;
        for line in BufReader::new(file.take(bytes)).split(b'\n') {
            self.put(&line?);
        }
        Ok(())
    }

    /// One stored line, `TIME STREAM TAG TEXT`.
    fn put(&mut self, line: &[u8]) {
        let mut parts = line.splitn(4, |byte| *byte == b' ');
        let (Some(at), Some(_), Some(tag), Some(text)) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return;
        };
        let is_old = |since: Timestamp| {
            let at = std::str::from_utf8(at).ok().and_then(api::time::parse);
            at.is_none_or(|at| at < since)
        };
        if self.options.since.is_some_and(is_old) {
            return;
        }
        if self.options.timestamps {
            self.push(at);
            self.push(b" ");
        }
        self.push(text);
        if tag == b"F" {
            self.push(b"\n");
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        let bytes = &bytes[..bytes.len().min(self.left)];
        self.left -= bytes.len();
        self.out.extend_from_slice(bytes);
    }

    fn take(&mut self) -> Bytes {
        Bytes::from(std::mem::take(&mut self.out))
    }
}
