//! API servers that extend this one: each serves a version of a group in our place, behind a Service that its APIService
//! names. Requests are authorized here and go on with the headers of a front proxy.
//!
//! Every member learns by itself what these servers offer, so that discovery never waits for them: one that is down
//! leaves what was known of it, told as stale. The member that leads tells in the APIServices which can be used.

mod headers;
mod published;
mod resources;

pub use resources::External;

use super::body::{Body, BoxError};
use super::dial::{Dialer, read};
use super::link::Links;
use super::request::{Info, Query};
use super::{Server, answer, verbs};
use crate::pki::Pki;
use crate::registry::{Attributes, Destination, Local, MASTERS, Nowhere, Registry, Trust, User, trust};
use api::resource::{ENDPOINT_SLICES, SERVICES};
use api::view::ApiService;
use api::{Rejected, Resource};
use arc_swap::ArcSwap;
use client::{Followed, Handle, follow};
use futures::StreamExt;
use http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often a server is looked at that nothing has changed for; upstream's.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// The same, of one that did not answer.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// How long a server may take to tell what it serves; upstream's.
const DISCOVERY_LIMIT: Duration = Duration::from_secs(5);
/// Until the head of an answer, but for watches and upgrades; kube-apiserver's for a request.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// Servers that are looked at side by side.
const LOOKS_MAX: usize = 8;

/// Marks an answer that goes through as it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Proxied;

/// What this member knows of the servers that extend it.
pub(super) struct Aggregator {
    dialer: Dialer,
    known: ArcSwap<Vec<External>>,
}

/// Why a server cannot be used: the reason and the message of a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Unavailable {
    reason: &'static str,
    message: String,
}

/// Looks at all servers again and again.
struct Lookout {
    registry: Registry,
    dialer: Dialer,
    /// What the last look was at, when, and whether it found what it was for.
    seen: HashMap<String, (Subject, Instant, bool)>,
}

/// All that the outcome of a look depends on.
#[derive(Clone, PartialEq, Eq)]
struct Subject {
    revision: String,
    destination: Result<Destination, Nowhere>,
}

type Found = (Arc<ApiService>, Result<Vec<Value>, Unavailable>);

// === impl Aggregator ===

impl Aggregator {
    pub(super) fn new(links: Links, pki: Arc<Pki>) -> Aggregator {
        Aggregator { dialer: Dialer::new(links, Some(pki)), known: ArcSwap::default() }
    }

    /// What others serve now, for discovery.
    pub(super) fn externals(&self, registry: &Registry) -> Vec<External> {
        let known = self.known.load();
        let all = registry.extensions();
        all.iter().map(|service| External::new(service, known.iter().find(|one| one.is_of(service)))).collect()
    }

    /// Learns what is served elsewhere until `stop`.
    pub(super) async fn learn(
        &self,
        registry: Registry,
        pki: &Pki,
        client_cas: Option<&[u8]>,
        stop: CancellationToken,
    ) {
        let mut changes = Changes::of(&registry);
        let mut lookout = Lookout { registry, dialer: self.dialer.clone(), seen: HashMap::new() };
        let mut publish_at = Instant::now();
        loop {
            if publish_at <= Instant::now() {
                published::keep(&lookout.registry, pki, client_cas).await;
                publish_at = Instant::now() + LOOK_EVERY;
            }
            for (service, found) in lookout.look().await {
                let mut known = self.known.load().to_vec();
                let before = known.iter().position(|one| one.is_of(&service)).map(|at| known.swap_remove(at));
                known.push(match found {
                    Ok(resources) => External { resources, is_fresh: true, ..External::new(&service, None) },
                    Err(_) => External { is_fresh: false, ..External::new(&service, before.as_ref()) },
                });
                self.known.store(Arc::new(known));
            }
            self.forget(&lookout.registry);
            if !changes.next(lookout.due(), &stop).await {
                return;
            }
        }
    }

    fn forget(&self, registry: &Registry) {
        let there = registry.extensions();
        let known = self.known.load();
        if known.iter().any(|one| !there.iter().any(|service| one.is_of(service))) {
            let kept = known.iter().filter(|one| there.iter().any(|service| one.is_of(service))).cloned().collect();
            self.known.store(Arc::new(kept));
        }
    }
}

