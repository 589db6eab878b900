//! The main job, shown: one process, one image, one Deployment, one Service, answers from several pods.

use crate::{guests, setup, shell};
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// End after the show instead of staying up
    #[arg(long)]
    once: bool,
}

const API_PORT: u16 = 6443;
const NODE_PORT: u16 = 10250;
const START_LIMIT: Duration = Duration::from_secs(60);
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// The process that the demo shows, stopped when this is dropped.
struct Cluster {
    process: Child,
    // Kept open: the process would be told of a broken pipe otherwise.
    _output: BufReader<ChildStdout>,
    binary: PathBuf,
    kubeconfig: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    title("Setting up");
    setup::run()?;
    title("Building the binary (the first time takes a quarter of an hour: RocksDB and wasmtime)");
    shell::run(shell::cargo().args(["build", "--locked", "--package", "coracle"]))?;
    title("Building the example guests");
    let guests = guests::build()?;
    title("Starting `coracle up`");
    let mut cluster = start(&shell::target().join("debug/coracle"))?;
    show(&cluster, &guests)?;
    if args.once {
        return cluster.stop();
    }
    what_next(&cluster);
    cluster.process.wait().context("cannot wait for coracle")?;
    Ok(())
}

fn start(binary: &Path) -> Result<Cluster> {
    let folder = shell::target().join("demo");
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot empty {}", folder.display()));
        }
        _ => {}
    }
    fs::create_dir_all(&folder)?;
    let log = folder.join("coracle.log");
    let mut process = Command::new(binary)
        .args(["up", "--data-dir"])
        .arg(&folder)
        .args(["--listen", &format!("127.0.0.1:{}", free(API_PORT)?)])
        .args(["--node-listen", &format!("127.0.0.1:{}", free(NODE_PORT)?)])
        .stdout(Stdio::piped())
        .stderr(fs::File::create(&log)?)
        .spawn()
        .with_context(|| format!("cannot start {}", binary.display()))?;
    let stdout = process.stdout.take().context("coracle has no output")?;
    let mut output = BufReader::new(stdout);
    let mut line = String::new();
    while output.read_line(&mut line)? > 0 {
        print_line(line.trim_end());
        if line.contains("coracle is ready") {
            let (binary, kubeconfig) = (binary.to_path_buf(), folder.join("admin.kubeconfig"));
            return Ok(Cluster { process, _output: output, binary, kubeconfig });
        }
        line.clear();
    }
    let status = process.wait()?;
    let said = fs::read_to_string(&log).unwrap_or_default();
    bail!("coracle ended before it was ready ({status}, limit {START_LIMIT:?}): {}", said.trim())
}

fn show(cluster: &Cluster, guests: &Path) -> Result<()> {
    title("Pushing the image hello:v1 into the embedded registry");
    shell::run(cluster.command().arg("image").arg("push").arg(guests.join("hello.wasm")).arg("hello:v1"))?;
    title("Applying examples/hello and waiting for the rollout");
    shell::run(cluster.command().args(["apply", "--wait", "-f", "examples/hello/hello.yaml"]))?;
    title("Asking the Service, through its node port");
    let port = node_port(cluster, "hello")?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut pods = BTreeSet::new();
    let answers = shell::wait_for("answers from several pods", ANSWER_LIMIT, || {
        let answer = get(address)?;
        if pods.insert(answer.clone()) {
            print_line(&format!("  http://{address}/  {answer}"));
        }
        Ok((pods.len() >= 2).then_some(pods.len()))
    })?;
    print_line(&format!("{answers} different pods answered."));
    Ok(())
}

fn what_next(cluster: &Cluster) {
    title("It stays up until Ctrl-C. In another terminal, try:");
    let kubeconfig = cluster.kubeconfig.display();
    for line in [
        format!("export KUBECONFIG={kubeconfig}"),
        "kubectl get pods -o wide             # or: coracle get pods".to_owned(),
        "kubectl scale deployment hello --replicas=100".to_owned(),
        "kubectl logs -l app=hello --tail=3".to_owned(),
        "kubectl delete pod -l app=hello      # the Service goes on answering".to_owned(),
    ] {
        print_line(&format!("  {line}"));
    }
}

/// The node port that the API server gave a Service.
fn node_port(cluster: &Cluster, service: &str) -> Result<u16> {
    let json = shell::output(cluster.command().args(["get", "service", service, "-o", "json"]))?;
    let (_, rest) = json.split_once("\"nodePort\"").context("the Service has no node port")?;
    let digits: String = rest.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    Ok(digits.parse()?)
}

/// The body of one GET.
fn get(address: SocketAddr) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_LIMIT)?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    write!(stream, "GET / HTTP/1.1\r\nHost: hello\r\nConnection: close\r\n\r\n")?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    let (head, body) = response.split_once("\r\n\r\n").context("not an HTTP answer")?;
    if !head.starts_with("HTTP/1.1 200") {
        bail!("the Service answered: {}", head.lines().next().unwrap_or_default());
    }
    // Chunked framing has the sizes on lines of their own.
    let text = body.lines().filter(|line| !line.is_empty() && usize::from_str_radix(line.trim(), 16).is_err());
    Ok(text.collect::<Vec<_>>().join(" "))
}

/// The usual port, or any free one where another process has it.
fn free(usual: u16) -> Result<u16> {
    let local = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let listener = local(usual).or_else(|_| local(0)).context("no TCP port is free on the loopback address")?;
    Ok(listener.local_addr()?.port())
}

impl Cluster {
    fn command(&self) -> Command {
        let mut command = shell::command(&self.binary);
        command.env("KUBECONFIG", &self.kubeconfig);
        command
    }

    fn stop(&mut self) -> Result<()> {
        shell::output(Command::new("kill").args(["-TERM", &self.process.id().to_string()]))?;
        let status = self.process.wait()?;
        if !status.success() {
            bail!("coracle did not stop cleanly: {status}");
        }
        print_line("Stopped cleanly.");
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Only an error's way out comes here with the process alive.
        if matches!(self.process.try_wait(), Ok(None)) {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}

fn title(text: &str) {
    print_line(&format!("\n== {text}"));
}

#[allow(clippy::print_stdout, reason = "the show is this command's output")]
fn print_line(text: &str) {
    println!("{text}");
}
