//! The Auth service, which says that there is none: who may ask is decided by certificates.

use std::sync::Arc;

use tonic::Status;

use super::wire::{AuthStatusResponse, Done, Empty};
use super::{Face, refusal};
use crate::store::Kv as _;

pub(super) async fn status(face: Arc<Face>, _: Empty) -> Result<AuthStatusResponse, Status> {
    Ok(AuthStatusResponse { header: face.header(face.store.revision()), enabled: false, auth_revision: 1 })
}

/// There are no users and no roles, and there is nothing to disable: as etcd answers before any were made.
pub(super) async fn nothing(face: Arc<Face>, _: Empty) -> Result<Done, Status> {
    Ok(Done { header: face.header(face.store.revision()) })
}

/// Clients that were given a name and a password go on without when they hear this.
pub(super) async fn not_enabled(_: Arc<Face>, _: Empty) -> Result<Empty, Status> {
    Err(refusal::auth_not_enabled())
}

pub(super) async fn not_here(_: Arc<Face>, _: Empty) -> Result<Empty, Status> {
    Err(refusal::not_served(
        "there are no users, roles and passwords: a client shows a certificate of the group system:masters, such as \
         etcd-client.crt of the data folder",
    ))
}
