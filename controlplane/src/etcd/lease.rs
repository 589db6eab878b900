//! The Lease service.

use std::sync::Arc;

use futures::{Stream, stream};
use tonic::{Status, Streaming};

use super::wire::{
    Done, Empty, LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveResponse, LeaseLeasesResponse, LeaseRequest,
    LeaseTimeToLiveRequest, LeaseTimeToLiveResponse,
};
use super::{Face, refusal, signed, unsigned};
use crate::store::kv::Error;
use crate::store::{Kv as _, Leases as _};

/// Seconds; about 285 years, as in etcd.
const TTL_MAX: i64 = 9_000_000_000;

pub(super) async fn grant(face: Arc<Face>, request: LeaseGrantRequest) -> Result<LeaseGrantResponse, Status> {
    if request.ttl > TTL_MAX {
        return Err(refusal::ttl_too_large());
    }
    let granted = face.store.grant(request.id, unsigned(request.ttl)).await.map_err(|error| face.refused(error))?;
    let header = face.header(granted.revision);
    Ok(LeaseGrantResponse { header, id: granted.id, ttl: signed(granted.ttl), error: String::new() })
}

pub(super) async fn revoke(face: Arc<Face>, request: LeaseRequest) -> Result<Done, Status> {
    let revision = face.store.revoke(request.id).await.map_err(|error| face.refused(error))?;
    Ok(Done { header: face.header(revision) })
}

/// Answers each sign of life; the first that cannot be answered ends the stream, and the client tries elsewhere.
pub(super) fn keep_alive(
    face: Arc<Face>,
    requests: Streaming<LeaseRequest>,
) -> impl Stream<Item = Result<LeaseKeepAliveResponse, Status>> {
    stream::unfold(Some((face, requests)), async |place| {
        let (face, mut requests) = place?;
        let answer = tokio::select! {
            answer = answer(&face, &mut requests) => answer?,
            () = face.stop.cancelled() => Err(refusal::stopped()),
        };
        let goes_on = answer.is_ok().then_some((face, requests));
        Some((answer, goes_on))
    })
}

/// `None`: the client has nothing more to say.
async fn answer(face: &Face, requests: &mut Streaming<LeaseRequest>) -> Option<Result<LeaseKeepAliveResponse, Status>> {
    let id = match requests.message().await {
        Ok(request) => request?.id,
        Err(status) => return Some(Err(status)),
    };
    // A lease that is gone has no time to live; that is no error.
    let ttl = match face.store.keep_alive(id).await {
        Ok(ttl) => signed(ttl),
        Err(Error::NoLease(_)) => 0,
        Err(error) => return Some(Err(face.refused(error))),
    };
    Some(Ok(LeaseKeepAliveResponse { header: face.header(face.store.revision()), id, ttl }))
}

pub(super) async fn time_to_live(
    face: Arc<Face>,
    request: LeaseTimeToLiveRequest,
) -> Result<LeaseTimeToLiveResponse, Status> {
    let id = request.id;
    let header = face.header(face.store.revision());
    match face.store.lease(id, request.keys).await {
        Ok(lease) => Ok(LeaseTimeToLiveResponse {
            header,
            id,
            ttl: signed(lease.left),
            granted_ttl: signed(lease.granted),
            keys: lease.keys,
        }),
        Err(Error::NoLease(_)) => Ok(LeaseTimeToLiveResponse { header, id, ttl: -1, granted_ttl: 0, keys: Vec::new() }),
        Err(error) => Err(face.refused(error)),
    }
}

pub(super) async fn leases(face: Arc<Face>, _: Empty) -> Result<LeaseLeasesResponse, Status> {
    let leases = face.store.leases().await.map_err(|error| face.refused(error))?;
    let leases = leases.into_iter().map(|id| LeaseRequest { id }).collect();
    Ok(LeaseLeasesResponse { header: face.header(face.store.revision()), leases })
}
