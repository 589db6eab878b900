//! Properties of quantities, on drawn cases.

use super::*;
use proptest::prelude::*;

fn cases() -> ProptestConfig {
    ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() }
}

/// A text that is a quantity: sign, digits with or without a point, suffix.
fn quantities() -> impl Strategy<Value = String> {
    let suffix = prop::sample::select(vec![
        "", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "e3", "E3", "e-3", "e0",
        "e+2",
    ]);
    let digits = prop_oneof!["[0-9]{1,12}", "[0-9]{0,6}\\.[0-9]{1,9}", "[0-9]{1,6}\\."];
    ("[+-]?", digits, suffix).prop_map(|(sign, digits, suffix)| format!("{sign}{digits}{suffix}"))
}

proptest! {
    #![proptest_config(cases())]

    /// The canonical spelling means the same number, and is its own canonical spelling.
    #[test]
    fn canonical_spellings_are_stable(text in quantities()) {
        let parsed = Quantity::parse(&text).unwrap();
        let shown = parsed.to_string();
        let again = Quantity::parse(&shown).unwrap();
        prop_assert_eq!(parsed, again, "{} is {}", text, shown);
        prop_assert_eq!(again.to_string(), shown);
    }

    /// No fraction, and no suffix that could be a larger one.
    #[test]
    fn canonical_spellings_are_short(text in quantities()) {
        let shown = Quantity::parse(&text).unwrap().to_string();
        prop_assert!(!shown.contains('.') && !shown.contains('+'), "{text} is {shown}");
        let digits = shown.trim_start_matches('-').trim_end_matches(|last: char| !last.is_ascii_digit());
        prop_assert!(digits == "0" || !digits.starts_with('0'), "{text} is {shown}");
    }

    /// Order, sums and differences are those of the numbers.
    #[test]
    fn arithmetic(one in -1_000_000_000_i64..1_000_000_000, other in -1_000_000_000_i64..1_000_000_000) {
        let (a, b) = (Quantity::from_milli(one), Quantity::from_milli(other));
        prop_assert_eq!(a.cmp(&b), one.cmp(&other));
        prop_assert_eq!((a + b).milli(), i128::from(one + other));
        prop_assert_eq!((a - b).milli(), i128::from(one - other));
        prop_assert_eq!(Quantity::parse(&a.to_string()).unwrap(), a);
    }

    /// Whatever comes in, nothing breaks, and what is accepted can be said again.
    #[test]
    fn any_text(text in "\\PC{0,24}") {
        if let Ok(parsed) = Quantity::parse(&text) {
            prop_assert!(Quantity::parse(&parsed.to_string()).is_ok(), "{text}");
        }
    }
}
