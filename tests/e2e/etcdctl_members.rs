//! etcd's API of three members: each answers for all of them, whoever leads.

use crate::etcdctl::Etcd;
use crate::members::Group;
use crate::process::{eventually, free_port, text};
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

/// Three members, and the URL where etcdctl reaches each.
struct Three {
    group: Group,
    urls: Vec<String>,
}

// === impl Three ===

impl Three {
    fn start() -> Three {
        let listen: Vec<String> = (0..3).map(|_| format!("127.0.0.1:{}", free_port("127.0.0.1"))).collect();
        let arguments = |listen: &String| {
            ["--etcd-listen", listen, "--etcd-insecure", "--disable", "controllers,scheduler"].map(str::to_owned)
        };
        let group = Group::start_with(listen.iter().map(|listen| arguments(listen).to_vec()).collect());
        Three { group, urls: listen.iter().map(|listen| format!("http://{listen}")).collect() }
    }

    fn at(&self, member: usize) -> Etcd {
        Etcd::at(&[&self.urls[member]])
    }

    fn all(&self) -> Etcd {
        Etcd::at(&self.urls.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn leader(&self, asked: usize) -> usize {
        eventually("a leader", || self.group.leader(asked))
    }
}

/// A figure of `/metrics`.
fn figure(group: &Group, member: usize, name: &str) -> Option<f64> {
    let output = group.kubectl(member, &["get", "--raw", "/metrics"]);
    let metrics = text(&output.stdout);
    metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

#[test]
fn each_member_counts_what_it_does() {
    let mut three = Three::start();
    let put = |member: usize| figure(&three.group, member, "coracle_store_put_bytes_total").expect("a figure");
    let before: Vec<f64> = (0..3).map(put).collect();
    let value = "v".repeat(1000);
    for index in 0..20 {
        three.at(1).ok(&["put", &format!("t/{index:02}"), &value]);
    }
    let bytes = 20.0 * 1004.0;
    for (member, before) in before.into_iter().enumerate() {
        eventually("puts that are applied everywhere", || (put(member) >= before + bytes).then_some(()));
        let figure = |name: &str| figure(&three.group, member, name).expect("a figure");
        assert_eq!(figure("etcd_server_has_leader"), 1.0);
        assert!(figure("etcd_server_leader_changes_seen_total") >= 1.0);
        assert!(figure("etcd_server_proposals_applied_total") >= 20.0);
        assert!(figure("coracle_store_log_bytes_total") > bytes, "it holds entries and data");
        assert!(figure("etcd_disk_wal_fsync_duration_seconds_count") >= 20.0);
        assert!(figure("etcd_mvcc_db_total_size_in_bytes") > bytes);
    }
    let leads = (0..3).map(|member| figure(&three.group, member, "etcd_server_is_leader").expect("a figure"));
    assert_eq!(leads.sum::<f64>(), 1.0);
    three.group.kill(0);
    three.group.kill(1);
    eventually("a member that knows of no leader", || {
        (figure(&three.group, 2, "etcd_server_has_leader") == Some(0.0)).then_some(())
    });
}

fn tree(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// What each of a list has at a path, in order.
fn each(list: &serde_json::Value, path: &str) -> BTreeSet<String> {
    let items = list.as_array().expect("a list");
    items.iter().map(|item| item.pointer(path).map(ToString::to_string).unwrap_or_default()).collect()
}

#[test]
fn each_member_shows_and_checks_all_of_them() {
    let three = Three::start();
    for member in 0..3 {
        let list = tree(&three.at(member).ok(&["member", "list", "-w", "json"]));
        let quoted = |url: &str| format!("[\"{url}\"]");
        let urls: BTreeSet<String> = three.urls.iter().map(|url| quoted(url)).collect();
        assert_eq!(each(&list["members"], "/clientURLs"), urls);
        let urls: BTreeSet<String> = (0..3).map(|one| quoted(three.group.url(one))).collect();
        assert_eq!(each(&list["members"], "/peerURLs"), urls);
        let table = three.at(member).ok(&["member", "list", "-w", "table"]);
        assert_eq!(table.lines().filter(|line| line.contains("started")).count(), 3, "{table}");
    }
    let etcd = three.at(1);
    let status = tree(&etcd.ok(&["endpoint", "status", "--cluster", "-w", "json"]));
    assert_eq!(status.as_array().expect("a list").len(), 3);
    assert_eq!(each(&status, "/Status/leader").len(), 1, "{status}");
    let health = etcd.run(&["endpoint", "health", "--cluster"], "");
    assert!(health.succeeded, "{health:?}");
    eventually("members with the same data", || {
        let hashes = tree(&etcd.ok(&["endpoint", "hashkv", "--cluster", "-w", "json"]));
        (hashes.as_array().expect("a list").len() == 3 && each(&hashes, "/HashKV/hash").len() == 1).then_some(())
    });
}

#[test]
fn what_the_leader_alone_can_say_is_asked_at_any_member() {
    let mut three = Three::start();
    let leader = three.leader(0);
    let (one, other) = ((leader + 1) % 3, (leader + 2) % 3);
    let etcd = three.at(one);
    let granted = etcd.ok(&["lease", "grant", "60"]);
    let lease = granted.split_whitespace().nth(1).expect("lease ID granted with TTL").to_owned();
    etcd.ok(&["put", "t/a", "1", "--lease", &lease]);
    let kept = etcd.ok(&["lease", "keep-alive", "--once", &lease]);
    assert!(kept.contains("keepalived with TTL(60)"), "{kept}");
    let seen = three.at(other).ok(&["lease", "timetolive", &lease, "--keys"]);
    assert!(seen.contains("granted with TTL(60s)") && seen.contains("[t/a]"), "{seen}");
    let none = etcd.run(&["lease", "keep-alive", "--once", "7f"], "");
    assert!(none.error.contains("requested lease not found"), "{none:?}");
    // Locks and elections live by it.
    let mut holder = etcd.begin(&["lock", "t/lock"]);
    assert!(holder.line().starts_with("t/lock/"));
    let mut elected = three.at(other).begin(&["elect", "t/post", "me"]);
    assert!(elected.line().starts_with("t/post/") && elected.line() == "me");
    holder.stop();
    elected.stop();
    assert_eq!(etcd.ok(&["get", "--prefix", "t/lock"]), "");
    // It is asked of the next leader as well, and of nobody while there is none.
    let id = three.group.id(one, one);
    let moved = three.all().ok(&["move-leader", &id]);
    assert!(moved.contains("Leadership transferred"), "{moved}");
    eventually("another leader", || (three.group.leader(other) == Some(one)).then_some(()));
    assert!(three.at(other).ok(&["lease", "keep-alive", "--once", &lease]).contains("keepalived with TTL(60)"));
    three.group.kill(leader);
    three.group.kill(one);
    // etcdctl tries again for long, and tells of each attempt.
    let mut command = Command::new(crate::etcdctl::program());
    command.env("ETCDCTL_API", "3").arg(format!("--endpoints={}", three.urls[other]));
    let mut child = command.args(["lease", "timetolive", &lease]).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
    let told = lines.find(|line| line.contains("etcdserver: "));
    child.kill().expect("it can be killed");
    child.wait().expect("it has ended");
    assert!(told.as_ref().is_some_and(|line| line.contains("etcdserver: no leader")), "{told:?}");
}

#[test]
fn watches_and_mirrors_at_members_that_do_not_lead() {
    let three = Three::start();
    let leader = three.leader(0);
    let (one, other) = (three.at((leader + 1) % 3), three.at((leader + 2) % 3));
    let watch = other.begin(&["watch", "--prefix", "t/"]);
    // It begins at some point; until then, nothing is missed that comes later.
    let first = eventually("a watch that tells", || {
        one.ok(&["put", "t/a", "1"]);
        watch.soon()
    });
    assert_eq!(first, "PUT");
    let destination = three.urls[leader].trim_start_matches("http://").to_owned();
    let _mirror = one.begin(&["make-mirror", "--prefix=t/", "--dest-prefix=m/", &destination]);
    let mirrored = |key: &str, value: &str| {
        eventually("a key in the mirror", || (other.ok(&["get", key]) == format!("{key}\n{value}\n")).then_some(()));
    };
    mirrored("m/a", "1");
    one.ok(&["put", "t/b", "2"]);
    mirrored("m/b", "2");
    // Old versions are gone when this returns, at the member that was asked.
    for value in 0..50 {
        one.ok(&["put", "t/a", &value.to_string()]);
    }
    let at = tree(&one.ok(&["get", "t/a", "-w", "json"]))["header"]["revision"].to_string();
    let compacted = one.ok(&["compaction", "--physical", &at]);
    assert!(compacted.contains(&format!("compacted revision {at}")), "{compacted}");
    let refused = other.run(&["get", "t/a", "--rev", "5"], "");
    assert!(refused.error.contains("required revision has been compacted"), "{refused:?}");
}

#[test]
fn members_are_moved_and_removed_by_any_of_them() {
    let mut three = Three::start();
    let leader = three.leader(0);
    let (one, other) = ((leader + 1) % 3, (leader + 2) % 3);
    let etcd = three.at(one);
    let promoted = etcd.run(&["member", "promote", &three.group.id(other, one)], "");
    assert!(promoted.error.contains("can only promote a learner member"), "{promoted:?}");
    let id = three.group.id(other, one);
    let taken = format!("--peer-urls={}", three.group.url(one));
    let refused = etcd.run(&["member", "update", &id, &taken], "");
    assert!(refused.error.contains("Peer URLs already exists"), "{refused:?}");
    let moved = format!("--peer-urls=https://localhost:{}", three.group.url(other).rsplit_once(':').expect("a port").1);
    assert!(etcd.ok(&["member", "update", &id, &moved]).contains("updated"));
    assert!(etcd.ok(&["member", "list"]).contains("https://localhost:"));
    // It is still followed there.
    etcd.ok(&["put", "t/a", "1"]);
    assert_eq!(three.at(other).ok(&["get", "t/a"]), "t/a\n1\n");
    // One that is down can go, but of the other two none.
    three.group.kill(other);
    // A leader that has never heard of it.
    three.at(leader).ok(&["move-leader", &three.group.id(one, one)]);
    eventually("another leader", || (three.group.leader(one) == Some(one)).then_some(()));
    let refused = etcd.run(&["member", "remove", &three.group.id(leader, one), "--command-timeout=20s"], "");
    assert!(refused.error.contains("etcdserver: unhealthy cluster"), "{refused:?}");
    assert!(etcd.ok(&["member", "remove", &id]).contains("removed from cluster"));
    // Of two that are up, also the one that leads.
    let (etcd, id) = (three.at(leader), three.group.id(one, one));
    assert!(etcd.ok(&["member", "remove", &id]).contains("removed from cluster"));
    assert_eq!(three.group.wait(one), Some(1));
    assert_eq!(etcd.ok(&["member", "list"]).lines().count(), 1);
    let last = three.group.id(leader, leader);
    let refused = etcd.run(&["member", "remove", &last], "");
    assert!(refused.error.contains("not enough started members"), "{refused:?}");
    etcd.ok(&["put", "t/b", "1"]);
}
