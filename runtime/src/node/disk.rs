//! The node's durable memory: named values in one append-only file, each write checked, grouped and synced.
//!
//! Knows bytes and names, not pods. A torn or damaged tail is cut off at the next start; what was synced before stays.
//! What the disk does not take, because it is full or worse, is kept and written as soon as it does.

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// After a failed write the next one waits.
const RETRY: Duration = Duration::from_secs(5);
/// The file is written anew when it is this much larger than twice what it holds.
const WASTE_BYTES_MAX: u64 = 8 << 20;
const FILE: &str = "node.log";
/// `check (8) | name length (4) | value length (4, all ones: removed)`.
const HEAD_BYTES: usize = 16;
const REMOVED: u32 = u32::MAX;
/// Longer names or values are damage.
const PART_BYTES_MAX: u32 = 64 << 20;

/// Where values are written to. Cheap to clone; the last clone's end closes the file.
#[derive(Clone)]
pub(super) struct Disk(Arc<Handle>);

struct Handle(Arc<Queue>);

/// What waits for the disk: of each name the newest value alone, so that it is bounded as the names are.
#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    writes: BTreeMap<String, Option<Bytes>>,
    flushes: Vec<oneshot::Sender<()>>,
    is_closed: bool,
}

/// The file and what it holds.
struct Log {
    dir: PathBuf,
    file: File,
    live: BTreeMap<String, Bytes>,
    file_bytes: u64,
    live_bytes: u64,
    /// The file is not what it should be: a write or a sync failed, and only a new file is sure to be whole.
    is_behind: bool,
}

// === impl Disk ===

impl Disk {
    /// Opens the folder's file, and returns what it holds.
    pub(super) fn open(dir: &Path) -> io::Result<(Disk, BTreeMap<String, Bytes>)> {
        std::fs::create_dir_all(dir)?;
        let mut log = Log::open(dir)?;
        let live = log.live.clone();
        let queue = Arc::new(Queue::default());
        let from = Arc::clone(&queue);
        // A thread of its own: it waits for the disk most of its life.
        let work = move || {
            while let Some(Waiting { writes, flushes, .. }) = from.take(log.is_behind) {
                let was_behind = log.is_behind;
                match log.append(writes) {
                    Err(error) if !was_behind => {
                        tracing::error!(dir = %log.dir.display(), %error, "the node's local store cannot be written: what it \
                            misses is kept in memory and lost if the node stops now; trying again until it can be");
                    }
                    Ok(()) if was_behind => {
                        tracing::info!("the node's local store is written again, nothing is missing")
                    }
                    _ => {}
                }
                for done in flushes {
                    let _ = done.send(());
                }
            }
        };
        std::thread::Builder::new().name("node-disk".to_owned()).spawn(work)?;
        Ok((Disk(Arc::new(Handle(queue))), live))
    }

    pub(super) fn put(&self, name: String, value: Bytes) {
        self.write(name, Some(value));
    }

    pub(super) fn remove(&self, name: String) {
        self.write(name, None);
    }

    /// Resolves when everything written before is on the disk, or could not be written, which the log tells.
    pub(super) async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        self.0.0.waiting.lock().flushes.push(done);
        self.0.0.changed.notify_one();
        let _ = wait.await;
    }

    fn write(&self, name: String, value: Option<Bytes>) {
        self.0.0.waiting.lock().writes.insert(name, value);
        self.0.0.changed.notify_one();
    }
}

// === impl Handle ===

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.waiting.lock().is_closed = true;
        self.0.changed.notify_one();
    }
}

// === impl Queue ===

impl Queue {
    /// Waits for work; `None` when there will be no more. One that is to try again gets nothing to do in time.
    fn take(&self, is_to_retry: bool) -> Option<Waiting> {
        let mut waiting = self.waiting.lock();
        while waiting.writes.is_empty() && waiting.flushes.is_empty() {
            if waiting.is_closed {
                return None;
            }
            if !is_to_retry {
                self.changed.wait(&mut waiting);
            } else if self.changed.wait_for(&mut waiting, RETRY).timed_out() {
                break;
            }
        }
        let is_closed = waiting.is_closed;
        Some(Waiting { is_closed, ..std::mem::replace(&mut *waiting, Waiting { is_closed, ..Waiting::default() }) })
    }
}

