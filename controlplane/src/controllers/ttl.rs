//! Jobs that ended are deleted when their `ttlSecondsAfterFinished` have passed.

use super::wall::Wall;
use super::{Config, Watched, due, settle};
use api::resource::JOBS;
use api::time::{SignedDuration, Timestamp};
use api::view::Job;
use client::{DeleteOptions, Error, Handle, Key, Propagation, Queue, Target};
use tokio::time::Instant;

pub(super) async fn run(config: Config) {
    let mut jobs: Watched<Job> = Watched::new(&config.cluster, &JOBS, |object| object.view().ok());
    let mut queue: Queue<Key> = Queue::new();
    let mut wall = Wall::new(&config.clock);
    loop {
        tokio::select! {
            () = wall.is_set() => jobs.cache.iter().for_each(|(key, _)| queue.add(key.clone())),
            changes = jobs.changed() => changes.into_iter().for_each(|change| queue.add(change.key)),
            () = due(&queue) => {}
        }
        while let Some(key) = queue.take(Instant::now()) {
            let left = jobs.cache.value(&key).and_then(|job| left(job, config.clock.now()));
            let outcome = match left {
                None => Ok(()),
                Some(left) if left.is_positive() => {
                    queue.add_at(key.clone(), Instant::now() + left.unsigned_abs());
                    Ok(())
                }
                Some(_) => expire(&config.cluster, &key, config.clock.now()).await,
            };
            settle(&mut queue, &key, "ttl-after-finished", outcome);
        }
    }
}

/// Pure: how long a Job that has ended stays; `None` if it stays for good, has not ended, or goes already.
fn left(job: &Job, now: Timestamp) -> Option<SignedDuration> {
    let ttl = SignedDuration::from_secs(job.spec.ttl_seconds_after_finished?);
    let ended = job.end()?.last_transition_time?;
    let passed = now.duration_since(ended);
    job.metadata.deletion_timestamp.is_none().then(|| ttl.saturating_sub(passed))
}

/// Deletes a Job and its pods, if it is still as it seemed: its time may have been changed since.
async fn expire(cluster: &Handle, key: &Key, now: Timestamp) -> Result<(), Error> {
    let target = Target::namespaced(&JOBS, &key.namespace, &key.name);
    let live = cluster.get(target).await?;
    let Ok(job) = live.view::<Job>() else { return Ok(()) };
    if left(&job, now).is_none_or(|left| left.is_positive()) {
        return Ok(());
    }
    let options = DeleteOptions {
        uid: Some(job.metadata.uid.clone()),
        propagation: Some(Propagation::Foreground),
        ..DeleteOptions::default()
    };
    cluster.delete(target, options).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_job_stays_as_long_as_it_says() {
        let left = |ttl: Option<i64>, kind: &str, deleted: Option<&str>, now: &str| {
            let job = json!({"metadata": {"deletionTimestamp": deleted}, "spec": {"ttlSecondsAfterFinished": ttl},
                "status": {"conditions": [{"type": kind, "status": "True", "lastTransitionTime": "2026-01-01T00:00:10Z"}]}});
            let job = serde_json::from_value(job).expect("a Job");
            left(&job, now.parse().expect("a time")).map(|left| left.as_secs())
        };
        let now = "2026-01-01T00:00:15Z";
        assert_eq!(left(Some(60), "Complete", None, now), Some(55));
        assert_eq!(left(Some(60), "Failed", None, "2026-01-01T00:01:10Z"), Some(0));
        assert_eq!(left(Some(0), "Complete", None, now), Some(-5));
        assert_eq!(left(Some(60), "Complete", None, "2026-01-01T00:00:00Z"), Some(70), "a clock that was set back");
        assert_eq!(left(None, "Complete", None, now), None);
        assert_eq!(left(Some(60), "SuccessCriteriaMet", None, now), None);
        assert_eq!(left(Some(60), "Complete", Some(now), now), None);
    }
}
