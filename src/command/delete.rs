//! `coracle delete`.

use super::get::escape;
use super::{kinds, namespace, print};
use crate::args::Delete;
use crate::remote::{JSON, Remote};
use anyhow::Result;
use http::Method;

pub(crate) async fn run(args: &Delete) -> Result<()> {
    let remote = Remote::open(&args.scope.access).await?;
    let kind = kinds::named(&remote, &args.resource).await?;
    let namespace = namespace(&kind, &args.scope, &remote);
    for name in &args.names {
        let path = format!("{}/{}", kind.resource.path(namespace, None, None), escape(name));
        remote.json(Method::DELETE, &path, JSON, None).await?;
        print(&format!("{} {name:?} deleted\n", kind.singular))?;
    }
    Ok(())
}
