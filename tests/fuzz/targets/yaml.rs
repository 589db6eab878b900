//! Bodies in YAML, of every kind; what is written is read back.
#![no_main]

use api::codec::{Strictness, yaml};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((kind, body)) = fuzz::kind(bytes) else { return };
    if let Ok(tree) = yaml::parse(body) {
        let written = yaml::encode(&tree);
        let again = yaml::parse(written.as_bytes());
        assert_eq!(again.as_ref().ok(), Some(&tree), "{written}");
    }
    if let Ok((tree, _)) = yaml::decode(body, kind, Strictness::Warn) {
        fuzz::store(kind, tree);
    }
});
