//! Many pods at once: how long they take, and what each costs.

use crate::process::{Server, eventually};
use crate::{machine, row};
use std::time::{Duration, Instant};

/// Scales `hello` to 500 and then to 1,003; `others` is how many pods are there besides.
pub(crate) fn out(server: &Server, others: usize) {
    let took = to(server, 500);
    row("scale 3 to 500, all Ready", &format!("{:.2} s", took.as_secs_f64()));
    to(server, 3);
    eventually("the pods' end", || {
        (server.ok("coracle", &["get", "pods", "-o", "name"]).lines().count() <= 3 + others).then_some(())
    });
    let before = machine::resident(server.process.id());
    to(server, 1003);
    let after = machine::resident(server.process.id());
    let each = after.saturating_sub(before) as f64 / 1000.0 / 1024.0;
    row("resident, for each of 1,000 idle pods", &format!("{each:.0} KiB"));
}

fn to(server: &Server, replicas: usize) -> Duration {
    let began = Instant::now();
    server.ok("kubectl", &["scale", "deployment", "hello", &format!("--replicas={replicas}")]);
    // A watch: asking again and again would take the processors from what is measured.
    let ready = format!("--for=jsonpath={{.status.readyReplicas}}={replicas}");
    server.ok("kubectl", &["wait", &ready, "deployment/hello", "--timeout=120s"]);
    began.elapsed()
}
