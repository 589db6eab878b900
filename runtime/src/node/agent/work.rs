//! What takes time: each function performs one effect in a task of its own, and sends its outcome to the agent.

use super::shared::Shared;
use super::{Message, Uid};
use crate::node::env::{Facts, environment, expand};
use crate::node::log::Whose;
use crate::node::pod::{Event, ProbeKind, Slot, StartFailure};
use crate::node::sources::Sources;
use crate::node::traffic::Router;
use crate::node::volumes;
use crate::node::{HttpHandler, Image, Pull, PullError, PullPolicy, Start, Started, probe};
use api::quantity::Quantity;
use api::time::{self, SignedDuration, Timestamp};
use api::view;
use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// A pod's own limit for its answers.
const REQUEST_TIMEOUT: &str = "coracle.dev/request-timeout";

/// One effect's surroundings.
pub(super) struct Job {
    pub(super) shared: Arc<Shared>,
    pub(super) uid: Uid,
    pub(super) pod: Arc<view::Pod>,
    pub(super) router: Arc<Router>,
    pub(super) tx: mpsc::Sender<Message>,
}

/// A container that came up, as the agent keeps it.
pub(super) struct Live {
    pub(super) http: Option<HttpHandler>,
    pub(super) stop: Arc<dyn Fn(Duration) + Send + Sync>,
}

// === impl Job ===

impl Job {
    pub(super) fn spawn<F: Future<Output = ()> + Send + 'static>(self, work: impl FnOnce(Job) -> F) {
        tokio::spawn(work(self));
    }

    async fn send(&self, event: Event) {
        // A closed channel: the agent has stopped.
        let _ = self.tx.send(Message::Pod(Arc::clone(&self.uid), event)).await;
    }

    fn spec(&self, slot: Slot) -> &view::Container {
        match slot {
            Slot::Init(index) => &self.pod.spec.init_containers[index],
            Slot::Main(index) => &self.pod.spec.containers[index],
        }
    }

    fn facts(&self, ip: IpAddr) -> Facts<'_> {
        let config = &self.shared.config;
        Facts {
            pod: &self.pod,
            pod_ip: ip,
            host_ip: config.address,
            cpu_millis: config.capacity.cpu_millis,
            memory_bytes: config.capacity.memory_bytes,
        }
    }

    fn whose(&self, slot: Slot) -> Whose<'_> {
        let meta = &self.pod.metadata;
        let container = &self.spec(slot).name;
        Whose { namespace: &meta.namespace, pod: &meta.name, uid: &meta.uid, container }
    }
}

/// True if some volume is made from objects, and so may change.
pub(super) fn has_files(pod: &view::Pod) -> bool {
    pod.spec.volumes.iter().any(|one| {
        one.config_map.is_some() || one.secret.is_some() || one.projected.is_some() || one.downward_api.is_some()
    })
}

pub(super) async fn prepare(job: Job) {
    let outcome = async {
        let ip = job.shared.address(&job.uid).await?;
        let sources = write_volumes(&job, ip).await?;
        job.shared.prepared.lock().insert(Arc::clone(&job.uid), sources);
        Ok(ip)
    };
    let outcome = outcome.await;
    job.send(Event::Prepared(outcome)).await;
}

/// Brings volumes that are made from objects up to date.
pub(super) async fn refresh(job: Job) {
    let outcome = async {
        let ip = job.shared.address(&job.uid).await?;
        write_volumes(&job, ip).await
    };
    if let Err(error) = outcome.await {
        tracing::debug!(pod = job.pod.metadata.name, error, "a pod's volumes were not brought up to date");
    }
}

async fn write_volumes(job: &Job, ip: IpAddr) -> Result<Sources, String> {
    let sources = job.shared.sources.read(&job.pod).await?;
    if job.pod.spec.volumes.is_empty() {
        return Ok(sources);
    }
    let tokens = job.shared.tokens.of(&job.pod).await?;
    let dir = job.shared.pod_dir(&job.uid).join("volumes");
    let mut writes = Vec::new();
    for volume in &job.pod.spec.volumes {
        let failed = |error: String| format!("MountVolume.SetUp failed for volume {:?} : {error}", volume.name);
        let content = volumes::content(volume, &job.facts(ip), &sources, &tokens).map_err(failed)?;
        writes.push((dir.join(&volume.name), content));
    }
    let stamp = job.shared.now().strftime("%Y_%m_%d_%H_%M_%S.%9f").to_string();
    let written = tokio::task::spawn_blocking(move || {
        for (dir, content) in writes {
            volumes::write(&dir, &content, &stamp)
                .map_err(|error| format!("the volume in {} cannot be written: {error}", dir.display()))?;
        }
        Ok::<(), String>(())
    });
    written.await.map_err(|error| error.to_string())??;
    Ok(sources)
}

pub(super) async fn pull(job: Job, slot: Slot) {
    let result = pull_image(&job, slot).await;
    job.send(Event::Pulled { slot, result }).await;
}

