//! The Cluster service, and the part of Auth that says that there is none: who may ask is decided by certificates.

use std::sync::Arc;

use tonic::Status;

use super::wire::{AuthStatusResponse, Done, Empty, Member, MemberListResponse};
use super::{Face, refusal};
use crate::store::Kv as _;
use crate::store::group::Role;

pub(super) async fn members(face: Arc<Face>, _: Empty) -> Result<MemberListResponse, Status> {
    let own = face.store.member_id();
    let known = face.members.borrow().members.clone();
    let members = known.into_iter().map(|(member, role)| Member {
        id: member.id,
        // One without a name would be shown as one that was never started.
        name: if member.name.is_empty() { format!("{:x}", member.id) } else { member.name },
        peer_urls: Some(member.url).filter(|url| !url.is_empty()).into_iter().collect(),
        client_urls: if member.id == own { vec![face.url.clone()] } else { Vec::new() },
        is_learner: role == Role::Learner,
    });
    Ok(MemberListResponse { header: face.header(face.store.revision()), members: members.collect() })
}

pub(super) async fn not_here(_: Arc<Face>, _: Empty) -> Result<Empty, Status> {
    Err(refusal::not_served("members are added, removed and promoted with `coracle member`"))
}

pub(super) async fn auth_status(face: Arc<Face>, _: Empty) -> Result<AuthStatusResponse, Status> {
    Ok(AuthStatusResponse { header: face.header(face.store.revision()), enabled: false, auth_revision: 1 })
}

/// There are no users and no roles.
pub(super) async fn nobody(face: Arc<Face>, _: Empty) -> Result<Done, Status> {
    Ok(Done { header: face.header(face.store.revision()) })
}

pub(super) async fn no_auth(_: Arc<Face>, _: Empty) -> Result<Empty, Status> {
    Err(refusal::auth_not_enabled())
}
