use super::*;
use parking_lot::Mutex;

/// Keeps what a guest prints.
#[derive(Default)]
struct Kept(Mutex<Vec<u8>>);

impl LogSink for Kept {
    fn write(&self, bytes: &[u8]) {
        self.0.lock().extend_from_slice(bytes);
    }
}

impl Kept {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock()).into_owned()
    }
}

fn engine(folder: &tempfile::TempDir) -> Engine {
    let config = EngineConfig { cache_dir: folder.path().join("code"), instances_max: 32 };
    Engine::new(&config).expect("the engine starts")
}

fn config(output: &Arc<Kept>) -> InstanceConfig {
    InstanceConfig {
        args: vec!["guest".into()],
        env: vec![],
        preopens: vec![],
        memory_max: Some(4 << 20),
        request_deadline: Duration::from_secs(5),
        requests_max: 64,
        stdout: output.clone(),
        stderr: output.clone(),
        network: Network {
            send: Arc::new(|_| Box::pin(async { Err("no network in this test".into()) })),
            look_up: Arc::new(|_| Box::pin(async { Err("no names in this test".into()) })),
        },
    }
}

/// A core module whose `_start` does `body`.
fn module(body: &str) -> Bytes {
    let text = format!(
        r#"(module
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (data (i32.const 0) "\10\00\00\00\03\00\00\00")
            (data (i32.const 16) "hi\n")
            (func (export "_start") {body}))"#
    );
    wat::parse_str(text).expect("the text is a module").into()
}

async fn run(body: &str) -> (Exit, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = engine(&folder);
    let artifact = engine.compile(module(body)).await.expect("it compiles");
    assert_eq!(artifact.kind(), Kind::Command);
    let output = Arc::new(Kept::default());
    let exit = engine.start(&artifact, config(&output)).wait().await;
    (exit, output.text())
}

#[tokio::test]
async fn a_core_module_prints_and_ends() {
    let hello = "(drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))";
    assert_eq!(run(hello).await, (Exit::Code(0), "hi\n".to_owned()));
    // WASI 0.2 knows success and failure only: the adapter turns every other code into 1.
    assert_eq!(run("(call $exit (i32.const 7))").await.0, Exit::Code(1));
}

#[tokio::test]
async fn a_component_ends_with_a_code_of_its_own() {
    let text = r#"(component
        (import "wasi:cli/exit@0.2.12" (instance $exit (export "exit-with-code" (func (param "status-code" u8)))))
        (core func $exit (canon lower (func $exit "exit-with-code")))
        (core module $guest
            (import "wasi" "exit" (func $exit (param i32)))
            (func (export "run") (result i32) (call $exit (i32.const 7)) (i32.const 0)))
        (core instance $guest (instantiate $guest (with "wasi" (instance (export "exit" (func $exit))))))
        (func $run (result (result)) (canon lift (core func $guest "run")))
        (instance $command (export "run" (func $run)))
        (export "wasi:cli/run@0.2.0" (instance $command)))"#;
    let folder = tempfile::tempdir().expect("a folder");
    let engine = engine(&folder);
    let artifact = engine.compile(wat::parse_str(text).expect("a component").into()).await.expect("it compiles");
    let exit = engine.start(&artifact, config(&Arc::default())).wait().await;
    assert_eq!(exit, Exit::Code(7));
}

#[tokio::test]
async fn a_trap_is_told_in_words() {
    let (exit, _) = run("unreachable").await;
    assert_eq!(exit, Exit::Trap("wasm trap: wasm `unreachable` instruction executed".to_owned()));
}

#[tokio::test]
async fn growing_past_the_limit_is_out_of_memory() {
    let (exit, _) = run("(if (i32.eq (memory.grow (i32.const 200)) (i32.const -1)) (then unreachable))").await;
    assert_eq!(exit, Exit::OutOfMemory);
}

#[tokio::test]
async fn an_endless_loop_gives_way_and_can_be_stopped() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = engine(&folder);
    let endless = engine.compile(module("(loop $again (br $again))")).await.expect("it compiles");
    let quick = engine.compile(module("nop")).await.expect("it compiles");
    let output = Arc::new(Kept::default());
    // One thread: the loop and the others share it.
    let spinning = engine.start(&endless, config(&output));
    for _ in 0..10 {
        assert_eq!(engine.start(&quick, config(&output)).wait().await, Exit::Code(0));
    }
    spinning.stop();
    assert_eq!(spinning.wait().await, Exit::Stopped);
}

#[tokio::test]
async fn what_is_no_guest_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = engine(&folder);
    let refused = |bytes: &'static [u8]| {
        let engine = engine.clone();
        async move { engine.compile(Bytes::from_static(bytes)).await.map(|_| ()).expect_err("refused").to_string() }
    };
    assert_eq!(refused(b"#!/bin/sh").await, "the file is not WebAssembly: it begins with \"#!/bin/s\"");
    assert!(refused(b"").await.contains("it is empty"));
    assert!(refused(b"\0asm\x01\0\0\0\xff\xff").await.starts_with("the WebAssembly is not valid"));
    let stranger = wat::parse_str(r#"(component (import "acme:gps/position" (instance)))"#).expect("text");
    let error = engine.compile(stranger.into()).await.map(|_| ()).expect_err("nobody grants it");
    assert_eq!(error, CompileError::NoEntry, "an empty instance needs nothing, but there is no entry either");
    let text = r#"(component (import "acme:gps/position" (instance (export "where" (func (result u32))))))"#;
    let error = engine.compile(wat::parse_str(text).expect("text").into()).await.map(|_| ()).expect_err("refused");
    assert_eq!(error, CompileError::Imports("acme:gps/position".into()));
}

#[tokio::test]
async fn compiled_code_is_kept_and_rubbish_in_the_cache_is_replaced() {
    let folder = tempfile::tempdir().expect("a folder");
    let wasm = module("nop");
    let first = engine(&folder).compile(wasm.clone()).await.expect("it compiles");
    let kept: Vec<_> = walk(folder.path());
    assert_eq!(kept.len(), 1, "{kept:?}");
    std::fs::write(&kept[0], b"rubbish").expect("written");
    let again = engine(&folder).compile(wasm).await.expect("it compiles anew");
    assert_eq!(first.digest, again.digest);
    assert!(std::fs::metadata(&kept[0]).expect("replaced").len() > 100);
}

fn walk(folder: &std::path::Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in std::fs::read_dir(folder).expect("readable").flatten().map(|entry| entry.path()) {
        if path.is_dir() { found.extend(walk(&path)) } else { found.push(path) }
    }
    found
}
