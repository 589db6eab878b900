//! The real binary, as a user runs it: one process, and a cluster of processes on hosts of their own.

#[path = "e2e/bad_input.rs"]
mod bad_input;
#[path = "e2e/bad_objects.rs"]
mod bad_objects;
#[path = "e2e/batch.rs"]
mod batch;
#[path = "e2e/calls.rs"]
mod calls;
#[path = "e2e/certificates.rs"]
mod certificates;
#[path = "e2e/cluster.rs"]
mod cluster;
#[path = "e2e/commands.rs"]
mod commands;
#[path = "e2e/connection.rs"]
mod connection;
#[path = "e2e/conversion.rs"]
mod conversion;
#[path = "e2e/definitions.rs"]
mod definitions;
#[path = "e2e/etcd.rs"]
mod etcd;
#[path = "e2e/etcdctl.rs"]
mod etcdctl;
#[path = "e2e/etcdctl_members.rs"]
mod etcdctl_members;
#[path = "e2e/extension.rs"]
mod extension;
#[path = "e2e/external.rs"]
mod external;
#[path = "e2e/faults.rs"]
mod faults;
#[path = "e2e/fleet.rs"]
mod fleet;
#[path = "e2e/go.rs"]
mod go;
#[path = "e2e/guests.rs"]
mod guests;
#[path = "e2e/helm.rs"]
mod helm;
#[path = "e2e/history.rs"]
mod history;
#[path = "e2e/hosts.rs"]
mod hosts;
#[path = "e2e/https.rs"]
mod https;
#[path = "e2e/identity.rs"]
mod identity;
#[path = "e2e/javascript.rs"]
mod javascript;
#[path = "e2e/kube_apiserver.rs"]
mod kube_apiserver;
#[path = "e2e/kube_rs.rs"]
mod kube_rs;
#[path = "e2e/kubectl.rs"]
mod kubectl;
#[path = "e2e/linearizable.rs"]
mod linearizable;
#[path = "e2e/members.rs"]
mod members;
#[path = "e2e/nodes.rs"]
mod nodes;
#[path = "e2e/partition.rs"]
mod partition;
#[allow(dead_code, reason = "shared with the measurements, which use the rest")]
#[path = "e2e/process.rs"]
mod process;
#[path = "e2e/python.rs"]
mod python;
#[path = "e2e/stock.rs"]
mod stock;
#[path = "e2e/trouble.rs"]
mod trouble;
#[path = "e2e/voters.rs"]
mod voters;
#[path = "e2e/wire.rs"]
mod wire;
