//! Asks a container how it is, the way its probe says.

use super::traffic::Router;
use crate::Body;
use api::view;
use http::Request;
use http_body_util::{BodyExt, Empty};
use serde_json::Value;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// `Ok`, or why not, in the kubelet's words.
pub(super) async fn ask(
    probe: &view::Probe,
    container: &view::Container,
    ip: IpAddr,
    router: Arc<Router>,
) -> Result<(), String> {
    let timeout = Duration::from_secs(probe.timeout_seconds.unwrap_or(1).max(1).into());
    if let Some(get) = &probe.http_get {
        let port = port(&get.port, container)?;
        let path = if get.path.starts_with('/') { get.path.clone() } else { format!("/{}", get.path) };
        let url = format!("http://{ip}:{port}{path}");
        let asked = tokio::time::timeout(timeout, http_get(get, &url, port, router)).await;
        return asked.unwrap_or_else(|_| {
            Err(format!("Get {url:?}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)"))
        });
    }
    if let Some(tcp) = &probe.tcp_socket {
        let port = port(&tcp.port, container)?;
        let refused = || format!("dial tcp {ip}:{port}: connect: connection refused");
        return router.is_open(port).then_some(()).ok_or_else(refused);
    }
    if probe.exec.is_some() {
        return Err("a WebAssembly container has no other program to run; use httpGet or tcpSocket".to_owned());
    }
    Err("this kind of probe is not supported; use httpGet or tcpSocket".to_owned())
}

async fn http_get(get: &view::HttpGet, url: &str, port: u16, router: Arc<Router>) -> Result<(), String> {
    let mut request = Request::builder().uri(url).header("user-agent", "kube-probe/1.36").header("accept", "*/*");
    for header in &get.http_headers {
        request = request.header(&header.name, &header.value);
    }
    if !get.http_headers.iter().any(|header| header.name.eq_ignore_ascii_case("host")) {
        request = request.header("host", url.trim_start_matches("http://").split('/').next().unwrap_or_default());
    }
    let body: Body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    let request = request.body(body).map_err(|error| format!("the probe cannot be sent: {error}"))?;
    match router.call(request, port).await {
        Ok(response) if (200..400).contains(&response.status().as_u16()) => Ok(()),
        Ok(response) => Err(format!("HTTP probe failed with statuscode: {}", response.status().as_u16())),
        Err(error) => Err(format!("Get {url:?}: {error}")),
    }
}

/// A number, or the name of one of the container's ports.
fn port(port: &Value, container: &view::Container) -> Result<u16, String> {
    let number = port.as_u64().or_else(|| port.as_str().and_then(|text| text.parse().ok()));
    if let Some(number) = number.and_then(|number| u16::try_from(number).ok()) {
        return Ok(number);
    }
    let name = port.as_str().unwrap_or_default();
    let named = container.ports.iter().find(|one| one.name == name).map(|one| one.container_port);
    named.ok_or_else(|| format!("couldn't find port: {port}"))
}
