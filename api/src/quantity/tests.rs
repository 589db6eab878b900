use super::*;

fn canonical(text: &str) -> String {
    Quantity::parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).to_string()
}

#[test]
fn canonical_spellings() {
    let all = [
        ("0", "0"),
        ("0m", "0"),
        ("-0", "0"),
        ("1", "1"),
        ("+1", "1"),
        ("100m", "100m"),
        ("1000m", "1"),
        ("0.1", "100m"),
        ("0.5", "500m"),
        (".5", "500m"),
        ("5.", "5"),
        ("1.5", "1500m"),
        ("1500", "1500"),
        ("1000", "1k"),
        ("1024", "1024"),
        ("1024Ki", "1Mi"),
        ("1Gi", "1Gi"),
        ("1.5Gi", "1536Mi"),
        ("0.5Mi", "512Ki"),
        ("1023Ki", "1023Ki"),
        ("128974848", "128974848"),
        ("129e6", "129e6"),
        ("129M", "129M"),
        ("1e3", "1e3"),
        ("1E3", "1e3"),
        ("12e0", "12"),
        ("1E", "1E"),
        ("1n", "1n"),
        ("0.1n", "1n"),
        ("-1.1n", "-2n"),
        ("0.0001Ki", "102400u"),
        ("1.1Ki", "1126400m"),
        ("0.3Ki", "307200m"),
        ("100Ki", "100Ki"),
        ("1Ki", "1Ki"),
        ("0.5Ki", "512"),
        ("-2Ki", "-2Ki"),
        ("1000Ki", "1000Ki"),
        ("9223372036854775807", "9223372036854775807"),
        ("1e-3", "1e-3"),
        ("16Ei", "16Ei"),
    ];
    for (text, expect) in all {
        assert_eq!(canonical(text), expect, "{text}");
        assert_eq!(canonical(expect), expect, "canonical stays canonical");
    }
}

/// As kube-apiserver 1.20 wrote them back, in a LimitRange.
#[test]
fn spellings_of_clients() {
    let all = [
        ("1000m", "1"),
        ("0.5", "500m"),
        ("1.5Gi", "1536Mi"),
        ("1024Ki", "1Mi"),
        ("1e3", "1e3"),
        ("1E3", "1E3"),
        ("0.0001", "1m"),
        ("1n", "1m"),
        ("12345678901234567890", "12345678901234567890"),
        ("+5", "+5"),
        ("1.0", "1"),
        ("5.", "5."),
        (".5", "500m"),
        ("1000000", "1M"),
        ("0.1Gi", "107374182400m"),
        ("3e-3", "3e-3"),
        ("1000Gi", "1000Gi"),
        ("0500m", "0500m"),
        ("0", "0"),
        ("00", "0"),
        ("-0.5m", "-1m"),
    ];
    for (text, expect) in all {
        assert_eq!(resource_spelling(text).as_deref(), Ok(expect), "{text}");
    }
    assert_eq!(spelling("0.0001").as_deref(), Ok("100u"));
}

#[test]
fn what_is_no_quantity() {
    for text in ["", "1x", "1 Gi", "a", "1mm1x", "0x1", "1.2.3"] {
        assert_eq!(Quantity::parse(text), Err(ParseError::Format), "{text}");
    }
    for text in ["m", "-", ".", "+Mi"] {
        assert_eq!(Quantity::parse(text), Err(ParseError::Number), "{text}");
    }
    for text in ["--1", "1KiB1", "1Kim", "1i", "1mi", "1em"] {
        assert!(Quantity::parse(text).is_err(), "{text}");
    }
}

#[test]
fn numbers() {
    let parse = |text| Quantity::parse(text).unwrap();
    assert_eq!((parse("100m").milli(), parse("100m").value()), (100, 1));
    assert_eq!((parse("1Gi").value(), parse("1.5").value(), parse("-1.5").value()), (1 << 30, 2, -2));
    assert_eq!(parse("1u").milli(), 1);
    assert!(parse("1Ki") > parse("1k") && parse("1000m") == parse("1") && parse("-1") < Quantity::ZERO);
    assert_eq!((parse("1Gi") + parse("1Gi")).to_string(), "2Gi");
    assert_eq!((parse("1") - parse("250m")).to_string(), "750m");
    assert_eq!((Quantity::ZERO + parse("1Gi")).to_string(), "1Gi");
    assert_eq!(parse("1e1000").value(), i64::MAX);
    assert_eq!(parse("1e-1000").to_string(), "1e-9");
}
