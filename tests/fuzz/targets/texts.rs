//! Texts with a meaning of their own: quantities, times, durations, paths.
#![no_main]

use api::custom::json_path::Path;
use api::quantity::{self, Quantity};
use api::time;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(quantity) = Quantity::parse(text) {
        let spelled = quantity::spelling(text).expect("it was read");
        assert_eq!(quantity::spelling(&spelled).as_ref(), Ok(&spelled), "{text}");
        let again = Quantity::parse(&spelled).expect("the canonical form");
        assert_eq!((again.milli(), again.is_negative()), (quantity.milli(), quantity.is_negative()), "{text}");
    }
    if let Some(at) = time::parse(text) {
        let _ = (time::seconds(at), time::micros(at), time::age(at, at));
    }
    let _ = time::duration(text);
    if let Ok(path) = Path::parse(text) {
        let tree = serde_json::json!({"a": [{"b": 1}, "x"], "": {}});
        let _ = (path.find(&tree), path.members());
    }
});
