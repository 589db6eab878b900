//! What names, keys and values may look like, in upstream's words for what is wrong.
//!
//! Each function answers with everything that is wrong with one text; an empty list means that it is well formed.
//! Knows no kinds: `validate` says which text has to be what.

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const UNDERSCORED: &str = r"_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*";
const LABEL_1035: &str = "[a-z]([-a-z0-9]*[a-z0-9])?";
const QUALIFIED: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const QUALIFIED_WORDS: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
                               alphanumeric character";

/// A DNS label of RFC 1123: namespaces, containers, volumes.
#[must_use]
pub fn dns_label(text: &str) -> Vec<String> {
    let words = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start \
                 and end with an alphanumeric character";
    let mut wrong = longer_than(text, 63);
    if is_dns_label(text) {
        return wrong;
    }
    if text.split('.').all(is_dns_label) {
        wrong.push("must not contain dots".to_owned());
    } else {
        wrong.push(told(words, LABEL, &["my-name", "123-abc"]));
    }
    wrong
}

/// A DNS subdomain of RFC 1123: the names of most kinds.
#[must_use]
pub fn dns_subdomain(text: &str) -> Vec<String> {
    let words = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and \
                 must start and end with an alphanumeric character";
    let mut wrong = longer_than(text, 253);
    if !text.split('.').all(is_dns_label) {
        wrong.push(told(words, SUBDOMAIN, &["example.com"]));
    }
    wrong
}

/// A DNS subdomain whose labels may begin with an underscore, and have some in them: where resolvers search.
#[must_use]
pub fn dns_subdomain_with_underscores(text: &str) -> Vec<String> {
    let words = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and \
                 must start and end with an alphanumeric character";
    let is_label = |label: &str| {
        let rest = label.strip_prefix('_').unwrap_or(label);
        !rest.starts_with('_') && is_dns_label(&rest.replace('_', "-"))
    };
    let mut wrong = longer_than(text, 253);
    if !text.split('.').all(is_label) || text.ends_with('_') {
        wrong.push(told(words, UNDERSCORED, &["example.com"]));
    }
    wrong
}

/// A DNS subdomain below a star: `*.example.com`.
#[must_use]
pub fn wildcard_subdomain(text: &str) -> Vec<String> {
    let words = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must \
                 consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character";
    let mut wrong = longer_than(text, 253);
    if !text.strip_prefix("*.").is_some_and(|rest| rest.split('.').all(is_dns_label)) {
        wrong.push(told(words, &format!(r"\*\.{SUBDOMAIN}"), &["*.example.com"]));
    }
    wrong
}

/// A name of so many labels at least; with each fault comes the text that upstream shows.
#[must_use]
pub fn domain_name(text: &str, segments_min: usize) -> Vec<(String, String)> {
    let plain = if segments_min == 2 { text.strip_suffix('.').unwrap_or(text) } else { text };
    let wrong = dns_subdomain(plain);
    if !wrong.is_empty() {
        return vec![(plain.to_owned(), wrong.join(","))];
    }
    let labels: Vec<&str> = plain.split('.').collect();
    if labels.len() < segments_min {
        let count = if segments_min == 2 { "two" } else { "three" };
        let why = format!("should be a domain with at least {count} segments separated by dots");
        return vec![(plain.to_owned(), why)];
    }
    let first = labels.iter().find_map(|label| {
        let wrong = dns_label(label);
        (segments_min == 2 && !wrong.is_empty()).then(|| ((*label).to_owned(), wrong.join(",")))
    });
    first.into_iter().collect()
}

/// A DNS label of RFC 1035: Services.
#[must_use]
pub fn dns_label_1035(text: &str) -> Vec<String> {
    let words = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
                 character, and end with an alphanumeric character";
    let mut wrong = longer_than(text, 63);
    if !is_dns_label(text) || !text.starts_with(|first: char| first.is_ascii_lowercase()) {
        wrong.push(told(words, LABEL_1035, &["my-name", "abc-123"]));
    }
    wrong
}

/// The key of a label, an annotation, a taint: `example.com/name`.
#[must_use]
pub fn qualified_name(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let examples = ["MyName", "my.name", "123-abc"];
    let name = match text.split_once('/') {
        None => text,
        Some((_, name)) if name.contains('/') => {
            let words = told(&format!("a valid label key {QUALIFIED_WORDS}"), QUALIFIED, &examples);
            wrong.push(format!("{words} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"));
            return wrong;
        }
        Some((prefix, name)) => {
            if prefix.is_empty() {
                wrong.push("prefix part must be non-empty".to_owned());
            } else {
                wrong.extend(dns_subdomain(prefix).iter().map(|why| format!("prefix part {why}")));
            }
            name
        }
    };
    if name.is_empty() {
        wrong.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        wrong.push("name part must be no more than 63 characters".to_owned());
    }
    if !is_qualified(name) {
        wrong.push(format!("name part {}", told(QUALIFIED_WORDS, QUALIFIED, &examples)));
    }
    wrong
}

/// The value of a label.
#[must_use]
pub fn label_value(text: &str) -> Vec<String> {
    let mut wrong = longer_than(text, 63);
    if !text.is_empty() && !is_qualified(text) {
        let words = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and \
                     must start and end with an alphanumeric character";
        wrong.push(told(words, &format!("({QUALIFIED})?"), &["MyValue", "my_value", "12345"]));
    }
    wrong
}

