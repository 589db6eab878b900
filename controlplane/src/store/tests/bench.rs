//! How fast the store writes; by hand: `cargo test --release -p controlplane store::tests::bench -- --ignored --nocapture`.

use std::time::Duration;

use futures::StreamExt;
use tokio::time::Instant;

use super::contract::{put, write};
use super::open;

/// Of user and kernel, in the hundredths of a second that Linux counts.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit_once(')').unwrap().1;
    let ticks: u64 = after_name.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

fn bytes_written() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap();
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).unwrap();
    line.parse().unwrap()
}

async fn puts(in_flight: usize, count: usize) {
    let dir = tempfile::tempdir_in(".").unwrap();
    let store = open(dir.path());
    // Not to be compressed, which would flatter the bytes written.
    let value: String = (0..1024).map(|_| char::from(rand::random_range(b' '..b'~'))).collect();
    let (begun, cpu, bytes) = (Instant::now(), processor_time(), bytes_written());
    let mut latencies: Vec<Duration> = futures::stream::iter(0..count)
        .map(async |index| {
            let begun = Instant::now();
            write(&store, vec![put(&format!("/registry/pods/default/pod-{:06}", index * 7919 % count), &value)]).await;
            begun.elapsed()
        })
        .buffer_unordered(in_flight)
        .collect()
        .await;
    let (wall, cpu, bytes) = (begun.elapsed(), processor_time() - cpu, bytes_written() - bytes);
    latencies.sort_unstable();
    let rate = |time: Duration| f64::from(u32::try_from(count).unwrap()) / time.as_secs_f64();
    println!(
        "{in_flight} in flight: {:.0} puts/s, {:.0} puts/CPU-s, p50 {:?}, p99 {:?}, {:.2} bytes written per byte",
        rate(wall),
        rate(cpu),
        latencies[count / 2],
        latencies[count * 99 / 100],
        bytes as f64 / (count * 1024) as f64,
    );
    let begun = Instant::now();
    store.close().await;
    let closed = begun.elapsed();
    let store = open(dir.path());
    println!("  closed in {closed:?}, open again in {:?}", begun.elapsed() - closed);
    store.close().await;
}

async fn idle() {
    let dir = tempfile::tempdir_in(".").unwrap();
    let store = open(dir.path());
    write(&store, vec![put("a", "1")]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (cpu, bytes) = (processor_time(), bytes_written());
    tokio::time::sleep(Duration::from_secs(10)).await;
    println!("idle for 10 s: {} bytes written, {:?} of processor", bytes_written() - bytes, processor_time() - cpu);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn durable_puts() {
    puts(1, 3_000).await;
    puts(64, 50_000).await;
    puts(256, 100_000).await;
    idle().await;
}
