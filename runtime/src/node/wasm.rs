//! The sandbox in production: images from the registry, run by the Wasm engine.

use super::{Exit, Image, LogWriter, Pull, PullError, PullPolicy, Sandbox, Start, Started};
use crate::engine::{self, Artifact, Engine, InstanceConfig, LogSink, Network, Preopen};
use crate::image::{self, Images};
use crate::keyed::Keyed;
use futures::future::BoxFuture;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OnceCell;

/// How long a guest may take until its response begins, where its pod does not say.
const REQUEST_DEADLINE: Duration = Duration::from_secs(60);
/// Requests that run in one container at a time; more wait.
const REQUESTS_MAX: usize = 256;

/// Who a guest is, for its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub namespace: String,
    pub pod: String,
    pub ip: IpAddr,
}

/// Makes the way out of a guest.
pub type Networks = Arc<dyn Fn(Caller) -> Network + Send + Sync>;

/// Runs containers as Wasm guests. Cheap to clone.
#[derive(Clone)]
pub struct Wasm {
    engine: Engine,
    images: Images,
    networks: Networks,
    /// By digest of the Wasm file; each is compiled once, however many pods wait for it, and stays for as long as a
    /// container runs it. After that the engine has it on the disk.
    artifacts: Arc<Keyed<OnceCell<Artifact>>>,
}

/// Compiled code.
type Code = Arc<OnceCell<Artifact>>;

struct Sink(LogWriter);

// === impl Wasm ===

impl Wasm {
    #[must_use]
    pub fn new(engine: Engine, images: Images, networks: Networks) -> Wasm {
        Wasm { engine, images, networks, artifacts: Arc::default() }
    }

    async fn fetch(&self, pull: Pull) -> Result<Image, PullError> {
        let name = image::Reference::parse(&pull.reference).map_err(PullError::InvalidName)?;
        let here = self.images.find(&pull.reference);
        let may_ask = match pull.policy {
            PullPolicy::Always => !(name.is_by_digest() && here.is_some()),
            PullPolicy::IfNotPresent => here.is_none(),
            PullPolicy::Never => false,
        };
        let (entry, cached) = if may_ask {
            match (self.images.pull(&pull.reference, &pull.credentials).await, here) {
                (Ok(pulled), _) => pulled,
                // A node that is cut off goes on with what it has.
                (Err(image::Error::Unreachable { why, .. }), Some(here)) => {
                    tracing::warn!(image = pull.reference, why, "the registry is away; the image on this node is used");
                    (here, true)
                }
                (Err(error), _) => return Err(PullError::Failed(error.to_string())),
            }
        } else {
            (here.ok_or_else(|| PullError::NeverPull(pull.reference.clone()))?, true)
        };
        self.code(&entry).await?;
        Ok(Image { reference: pull.reference, digest: entry.wasm_digest, bytes: entry.bytes, cached })
    }

    async fn code(&self, entry: &image::Entry) -> Result<Code, PullError> {
        let code = self.artifacts.get(&entry.wasm_digest);
        let compile = || async {
            let wasm = self.images.wasm(entry).await.map_err(|error| PullError::Failed(error.to_string()))?;
            self.engine.compile(wasm).await.map_err(|error| PullError::Unusable(error.to_string()))
        };
        code.get_or_try_init(compile).await?;
        Ok(code)
    }

    async fn begin(&self, start: Start) -> Result<Started, String> {
        let (digest, bytes) = (start.image.digest.clone(), start.image.bytes);
        let entry = image::Entry { wasm_digest: digest.clone(), digest, bytes };
        let code = self.code(&entry).await.map_err(|error| error.to_string())?;
        let artifact = code.get().expect("it is compiled");
        // As argv[0], programs expect a name.
        let mut args = if start.command.is_empty() { vec![start.container.clone()] } else { start.command };
        args.extend(start.args);
        let preopen = |mount: super::Mount| Preopen {
            host: mount.host_path,
            guest: mount.guest_path,
            read_only: mount.read_only,
        };
        let config = InstanceConfig {
            args,
            env: start.env,
            preopens: start.mounts.into_iter().map(preopen).collect(),
            memory_max: start.memory_bytes_max,
            request_deadline: start.request_timeout.unwrap_or(REQUEST_DEADLINE),
            requests_max: REQUESTS_MAX,
            stdout: Arc::new(Sink(start.stdout)),
            stderr: Arc::new(Sink(start.stderr)),
            network: (self.networks)(Caller { namespace: start.namespace, pod: start.pod, ip: start.pod_ip }),
        };
        let workload = self.engine.start(artifact, config);
        let http: Option<super::HttpHandler> = (artifact.kind() == engine::Kind::Http).then(|| {
            let workload = workload.clone();
            Arc::new(move |request| -> BoxFuture<'static, _> {
                let workload = workload.clone();
                Box::pin(async move { workload.handle(request).await })
            }) as super::HttpHandler
        });
        let stopped = workload.clone();
        let exit = Box::pin(async move {
            match workload.wait().await {
                engine::Exit::Code(code) => Exit::Code(code),
                engine::Exit::Trap(message) => Exit::Trap(message),
                engine::Exit::OutOfMemory => Exit::OutOfMemory,
                engine::Exit::Stopped => Exit::Stopped,
            }
        });
        let stop = move |_grace| {
            // Held until the container is forgotten, so that others that start meanwhile find it.
            let _ = &code;
            stopped.stop();
        };
        Ok(Started { http, exit, stop: Arc::new(stop) })
    }
}

impl Sandbox for Wasm {
    fn pull(&self, pull: Pull) -> BoxFuture<'static, Result<Image, PullError>> {
        let wasm = self.clone();
        Box::pin(async move { wasm.fetch(pull).await })
    }

    fn start(&self, start: Start) -> BoxFuture<'static, Result<Started, String>> {
        let wasm = self.clone();
        Box::pin(async move { wasm.begin(start).await })
    }
}

impl LogSink for Sink {
    fn write(&self, bytes: &[u8]) {
        self.0.write(bytes);
    }
}
