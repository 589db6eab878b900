//! What the kernel tells of a process.

use std::fs;

/// Of `/proc`, on every Linux that Rust runs on.
const TICKS_PER_SECOND: f64 = 100.0;
/// In which the kernel counts, whatever those of the disk are.
const SECTOR_BYTES: u64 = 512;

/// Bytes of memory that it has now.
pub(crate) fn resident(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = text.lines().find(|line| line.starts_with("VmRSS")).expect("the kernel tells it");
    let kib: u64 = line.split_whitespace().nth(1).expect("a number").parse().expect("a number");
    kib * 1024
}

/// Bytes that the disk which has the temporary folders was given so far: by all processes, with all that a file system
/// adds. What a process is said to have written is counted by pages of memory, of which the kernel makes larger ones as
/// it likes.
pub(crate) fn written() -> u64 {
    rustix::fs::sync();
    let device = rustix::fs::stat(std::env::temp_dir().as_path()).expect("a folder").st_dev;
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let text = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")).expect("a disk, not memory");
    let sectors: u64 = text.split_whitespace().nth(6).expect("what was written").parse().expect("a number");
    sectors * SECTOR_BYTES
}

/// Processor seconds so far, of it and its children.
pub(crate) fn cpu(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let fields: Vec<&str> = text.rsplit(')').next().expect("a name").split_whitespace().collect();
    let ticks = |index: usize| fields[index].parse::<f64>().expect("a number");
    let own = (ticks(11) + ticks(12)) / TICKS_PER_SECOND;
    own + children(pid).into_iter().map(cpu).sum::<f64>()
}

fn children(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let lists = tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let all: Vec<String> = lists.collect();
    all.iter().flat_map(|list| list.split_whitespace()).filter_map(|pid| pid.parse().ok()).collect()
}
