//! Starting, asking, breaking and ending the processes under test.

#[path = "ports.rs"]
mod ports;

pub(crate) use ports::free_port;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// One running `coracle`; killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    what: String,
    pub(crate) folder: PathBuf,
}

/// A data folder, and what reaches the API of the server in it.
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) url: String,
    _folder: TempDir,
}

/// The binary that was built with the tests, or `CORACLE_BINARY`: one that was released, say.
pub(crate) fn coracle() -> Command {
    let built = || env!("CARGO_BIN_EXE_coracle").into();
    let mut command = Command::new(std::env::var_os("CORACLE_BINARY").unwrap_or_else(built));
    if std::env::var_os("CORACLE_LOG").is_none() {
        command.env("CORACLE_LOG", "warn,kube_client=error");
    }
    command
}

impl Process {
    /// Starts it and waits until it says that it is ready.
    pub(crate) fn start(folder: &Path, arguments: &[&str]) -> Process {
        Process::start_by(Command::spawn, folder, arguments)
    }

    /// The same where `spawn` starts it.
    pub(crate) fn start_by(
        spawn: impl FnOnce(&mut Command) -> io::Result<Child>,
        folder: &Path,
        arguments: &[&str],
    ) -> Process {
        let log = fs::File::options().create(true).append(true).open(folder.join("log")).expect("a log file");
        let mut command = coracle();
        command.args(arguments).arg("--data-dir").arg(folder).stdout(Stdio::piped()).stderr(log);
        let mut child = spawn(&mut command).expect("the binary starts");
        let mut output = BufReader::new(child.stdout.take().expect("it has an output"));
        let mut line = String::new();
        output.read_line(&mut line).expect("it prints");
        if !line.contains("is ready") {
            let _ = child.wait();
            panic!("{arguments:?} is not ready: {}", fs::read_to_string(folder.join("log")).unwrap_or_default());
        }
        // Read on, so that it never waits for a full pipe.
        std::thread::spawn(move || io::copy(&mut output, &mut io::sink()));
        Process { child, what: arguments.join(" "), folder: folder.to_path_buf() }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it holds in memory, in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux says it");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it has ended");
    }

    /// Waits until it ends by itself; its exit status.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        self.child.wait().expect("it has ended").code()
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).expect("it logs")
    }

    /// SIGTERM; its exit status.
    pub(crate) fn terminate(&mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs").success());
        self.child.wait().expect("it has ended").code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            eprintln!("{} logged:\n{log}", self.what);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// `coracle up` on ports of its own.
    pub(crate) fn up() -> Server {
        let (api, node) = (free_port("127.0.0.1"), free_port("127.0.0.1"));
        Server::start("up", api, &["--node-listen", &format!("127.0.0.1:{node}"), "--node-name", "here"])
    }

    pub(crate) fn start(command: &str, port: u16, more: &[&str]) -> Server {
        let folder = tempfile::tempdir().expect("a folder");
        let listen = format!("127.0.0.1:{port}");
        let mut arguments = vec![command, "--listen", &listen];
        arguments.extend(more);
        Server::new(Process::start(folder.path(), &arguments), &listen, folder)
    }

    /// One that runs, and listens there.
    pub(crate) fn new(process: Process, listen: &str, folder: TempDir) -> Server {
        Server { process, url: format!("https://{listen}"), _folder: folder }
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.process.folder.join("admin.kubeconfig")
    }

    /// Runs a program with this cluster's kubeconfig; its output.
    pub(crate) fn run(&self, command: &mut Command) -> Output {
        command.env("KUBECONFIG", self.kubeconfig());
        command.stdin(Stdio::null()).output().expect("it starts")
    }

    /// Runs `coracle` or `kubectl`; what it printed, or a panic with what it said.
    pub(crate) fn ok(&self, program: &str, arguments: &[&str]) -> String {
        let mut command = if program == "coracle" { coracle() } else { Command::new(program) };
        let output = self.run(command.args(arguments));
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{program} {arguments:?}: {out}{err}");
        out
    }

    pub(crate) fn push(&self, guest: &str, image: &str) {
        let file = guests().join(format!("{guest}.wasm"));
        self.ok("coracle", &["image", "push", file.to_str().expect("utf-8"), image]);
    }

    /// A field of an object, by its path.
    pub(crate) fn field(&self, kind: &str, name: &str, path: &str) -> String {
        let json = self.ok("coracle", &["get", kind, name, "-o", "json"]);
        let tree: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        let value = tree.pointer(path).cloned().unwrap_or_default();
        value.as_str().map_or_else(|| value.to_string(), str::to_owned)
    }

    pub(crate) fn node_port(&self, service: &str) -> u16 {
        self.field("service", service, "/spec/ports/0/nodePort").parse().expect("the Service has a node port")
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Where `cargo xtask guests` puts them.
pub(crate) fn guests() -> PathBuf {
    let folder = match std::env::var_os("CORACLE_GUESTS") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_BIN_EXE_coracle"))
            .parent()
            .and_then(Path::parent)
            .expect("a target folder")
            .join("guests"),
    };
    assert!(folder.join("hello.wasm").is_file(), "no guests in {}: run `cargo xtask guests` first", folder.display());
    folder
}

/// One GET; status and body. `None` if nobody answered.
pub(crate) fn get(address: IpAddr, port: u16, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(address, port), Duration::from_secs(5)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").ok()?;
    let mut response = String::new();
    stream.read_to_string(&mut response).ok()?;
    let (head, body) = response.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let text = body.lines().filter(|line| !line.is_empty() && usize::from_str_radix(line.trim(), 16).is_err());
    Some((status, text.collect::<Vec<_>>().join(" ")))
}

/// Asks until the answer is there; panics with the name of what did not come.
#[allow(clippy::disallowed_methods, reason = "what is waited for is another process, which can only be asked")]
pub(crate) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(began.elapsed() < LIMIT, "{what} did not happen within {LIMIT:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
