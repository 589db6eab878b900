//! `/metrics`, as Prometheus reads it: requests, nodes, and the store in the names that etcd's users know.

use super::body::Body;
use super::{Server, answer};
use crate::store::figures::Figures;
use http::{Response, StatusCode};
use std::fmt::Write;

/// Where Linux counts what a process has read and written.
const PROCESS_IO: &str = "/proc/self/io";

impl Server {
    pub(super) async fn metrics(&self) -> Response<Body> {
        let mut text = head("apiserver_request_total", "counter", "Requests by verb and status code.");
        for ((verb, code), count) in self.requests.lock().iter() {
            let _ = writeln!(text, "apiserver_request_total{{verb=\"{verb}\",code=\"{code}\"}} {count}");
        }
        one(&mut text, "coracle_node_links", "gauge", "Nodes that are connected.", self.links.connected().len());
        let revision = self.registry.revision();
        one(&mut text, "coracle_store_revision", "counter", "The newest revision in memory.", revision);
        // An etcd elsewhere has figures of its own. What cannot be read now is left out, as if this were another version.
        if let Ok(membership) = &self.membership {
            match membership.figures().await {
                Ok(figures) => text += &of_store(&figures),
                Err(error) => tracing::debug!(%error, "the store's figures are not known"),
            }
        }
        let io = tokio::fs::read_to_string(PROCESS_IO).await.unwrap_or_default();
        if let Some(written) = written_bytes(&io) {
            let what = "Bytes that this process had its disks write, all of it: log, tables and compaction of the \
                        store, snapshots, images, pods; without what the file system adds. 0 on a disk in memory.";
            one(&mut text, "coracle_process_written_bytes_total", "counter", what, written);
        }
        answer::bytes_of(StatusCode::OK, text, "text/plain; version=0.0.4; charset=utf-8")
    }
}

fn of_store(figures: &Figures) -> String {
    let mut text = String::new();
    let mut gauge = |name: &str, what: &str, value: u64| one(&mut text, name, "gauge", what, value);
    gauge("etcd_server_has_leader", "Is there a leader?", figures.has_leader.into());
    gauge("etcd_server_is_leader", "Does this member lead?", figures.is_leader.into());
    gauge("etcd_server_proposals_committed_total", "The last entry that is settled.", figures.committed);
    gauge("etcd_server_proposals_applied_total", "The last entry that is applied here.", figures.applied);
    let what = "Writes and linearizable reads that wait for an answer.";
    gauge("etcd_server_proposals_pending", what, figures.pending);
    let what = "What the data take, on disk and in buffers.";
    gauge("etcd_mvcc_db_total_size_in_bytes", what, figures.bytes);
    let mut counter = |name: &str, what: &str, value: u64| one(&mut text, name, "counter", what, value);
    let what = "How often another member began to lead.";
    counter("etcd_server_leader_changes_seen_total", what, figures.leader_changes);
    let what = "Writes that were given up, or not taken.";
    counter("etcd_server_proposals_failed_total", what, figures.failed);
    let what = "Keys and values of the puts that were applied here, whichever member was asked.";
    counter("coracle_store_put_bytes_total", what, figures.put_bytes);
    let what = "Bytes written to the store's journal, where each write comes first.";
    counter("coracle_store_log_bytes_total", what, figures.log_bytes);
    let name = "etcd_disk_wal_fsync_duration_seconds";
    text += &head(name, "histogram", "How long a batch took to be written to the log, and to be durable.");
    for (seconds, count) in &figures.syncs.buckets {
        let _ = writeln!(text, "{name}_bucket{{le=\"{seconds}\"}} {count}");
    }
    let _ = writeln!(text, "{name}_bucket{{le=\"+Inf\"}} {}", figures.syncs.count);
    let _ = writeln!(text, "{name}_sum {}\n{name}_count {}", figures.syncs.seconds, figures.syncs.count);
    text
}

fn head(name: &str, kind: &str, what: &str) -> String {
    format!("# HELP {name} {what}\n# TYPE {name} {kind}\n")
}

fn one(text: &mut String, name: &str, kind: &str, what: &str, value: impl std::fmt::Display) {
    let _ = writeln!(text, "{}{name} {value}", head(name, kind, what));
}

fn written_bytes(io: &str) -> Option<u64> {
    io.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::figures::Syncs;

    #[test]
    fn figures_are_lines_that_prometheus_reads() {
        let figures = Figures {
            has_leader: true,
            is_leader: false,
            leader_changes: 3,
            committed: 12,
            applied: 11,
            pending: 1,
            failed: 0,
            bytes: 4096,
            put_bytes: 100,
            log_bytes: 250,
            syncs: Syncs { buckets: vec![(0.001, 4), (0.002, 5)], count: 6, seconds: 0.5 },
        };
        let text = of_store(&figures);
        for line in [
            "# TYPE etcd_server_has_leader gauge",
            "etcd_server_has_leader 1",
            "etcd_server_is_leader 0",
            "etcd_server_leader_changes_seen_total 3",
            "coracle_store_put_bytes_total 100",
            "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"0.001\"} 4",
            "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"+Inf\"} 6",
            "etcd_disk_wal_fsync_duration_seconds_sum 0.5",
            "etcd_disk_wal_fsync_duration_seconds_count 6",
        ] {
            assert!(text.lines().any(|one| one == line), "{line} is not in\n{text}");
        }
        // Each family is described once, before its samples.
        let described = text.lines().filter(|line| line.starts_with("# TYPE ")).count();
        assert_eq!(described, text.lines().filter(|line| line.starts_with("# HELP ")).count());
    }

    #[test]
    fn what_the_kernel_counts_is_found() {
        assert_eq!(
            written_bytes("rchar: 5\nwchar: 6\nread_bytes: 7\nwrite_bytes: 8\ncancelled_write_bytes: 9\n"),
            Some(8)
        );
        assert_eq!(written_bytes(""), None);
    }
}
