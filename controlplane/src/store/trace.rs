//! The Raft library's log lines as trace events of ours.

#[derive(Debug, Clone, Copy)]
pub(super) struct Forward;

impl slog::Drain for Forward {
    type Ok = ();
    type Err = slog::Never;

    fn log(&self, record: &slog::Record<'_>, _values: &slog::OwnedKVList) -> Result<(), slog::Never> {
        let said = record.msg();
        if record.level().is_at_least(slog::Level::Error) {
            tracing::error!(%said, "raft reported an error");
        } else if record.level().is_at_least(slog::Level::Warning) {
            tracing::warn!(%said, "raft reported a warning");
        } else {
            tracing::trace!(%said, "raft reported progress");
        }
        Ok(())
    }
}
