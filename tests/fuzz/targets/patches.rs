//! Patches of each type, of any document.
#![no_main]

use api::patch;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((kind, body)) = fuzz::kind(bytes) else { return };
    let [current, change] = &fuzz::trees(body)[..] else { return };
    let merged = patch::merge::apply(current, change);
    assert_eq!(patch::merge::apply(&merged, change), merged, "a merge patch is idempotent");
    let _ = patch::json::apply(current, change);
    if let Ok(patched) = patch::strategic::apply(kind.schema(), current, change) {
        let _ = api::codec::canonical(patched, kind);
    }
});
