//! Bodies in protobuf, of every kind; what is written is read back.
#![no_main]

use api::codec::protobuf;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((kind, body)) = fuzz::kind(bytes) else { return };
    let mut enveloped = protobuf::MAGIC.to_vec();
    enveloped.extend_from_slice(body);
    let _ = protobuf::open(&enveloped);
    let Ok(tree) = protobuf::decode(&enveloped, kind) else { return };
    // The envelope's own kind decides how it is read.
    if tree["kind"] != kind.kind.as_str() || tree["apiVersion"] != kind.api_version() {
        return;
    }
    if let Ok(written) = protobuf::encode(&tree, kind) {
        let again = protobuf::decode(&written, kind).expect("it was written here");
        assert_eq!(protobuf::encode(&again, kind).expect("as before"), written);
    }
    fuzz::store(kind, tree);
});
