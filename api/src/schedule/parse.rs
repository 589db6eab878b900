//! From the text of a schedule to its sets of minutes, hours and days.

use super::{Calendar, Rule, Schedule, duration};
use crate::time::{self, SignedDuration};

/// The set of a field that takes any value, also in its words: it does not narrow the days that the other one allows.
const ANY: u64 = 1 << 63;

/// Least and greatest value of a field, and the words for its values.
struct Field {
    least: u32,
    most: u32,
    words: &'static [&'static str],
}

const MINUTES: Field = Field { least: 0, most: 59, words: &[] };
const HOURS: Field = Field { least: 0, most: 23, words: &[] };
const DAYS: Field = Field { least: 1, most: 31, words: &[] };
const MONTHS: Field = Field {
    least: 1,
    most: 12,
    words: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
const WEEKDAYS: Field = Field { least: 0, most: 6, words: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] };

/// Common schedules by name.
const NAMED: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

pub(super) fn schedule(text: &str) -> Result<Schedule, String> {
    if text.is_empty() {
        return Err("empty spec string".to_owned());
    }
    if text.starts_with("TZ=") || text.starts_with("CRON_TZ=") {
        let (zone, rest) = text.split_once(' ').unwrap_or((text, ""));
        let name = zone.split_once('=').map_or("", |(_, name)| name);
        let zone = time::zone(name).ok_or_else(|| format!("provided bad location {name}: unknown time zone {name}"))?;
        return Ok(Schedule { rule: rule(rest.trim())?, zone: Some(zone) });
    }
    Ok(Schedule { rule: rule(text)?, zone: None })
}

fn rule(text: &str) -> Result<Rule, String> {
    if let Some(pause) = text.strip_prefix("@every ") {
        let pause = duration::parse(pause).map_err(|why| format!("failed to parse duration {text}: {why}"))?;
        return Ok(Rule::Every(SignedDuration::from_secs(pause.as_secs().max(1))));
    }
    if text.starts_with('@') {
        let known = NAMED.iter().find(|(name, _)| *name == text);
        let (_, fields) = known.ok_or_else(|| format!("unrecognized descriptor: {text}"))?;
        return calendar(fields).map(Rule::Calendar);
    }
    calendar(text).map(Rule::Calendar)
}

fn calendar(text: &str) -> Result<Calendar, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [minutes, hours, days, months, weekdays] = words[..] else {
        return Err(format!("expected exactly 5 fields, found {}: [{}]", words.len(), words.join(" ")));
    };
    let (minutes, hours) = (set(minutes, &MINUTES)?, set(hours, &HOURS)?);
    let (days, months, weekdays) = (set(days, &DAYS)?, set(months, &MONTHS)?, set(weekdays, &WEEKDAYS)?);
    Ok(Calendar { minutes, hours, days, months, weekdays, needs_both: (days | weekdays) & ANY != 0 })
}

/// The values of a list of ranges.
fn set(text: &str, field: &Field) -> Result<u64, String> {
    let parts = text.split(',').filter(|part| !part.is_empty());
    parts.map(|part| range(part, field)).try_fold(0, |all, part| part.map(|part| all | part))
}

/// `*`, `3`, `1-5`, each with `/2` behind it or not.
fn range(text: &str, field: &Field) -> Result<u64, String> {
    let parts: Vec<&str> = text.split('/').collect();
    let ends: Vec<&str> = parts[0].split('-').collect();
    let is_any = matches!(ends[0], "*" | "?");
    let (first, mut last) = match ends[..] {
        _ if is_any => (field.least, field.most),
        [one] => (number(one, field)?, number(one, field)?),
        [first, last] => (number(first, field)?, number(last, field)?),
        _ => return Err(format!("too many hyphens: {text}")),
    };
    let step = match parts[..] {
        [_] => 1,
        [_, step] => {
            // `3/15` goes on to the end.
            if ends.len() == 1 {
                last = field.most;
            }
            plain_number(step)?
        }
        _ => return Err(format!("too many slashes: {text}")),
    };
    if first < field.least {
        return Err(format!("beginning of range ({first}) below minimum ({}): {text}", field.least));
    }
    if last > field.most {
        return Err(format!("end of range ({last}) above maximum ({}): {text}", field.most));
    }
    if first > last {
        return Err(format!("beginning of range ({first}) beyond end of range ({last}): {text}"));
    }
    if step == 0 {
        return Err(format!("step of range should be a positive number: {text}"));
    }
    let values = (first..=last).step_by(usize::try_from(step).unwrap_or(usize::MAX));
    let any = if is_any && step == 1 { ANY } else { 0 };
    Ok(values.fold(any, |all, value| all | 1 << value))
}

fn number(text: &str, field: &Field) -> Result<u32, String> {
    let word = field.words.iter().position(|word| *word == text.to_lowercase());
    match word {
        Some(at) => Ok(field.least + u32::try_from(at).unwrap_or(0)),
        None => plain_number(text),
    }
}

fn plain_number(text: &str) -> Result<u32, String> {
    if text.strip_prefix('-').is_some_and(|digits| digits.parse::<u32>().is_ok_and(|number| number > 0)) {
        return Err(format!("negative number ({text}) not allowed: {text}"));
    }
    let why = || format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax");
    text.parse().map_err(|_| why())
}
