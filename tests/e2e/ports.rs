//! TCP ports for processes that are yet to be started.
//!
//! The kernel gives the ports of its own range to whoever connects or binds without naming one. A port of that range that
//! was free when a test looked may be taken before the test's process listens on it, or while that process is down
//! between a kill and a new start. So these come from outside of that range, and each is given once.

use std::net::TcpListener;
use std::ops::RangeInclusive;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Above the ports that the programs under test have by default, below the node ports of Services.
const OURS: RangeInclusive<u16> = 11_000..=29_999;
/// How far apart processes that run at the same time begin to look.
const STRIDE: u32 = 211;
/// Where Linux says which ports it gives out by itself.
const KERNEL: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// A TCP port that nobody listens on, and that neither the kernel nor another call here will give away.
pub(crate) fn free_port(address: &str) -> u16 {
    static CANDIDATES: OnceLock<Vec<u16>> = OnceLock::new();
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let candidates = CANDIDATES.get_or_init(|| {
        NEXT.store(std::process::id().wrapping_mul(STRIDE), Ordering::Relaxed);
        let kernel = kernel_range();
        OURS.filter(|port| !kernel.contains(port)).collect()
    });
    let looked = candidates.iter().find_map(|_| {
        let turn = NEXT.fetch_add(1, Ordering::Relaxed) as usize % candidates.len();
        TcpListener::bind((address, candidates[turn])).ok().map(|_| candidates[turn])
    });
    looked.unwrap_or_else(|| {
        panic!("no port of {OURS:?} is free on {address}, or {KERNEL} says that all are the kernel's")
    })
}

fn kernel_range() -> RangeInclusive<u16> {
    let text = std::fs::read_to_string(KERNEL).expect("Linux says which ports it gives out");
    let bounds: Vec<u16> = text.split_whitespace().map(|bound| bound.parse().expect("a port")).collect();
    bounds[0]..=bounds[1]
}
