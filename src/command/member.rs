//! `coracle member`: who keeps the cluster's state.

use super::{columns, print, token};
use crate::args::Member;
use crate::remote::{JSON, Remote};
use anyhow::Result;
use controlplane::apiserver::members::{JOINERS, PATH};
use http::Method;

pub(crate) async fn run(command: &Member) -> Result<()> {
    match command {
        Member::List { access } => list(&Remote::open(access).await?).await,
        Member::Add { access, ttl } => {
            let remote = Remote::open(access).await?;
            let token = token::create(&remote, JOINERS, *ttl, "for a member of the control plane").await?;
            let server = remote.server.trim_end_matches('/');
            print(&format!("coracle server --join {server} --token {token}\n"))
        }
        Member::Promote { access, id } => {
            let remote = Remote::open(access).await?;
            remote.json(Method::POST, &format!("{PATH}/{id}/promote"), JSON, None).await?;
            print(&format!("member {id} votes\n"))
        }
        Member::Remove { access, id } => {
            let remote = Remote::open(access).await?;
            remote.json(Method::DELETE, &format!("{PATH}/{id}"), JSON, None).await?;
            print(&format!("member {id} is removed\n"))
        }
    }
}

async fn list(remote: &Remote) -> Result<()> {
    let found = remote.json(Method::GET, PATH, JSON, None).await?;
    let mut lines = vec![["ID", "NAME", "URL", "ROLE", "ALARM"].map(str::to_owned).to_vec()];
    for member in found["members"].as_array().into_iter().flatten() {
        let field = |name: &str| member[name].as_str().unwrap_or_default().to_owned();
        let role = if member["leader"] == true { "leader".to_owned() } else { field("role") };
        lines.push(vec![field("id"), field("name"), field("url"), role, field("alarm")]);
    }
    print(&columns(&lines))
}
