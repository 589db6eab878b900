//! The contract of [`Kv`], run on every implementation.

mod archive;
mod beside;
mod contract;
mod crash;
mod etcd;
mod group;
mod power;
mod random;
mod space;
mod values;

use std::path::Path;

use super::memory::Memory;
use super::{Config, Store};

fn open(dir: &Path) -> Store {
    Store::open(Config::new(dir)).unwrap()
}

/// Writes entries before it applies them, as one of several members does.
fn open_with_log(dir: &Path) -> Store {
    Store::open(Config { keeps_log: true, ..Config::new(dir) }).unwrap()
}

/// Runs one async test of the contract on each implementation.
macro_rules! contract {
    ($($name:ident),+ $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $name() {
                super::contract::$name(&super::Memory::new()).await;
            })+
        }
        mod disk_with_log {
            $(#[tokio::test]
            async fn $name() {
                let dir = tempfile::tempdir().unwrap();
                let store = super::open_with_log(dir.path());
                super::contract::$name(&store).await;
                store.close().await;
            })+
        }
        mod disk {
            $(#[tokio::test]
            async fn $name() {
                let dir = tempfile::tempdir().unwrap();
                let store = super::open(dir.path());
                super::contract::$name(&store).await;
                store.close().await;
            })+
        }
        mod remote {
            $(#[tokio::test]
            async fn $name() {
                let Some(etcd) = super::etcd::Etcd::start() else { return };
                super::contract::$name(&etcd.remote("/own").await).await;
            })+
        }
    };
}

contract!(
    begins_at_revision_one,
    puts_count_versions,
    a_deletion_is_a_version,
    compares,
    one_revision_for_a_transaction,
    a_transaction_sees_itself,
    ranges_are_ordered_and_limited,
    ranges_read_the_past,
    keys_with_any_bytes,
    limits,
    compaction,
    watches_from_the_past_and_on,
    watches_of_a_key_skip_the_rest,
    watches_from_a_compacted_revision_end,
    batches_are_whole_revisions,
    nothing_written_means_no_revision,
    writers_at_once_lose_nothing,
    previous_versions_only_if_asked,
    a_put_can_keep_what_is_there,
    a_compare_of_a_range_is_about_each_key,
    transactions_within_each_other,
    leases_begin_and_end,
    what_is_attached_goes_with_its_lease,
    a_lease_that_nobody_keeps_ends,
);