// === impl Log ===

impl Log {
    fn open(dir: &Path) -> io::Result<Log> {
        let mut file = private().read(true).append(true).create(true).open(dir.join(FILE))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let bytes = Bytes::from(bytes);
        let mut live = BTreeMap::new();
        let mut at = 0;
        while let Some((name, value, end)) = record(&bytes, at) {
            match value {
                Some(value) => live.insert(name, value),
                None => live.remove(&name),
            };
            at = end;
        }
        if at < bytes.len() {
            tracing::warn!(bytes = bytes.len() - at, "the end of the node's local store was damaged and is cut off");
            file.set_len(at as u64)?;
            file.sync_all()?;
        }
        let live_bytes = live.iter().map(|(name, value)| record_bytes(name, value)).sum();
        Ok(Log { dir: dir.to_owned(), file, live, file_bytes: at as u64, live_bytes, is_behind: false })
    }

    /// Makes the writes durable, and those that failed before.
    fn append(&mut self, writes: BTreeMap<String, Option<Bytes>>) -> io::Result<()> {
        let mut batch = Vec::new();
        for (name, value) in writes {
            if self.live.get(&name) == value.as_ref() {
                continue;
            }
            encode(&mut batch, &name, value.as_ref());
            let new_bytes = value.as_ref().map_or(0, |value| record_bytes(&name, value));
            let old = match value {
                Some(value) => self.live.insert(name.clone(), value),
                None => self.live.remove(&name),
            };
            let old_bytes = old.map_or(0, |old| record_bytes(&name, &old));
            self.live_bytes = self.live_bytes + new_bytes - old_bytes;
        }
        let file_bytes = self.file_bytes + batch.len() as u64;
        if self.is_behind || file_bytes > self.live_bytes * 2 + WASTE_BYTES_MAX {
            self.is_behind = true;
            self.rewrite()?;
            self.is_behind = false;
        } else if !batch.is_empty() {
            self.is_behind = true;
            self.file.write_all(&batch)?;
            self.file.sync_data()?;
            (self.is_behind, self.file_bytes) = (false, file_bytes);
        }
        Ok(())
    }

    /// Writes what lives into a new file, which then takes the old one's place.
    fn rewrite(&mut self) -> io::Result<()> {
        let path = self.dir.join(format!("{FILE}.new"));
        let mut batch = Vec::new();
        for (name, value) in &self.live {
            encode(&mut batch, name, Some(value));
        }
        let mut file = private().write(true).create(true).truncate(true).open(&path)?;
        file.write_all(&batch)?;
        file.sync_all()?;
        std::fs::rename(&path, self.dir.join(FILE))?;
        File::open(&self.dir)?.sync_all()?;
        self.file = private().append(true).open(self.dir.join(FILE))?;
        self.file_bytes = batch.len() as u64;
        Ok(())
    }
}

/// Secrets are in it: for its owner alone.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

fn record_bytes(name: &str, value: &Bytes) -> u64 {
    (HEAD_BYTES + name.len() + value.len()) as u64
}

fn encode(into: &mut Vec<u8>, name: &str, value: Option<&Bytes>) {
    let length = |length: usize| u32::try_from(length).expect("objects end far below 4 GiB");
    let mut body = Vec::new();
    body.extend_from_slice(&length(name.len()).to_le_bytes());
    body.extend_from_slice(&value.map_or(REMOVED, |value| length(value.len())).to_le_bytes());
    body.extend_from_slice(name.as_bytes());
    body.extend_from_slice(value.map_or(&[], |value| value.as_ref()));
    into.extend_from_slice(&Sha256::digest(&body)[..8]);
    into.extend_from_slice(&body);
}

