//! The Maintenance service: how the member is, whether members agree, and who leads.

use std::sync::Arc;

use tonic::Status;

use super::wire::{
    AlarmAction, AlarmMember, AlarmRequest, AlarmResponse, Done, Empty, HashKvRequest, HashResponse, MoveLeaderRequest,
    StatusResponse,
};
use super::{Face, refusal, signed, unsigned};
use crate::store::Kv as _;
use crate::store::group::Role;

/// An alarm's kind.
const NOSPACE: i32 = 1;

/// The etcd whose API this is. Clients look here for what they may use: kube-apiserver asks for the progress of
/// watches from 3.5.8 on.
const VERSION: &str = "3.5.21";

pub(super) async fn status(face: Arc<Face>, _: Empty) -> Result<StatusResponse, Status> {
    let status = face.store.status().await.map_err(|error| face.refused(error))?;
    let members = face.members.borrow().clone();
    let own = face.store.member_id();
    let mut errors: Vec<String> =
        members.alarms.iter().map(|member| format!("memberID:{member} alarm:NOSPACE ")).collect();
    errors.extend(members.leader.is_none().then(|| "etcdserver: no leader".to_owned()));
    Ok(StatusResponse {
        header: face.header(face.store.revision()),
        version: VERSION.to_owned(),
        db_size: signed(status.bytes),
        leader: members.leader.unwrap_or_default(),
        raft_index: status.settled,
        raft_term: members.term,
        raft_applied_index: status.applied,
        errors,
        db_size_in_use: signed(status.bytes),
        is_learner: members.members.iter().any(|(member, role)| member.id == own && *role == Role::Learner),
    })
}

/// Disks that are nearly full. The store raises alarms and takes them back by itself, so that there is none to disarm.
pub(super) async fn alarm(face: Arc<Face>, request: AlarmRequest) -> Result<AlarmResponse, Status> {
    match request.action() {
        AlarmAction::Get => {
            let raised = face.store.members().borrow().alarms.clone();
            let alarms = raised.into_iter().map(|member_id| AlarmMember { member_id, alarm: NOSPACE }).collect();
            Ok(AlarmResponse { header: face.header(face.store.revision()), alarms })
        }
        AlarmAction::Deactivate => Ok(AlarmResponse { header: face.header(face.store.revision()), alarms: Vec::new() }),
        AlarmAction::Activate => Err(refusal::not_served("alarms are raised by the store itself")),
    }
}

pub(super) async fn defragment(face: Arc<Face>, _: Empty) -> Result<Done, Status> {
    face.store.defragment().await.map_err(|error| face.refused(error))?;
    Ok(Done { header: face.header(face.store.revision()) })
}

/// Of all that was ever applied.
pub(super) async fn hash(face: Arc<Face>, _: Empty) -> Result<HashResponse, Status> {
    let status = face.store.status().await.map_err(|error| face.refused(error))?;
    let header = face.header(face.store.revision());
    Ok(HashResponse { header, hash: folded(status.digest), ..HashResponse::default() })
}

/// Of all versions that can be read at a revision.
pub(super) async fn hash_kv(face: Arc<Face>, request: HashKvRequest) -> Result<HashResponse, Status> {
    let hashed = face.store.hash(unsigned(request.revision)).await.map_err(|error| face.refused(error))?;
    Ok(HashResponse {
        header: face.header(hashed.revision),
        hash: folded(hashed.hash),
        compact_revision: signed(hashed.compacted),
        hash_revision: if request.revision > 0 { request.revision } else { signed(hashed.revision) },
    })
}

fn folded(hash: u64) -> u32 {
    let [a, b, c, d, e, f, g, h] = hash.to_le_bytes();
    u32::from_le_bytes([a, b, c, d]) ^ u32::from_le_bytes([e, f, g, h])
}

pub(super) async fn move_leader(face: Arc<Face>, request: MoveLeaderRequest) -> Result<Done, Status> {
    let members = face.members.borrow().clone();
    if members.leader != Some(face.store.member_id()) {
        return Err(refusal::not_leader());
    }
    let target = request.target_id;
    if !members.members.iter().any(|(member, role)| member.id == target && *role == Role::Voter) {
        return Err(refusal::bad_transferee());
    }
    if members.leader != Some(target) {
        face.store.transfer_leadership(target);
        let mut known = face.members.clone();
        let moved = known.wait_for(|members| members.leader == Some(target));
        match tokio::time::timeout(super::LEADER_MOVED_MAX, moved).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => return Err(refusal::stopped()),
            Err(_) => return Err(Status::unavailable("etcdserver: request timed out, leader transfer took too long")),
        }
    }
    Ok(Done { header: face.header(face.store.revision()) })
}

pub(super) async fn downgrade(_: Arc<Face>, _: Empty) -> Result<Empty, Status> {
    Err(refusal::not_served("there is no older version to go back to"))
}
