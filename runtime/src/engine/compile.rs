//! From the bytes of a Wasm file to an artifact: checked, adapted if it is a core module, compiled or taken from the
//! cache, linked.

use super::{Artifact, Engine, Entry, digest};
use bytes::Bytes;
use std::borrow::Cow;
use std::sync::Arc;
use wasi_preview1_component_adapter_provider as adapter;
use wasmparser::Parser;
use wasmtime::component::Component;
use wit_component::ComponentEncoder;

const MAGIC: &[u8] = b"\0asm";

/// The packages whose interfaces guests may import.
const GRANTED: &[&str] =
    &["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:http/", "wasi:io/", "wasi:random/", "wasi:sockets/"];

/// Why a file is no guest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    #[error("the file is not WebAssembly: it begins with {0}")]
    NotWasm(String),
    #[error("the WebAssembly is not valid: {0}")]
    Invalid(String),
    #[error("the component imports what this node does not grant: {0}")]
    Imports(String),
    #[error(
        "the component exports no entry: neither wasi:http/handler, wasi:http/incoming-handler nor wasi:cli/run of a \
         version that this node knows"
    )]
    NoEntry,
    #[error("the compiler stopped: {0}")]
    Internal(String),
}

impl Engine {
    /// Compiles a component or a core module, or takes the code from the cache.
    ///
    /// # Errors
    /// When the file is no guest that can run here.
    pub async fn compile(&self, wasm: Bytes) -> Result<Artifact, CompileError> {
        let engine = self.clone();
        let _turn = self.0.compiling.acquire().await;
        let done = self.0.batch.compute(move || engine.compile_now(&wasm)).await;
        done.unwrap_or_else(|error| Err(CompileError::Internal(error.to_string())))
    }

    fn compile_now(&self, wasm: &Bytes) -> Result<Artifact, CompileError> {
        if !wasm.starts_with(MAGIC) {
            return Err(CompileError::NotWasm(beginning(wasm)));
        }
        let digest = digest(wasm);
        let component = match self.0.cache.get(&self.0.wasm, &digest) {
            Some(component) => component,
            None => self.compile_anew(wasm, &digest)?,
        };
        let pre = self.0.linker.instantiate_pre(&component).map_err(|error| self.explain(&component, &error))?;
        Ok(Artifact { digest: Arc::from(digest), entry: Entry::of(pre)? })
    }

    fn compile_anew(&self, wasm: &Bytes, digest: &str) -> Result<Component, CompileError> {
        let bytes = if Parser::is_component(wasm) { Cow::Borrowed(&wasm[..]) } else { Cow::Owned(adapt(wasm)?) };
        let component = Component::from_binary(&self.0.wasm, &bytes);
        let component = component.map_err(|error| CompileError::Invalid(first_line(&format!("{error:#}"))))?;
        self.0.cache.put(digest, &component);
        Ok(component)
    }

    fn explain(&self, component: &Component, error: &wasmtime::Error) -> CompileError {
        let kind = component.component_type();
        let names = kind.imports(&self.0.wasm).map(|(name, _)| name.to_owned());
        let unknown: Vec<String> = names.filter(|name| !GRANTED.iter().any(|known| name.starts_with(known))).collect();
        if unknown.is_empty() {
            return CompileError::Imports(first_line(&format!("{error:#}")));
        }
        CompileError::Imports(unknown.join(", "))
    }
}

/// A preview 1 command becomes a component through Bytecode Alliance's adapter.
fn adapt(module: &[u8]) -> Result<Vec<u8>, CompileError> {
    let invalid = |error: String| CompileError::Invalid(first_line(&error));
    let encoded = ComponentEncoder::default()
        .validate(true)
        .module(module)
        .and_then(|encoder| {
            let name = adapter::WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME;
            encoder.adapter(name, adapter::WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER)
        })
        .and_then(|mut encoder| encoder.encode());
    encoded.map_err(|error| invalid(format!("{error:#}")))
}

fn beginning(bytes: &[u8]) -> String {
    const SHOWN: usize = 8;
    match bytes.get(..SHOWN.min(bytes.len())) {
        None | Some([]) => "nothing: it is empty".to_owned(),
        Some(start) => format!("{:?}", String::from_utf8_lossy(start)),
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