async fn pull_image(job: &Job, slot: Slot) -> Result<Image, PullError> {
    let spec = job.spec(slot);
    let policy = match spec.image_pull_policy.as_str() {
        "Always" => PullPolicy::Always,
        "Never" => PullPolicy::Never,
        _ => PullPolicy::IfNotPresent,
    };
    let mut credentials = Vec::new();
    if !job.pod.spec.image_pull_secrets.is_empty() {
        let sources = job.shared.sources.read(&job.pod).await.map_err(PullError::Failed)?;
        for secret in &job.pod.spec.image_pull_secrets {
            // A missing pull secret is no failure: the image may be had without it.
            let data = sources.secret(&secret.name);
            let text = data.and_then(|data| data.get(".dockerconfigjson").or_else(|| data.get(".dockercfg")));
            credentials.extend(text.map(|text| String::from_utf8_lossy(text).into_owned()));
        }
    }
    let pull = Pull { reference: spec.image.clone(), policy, credentials };
    job.shared.config.sandbox.pull(pull).await
}

pub(super) async fn start(job: Job, slot: Slot, run: u32, image: Image) {
    match start_container(&job, slot, run, image).await {
        Err(failure) => job.send(Event::Started { slot, run, result: Err(failure) }).await,
        Ok((started, logs)) => {
            let live = Live { http: started.http, stop: started.stop };
            let up = Message::Up { uid: Arc::clone(&job.uid), slot, run, live };
            if job.tx.send(up).await.is_err() {
                return;
            }
            let exit = started.exit.await;
            logs.0.finish();
            logs.1.finish();
            job.shared.logs.close(job.whose(slot), run);
            job.send(Event::Exited { slot, run, exit }).await;
        }
    }
}

type Writers = (crate::node::LogWriter, crate::node::LogWriter);

async fn start_container(job: &Job, slot: Slot, run: u32, image: Image) -> Result<(Started, Writers), StartFailure> {
    let ip = job.shared.address(&job.uid).await.map_err(StartFailure::Run)?;
    let spec = job.spec(slot);
    let prepared = job.shared.prepared.lock().get(&job.uid).filter(|_| run == 0).cloned();
    let sources = match prepared {
        Some(sources) => sources,
        None => job.shared.sources.read(&job.pod).await.map_err(StartFailure::Config)?,
    };
    let env = environment(spec, &job.facts(ip), &sources).map_err(|message| {
        // What is missing may come: the next attempt asks anew.
        job.shared.prepared.lock().remove(&job.uid);
        StartFailure::Config(message)
    })?;
    let dir = job.shared.pod_dir(&job.uid).join("volumes");
    let mounts = volumes::mounts(&dir, &job.pod, spec).map_err(StartFailure::Config)?;
    let request_timeout = request_timeout(&job.pod).map_err(StartFailure::Config)?;
    let limit = |name: &str| spec.resources.limits.get(name).and_then(|text| Quantity::parse(text).ok());
    let logs = job.shared.logs.create(job.whose(slot), run);
    let logs = logs.map_err(|error| StartFailure::Run(format!("the container's log cannot be opened: {error}")))?;
    let values: BTreeMap<String, String> = env.iter().cloned().collect();
    let expanded = |texts: &[String]| texts.iter().map(|text| expand(text, &values)).collect();
    let meta = &job.pod.metadata;
    let start = Start {
        namespace: meta.namespace.clone(),
        pod: meta.name.clone(),
        pod_uid: meta.uid.clone(),
        container: spec.name.clone(),
        pod_ip: ip,
        image,
        command: expanded(&spec.command),
        args: expanded(&spec.args),
        env,
        mounts,
        memory_bytes_max: limit("memory").and_then(|limit| u64::try_from(limit.value()).ok()),
        cpu_millis: limit("cpu").and_then(|limit| u32::try_from(limit.milli()).ok()),
        request_timeout,
        stdout: logs.0.clone(),
        stderr: logs.1.clone(),
    };
    let started = job.shared.config.sandbox.start(start).await.map_err(StartFailure::Run)?;
    Ok((started, logs))
}

/// How long the pod's guests may take until an answer begins, where the pod says it.
fn request_timeout(pod: &view::Pod) -> Result<Option<Duration>, String> {
    let Some(text) = pod.metadata.annotations.get(REQUEST_TIMEOUT) else { return Ok(None) };
    let timeout = time::duration(text).filter(|timeout| !timeout.is_zero());
    let wrong = || format!("the annotation {REQUEST_TIMEOUT} is {text:?}, which is not a time as in 30s or 1m30s");
    timeout.map(Some).ok_or_else(wrong)
}

pub(super) async fn probe(job: Job, slot: Slot, run: u32, kind: ProbeKind) {
    let spec = job.spec(slot);
    let result = match (kind.of(spec), job.shared.address(&job.uid).await) {
        (Some(probe), Ok(ip)) => probe::ask(probe, spec, ip, Arc::clone(&job.router)).await,
        (None, _) => Ok(()),
        (_, Err(error)) => Err(error),
    };
    job.send(Event::Probed { slot, run, kind, result }).await;
}

/// Waits until every proxy may have heard of the end, and then until nothing is under way, at most until the time.
pub(super) async fn drain(job: Job, until: Timestamp) {
    let left = until.duration_since(job.shared.now()).max(SignedDuration::ZERO).unsigned_abs();
    let least = job.shared.config.drain_min.min(left);
    let quiet = async {
        tokio::time::sleep(least).await;
        job.router.idle().await;
    };
    let _ = tokio::time::timeout(left, quiet).await;
    job.send(Event::Drained).await;
}
