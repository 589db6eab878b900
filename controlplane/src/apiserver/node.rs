//! What only a node can answer: a container's log. Asked over the node's own link.

use super::Server;
use super::body::{self, Body, BoxError};
use super::link::{LinkError, PROTOCOL};
use super::verbs::Asked;
use crate::registry::{Attributes, Call, User};
use api::object::edit;
use api::rejected::Reason;
use api::{Rejected, Tree};
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::time::Duration;

/// Subresources that need a process with a terminal or sockets of its own, which a Wasm pod does not have.
const UNSUPPORTED: &[&str] = &["exec", "attach", "portforward", "proxy", "ephemeralcontainers", "resize"];

/// Subresources that answer in a form of their own, whatever is accepted.
pub(super) const CONNECTIONS: &[&str] = &["exec", "attach", "portforward", "proxy", "log"];

impl Server {
    /// Answers a subresource that is no object; `None` for one that is.
    pub(super) async fn connect(
        &self,
        asked: &Asked,
        below: &str,
        request: &Request<Incoming>,
    ) -> Result<Option<Response<Body>>, Rejected> {
        match (asked.kind.kind.as_str(), below) {
            ("Pod", "log") => self.log(asked, request.uri().query().unwrap_or_default()).await.map(Some),
            (kind, below) if UNSUPPORTED.contains(&below) => Err(Rejected::new(
                Reason::MethodNotAllowed,
                format!("{below} of a {kind} is not supported: pods here are WebAssembly instances, not processes"),
            )),
            _ => Ok(None),
        }
    }

    async fn log(&self, asked: &Asked, query: &str) -> Result<Response<Body>, Rejected> {
        let pod = self.registry.get(Call { subresource: None, ..asked.call() }).await?.tree();
        let container = container(&pod, asked.query.text("container"))?;
        let node = edit::text(&pod, &["spec", "nodeName"]);
        let name = &asked.info.name;
        if node.is_empty() {
            return Err(Rejected::bad_request(format!("pod {name} does not have a host assigned")));
        }
        let namespace = asked.info.namespace.as_deref().unwrap_or_default();
        let path = format!("/containerLogs/{namespace}/{name}/{container}?{query}");
        let request = Request::get(path).header(header::HOST, node).body(body::empty());
        let request = request.map_err(|error| Rejected::bad_request(error.to_string()))?;
        let response = self.links.request(node, request).await.map_err(|error| lost(&error))?;
        let (parts, incoming) = response.into_parts();
        if parts.status != StatusCode::OK {
            let text = body::read(incoming).await?;
            let text = String::from_utf8_lossy(&text).trim().to_owned();
            let known = serde_json::from_str::<Tree>(&text).ok().and_then(|tree| Rejected::from_status(&tree));
            let code = parts.status.as_u16();
            let mut rejected = known.unwrap_or_else(|| Rejected::bad_request(text));
            rejected.code = code;
            return Err(rejected);
        }
        let body = incoming.map_err(BoxError::from).boxed_unsync();
        let mut response = Response::new(body);
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        Ok(response)
    }

    /// A node that opens its link. It lasts no longer than the certificate that it was opened with.
    pub(super) fn link(
        &self,
        user: &User,
        node: &str,
        valid_for: Duration,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>, Rejected> {
        let wanted = Attributes {
            verb: "create",
            group: "coracle.dev",
            resource: "nodes",
            subresource: "link",
            name: node,
            ..Attributes::default()
        };
        self.registry.check(user, &wanted)?;
        let asks = request.headers().get(header::UPGRADE).is_some_and(|protocol| protocol == PROTOCOL);
        if !asks {
            return Err(Rejected::bad_request(format!("this path is for the Upgrade to {PROTOCOL}")));
        }
        let upgrade = hyper::upgrade::on(&mut request);
        let (links, node, shutdown) = (self.links.clone(), node.to_owned(), self.shutdown.clone());
        tokio::spawn(async move { links.run(node, upgrade, valid_for, shutdown).await });
        let mut response = Response::new(body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static(PROTOCOL));
        Ok(response)
    }
}

fn lost(error: &LinkError) -> Rejected {
    let mut rejected = Rejected::new(Reason::ServiceUnavailable, error.to_string());
    rejected.details.retry_after_seconds = 1;
    rejected
}

/// The container that is meant: the one that was named, or the only one.
fn container(pod: &Tree, named: &str) -> Result<String, Rejected> {
    let names = |key: &str| -> Vec<String> {
        edit::list(pod, &["spec", key]).iter().map(|one| edit::text(one, &["name"]).to_owned()).collect()
    };
    let (own, init) = (names("containers"), names("initContainers"));
    let pod = edit::text(pod, &["metadata", "name"]);
    if !named.is_empty() {
        let is_known = own.iter().chain(&init).any(|name| name == named);
        return if is_known {
            Ok(named.to_owned())
        } else {
            Err(Rejected::bad_request(format!("container {named} is not valid for pod {pod}")))
        };
    }
    match own.as_slice() {
        [one] => Ok(one.clone()),
        several => {
            let mut message =
                format!("a container name must be specified for pod {pod}, choose one of: [{}]", several.join(" "));
            if !init.is_empty() {
                message.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
            }
            Err(Rejected::bad_request(message))
        }
    }
}
