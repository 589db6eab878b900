//! Many pods at once: how long they take, and what each costs.

use crate::process::Server;
use crate::{machine, row};
use std::time::{Duration, Instant};

/// What was needed only for the start is given back to the system within this.
const SETTLED: Duration = Duration::from_secs(30);

/// Scales `hello` to 500 and then to 1,003, on a server that has done nothing before: what others left free in its heap
/// would hide what pods take.
pub(crate) fn out() {
    let server = Server::up();
    server.push("hello", "hello:v1");
    server.ok("coracle", &["apply", "--wait", "-f", "examples/hello/hello.yaml"]);
    std::thread::sleep(SETTLED);
    let before = machine::resident(server.process.id());
    let took = to(&server, 500);
    row("scale 3 to 500, all Ready", &format!("{:.2} s", took.as_secs_f64()));
    to(&server, 1003);
    std::thread::sleep(SETTLED);
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