/// Tells in the APIServices which servers can be used, until `stop`: at one member, so that two that see differently do
/// not write against each other.
pub async fn settle(registry: Registry, links: Links, pki: Arc<Pki>, stop: CancellationToken) {
    let mut changes = Changes::of(&registry);
    let mut lookout = Lookout { registry, dialer: Dialer::new(links, Some(pki)), seen: HashMap::new() };
    loop {
        for (service, found) in lookout.look().await {
            let name = &service.metadata.name;
            let told = match &found {
                Ok(_) => lookout.registry.tell_available(name, true, "Passed", "all checks passed").await,
                Err(Unavailable { reason, message }) => {
                    lookout.registry.tell_available(name, false, reason, message).await
                }
            };
            if let Err(rejected) = told
                && !rejected.is_not_found()
            {
                tracing::warn!(name, %rejected, "the state of an APIService is not told");
                lookout.seen.remove(name);
            }
        }
        if !changes.next(lookout.due(), &stop).await {
            return;
        }
    }
}

// === impl Lookout ===

impl Lookout {
    /// Asks those servers what they serve of which something has changed, or that nobody asked for long.
    async fn look(&mut self) -> Vec<Found> {
        let all = self.registry.extensions();
        self.seen.retain(|name, _| all.iter().any(|service| service.metadata.name == *name));
        let mut due = Vec::new();
        for service in all {
            let destination = destination(&self.registry, &service);
            let revision = revision(&service);
            let subject = Subject { revision, destination };
            let is_seen = self.seen.get(&service.metadata.name).is_some_and(|(seen, at, is_good)| {
                *seen == subject && at.elapsed() < if *is_good { LOOK_EVERY } else { LOOK_AGAIN }
            });
            if !is_seen {
                due.push((service, subject));
            }
        }
        let asked = due.into_iter().map(|(service, subject)| {
            let dialer = self.dialer.clone();
            async move {
                let found = offered(&dialer, &service, &subject.destination).await;
                (service, subject, found)
            }
        });
        let asked: Vec<_> = futures::stream::iter(asked).buffer_unordered(LOOKS_MAX).collect().await;
        let mut found = Vec::new();
        for (service, subject, offers) in asked {
            self.seen.insert(service.metadata.name.clone(), (subject, Instant::now(), offers.is_ok()));
            found.push((service, offers));
        }
        found
    }

    /// How long until somebody has to be looked at.
    fn due(&self) -> Duration {
        let left = |(_, at, is_good): &(Subject, Instant, bool)| {
            if *is_good { LOOK_EVERY } else { LOOK_AGAIN }.saturating_sub(at.elapsed())
        };
        self.seen.values().map(left).min().unwrap_or(LOOK_EVERY)
    }
}

/// What is written with each look changes nothing of what is looked at.
fn revision(service: &ApiService) -> String {
    format!("{}/{}", service.metadata.uid, service.metadata.generation) + &format!("{:?}", service.spec)
}

fn destination(registry: &Registry, service: &ApiService) -> Result<Destination, Nowhere> {
    let spec = &service.spec;
    let trust = if spec.insecure_skip_tls_verify {
        Trust::Anyone
    } else {
        trust(spec.ca_bundle.as_deref().unwrap_or_default())?
    };
    registry.service(&spec.service.clone().unwrap_or_default(), trust)
}

