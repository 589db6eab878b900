//! A connection and the calls on it, as one task.
//!
//! With a task for each call, a batch of the store that answers a hundred of them would wake as many, on whichever
//! core has time, and the connection after each. Here the first of them wakes the connection's task, which finds the
//! others done, and what they say leaves in one write. No call computes for long: whatever does is left to threads for
//! that.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use hyper::rt::Executor;
use parking_lot::Mutex;
use tokio::io::AsyncWrite;

use super::cork::Cork;

/// Takes the calls of one connection, to be driven together with it.
#[derive(Clone, Default)]
pub(super) struct Strand {
    begun: Arc<Mutex<Vec<BoxFuture<'static, ()>>>>,
}

impl Strand {
    /// Drives the connection that gives its calls to this strand; calls that are under way when it ends are dropped.
    /// What it says over `cork` leaves at the end of each turn.
    pub(super) async fn drive<T, S>(self, cork: &Cork<S>, connection: impl Future<Output = T>) -> T
    where
        S: AsyncWrite + Unpin,
    {
        let mut connection = pin!(connection);
        let mut calls = FuturesUnordered::new();
        poll_fn(|context| {
            loop {
                while let Poll::Ready(Some(())) = calls.poll_next_unpin(context) {}
                if let Poll::Ready(done) = connection.as_mut().poll(context) {
                    return Poll::Ready(done);
                }
                let begun = std::mem::take(&mut *self.begun.lock());
                if begun.is_empty() {
                    if let Poll::Ready(Err(_)) = cork.poll_release(context) {
                        // The connection learns of it when it looks.
                        context.waker().wake_by_ref();
                    }
                    return Poll::Pending;
                }
                calls.extend(begun);
            }
        })
        .await
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Strand {
    fn execute(&self, call: F) {
        self.begun.lock().push(Box::pin(call));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn calls_run_until_the_connection_ends() {
        let strand = Strand::default();
        let (tell, told) = tokio::sync::oneshot::channel();
        let (ask, asked) = tokio::sync::oneshot::channel();
        let held = Arc::new(());
        let of_a_call = Arc::clone(&held);
        let begin = strand.clone();
        let connection = async move {
            begin.execute(async move {
                let _ = tell.send("an answer");
                let _ = asked.await;
                let _held = of_a_call;
                std::future::pending::<()>().await;
            });
            let answer = told.await.unwrap();
            ask.send(()).unwrap();
            tokio::task::yield_now().await;
            answer
        };
        let cork = Cork::new(tokio::io::sink());
        assert_eq!(strand.drive(&cork, connection).await, "an answer");
        assert_eq!(Arc::strong_count(&held), 1, "the call that goes on was dropped");
    }
}
