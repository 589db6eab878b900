//! Checks of single values that many kinds share: ports, amounts, percentages, modes, addresses, label selectors.

use super::findings::Findings;
use super::meta::labels;
use super::place::Place;
use crate::fields::{Container, Field, TypeRef, Value};
use crate::quantity::Quantity;
use crate::selector::Labels;
use crate::view::LabelSelector;
use crate::{Tree, names};
use std::net::IpAddr;

const PERCENT: &str = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', \
                       regex used for validation is '[0-9]+%')";
pub(super) const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];

/// Every string of an object whose kind has no rules of its own, and that the field table gives a fixed set of values.
pub(super) fn enumerations(schema: TypeRef, at: &Place<'_, '_>, found: &mut Findings) {
    let Some(all) = at.value().as_object() else { return };
    for field in all.keys().filter(|key| *key != "status").filter_map(|key| schema.field(key)) {
        let at = at.get(field.json);
        match field.container {
            Container::List => at.each().for_each(|one| enumeration(field, &one, found)),
            Container::Map => at.entries().for_each(|(_, one)| enumeration(field, &one, found)),
            Container::Single => enumeration(field, &at, found),
        }
    }
}

fn enumeration(field: &Field, at: &Place<'_, '_>, found: &mut Findings) {
    match field.value {
        Value::Object(schema) => enumerations(schema, at, found),
        // An empty value is one that was not given.
        Value::String if !field.enumeration.is_empty() && !at.is_empty() => {
            found.optional_one_of(at, field.enumeration);
        }
        _ => {}
    }
}

/// A port number; 0 if it is absent.
pub(super) fn port(at: &Place<'_, '_>, found: &mut Findings) {
    if !(1..=65_535).contains(&at.number()) {
        found.invalid_as(at, at.number(), "must be between 1 and 65535, inclusive");
    }
}

/// A port number, or the name of one.
pub(super) fn port_or_name(at: &Place<'_, '_>, found: &mut Findings) {
    if at.value().is_string() { found.test(at, names::port_name) } else { port(at, found) }
}

/// A count, or a percentage; nothing if it is absent.
pub(super) fn count_or_percent(at: &Place<'_, '_>, found: &mut Findings) {
    if !at.value().is_string() {
        found.natural(at);
    } else if percent(at).is_none() {
        found.invalid(at, PERCENT);
    }
}

pub(super) fn at_most_all(at: &Place<'_, '_>, found: &mut Findings) {
    if percent(at).is_some_and(|value| value > 100) {
        found.invalid(at, "must not be greater than 100%");
    }
}

/// The number before the sign; too many digits are too many percent.
fn percent(at: &Place<'_, '_>) -> Option<u64> {
    let digits = at.text().strip_suffix('%')?;
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

/// Whether a count or a percentage is none at all.
pub(super) fn is_zero(at: &Place<'_, '_>) -> bool {
    match percent(at) {
        Some(percent) => percent == 0,
        None => at.integer().or_else(|| at.text().parse().ok()).unwrap_or(0) == 0,
    }
}

/// The permissions of a file in a volume.
pub(super) fn mode(at: &Place<'_, '_>, found: &mut Findings) {
    if at.integer().is_some_and(|mode| !(0..=0o777).contains(&mode)) {
        found.invalid(at, "must be a number between 0 and 0777 (octal), both inclusive");
    }
}

pub(super) fn quantity(amount: &Tree) -> Result<Quantity, String> {
    let parsed = match amount {
        Tree::String(text) => Quantity::parse(text),
        other => Quantity::parse(&other.to_string()),
    };
    parsed.map_err(|why| why.to_string())
}

/// A path below a folder.
pub(super) fn path_below(at: &Place<'_, '_>, found: &mut Findings) {
    if at.text().starts_with('/') {
        found.invalid(at, "must be a relative path");
    }
    no_steps_back(at, found);
}

pub(super) fn no_steps_back(at: &Place<'_, '_>, found: &mut Findings) {
    if at.text().split('/').any(|part| part == "..") {
        found.invalid(at, "must not contain '..'");
    }
}

/// An address in any spelling that Go reads.
pub(super) fn address(at: &Place<'_, '_>, found: &mut Findings) {
    found.test(at, names::ip_address);
}

/// An address that can be reached from elsewhere.
pub(super) fn reachable_address(at: &Place<'_, '_>, found: &mut Findings) {
    let Ok(address) = at.text().parse::<IpAddr>() else {
        return found.invalid_as(at, at.text(), "must be a valid IP address");
    };
    let (is_link_local, is_link_multicast) = match address {
        IpAddr::V4(four) => (four.is_link_local(), four.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(six) => (six.segments()[0] & 0xffc0 == 0xfe80, six.segments()[0] & 0xff0f == 0xff02),
    };
    if address.is_unspecified() {
        found.invalid(at, format!("may not be unspecified ({})", at.text()));
    }
    if address.is_loopback() {
        found.invalid(at, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
    }
    if is_link_local {
        found.invalid(at, "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    }
    if is_link_multicast {
        found.invalid(at, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)");
    }
}

/// A network, as address and length of its prefix.
pub(super) fn network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let length: u8 = length.parse().ok().filter(|length| *length <= most)?;
    Some((address, length))
}

pub(super) fn cidr(at: &Place<'_, '_>, found: &mut Findings) {
    if network(at.text()).is_none() {
        found.invalid_as(at, at.text(), "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
    }
}

/// A `metav1.LabelSelector`. True if nothing is wrong with it.
pub(super) fn selector(at: &Place<'_, '_>, found: &mut Findings) -> bool {
    let before = found.causes.len();
    labels(&at.get("matchLabels"), found);
    for one in at.get("matchExpressions").each() {
        let (operator, values, key) = (one.get("operator"), one.get("values"), one.get("key"));
        match operator.text() {
            "In" | "NotIn" if values.is_empty() => {
                found.required(&values, "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                found.forbidden(&values, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => found.invalid_as(&operator, other, "not a valid selector operator"),
        }
        found.test(&key, names::qualified_name);
        for value in values.each() {
            found.test(&value, names::label_value);
        }
    }
    found.causes.len() == before
}

/// Whether it selects by nothing at all.
pub(super) fn is_empty_selector(at: &Place<'_, '_>) -> bool {
    at.get("matchLabels").is_empty() && at.get("matchExpressions").is_empty()
}

/// Whether a selector matches labels: without one, nothing is matched, and by an empty one, all is.
pub(super) fn selects(selector: &Place<'_, '_>, labels: &Place<'_, '_>) -> bool {
    let view: Option<LabelSelector> = crate::object::read_tree(selector.value()).ok();
    let Some(view) = view.filter(|_| selector.is_given()) else { return false };
    Labels::from_view(&view).matches(|key| labels.value().get(key).and_then(Tree::as_str))
}