/// The resources of a version, as its server tells them.
async fn offered(
    dialer: &Dialer,
    service: &ApiService,
    destination: &Result<Destination, Nowhere>,
) -> Result<Vec<Value>, Unavailable> {
    let to = destination.as_ref().map_err(|why| nowhere(service, why))?;
    let path = format!("/apis/{}/{}", service.spec.group, service.spec.version);
    let url = format!("https://{}{path}", to.authority);
    let failed = |why: String| Unavailable {
        reason: "FailedDiscoveryCheck",
        message: format!("failing or missing response from {url}: {why}"),
    };
    let asking = async {
        let mut request = Request::get(&path).header(header::ACCEPT, answer::JSON).body(super::body::empty());
        if let Ok(request) = &mut request {
            let asker = User::new("system:kube-aggregator", &[MASTERS]);
            headers::identify(request.headers_mut(), &asker);
        }
        let request = request.map_err(|why| failed(why.to_string()))?;
        let response = dialer.send(to, request).await.map_err(|why| failed(format!("Get {url:?}: {why}")))?;
        let status = response.status();
        let body = read(response).await.map_err(failed)?;
        if !status.is_success() {
            return Err(failed(format!("bad status from {url}: {}", status.as_u16())));
        }
        let list = serde_json::from_slice(&body).map_err(|why| failed(why.to_string()))?;
        Ok(resources::aggregated(&list, &service.spec.group, &service.spec.version))
    };
    let asked = tokio::time::timeout(DISCOVERY_LIMIT, asking).await;
    asked.unwrap_or_else(|_| Err(failed(format!("Get {url:?}: context deadline exceeded"))))
}

/// In the words of the aggregator's conditions.
fn nowhere(service: &ApiService, why: &Nowhere) -> Unavailable {
    let at = service.spec.service.clone().unwrap_or_default();
    let (name, namespace) = (&at.name, &at.namespace);
    let (reason, message) = match why {
        Nowhere::NoService(_) => ("ServiceNotFound", format!("service/{name} in {namespace:?} is not present")),
        Nowhere::NoPort { port, .. } => {
            ("ServicePortError", format!("service/{name} in {namespace:?} is not listening on port {port}"))
        }
        Nowhere::NoEndpoints { port, .. } => (
            "MissingEndpoints",
            format!("endpoints for service/{name} in {namespace:?} have no addresses with port name {port:?}"),
        ),
        Nowhere::Malformed(why) => {
            ("ServiceAccessError", format!("service/{name} in {namespace:?} cannot be checked due to: {why}"))
        }
    };
    Unavailable { reason, message }
}

/// What wakes a lookout.
struct Changes([mpsc::Receiver<Followed>; 3]);

// === impl Changes ===

impl Changes {
    fn of(registry: &Registry) -> Changes {
        let cluster: Handle = Arc::new(Local::new(registry.clone(), User::system_admin()));
        let services = Resource::new("apiregistration.k8s.io", "v1", "apiservices");
        let all = [services, SERVICES, ENDPOINT_SLICES];
        Changes(all.map(|resource| follow(cluster.clone(), follow::Selection::all(resource))))
    }

    /// Waits for a change, at most so long; false at the end.
    async fn next(&mut self, wait: Duration, stop: &CancellationToken) -> bool {
        let [first, second, third] = &mut self.0;
        tokio::select! {
            () = stop.cancelled() => return false,
            Some(_) = first.recv() => {}
            Some(_) = second.recv() => {}
            Some(_) = third.recv() => {}
            () = tokio::time::sleep(wait) => {}
        }
        for told in &mut self.0 {
            while told.try_recv().is_ok() {}
        }
        true
    }
}

impl Server {
    /// The APIService of a server that has what is at a path.
    pub(super) fn extension(&self, path: &str) -> Option<Arc<ApiService>> {
        let mut parts = path.strip_prefix("/apis/")?.splitn(3, '/');
        let (group, version) = (parts.next()?, parts.next()?);
        self.registry.extension(group, version)
    }

