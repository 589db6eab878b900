//! Selectors of labels and fields.
#![no_main]

use api::selector::{Fields, Labels};

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(labels) = Labels::parse(text) {
        let written = labels.to_string();
        assert_eq!(Labels::parse(&written).map(|again| again.to_string()), Ok(written));
        let _ = labels.matches(|key| (key.len() % 2 == 0).then_some("1"));
    }
    if let Ok(fields) = Fields::parse(text) {
        let _ = fields.matches(|_| Some("1".into()));
    }
});
