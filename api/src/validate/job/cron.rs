//! CronJobs: a schedule, its time zone, and the Jobs that they make.

use crate::schedule::Schedule;
use crate::time;
use crate::validate::findings::Findings;
use crate::validate::place::Place;

/// The longest part of a time zone's name.
const PART_MAX: usize = 14;

/// A CronJob, which may replace an old one.
pub(in crate::validate) fn cron_job(root: &Place<'_, '_>, old: Option<&Place<'_, '_>>, found: &mut Findings) {
    let at = root.get("spec");
    let before = |key: &str| old.and_then(|old| old.value().get("spec")?.get(key)).filter(|value| !value.is_null());
    let (when, zone) = (at.get("schedule"), at.get("timeZone"));
    if when.is_empty() {
        found.required(&when, "");
    } else {
        let had_zone = before("schedule").and_then(|text| text.as_str()).is_some_and(|text| text.contains("TZ"));
        schedule(&when, &zone, had_zone, found);
    }
    found.natural(&at.get("startingDeadlineSeconds"));
    // A zone that was valid once may be gone from the database.
    if old.is_none() || before("timeZone") != Some(zone.value()).filter(|zone| !zone.is_null()) {
        time_zone(&zone, found);
    }
    found.one_of(&at.get("concurrencyPolicy"), &["Allow", "Forbid", "Replace"]);
    let template = at.get("jobTemplate");
    let below = template.get("spec");
    super::spec(&below, found);
    if below.has("selector") {
        found.invalid(&below.get("selector"), "`selector` will be auto-generated");
    }
    if below.get("manualSelector").is_true() {
        found.unsupported(&below.get("manualSelector"), &["nil", "false"]);
    }
    found.naturals(&at, &["successfulJobsHistoryLimit", "failedJobsHistoryLimit"]);
}

fn schedule(when: &Place<'_, '_>, zone: &Place<'_, '_>, had_zone: bool, found: &mut Findings) {
    if let Err(why) = Schedule::parse(when.text()) {
        found.invalid(when, why);
    }
    if !when.text().contains("TZ") {
        return;
    }
    if !had_zone {
        found.invalid(when, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead");
    } else if zone.is_given() {
        found.invalid(when, "cannot use both timeZone field and TZ or CRON_TZ in schedule");
    }
}

fn time_zone(at: &Place<'_, '_>, found: &mut Findings) {
    if !at.is_given() {
        return;
    }
    let name = at.text();
    if name.is_empty() {
        found.invalid(at, "timeZone must be nil or non-empty string");
    } else if name.eq_ignore_ascii_case("local") {
        found.invalid(at, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones");
        if name != "Local" {
            found.invalid(at, format!("unknown time zone {name}"));
        }
    } else if !name.split('/').all(is_part) || time::zone(name).is_none() {
        found.invalid(at, format!("unknown time zone {name}"));
    }
}

fn is_part(part: &str) -> bool {
    let is_known = |char: char| char.is_ascii_alphanumeric() || matches!(char, '.' | '-' | '_' | '+');
    let is_plain = !matches!(part, "" | "." | "..") && !part.starts_with('-');
    is_plain && part.len() <= PART_MAX && part.chars().all(is_known)
}