/// A key of a ConfigMap or a Secret.
#[must_use]
pub fn config_key(text: &str) -> Vec<String> {
    let mut wrong = longer_than(text, 253);
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if text.is_empty() || !text.bytes().all(fits) {
        let words = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
        wrong.push(told(words, "[-._a-zA-Z0-9]+", &["key.name", "KEY_NAME", "key-name"]));
    }
    match text {
        "." => wrong.push("must not be '.'".to_owned()),
        ".." => wrong.push("must not be '..'".to_owned()),
        _ if text.starts_with("..") => wrong.push("must not start with '..'".to_owned()),
        _ => {}
    }
    wrong
}

/// The name of an environment variable.
#[must_use]
pub fn environment_name(text: &str) -> Vec<String> {
    if text.is_empty() {
        return vec!["environment variable name must be non-empty".to_owned()];
    }
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'=') {
        return Vec::new();
    }
    vec!["a valid environment variable name must consist only of printable ASCII characters other than '='".to_owned()]
}

/// The name of a header.
#[must_use]
pub fn http_header_name(text: &str) -> Vec<String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Vec::new();
    }
    vec![told(
        "a valid HTTP header must consist of alphanumeric characters or '-'",
        "[-A-Za-z0-9]+",
        &["X-Header-Name"],
    )]
}

/// The path of a URL, without what has to be escaped in it.
#[must_use]
pub fn http_path(text: &str) -> Vec<String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&byte);
    if !text.is_empty() && text.bytes().all(fits) {
        return Vec::new();
    }
    vec![told("Invalid path", r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+", &[])]
}

/// Whether a text is the name of a setting of the kernel.
#[must_use]
pub fn is_sysctl(text: &str) -> bool {
    text.len() <= 253
        && text
            .split(['.', '/'])
            .all(|part| !part.starts_with('_') && !part.ends_with('_') && is_dns_label(&part.replace('_', "-")))
}

/// The name of a port: an IANA service name.
#[must_use]
pub fn port_name(text: &str) -> Vec<String> {
    let mut wrong = longer_than(text, 15);
    let mut add = |is_wrong: bool, why: &str| {
        if is_wrong {
            wrong.push(why.to_owned());
        }
    };
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    add(
        text.is_empty() || !text.bytes().all(fits),
        "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
    );
    add(!text.bytes().any(|byte| byte.is_ascii_lowercase()), "must contain at least one letter (a-z)");
    add(text.contains("--"), "must not contain consecutive hyphens");
    add(text.starts_with('-') || text.ends_with('-'), "must not begin or end with a hyphen");
    wrong
}

/// What may stand alone in a URL's path: the names of RBAC kinds.
#[must_use]
pub fn path_segment(text: &str) -> Vec<String> {
    match text {
        "." | ".." => return vec![format!("may not be '{text}'")],
        _ => {}
    }
    ['/', '%'].into_iter().filter(|bad| text.contains(*bad)).map(|bad| format!("may not contain '{bad}'")).collect()
}

/// An IP address in its one canonical spelling or another that Go reads.
#[must_use]
pub fn ip_address(text: &str) -> Vec<String> {
    if text.parse::<std::net::IpAddr>().is_ok() {
        return Vec::new();
    }
    vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned()]
}

/// An IP address in its one canonical spelling.
#[must_use]
pub fn canonical_ip_address(text: &str) -> Vec<String> {
    match text.parse::<std::net::IpAddr>() {
        Ok(address) if address.to_string() == text => Vec::new(),
        Ok(address) => vec![format!("must be in canonical form (\"{address}\")")],
        Err(_) => ip_address(text),
    }
}

fn is_dns_label(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.bytes().all(fits) && !text.starts_with('-') && !text.ends_with('-')
}

fn is_qualified(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_end = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    is_end(text.bytes().next()) && is_end(text.bytes().next_back()) && text.bytes().all(fits)
}

fn longer_than(text: &str, limit: usize) -> Vec<String> {
    if text.len() > limit { vec![format!("must be no more than {limit} characters")] } else { Vec::new() }
}

fn told(words: &str, pattern: &str, examples: &[&str]) -> String {
    if examples.is_empty() {
        return format!("{words} (regex used for validation is '{pattern}')");
    }
    let examples: Vec<String> = examples.iter().map(|example| format!("'{example}', ")).collect();
    format!("{words} (e.g. {}regex used for validation is '{pattern}')", examples.join(" or "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_keys() {
        for good in ["a", "a-b", "0", "a1"] {
            assert!(dns_label(good).is_empty(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", &"a".repeat(64)] {
            assert!(!dns_label(bad).is_empty(), "{bad}");
        }
        assert!(dns_subdomain("a.b-c.d").is_empty() && !dns_subdomain("a..b").is_empty());
        assert!(dns_label_1035("a1").is_empty() && !dns_label_1035("1a").is_empty());
        assert!(qualified_name("app.kubernetes.io/name").is_empty());
        assert_eq!(qualified_name("a/b/c").len(), 1);
        assert_eq!(qualified_name("/b"), ["prefix part must be non-empty"]);
        assert!(label_value("").is_empty() && !label_value("a b").is_empty());
        assert!(config_key("a.b").is_empty() && !config_key("a/b").is_empty());
        assert_eq!(port_name("80"), ["must contain at least one letter (a-z)"]);
        assert!(path_segment("system:node").is_empty() && !path_segment("a/b").is_empty());
    }

    #[test]
    fn the_words_are_upstreams() {
        assert_eq!(
            dns_label("A"),
            [
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and \
              end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
              '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
            ]
        );
    }
}
