//! Server-side apply, and the record of a write that follows it.
#![no_main]

use api::managed_fields::{self, Writer};
use api::time::Timestamp;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((kind, body)) = fuzz::kind(bytes) else { return };
    let [live, config, rest @ ..] = &fuzz::trees(body)[..] else { return };
    let live = api::codec::canonical(live.clone(), kind);
    let version = kind.api_version();
    let writer = |manager| Writer { manager, api_version: &version, subresource: "" };
    let now = Timestamp::UNIX_EPOCH;
    let Ok(first) = managed_fields::apply(kind, Some(&live), config, writer("a"), true, now) else { return };
    let first = api::codec::canonical(first, kind);
    let second = managed_fields::apply(kind, Some(&first), config, writer("a"), false, now);
    let second = second.expect("nobody else owns what was forced");
    assert_eq!(api::codec::canonical(second, kind), first, "the same applied again changes nothing");
    if let [new] = rest {
        let mut new = api::codec::canonical(new.clone(), kind);
        managed_fields::update(kind, Some(&first), &mut new, None, writer("b"), now);
    }
});