/// The record at a place, and where the next begins; `None` if there is no whole one.
fn record(bytes: &Bytes, at: usize) -> Option<(String, Option<Bytes>, usize)> {
    let head = bytes.get(at..at + HEAD_BYTES)?;
    let number = |from: usize| Some(u32::from_le_bytes(head.get(from..from + 4)?.try_into().ok()?));
    let (name_length, value_length) = (number(8)?, number(12)?);
    let is_removed = value_length == REMOVED;
    let value_length = if is_removed { 0 } else { value_length };
    if name_length > PART_BYTES_MAX || value_length > PART_BYTES_MAX {
        return None;
    }
    let value_at = at + HEAD_BYTES + name_length as usize;
    let end = value_at + value_length as usize;
    let body = bytes.get(at + 8..end)?;
    if Sha256::digest(body)[..8] != head[..8] {
        return None;
    }
    let name = String::from_utf8(bytes[at + HEAD_BYTES..value_at].to_vec()).ok()?;
    Some((name, (!is_removed).then(|| bytes.slice(value_at..end)), end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, value: Option<Bytes>) -> BTreeMap<String, Option<Bytes>> {
        BTreeMap::from([(name.to_owned(), value)])
    }

    fn write(dir: &Path, name: &str, value: Option<&'static str>) {
        Log::open(dir).unwrap().append(one(name, value.map(Bytes::from))).unwrap();
    }

    #[test]
    fn every_cut_leaves_a_state_that_was_once_written() {
        let dir = tempfile::tempdir().unwrap();
        let mut states = vec![Log::open(dir.path()).unwrap().live];
        for (name, value) in [("a", Some("1")), ("b", Some("2")), ("a", Some("33")), ("b", None), ("c", Some(""))] {
            write(dir.path(), name, value);
            states.push(Log::open(dir.path()).unwrap().live);
        }
        let whole = std::fs::read(dir.path().join(FILE)).unwrap();
        for cut in 0..=whole.len() {
            let other = tempfile::tempdir().unwrap();
            std::fs::write(other.path().join(FILE), &whole[..cut]).unwrap();
            let mut log = Log::open(other.path()).unwrap();
            assert!(states.contains(&log.live), "cut at {cut}");
            // And it can be written on from there.
            log.append(one("z", Some(Bytes::from("9")))).unwrap();
            assert_eq!(Log::open(other.path()).unwrap().live.get("z"), Some(&Bytes::from("9")));
        }
        for at in 0..whole.len() {
            let mut bad = whole.clone();
            bad[at] ^= 0x40;
            let other = tempfile::tempdir().unwrap();
            std::fs::write(other.path().join(FILE), &bad).unwrap();
            assert!(states.contains(&Log::open(other.path()).unwrap().live), "flipped at {at}");
        }
    }

    #[test]
    fn waste_is_written_off_and_the_file_is_private() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::open(dir.path()).unwrap();
        for round in 0..30_u8 {
            log.append(one("big", Some(Bytes::from(vec![round; 1 << 20])))).unwrap();
        }
        let meta = std::fs::metadata(dir.path().join(FILE)).unwrap();
        assert!(meta.len() < (12 << 20), "{} bytes", meta.len());
        assert_eq!(meta.permissions().mode() & 0o777, 0o600);
        assert_eq!(Log::open(dir.path()).unwrap().live["big"][0], 29);
    }
    #[test]
    fn what_a_full_disk_did_not_take_is_written_later() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::open(dir.path()).unwrap();
        log.append(one("a", Some("1".into()))).unwrap();
        log.file = OpenOptions::new().write(true).open("/dev/full").unwrap();
        // A folder in its way fails the new file, too.
        let in_the_way = dir.path().join(format!("{FILE}.new"));
        std::fs::create_dir(&in_the_way).unwrap();
        log.append(one("b", Some("2".into()))).unwrap_err();
        log.append(one("a", None)).unwrap_err();
        log.append(BTreeMap::new()).unwrap_err();
        let kept = |dir: &Path| Log::open(dir).unwrap().live.into_keys().collect::<Vec<_>>();
        assert_eq!(kept(dir.path()), ["a"]);
        std::fs::remove_dir(&in_the_way).unwrap();
        log.append(BTreeMap::new()).unwrap();
        assert_eq!(kept(dir.path()), ["b"]);
        log.append(one("c", Some("3".into()))).unwrap();
        assert_eq!(kept(dir.path()), ["b", "c"]);
    }
}
