//! What containers print: one file for each attempt, in the CRI format, rotated by size, read as kubectl asks.
//!
//! `LOGS/NAMESPACE_POD_UID/CONTAINER/ATTEMPT.log`, older parts as `ATTEMPT.log.1` and up. The last two attempts stay.

mod read;

pub(super) use read::Options;

use api::time::Timestamp;
use client::Clock;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::watch;

/// A file is rotated at this size, and so many parts are kept (kubelet's containerLogMaxSize and MaxFiles).
const FILE_BYTES_MAX: u64 = 10 << 20;
const FILES_MAX: u32 = 5;
/// A longer line is written in parts, as CRI runtimes do.
const LINE_BYTES_MAX: usize = 16 << 10;

/// All logs of the node. Cheap to clone.
#[derive(Clone)]
pub(super) struct Logs {
    dir: PathBuf,
    clock: Clock,
    open: Arc<Mutex<HashMap<PathBuf, Arc<Log>>>>,
}

/// The log of one attempt of one container, while it runs.
struct Log {
    path: PathBuf,
    clock: Clock,
    file: Mutex<Open>,
    /// Changes with every line; closed when the container has ended.
    written: watch::Sender<Position>,
}

struct Open {
    file: Option<File>,
    bytes: u64,
}

/// How far a log has come: followers go on from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Position {
    rotations: u64,
    bytes: u64,
    is_closed: bool,
}

/// One stream of one container.
#[derive(Clone)]
pub struct Writer {
    log: Arc<Log>,
    stream: &'static str,
    /// The beginning of a line that has not ended.
    rest: Arc<Mutex<Vec<u8>>>,
}

/// Whose log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whose<'a> {
    pub(super) namespace: &'a str,
    pub(super) pod: &'a str,
    pub(super) uid: &'a str,
    pub(super) container: &'a str,
}

// === impl Logs ===

impl Logs {
    pub(super) fn new(dir: PathBuf, clock: Clock) -> Logs {
        Logs { dir, clock, open: Arc::default() }
    }

    /// Standard output and standard error of a new attempt.
    pub(super) fn create(&self, whose: Whose<'_>, attempt: u32) -> io::Result<(Writer, Writer)> {
        let dir = self.container_dir(whose);
        std::fs::create_dir_all(&dir)?;
        for old in attempts(&dir).into_iter().filter(|old| old + 1 < attempt) {
            for part in 0..FILES_MAX {
                let _ = std::fs::remove_file(part_path(&attempt_path(&dir, old), part));
            }
        }
        let path = attempt_path(&dir, attempt);
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        let bytes = file.metadata()?.len();
        let written = watch::Sender::new(Position { bytes, ..Position::default() });
        let open = Mutex::new(Open { file: Some(file), bytes });
        let log = Arc::new(Log { path: path.clone(), clock: self.clock.clone(), file: open, written });
        self.open.lock().insert(path, Arc::clone(&log));
        Ok((Writer::new(&log, "stdout"), Writer::new(&log, "stderr")))
    }

    /// The attempt has ended: followers come to the end.
    pub(super) fn close(&self, whose: Whose<'_>, attempt: u32) {
        let path = attempt_path(&self.container_dir(whose), attempt);
        if let Some(log) = self.open.lock().remove(&path) {
            log.file.lock().file = None;
            log.written.send_modify(|position| position.is_closed = true);
        }
    }

    /// The pod is forgotten.
    pub(super) fn remove(&self, namespace: &str, pod: &str, uid: &str) {
        let dir = self.dir.join(format!("{namespace}_{pod}_{uid}"));
        self.open.lock().retain(|path, _| !path.starts_with(&dir));
        match std::fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, path = %dir.display(), "a pod's logs could not be removed");
            }
            Ok(()) | Err(_) => {}
        }
    }

    fn container_dir(&self, whose: Whose<'_>) -> PathBuf {
        let Whose { namespace, pod, uid, container } = whose;
        self.dir.join(format!("{namespace}_{pod}_{uid}")).join(container)
    }
}

// === impl Log ===

impl Log {
    fn write(&self, stream: &str, tag: &str, text: &[u8]) {
        let mut line = line_head(self.clock.now(), stream, tag).into_bytes();
        line.extend_from_slice(text);
        line.push(b'\n');
        let mut open = self.file.lock();
        let mut rotated = 0;
        if open.bytes > 0 && open.bytes + line.len() as u64 > FILE_BYTES_MAX {
            match rotate(&self.path) {
                Ok(file) => {
                    *open = Open { file: Some(file), bytes: 0 };
                    rotated = 1;
                }
                Err(error) => tracing::warn!(%error, "a container's log could not be rotated"),
            }
        }
        let Some(file) = &mut open.file else { return };
        if let Err(error) = file.write_all(&line) {
            // A full disk must not stop the container; the line is lost.
            tracing::debug!(%error, "a container's log could not be written");
            return;
        }
        open.bytes += line.len() as u64;
        let bytes = open.bytes;
        self.written.send_modify(|position| {
            position.rotations += rotated;
            position.bytes = bytes;
        });
    }
}

// === impl Writer ===

impl Writer {
    fn new(log: &Arc<Log>, stream: &'static str) -> Writer {
        Writer { log: Arc::clone(log), stream, rest: Arc::default() }
    }

    /// Takes what the container printed, in whatever pieces.
    pub fn write(&self, bytes: &[u8]) {
        let mut rest = self.rest.lock();
        rest.extend_from_slice(bytes);
        let mut done = 0;
        while let Some(length) = rest[done..].iter().position(|byte| *byte == b'\n') {
            let mut line = &rest[done..done + length];
            while line.len() > LINE_BYTES_MAX {
                self.log.write(self.stream, "P", &line[..LINE_BYTES_MAX]);
                line = &line[LINE_BYTES_MAX..];
            }
            self.log.write(self.stream, "F", line);
            done += length + 1;
        }
        while rest.len() - done > LINE_BYTES_MAX {
            self.log.write(self.stream, "P", &rest[done..done + LINE_BYTES_MAX]);
            done += LINE_BYTES_MAX;
        }
        rest.drain(..done);
    }

    /// Writes the beginning of a line that will not go on: the container has ended.
    pub fn finish(&self) {
        let rest = std::mem::take(&mut *self.rest.lock());
        if !rest.is_empty() {
            self.log.write(self.stream, "F", &rest);
        }
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Writer({} {})", self.log.path.display(), self.stream)
    }
}

fn line_head(at: Timestamp, stream: &str, tag: &str) -> String {
    format!("{} {stream} {tag} ", at.strftime("%Y-%m-%dT%H:%M:%S.%9fZ"))
}

fn attempt_path(dir: &Path, attempt: u32) -> PathBuf {
    dir.join(format!("{attempt}.log"))
}

/// Part 0 is the file being written.
fn part_path(path: &Path, part: u32) -> PathBuf {
    if part == 0 { path.to_owned() } else { path.with_extension(format!("log.{part}")) }
}

/// The attempts that have a log, ascending.
fn attempts(dir: &Path) -> Vec<u32> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let number = |name: &std::ffi::OsStr| name.to_str()?.strip_suffix(".log")?.parse().ok();
    let mut all: Vec<u32> = entries.filter_map(|entry| number(&entry.file_name())).collect();
    all.sort_unstable();
    all
}

fn rotate(path: &Path) -> io::Result<File> {
    for part in (0..FILES_MAX - 1).rev() {
        match std::fs::rename(part_path(path, part), part_path(path, part + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    OpenOptions::new().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests;
