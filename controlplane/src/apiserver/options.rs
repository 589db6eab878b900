//! The options that a request carries in its query, or a delete in its body: metav1's CreateOptions, DeleteOptions and
//! their kin, and what upstream's validation says of them.

use super::decode::{self, Wanted};
use super::media;
use super::request::Query;
use api::codec::Strictness;
use api::fields;
use api::object::edit;
use api::rejected::Cause;
use api::{Rejected, Tree};
use client::{DeleteOptions, ListOptions, Propagation, WatchOptions};
use serde_json::json;

const EXACT: &str = "Exact";
const NOT_OLDER: &str = "NotOlderThan";
/// The longest `fieldManager`, bytes.
const MANAGER_BYTES_MAX: usize = 128;

/// How a patch bears on its options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Write {
    Create,
    Update,
    Patch,
    Apply,
}

/// Checks the options of a write.
pub(super) fn check(write: Write, query: &Query) -> Result<(), Rejected> {
    let manager = query.text("fieldManager");
    let mut causes = Vec::new();
    match write {
        Write::Apply if manager.is_empty() => {
            causes.push(Cause::required("fieldManager", "is required for apply patch"));
        }
        Write::Patch if query.has("force") => {
            causes.push(Cause::forbidden("force", "may not be specified for non-apply patch"));
        }
        _ => {}
    }
    check_manager(manager, &mut causes);
    check_dry_run(query.all("dryRun"), &mut causes);
    let validation = query.text("fieldValidation");
    if !matches!(validation, "" | "Ignore" | "Strict" | "Warn") {
        let supported = ["", "Ignore", "Strict", "Warn"];
        causes.push(Cause::unsupported("fieldValidation", &json!(validation), &supported));
    }
    let kind = match write {
        Write::Create => "CreateOptions",
        Write::Update => "UpdateOptions",
        Write::Patch | Write::Apply => "PatchOptions",
    };
    refused(kind, causes)
}

/// `fieldValidation`, which has been checked.
pub(super) fn strictness(query: &Query) -> Strictness {
    match query.text("fieldValidation") {
        "Strict" => Strictness::Strict,
        "Ignore" => Strictness::Ignore,
        _ => Strictness::Warn,
    }
}

/// What a list asks for.
pub(super) struct Listing {
    pub(super) options: ListOptions,
    /// The state at just this revision, not one at least as new.
    pub(super) exact: bool,
}