    /// Passes a request on to the server that extends us there, once the user may do what it asks for.
    pub(super) async fn proxy(
        &self,
        user: &User,
        service: &ApiService,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>, Rejected> {
        let verb = self.authorize_foreign(user, &request)?;
        let unavailable = || answer::text(StatusCode::SERVICE_UNAVAILABLE, "service unavailable\n");
        if !service.is_available() {
            return Ok(unavailable());
        }
        let Ok(to) = destination(&self.registry, service) else { return Ok(unavailable()) };
        let protocol = protocol(&request);
        let upgrade = protocol.as_ref().map(|_| hyper::upgrade::on(&mut request));
        let (parts, incoming) = request.into_parts();
        let mut outgoing = Request::new(incoming.map_err(BoxError::from).boxed_unsync());
        *outgoing.method_mut() = parts.method;
        *outgoing.uri_mut() = parts.uri.path_and_query().cloned().map(http::Uri::from).unwrap_or_default();
        *outgoing.headers_mut() = headers::forwarded(&parts.headers, user, protocol.as_ref());
        let sending = self.aggregator.dialer.send(&to, outgoing);
        let limit = if upgrade.is_some() || verb == "watch" { Duration::MAX } else { ANSWER_LIMIT };
        let sent = match tokio::time::timeout(limit, sending).await {
            Ok(sent) => sent,
            Err(_) => Err("no answer in time".into()),
        };
        let mut response = match sent {
            Ok(response) => response,
            Err(why) => {
                let text = format!("error trying to reach service: {why}\n");
                return Ok(answer::text(StatusCode::SERVICE_UNAVAILABLE, text));
            }
        };
        let is_switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if let Some(client) = upgrade.filter(|_| is_switched) {
            let server = hyper::upgrade::on(&mut response);
            tokio::spawn(join(client, server, self.shutdown.clone()));
        }
        let (parts, incoming) = response.into_parts();
        let mut headers = headers::of_message(&parts.headers);
        if let (true, Some(protocol)) = (is_switched, parts.headers.get(header::UPGRADE)) {
            headers.insert(header::CONNECTION, http::HeaderValue::from_static("Upgrade"));
            headers.insert(header::UPGRADE, protocol.clone());
        }
        let mut response = Response::new(incoming.map_err(BoxError::from).boxed_unsync());
        *response.status_mut() = parts.status;
        *response.headers_mut() = headers;
        response.extensions_mut().insert(Proxied);
        Ok(response)
    }

    /// Whether the user may do what a request asks for; the verb.
    fn authorize_foreign(&self, user: &User, request: &Request<Incoming>) -> Result<&'static str, Rejected> {
        let (path, method) = (request.uri().path(), request.method());
        if let Some(info) = Info::parse(path) {
            let query = Query::parse(request.uri().query());
            let verb = verbs::verb(method, &info, &query);
            self.authorize(user, &info, &query, verb.unwrap_or(method.as_str()))?;
            return Ok(verb.unwrap_or_default());
        }
        let verb = method.as_str().to_lowercase();
        self.registry.check(user, &Attributes { verb: &verb, path: Some(path), ..Attributes::default() })?;
        Ok("")
    }
}

/// What a connection is to become, if the client asks for that.
fn protocol(request: &Request<Incoming>) -> Option<http::HeaderValue> {
    let wishes = request.headers().get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let is_wished = wishes.flat_map(|value| value.split(',')).any(|one| one.trim().eq_ignore_ascii_case("upgrade"));
    request.headers().get(header::UPGRADE).filter(|_| is_wished).cloned()
}

/// Carries what either side says to the other until one ends.
async fn join(client: hyper::upgrade::OnUpgrade, server: hyper::upgrade::OnUpgrade, stop: CancellationToken) {
    let (client, server) = match tokio::try_join!(client, server) {
        Ok(both) => both,
        Err(error) => return tracing::debug!(%error, "a proxied connection was not upgraded"),
    };
    let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
    tokio::select! {
        done = tokio::io::copy_bidirectional(&mut client, &mut server) => {
            if let Err(error) = done {
                tracing::debug!(%error, "a proxied connection broke");
            }
        }
        () = stop.cancelled() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn why_a_server_cannot_be_used() {
        let service = json!({"metadata": {"name": "v1.e.com"}, "spec": {"service": {"namespace": "a", "name": "s"}}});
        let service: ApiService = api::object::read_tree(&service).expect("an APIService");
        let told = |why: Nowhere| {
            let Unavailable { reason, message } = nowhere(&service, &why);
            format!("{reason}: {message}")
        };
        for (why, expect) in [
            (Nowhere::NoService("s".into()), r#"ServiceNotFound: service/s in "a" is not present"#),
            (
                Nowhere::NoPort { service: "s".into(), port: 443 },
                r#"ServicePortError: service/s in "a" is not listening on port 443"#,
            ),
            (
                Nowhere::NoEndpoints { service: "s".into(), port: "https".into() },
                r#"MissingEndpoints: endpoints for service/s in "a" have no addresses with port name "https""#,
            ),
        ] {
            assert_eq!(told(why), expect);
        }
    }
}
