//! Bodies in JSON, of every kind.
#![no_main]

use api::codec::{Strictness, json};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((kind, body)) = fuzz::kind(bytes) else { return };
    let strict = json::decode(body, kind, Strictness::Strict);
    let Ok((tree, problems)) = json::decode(body, kind, Strictness::Warn) else { return };
    assert_eq!(strict.is_ok(), true, "strictness adds problems, not errors");
    let _ = api::codec::strict_error(&problems);
    fuzz::store(kind, tree);
});