pub(super) fn list(query: &Query) -> Result<Listing, Rejected> {
    let limit = query.number("limit")?.unwrap_or(0);
    // Of no use to a list, but refused where it is no number, as by whoever decodes all options.
    query.integer("timeoutSeconds")?;
    let matching = query.text("resourceVersionMatch");
    let mut causes = Vec::new();
    if !matching.is_empty() {
        let mut forbid = |why: &str| causes.push(Cause::forbidden("resourceVersionMatch", why));
        if query.get("resourceVersion").is_none() {
            forbid("resourceVersionMatch is forbidden unless resourceVersion is provided");
        }
        if query.get("continue").is_some() {
            forbid("resourceVersionMatch is forbidden when continue is provided");
        }
        if !matches!(matching, EXACT | NOT_OLDER) {
            causes.push(Cause::unsupported("resourceVersionMatch", &json!(matching), &[EXACT, NOT_OLDER, ""]));
        }
        if matching == EXACT && query.text("resourceVersion") == "0" {
            let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
            causes.push(Cause::forbidden("resourceVersionMatch", why));
        }
    }
    if query.get("sendInitialEvents").is_some() {
        causes.push(Cause::forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"));
    }
    refused("ListOptions", causes)?;
    let options = ListOptions {
        label_selector: query.text("labelSelector").to_owned(),
        field_selector: query.text("fieldSelector").to_owned(),
        limit: usize::try_from(limit).unwrap_or(usize::MAX),
        next: query.get("continue").map(str::to_owned),
        revision: query.revision()?,
    };
    // A limited list of some version shows just that version, so that its pages fit together.
    let is_paged = matching.is_empty() && options.limit > 0 && options.revision.is_some_and(|revision| revision > 0);
    Ok(Listing { exact: options.next.is_none() && (matching == EXACT || is_paged), options })
}

pub(super) fn watch(query: &Query) -> Result<WatchOptions, Rejected> {
    let matching = query.text("resourceVersionMatch");
    let initial_events = query.get("sendInitialEvents").map(|_| query.is_true("sendInitialEvents"));
    let mut causes = Vec::new();
    let mut forbid = |why: &str| causes.push(Cause::forbidden("resourceVersionMatch", why));
    if initial_events.is_some() && matching != NOT_OLDER {
        forbid("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
    }
    if !matching.is_empty() {
        if initial_events.is_none() {
            forbid("resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided");
        }
        if query.get("continue").is_some() {
            forbid("resourceVersionMatch is forbidden when continue is provided");
        }
        if matching != NOT_OLDER {
            causes.push(Cause::unsupported("resourceVersionMatch", &json!(matching), &[NOT_OLDER]));
        }
    }
    refused("ListOptions", causes)?;
    Ok(WatchOptions {
        label_selector: query.text("labelSelector").to_owned(),
        field_selector: query.text("fieldSelector").to_owned(),
        revision: query.revision()?.unwrap_or(0),
        bookmarks: query.is_true("allowWatchBookmarks"),
        initial_events,
        lasts: None,
    })
}

/// The options of a delete: its body, or the query if there is none. Also whether a deletion that takes its time is
/// answered with 202: as upstream does for `orphanDependents=false` alone.
pub(super) fn delete(query: &Query, content_type: &str, body: &[u8]) -> Result<(DeleteOptions, bool), Rejected> {
    let tree = if body.is_empty() { of_query(query)? } else { of_body(content_type, body)? };
    let policy = edit::at(&tree, &["propagationPolicy"]).and_then(Tree::as_str);
    let orphans = edit::at(&tree, &["orphanDependents"]).and_then(Tree::as_bool);
    let mut causes = Vec::new();
    if let (Some(policy), Some(_)) = (policy, orphans) {
        let why = "orphanDependents and deletionPropagation cannot be both set";
        causes.push(Cause::invalid("propagationPolicy", &json!(policy), why));
    }
    let propagation = match policy {
        None => orphans.map(|orphans| if orphans { Propagation::Orphan } else { Propagation::Background }),
        Some("Background") => Some(Propagation::Background),
        Some("Foreground") => Some(Propagation::Foreground),
        Some("Orphan") => Some(Propagation::Orphan),
        Some(other) => {
            let supported = ["Foreground", "Background", "Orphan", "nil"];
            causes.push(Cause::unsupported("propagationPolicy", &json!(other), &supported));
            None
        }
    };
    let dry: Vec<String> = edit::list(&tree, &["dryRun"]).iter().filter_map(Tree::as_str).map(str::to_owned).collect();
    check_dry_run(&dry, &mut causes);
    refused("DeleteOptions", causes)?;
    let text = |path: &[&str]| edit::at(&tree, path).and_then(Tree::as_str).map(str::to_owned);
    let options = DeleteOptions {
        grace_period_seconds: edit::integer(&tree, &["gracePeriodSeconds"]),
        uid: text(&["preconditions", "uid"]),
        // What is no number is no object's version either.
        revision: text(&["preconditions", "resourceVersion"]).map(|revision| revision.parse().unwrap_or(u64::MAX)),
        propagation,
        dry_run: !dry.is_empty(),
    };
    Ok((options, orphans == Some(false)))
}

fn of_query(query: &Query) -> Result<Tree, Rejected> {
    let mut tree = json!({});
    if let Some(seconds) = query.integer("gracePeriodSeconds")? {
        tree["gracePeriodSeconds"] = seconds.into();
    }
    if query.has("orphanDependents") {
        tree["orphanDependents"] = query.is_true("orphanDependents").into();
    }
    if query.has("propagationPolicy") {
        tree["propagationPolicy"] = query.text("propagationPolicy").into();
    }
    if query.has("dryRun") {
        tree["dryRun"] = json!(query.all("dryRun"));
    }
    Ok(tree)
}

/// Clients may send the options of any group, for the sake of old ones.
fn of_body(content_type: &str, body: &[u8]) -> Result<Tree, Rejected> {
    let sent = media::sent(content_type)?;
    let schema = fields::type_of_kind("", "v1", "DeleteOptions");
    let wanted = Wanted { kind: "DeleteOptions", api_version: "v1", schema, custom: None };
    let (tree, _) = decode::body(sent, body, schema, Strictness::Ignore)
        .map_err(|error| Rejected::bad_request(decode::why(&error, sent, body, &wanted)))?;
    match edit::text(&tree, &["kind"]) {
        "" | "DeleteOptions" => Ok(tree),
        other => {
            let api_version = edit::text(&tree, &["apiVersion"]);
            Err(Rejected::bad_request(format!(
                "no kind {other:?} is registered for version {api_version:?} in scheme {:?}",
                "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27"
            )))
        }
    }
}

fn check_manager(manager: &str, causes: &mut Vec<Cause>) {
    if manager.len() > MANAGER_BYTES_MAX {
        causes.push(Cause {
            reason: "FieldValueTooLong".to_owned(),
            message: format!("Too long: may not be more than {MANAGER_BYTES_MAX} bytes"),
            field: "fieldManager".to_owned(),
        });
    }
    for (at, c) in manager.char_indices().filter(|(_, c)| c.is_control() || c.is_whitespace() && *c != ' ') {
        let why = format!("invalid character U+{:04X} (at position {at})", u32::from(c));
        causes.push(Cause {
            reason: "FieldValueInvalid".to_owned(),
            message: format!("Invalid value: {}: {why}", quoted(manager)),
            field: "fieldManager".to_owned(),
        });
    }
}

/// As Go's `%q` prints a text.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if u32::from(c) < 0x20 || c == '\u{7f}' => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn check_dry_run(given: &[String], causes: &mut Vec<Cause>) {
    if given.iter().any(|one| one != "All") {
        causes.push(Cause::unsupported("dryRun", &json!(given), &["All"]));
    }
}

fn refused(kind: &str, causes: Vec<Cause>) -> Result<(), Rejected> {
    if causes.is_empty() { Ok(()) } else { Err(Rejected::invalid("meta.k8s.io", kind, "", causes)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_refused_in_upstreams_words() {
        let long = format!("fieldManager={}", "m".repeat(129));
        for (write, query, expected) in [
            (
                Write::Create,
                "dryRun=Some",
                r#"CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: ["Some"]: supported values: "All""#,
            ),
            (
                Write::Create,
                "dryRun=",
                r#"CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: [""]: supported values: "All""#,
            ),
            (
                Write::Update,
                &long,
                r#"UpdateOptions.meta.k8s.io "" is invalid: fieldManager: Too long: may not be more than 128 bytes"#,
            ),
            (
                Write::Create,
                "fieldManager=a%07b",
                r#"CreateOptions.meta.k8s.io "" is invalid: fieldManager: Invalid value: "a\ab": invalid character U+0007 (at position 1)"#,
            ),
            (
                Write::Patch,
                "force=false",
                r#"PatchOptions.meta.k8s.io "" is invalid: force: Forbidden: may not be specified for non-apply patch"#,
            ),
            (
                Write::Apply,
                "",
                r#"PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch"#,
            ),
        ] {
            assert_eq!(
                check(write, &Query::parse(Some(query))).map_err(|rejected| rejected.message),
                Err(expected.to_owned())
            );
        }
        assert_eq!(check(Write::Apply, &Query::parse(Some("fieldManager=a&force=1&dryRun=All&dryRun=All"))), Ok(()));
    }

    #[test]
    fn versions_of_lists_and_watches_have_their_rules() {
        let of = |text: &str| Query::parse(Some(text));
        let told = |rejected: Rejected| {
            let causes = rejected.details.causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message));
            causes.collect::<Vec<_>>()
        };
        let forbidden = |why: &str| vec![format!("resourceVersionMatch: Forbidden: resourceVersionMatch {why}")];
        for (text, why) in [
            ("resourceVersionMatch=Exact", "is forbidden unless resourceVersion is provided"),
            ("resourceVersion=0&resourceVersionMatch=Exact", "\"exact\" is forbidden for resourceVersion \"0\""),
            ("resourceVersion=5&resourceVersionMatch=Exact&continue=a", "is forbidden when continue is provided"),
        ] {
            assert_eq!(list(&of(text)).map(|_| ()).map_err(told), Err(forbidden(why)), "{text}");
        }
        let why = forbidden("is forbidden for watch unless sendInitialEvents is provided");
        let text = "resourceVersion=5&resourceVersionMatch=NotOlderThan";
        assert_eq!(watch(&of(text)).map_err(told), Err(why));
        assert!(list(&of("sendInitialEvents=true")).is_err());
        assert!(watch(&of("sendInitialEvents=true")).is_err());
        let streamed = watch(&of("sendInitialEvents=true&resourceVersionMatch=NotOlderThan")).expect("as it must be");
        assert_eq!(streamed.initial_events, Some(true));
        let exact = |text: &str| list(&of(text)).map(|listing| listing.exact);
        assert_eq!(exact("limit=2&resourceVersion=7"), Ok(true));
        assert_eq!(exact("limit=2&resourceVersion=0"), Ok(false));
        assert_eq!(exact("limit=2&resourceVersion=7&resourceVersionMatch=NotOlderThan"), Ok(false));
    }

    #[test]
    fn the_body_of_a_delete_hides_its_query() {
        let both = |query: &str, body: &str| delete(&Query::parse(Some(query)), "", body.as_bytes());
        let of = |query: &str, body: &str| both(query, body).map(|(options, _)| options);
        assert!(both("orphanDependents=false", "").is_ok_and(|(_, is_told)| is_told));
        assert!(of("dryRun=All", "").is_ok_and(|options| options.dry_run));
        assert!(of("dryRun=All", "{}").is_ok_and(|options| !options.dry_run));
        assert_eq!(of("gracePeriodSeconds=-5", "").map(|options| options.grace_period_seconds), Ok(Some(-5)));
        assert_eq!(of("orphanDependents=true", "").map(|options| options.propagation), Ok(Some(Propagation::Orphan)));
        for (query, body, code, message) in [
            ("", "{", 400, "couldn't get version/kind; json parse error: unexpected end of JSON input"),
            ("propagationPolicy=Orphan&orphanDependents=1", "", 422, "cannot be both set"),
            ("", r#"{"propagationPolicy":"Nope"}"#, 422, r#""Foreground", "Background", "Orphan", "nil""#),
            ("", r#"{"kind":"Pod","apiVersion":"v1"}"#, 400, r#"no kind "Pod" is registered for version "v1""#),
            ("gracePeriodSeconds=abc", "", 400, r#"strconv.ParseInt: parsing "abc": invalid syntax"#),
        ] {
            let rejected = of(query, body).unwrap_err();
            assert!(rejected.code == code && rejected.message.contains(message), "{rejected}");
        }
    }
}
