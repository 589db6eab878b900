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
    for bad in ["a", "a=b=c", r"a=\x"] {
        assert!(Fields::parse(bad).is_err(), "{bad}");
    }
}
