//! `wasi:sockets/ip-name-lookup` of both WASI versions, answered by the network that the guest is in: names of Services
//! first, then what the host's resolver knows.

use super::guest::State;
use std::net::IpAddr;
use std::vec::IntoIter;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddress};
use wasmtime_wasi::p2::{DynPollable, Network as NetworkHandle, Pollable, subscribe};
use wasmtime_wasi::p3::bindings::sockets::{ip_name_lookup as p3, types as p3_types};
use wasmtime_wasi::runtime::AbortOnDropJoinHandle;

const P2: &str = "wasi:sockets/ip-name-lookup@0.2.12";
const P3: &str = "wasi:sockets/ip-name-lookup@0.3.0";

/// A name longer than DNS allows is no name.
const NAME_BYTES_MAX: usize = 253;

/// WASI 0.2's `resolve-address-stream`.
enum Answers {
    Coming(AbortOnDropJoinHandle<Result<Vec<IpAddr>, String>>),
    Known(Result<IntoIter<IpAddr>, ErrorCode>),
}

/// Replaces what wasmtime links, which asks the host alone.
pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    add_p2(linker)?;
    add_p3(linker)?;
    linker.allow_shadowing(false);
    Ok(())
}

fn add_p2(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut interface = linker.instance(P2)?;
    interface.resource("resolve-address-stream", ResourceType::host::<Answers>(), |mut store, handle| {
        store.data_mut().table().delete(Resource::<Answers>::new_own(handle))?;
        Ok(())
    })?;
    interface.func_wrap("resolve-addresses", |mut store, (network, name): (Resource<NetworkHandle>, String)| {
        // The handle is the permission to ask.
        store.data_mut().table().get(&network)?;
        Ok((begin(&mut store, name)?,))
    })?;
    interface.func_wrap(
        "[method]resolve-address-stream.resolve-next-address",
        |mut store: StoreContextMut<'_, State>, (answers,): (Resource<Answers>,)| {
            let answers = store.data_mut().table().get_mut(&answers)?;
            Ok((answers.next(),))
        },
    )?;
    interface.func_wrap(
        "[method]resolve-address-stream.subscribe",
        |mut store: StoreContextMut<'_, State>, (answers,): (Resource<Answers>,)| {
            let pollable: Resource<DynPollable> = subscribe(store.data_mut().table(), answers)?;
            Ok((pollable,))
        },
    )
}

fn begin(
    store: &mut StoreContextMut<'_, State>,
    name: String,
) -> wasmtime::Result<Result<Resource<Answers>, ErrorCode>> {
    if !is_name(&name) {
        return Ok(Err(ErrorCode::InvalidArgument));
    }
    let asked = store.data().look_up(name);
    let answers = Answers::Coming(wasmtime_wasi::runtime::spawn(asked));
    Ok(Ok(store.data_mut().table().push(answers)?))
}

fn add_p3(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.instance(P3)?.func_wrap_concurrent("resolve-addresses", |accessor, (name,): (String,)| {
        Box::pin(async move {
            if !is_name(&name) {
                return Ok((Err(p3::ErrorCode::InvalidArgument),));
            }
            let asked = accessor.with(|mut store| store.get().look_up(name));
            let found: Result<Vec<p3_types::IpAddress>, _> = match asked.await {
                Ok(found) => Ok(found.into_iter().map(p3_types::IpAddress::from).collect()),
                Err(_) => Err(p3::ErrorCode::NameUnresolvable),
            };
            Ok((found,))
        })
    })
}

fn is_name(name: &str) -> bool {
    let is_part_of_one = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '[' | ']');
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.chars().all(is_part_of_one)
}

// === impl Answers ===

impl Answers {
    fn next(&mut self) -> Result<Option<IpAddress>, ErrorCode> {
        match self {
            Answers::Coming(_) => Err(ErrorCode::WouldBlock),
            Answers::Known(Ok(found)) => Ok(found.next().map(IpAddress::from)),
            Answers::Known(Err(code)) => Err(*code),
        }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Answers {
    async fn ready(&mut self) {
        if let Answers::Coming(asked) = self {
            let found = asked.await.map(Vec::into_iter).map_err(|_| ErrorCode::NameUnresolvable);
            *self = Answers::Known(found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_rubbish() {
        for name in ["hello", "hello.shop.svc.cluster.local.", "10.96.0.1", "::1", "[::1]", "übung.example", "_dns.x"]
        {
            assert!(is_name(name), "{name}");
        }
        for rubbish in ["", "a b", "a/b", "a\0b", &"a".repeat(254)] {
            assert!(!is_name(rubbish), "{rubbish:?}");
        }
    }
}
