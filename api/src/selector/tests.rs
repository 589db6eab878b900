use super::*;
use crate::view::LabelSelector;
use std::borrow::Cow;

fn matches(selector: &str, labels: &[(&str, &str)]) -> bool {
    let selector = Labels::parse(selector).unwrap_or_else(|why| panic!("{selector}: {why}"));
    selector.matches(|key| labels.iter().find(|(have, _)| *have == key).map(|(_, value)| *value))
}

#[test]
fn label_selectors() {
    let labels = [("app", "web"), ("n", "5"), ("empty", "")];
    let yes = [
        "",
        "app=web",
        "app==web",
        "app = web",
        "app!=db",
        "other!=x",
        "app in (web, db)",
        "app notin (db)",
        "app",
        "!x",
        "n>4",
        "n<6",
        "empty=",
        "empty",
        "x notin (a)",
        "app,n",
        "app=web,!x",
        "empty in (,a)",
        "! x",
    ];
    for selector in yes {
        assert!(matches(selector, &labels), "{selector}");
    }
    for selector in ["app=db", "app!=web", "app notin (web)", "!app", "x", "n>5", "app>1", "x in (a,b)", "empty in (a)"]
    {
        assert!(!matches(selector, &labels), "{selector}");
    }
    for bad in
        ["=a", "a=b=c", "a in b", "a in (b", "a,", ",a", "a=b c", "a b", "!", "a>x", "-a=b", "a=b/c", "!a=b", "a!!b"]
    {
        assert!(Labels::parse(bad).is_err(), "{bad}");
    }
    assert_eq!(Labels::parse("a=b,").unwrap_err(), "found '', expected: identifier after ','");
}

#[test]
fn what_is_wrong_with_a_label_selector_is_told_in_upstreams_words() {
    let long = "x".repeat(64);
    let told = [
        ("a=b=c", "found '=', expected: ',' or 'end of string'".to_owned()),
        ("=x", "found '=', expected: !, identifier, or 'end of string'".to_owned()),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt".to_owned()),
        ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'".to_owned()),
        ("a in b", "unable to parse requirement: found 'b' expected: '('".to_owned()),
        ("a in (b,=", "unable to parse requirement: found '=', expected: ',', or identifier".to_owned()),
        ("!", "unable to parse requirement: found '', expected: identifier".to_owned()),
        (&long, format!("unable to parse requirement: <nil>: Invalid value: {long:?}: name part must be no more than 63 characters")),
        (
            "a>x",
            "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an \
             integer"
                .to_owned(),
        ),
    ];
    for (selector, why) in told {
        assert_eq!(Labels::parse(selector), Err(why), "{selector}");
    }
    let both = Labels::parse(&format!("a>{long}")).unwrap_err();
    assert!(
        both.starts_with("unable to parse requirement: [values[0]: ") && both.contains(", values[0][a]: "),
        "{both}"
    );
}

#[test]
fn the_object_form_and_back_to_text() {
    let json = r#"{"matchLabels":{"a":"b"},"matchExpressions":[{"key":"c","operator":"In","values":["e","d"]},
        {"key":"f","operator":"Exists"},{"key":"g","operator":"NotIn","values":["h"]}]}"#;
    let view: LabelSelector = serde_json::from_str(json).unwrap();
    let selector = Labels::from_view(&view);
    assert_eq!(selector.to_string(), "a=b,c in (d,e),f,g!=h");
    assert_eq!(Labels::parse(&selector.to_string()).unwrap(), selector);
    assert!(Labels::from_view(&LabelSelector::default()).is_empty());
    assert_eq!(selector.exact(), Some(("a", "b")));
}

#[test]
fn field_selectors() {
    let fields = Fields::parse(r"metadata.name=a,status.phase!=Failed,x=a\,b").unwrap();
    let told: Vec<_> =
        fields.requirements().iter().map(|one| (one.path.as_str(), one.value.as_str(), one.equal)).collect();
    assert_eq!(told, [("metadata.name", "a", true), ("status.phase", "Failed", false), ("x", "a,b", true)]);
    let get = |path: &str| match path {
        "metadata.name" => Some(Cow::Borrowed("a")),
        "x" => Some(Cow::Borrowed("a,b")),
        _ => None,
    };
    assert!(fields.matches(get));
    assert!(!fields.clone().and("metadata.name", "b").matches(get));
    assert!(Fields::parse("").unwrap().is_empty());
    for (bad, why) in [
        ("a", "invalid selector: 'a'; can't understand 'a'"),
        ("a=b=c", "invalid field selector: unescaped character in value: 61"),
        (r"a=\x", r"invalid field selector: invalid escape sequence: \x"),
        (r"a=b\", r"invalid field selector: invalid escape sequence: \"),
    ] {
        assert_eq!(Fields::parse(bad), Err(why.to_owned()), "{bad}");
    }
}
