//! Threads for what computes for long: guests that do not give way, and the compiler. Everything else comes first.
//!
//! A guest that gives way each millisecond still keeps whoever is queued behind it waiting for that millisecond. On
//! threads of low priority it keeps nobody waiting: the kernel runs a thread of the network as soon as it has work.

use std::sync::OnceLock;
use std::thread;
use tokio::runtime::{Builder, Runtime};
use tokio_util::task::AbortOnDropHandle;

/// As of `nice(1)`. Against a thread of the usual priority that never waits, such a thread gets about one part in 70.
const NICENESS: i32 = 19;
const NAME: &str = "wasm-batch";

/// The threads begin with the first work: a node whose guests only wait has none.
#[derive(Default)]
pub(super) struct Batch(OnceLock<Runtime>);

// === impl Batch ===

impl Batch {
    /// Runs it to its end, or until the handle is dropped.
    pub(super) fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> AbortOnDropHandle<T> {
        AbortOnDropHandle::new(self.runtime().spawn(work))
    }

    /// Runs something that uses all processors by itself, through rayon, and blocks.
    pub(super) fn compute<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> AbortOnDropHandle<T> {
        let work = move || {
            let pool = rayon::ThreadPoolBuilder::new().thread_name(|_| NAME.to_owned()).start_handler(|_| give_way());
            match pool.build() {
                Ok(pool) => pool.install(work),
                // No thread is to be had: this one will do.
                Err(_) => work(),
            }
        };
        AbortOnDropHandle::new(self.runtime().spawn_blocking(work))
    }

    fn runtime(&self) -> &Runtime {
        self.0.get_or_init(|| {
            let mut builder = Builder::new_multi_thread();
            builder.thread_name(NAME).on_thread_start(give_way).enable_all();
            builder.worker_threads(thread::available_parallelism().map_or(1, usize::from));
            builder.build().expect("the system gives a process threads")
        })
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // Nobody waits for its work any more, and this may be a thread that must not block.
            runtime.shutdown_background();
        }
    }
}

/// Lowers the priority of the calling thread alone.
fn give_way() {
    let thread = rustix::thread::gettid();
    if let Err(error) = rustix::process::setpriority_process(Some(thread), NICENESS) {
        tracing::warn!(%error, "long computations run at the usual priority");
    }
}
