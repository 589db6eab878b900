//! Guests that run until they return.

use super::guest::{Guest, Guests};
use super::ticker::Pace;
use super::work::Work;
use super::{Entry, Exit, end};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::watch;
use wasmtime_wasi::I32Exit;

/// A command, whose end is told when it comes.
pub(super) fn begin(guests: Guests, entry: Entry, exited: watch::Sender<Option<Exit>>) -> Work {
    let (pace, batch) = (guests.pace(), Arc::clone(&guests.engine.0.batch));
    let clock = Arc::clone(&pace);
    let run = async move { end(&exited, run(guests, entry, clock).await) };
    Work::new(Box::pin(run), pace, batch)
}

async fn run(guests: Guests, entry: Entry, pace: Arc<Pace>) -> Exit {
    let Guest { mut store, exceeded } = match guests.guest(pace).await {
        Ok(guest) => guest,
        Err(error) => return Exit::Trap(format!("{error:#}")),
    };
    let result = match entry {
        Entry::CommandP2(command) => match command.instantiate_async(&mut store).await {
            Ok(instance) => instance.wasi_cli_run().call_run(&mut store).await,
            Err(error) => Err(error),
        },
        Entry::CommandP3(command) => match command.instantiate_async(&mut store).await {
            Ok(instance) => {
                let ran = store.run_concurrent(async |accessor| instance.wasi_cli_run().call_run(accessor).await);
                ran.await.and_then(|result| result)
            }
            Err(error) => Err(error),
        },
        Entry::HttpP2(_) | Entry::HttpP3(_) => return Exit::Trap("it is not a command".to_owned()),
    };
    match result {
        Ok(Ok(())) => Exit::Code(0),
        Ok(Err(())) if exceeded.load(Ordering::Relaxed) => Exit::OutOfMemory,
        Ok(Err(())) => Exit::Code(1),
        Err(error) => match error.downcast_ref::<I32Exit>() {
            Some(I32Exit(code)) => Exit::Code(*code),
            None if exceeded.load(Ordering::Relaxed) => Exit::OutOfMemory,
            None => Exit::Trap(trap(&error)),
        },
    }
}

/// The trap itself, then where it happened, innermost frame first.
pub(super) fn trap(error: &wasmtime::Error) -> String {
    match error.downcast_ref::<wasmtime::Trap>() {
        Some(trap) => trap.to_string(),
        None => format!("{error:#}"),
    }
}
