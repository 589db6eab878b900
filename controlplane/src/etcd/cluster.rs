//! The Cluster service: who the members are, and how that changes.
//!
//! A member of ours brings itself: it is started with a token, and gets its number and the cluster's keys for that. An
//! address alone, which is what etcd's MemberAdd brings, adds none.

use std::sync::Arc;

use tonic::Status;

use super::wire::{
    Empty, Member, MemberAddRequest, MemberListRequest, MemberRequest, MemberUpdateRequest, MembersResponse,
};
use super::{Face, refusal};
use crate::store::Kv as _;
use crate::store::group::{self, MemberChange, Role};
use crate::store::kv::Error;

pub(super) async fn list(face: Arc<Face>, request: MemberListRequest) -> Result<MembersResponse, Status> {
    if request.linearizable {
        face.store.catch_up().await.map_err(|error| face.refused(error))?;
    }
    Ok(shown(&face, |_| true))
}

pub(super) async fn add(face: Arc<Face>, request: MemberAddRequest) -> Result<Empty, Status> {
    check_urls(&request.peer_urls)?;
    let known = settled(&face).await?;
    if known.iter().any(|(member, _)| request.peer_urls.contains(&member.url)) {
        return Err(refusal::peer_url_exists());
    }
    Err(refusal::not_served(
        "a member adds itself: start it with the command that `coracle member add` prints; it is a learner until it \
         has caught up, and votes from then on",
    ))
}

pub(super) async fn remove(face: Arc<Face>, request: MemberRequest) -> Result<MembersResponse, Status> {
    let id = request.id;
    let known = settled(&face).await?;
    role(&known, id)?;
    if known.iter().all(|(member, role)| *role == Role::Learner || member.id == id) {
        return Err(refusal::not_enough_started());
    }
    face.membership.change(MemberChange::Remove(id)).await.map_err(|error| face.refused(error))?;
    // Who has removed itself may never hear of it.
    if id != face.store.member_id() {
        await_settled(&face).await;
    }
    Ok(shown(&face, |member| member.id != id))
}

pub(super) async fn promote(face: Arc<Face>, request: MemberRequest) -> Result<MembersResponse, Status> {
    let known = settled(&face).await?;
    if role(&known, request.id)? == Role::Voter {
        return Err(refusal::not_a_learner());
    }
    let done = face.membership.change(MemberChange::Promote(request.id)).await;
    done.map_err(|error| match error {
        Error::NotReady(_) => refusal::learner_not_ready(),
        error => face.refused(error),
    })?;
    await_settled(&face).await;
    Ok(shown(&face, |_| true))
}

/// Where the other members reach one. At its next start, that one tells its address anew.
pub(super) async fn update(face: Arc<Face>, request: MemberUpdateRequest) -> Result<MembersResponse, Status> {
    let known = settled(&face).await?;
    role(&known, request.id)?;
    check_urls(&request.peer_urls)?;
    let [url] = request.peer_urls.as_slice() else { return Err(refusal::one_member_url()) };
    if !url.starts_with("https://") {
        return Err(refusal::one_member_url());
    }
    for (member, _) in known {
        if member.id != request.id && member.url == *url {
            return Err(refusal::peer_url_exists());
        }
        if member.id == request.id {
            let changed = MemberChange::Update(group::Member { url: url.clone(), ..member });
            face.membership.change(changed).await.map_err(|error| face.refused(error))?;
        }
    }
    await_settled(&face).await;
    Ok(shown(&face, |_| true))
}

/// The members as of now: what is refused because of who they are must not be so because this one is behind.
async fn settled(face: &Face) -> Result<Vec<(group::Member, Role)>, Status> {
    face.store.catch_up().await.map_err(|error| face.refused(error))?;
    Ok(face.members.borrow().members.clone())
}

/// So that the answer shows what was done; that it was done is sure without this.
async fn await_settled(face: &Face) {
    if let Err(error) = face.store.catch_up().await {
        tracing::debug!(%error, "a change of the members is not seen here yet");
    }
}

fn role(known: &[(group::Member, Role)], id: u64) -> Result<Role, Status> {
    let found = known.iter().find(|(member, _)| member.id == id);
    found.map(|(_, role)| *role).ok_or_else(refusal::member_not_found)
}

fn shown(face: &Face, is_shown: impl Fn(&group::Member) -> bool) -> MembersResponse {
    let known = face.members.borrow().members.clone();
    let members = known.into_iter().filter(|(member, _)| is_shown(member)).map(|(member, role)| Member {
        id: member.id,
        // One without a name would be shown as one that was never started.
        name: if member.name.is_empty() { format!("{:x}", member.id) } else { member.name },
        peer_urls: Some(member.url).filter(|url| !url.is_empty()).into_iter().collect(),
        client_urls: member.client_urls,
        is_learner: role == Role::Learner,
    });
    MembersResponse { header: face.header(face.store.revision()), members: members.collect() }
}

/// As etcd checks them.
fn check_urls(urls: &[String]) -> Result<(), Status> {
    if urls.is_empty() || !urls.iter().all(|url| is_member_url(url)) {
        return Err(refusal::bad_member_urls());
    }
    Ok(())
}

/// `SCHEME://HOST:PORT`, and nothing behind it.
fn is_member_url(url: &str) -> bool {
    let Some((scheme, address)) = url.split_once("://") else { return false };
    let is_address = address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    is_address && ["http", "https", "unix", "unixs"].contains(&scheme) && !address.contains(['/', '?', '#', ' '])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_members_url_has_a_port_and_no_path() {
        for url in ["https://127.0.0.1:2380", "http://a.example:1", "https://[::1]:6443"] {
            assert!(is_member_url(url), "{url}");
        }
        for url in ["", "127.0.0.1:2380", "https://a", "https://a:b", "ftp://a:1", "https://a:1/b", "https://:1/"] {
            assert!(!is_member_url(url), "{url}");
        }
    }
}
