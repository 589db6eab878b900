//! One guest at work: done by whoever waits for it, without a task or another thread of its own, until it computes for
//! long. Then it moves to the threads for that.

use super::batch::Batch;
use super::ticker::Pace;
use futures::future::BoxFuture;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio_util::task::AbortOnDropHandle;

/// Ends when the guest does. Dropping it ends the guest.
pub(super) struct Work {
    stage: Stage,
    batch: Arc<Batch>,
}

enum Stage {
    Here(Turns),
    Batch(AbortOnDropHandle<()>),
    Done,
}

// === impl Work ===

impl Work {
    /// `guest` must count its ticks in `pace`.
    pub(super) fn new(guest: BoxFuture<'static, ()>, pace: Arc<Pace>, batch: Arc<Batch>) -> Work {
        Work { stage: Stage::Here(Turns { guest, pace }), batch }
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done)
    }

    /// What is left of it, in place of which stands nothing.
    pub(super) fn take(&mut self) -> Work {
        let stage = std::mem::replace(&mut self.stage, Stage::Done);
        Work { stage, batch: Arc::clone(&self.batch) }
    }
}

impl Future for Work {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if let Stage::Here(turns) = &mut self.stage {
            if Pin::new(&mut *turns).poll(context).is_ready() {
                self.stage = Stage::Done;
            } else if turns.pace.is_long()
                && let Stage::Here(turns) = std::mem::replace(&mut self.stage, Stage::Done)
            {
                self.stage = Stage::Batch(self.batch.spawn(turns));
            }
        }
        let ended = match &mut self.stage {
            Stage::Here(_) => return Poll::Pending,
            // A panic of the guest's host functions is told by the answer that never comes.
            Stage::Batch(task) => Pin::new(task).poll(context).map(drop),
            Stage::Done => Poll::Ready(()),
        };
        if ended.is_ready() {
            self.stage = Stage::Done;
        }
        ended
    }
}

/// The guest, of which each poll is a turn.
struct Turns {
    guest: BoxFuture<'static, ()>,
    pace: Arc<Pace>,
}

impl Future for Turns {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.pace.begin_turn();
        self.guest.as_mut().poll(context)
    }
}
