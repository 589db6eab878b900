//! `coracle logs`.

use super::get::escape;
use crate::args::Logs;
use crate::remote::Remote;
use anyhow::{Result, anyhow};
use http_body_util::BodyExt;
use std::io::Write;

pub(crate) async fn run(args: &Logs) -> Result<()> {
    let remote = Remote::open(&args.scope.access).await?;
    let namespace = args.scope.namespace.as_deref().unwrap_or(&remote.namespace);
    let pod = args.pod.strip_prefix("pod/").unwrap_or(&args.pod);
    let path = api::resource::PODS.path(Some(namespace), Some(pod), Some("log"));
    let mut query = vec![format!("follow={}", args.follow), format!("previous={}", args.previous)];
    query.push(format!("timestamps={}", args.timestamps));
    if !args.container.is_empty() {
        query.push(format!("container={}", escape(&args.container)));
    }
    query.extend(args.tail.map(|lines| format!("tailLines={lines}")));
    let mut body = remote.stream(&format!("{path}?{}", query.join("&"))).await?;
    let mut out = std::io::stdout();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| anyhow!("the log broke off: {error}"))?;
        if let Ok(data) = frame.into_data() {
            out.write_all(&data)?;
            out.flush()?;
        }
    }
    Ok(())
}
