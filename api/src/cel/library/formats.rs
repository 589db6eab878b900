//! Named formats: `format.dns1123Label().validate(self.name)`, with upstream's words for what is wrong.

use super::{Cost, Row, Url};
use crate::cel::run::Work;
use crate::cel::value::{Failure, Outcome, Value};
use crate::custom::validate::format;
use crate::names;

#[derive(Debug)]
pub struct Format {
    pub(in crate::cel) name: &'static str,
    check: fn(&str) -> Vec<String>,
}

const FORMATS: [Format; 13] = [
    Format { name: "dns1123Label", check: names::dns_label },
    Format { name: "dns1123Subdomain", check: names::dns_subdomain },
    Format { name: "dns1035Label", check: names::dns_label_1035 },
    Format { name: "qualifiedName", check: names::qualified_name },
    Format { name: "dns1123LabelPrefix", check: |text| names::dns_label(&whole(text)) },
    Format { name: "dns1123SubdomainPrefix", check: |text| names::dns_subdomain(&whole(text)) },
    Format { name: "dns1035LabelPrefix", check: |text| names::dns_label_1035(&whole(text)) },
    Format { name: "labelValue", check: names::label_value },
    Format { name: "uri", check: |text| Url::parse(text).err().into_iter().collect() },
    Format { name: "uuid", check: |text| unless("uuid", text, "does not match the UUID format") },
    Format { name: "byte", check: |text| unless("byte", text, "invalid base64") },
    Format { name: "date", check: |text| unless("date", text, "invalid date") },
    Format { name: "datetime", check: |text| unless("datetime", text, "invalid datetime") },
];
static KNOWN: [Format; 13] = FORMATS;

pub(super) const TABLE: &[Row] = &[
    ("format.named(<string>) <optional<Format>>", Cost::One, named),
    ("<Format>.validate(<string>) <optional<list<string>>>", Cost::Format, validate),
    ("format.dns1123Label() <Format>", Cost::One, |_, _| known(0)),
    ("format.dns1123Subdomain() <Format>", Cost::One, |_, _| known(1)),
    ("format.dns1035Label() <Format>", Cost::One, |_, _| known(2)),
    ("format.qualifiedName() <Format>", Cost::One, |_, _| known(3)),
    ("format.dns1123LabelPrefix() <Format>", Cost::One, |_, _| known(4)),
    ("format.dns1123SubdomainPrefix() <Format>", Cost::One, |_, _| known(5)),
    ("format.dns1035LabelPrefix() <Format>", Cost::One, |_, _| known(6)),
    ("format.labelValue() <Format>", Cost::One, |_, _| known(7)),
    ("format.uri() <Format>", Cost::One, |_, _| known(8)),
    ("format.uuid() <Format>", Cost::One, |_, _| known(9)),
    ("format.byte() <Format>", Cost::One, |_, _| known(10)),
    ("format.date() <Format>", Cost::One, |_, _| known(11)),
    ("format.datetime() <Format>", Cost::One, |_, _| known(12)),
];

fn unless(name: &str, text: &str, why: &str) -> Vec<String> {
    if format::fits(name, text) { Vec::new() } else { vec![why.to_owned()] }
}

/// What a name may begin with may end in a dash.
fn whole(text: &str) -> String {
    text.strip_suffix('-').map_or_else(|| text.to_owned(), |rest| format!("{rest}a"))
}

fn known<'t>(at: usize) -> Outcome<'t> {
    KNOWN.get(at).map(Value::Format).ok_or_else(Failure::no_overload)
}

fn named<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    let [Value::String(name)] = args else { return Err(Failure::no_overload()) };
    let found = KNOWN.iter().find(|format| format.name == &**name);
    Ok(Value::Optional(found.map(|format| Value::Format(format).into())))
}

fn validate<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    let [Value::Format(format), Value::String(text)] = args else { return Err(Failure::no_overload()) };
    work.read(text.len() * 10)?;
    let wrong = (format.check)(text);
    Ok(match wrong.is_empty() {
        true => Value::Optional(None),
        false => Value::some(Value::list(wrong.into_iter().map(Value::text).collect())),
    })
}
