//! Guests that run until they return.

use super::guest::Guests;
use super::{Entry, Exit};
use std::sync::atomic::Ordering;
use wasmtime_wasi::I32Exit;

/// Runs it to its end.
pub(super) async fn run(guests: Guests, entry: Entry) -> Exit {
    let (mut store, exceeded) = match guests.store() {
        Ok(made) => made,
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
