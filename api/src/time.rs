//! Times as Kubernetes writes them. Nothing here reads a clock: the time comes from the caller.

pub use jiff::tz::TimeZone;
use jiff::tz::TimeZoneDatabase;
pub use jiff::{SignedDuration, Timestamp};
use std::sync::LazyLock;
use std::time::Duration;

/// The time zones that come with the binary: a device may have none of its own, and all members of a cluster must agree.
static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// RFC 3339 in UTC with whole seconds: `metav1.Time`.
#[must_use]
pub fn seconds(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// RFC 3339 in UTC with exactly six digits: `metav1.MicroTime`.
#[must_use]
pub fn micros(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// Reads either form, with any offset. `None` if the text is no time.
#[must_use]
pub fn parse(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

/// RFC 3339 with whole seconds, in a zone, as Go's `time.RFC3339` shows it.
#[must_use]
pub fn seconds_in(at: Timestamp, zone: &TimeZone) -> String {
    let at = at.to_zoned(zone.clone());
    let form = if at.offset().is_zero() { "%Y-%m-%dT%H:%M:%SZ" } else { "%Y-%m-%dT%H:%M:%S%:z" };
    at.strftime(form).to_string()
}

/// RFC 1123 in UTC, as Go's `time.RFC1123Z` shows it: `Thu, 01 Jan 2026 02:00:00 +0000`.
#[must_use]
pub fn for_people(at: Timestamp) -> String {
    at.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}

/// The zone of an IANA name, spelled exactly so. `None` if there is none.
#[must_use]
pub fn zone(name: &str) -> Option<TimeZone> {
    if name == "UTC" {
        return Some(TimeZone::UTC);
    }
    ZONES.get(name).ok().filter(|zone| zone.iana_name() == Some(name))
}

/// A length of time as in Go's flags and `metav1.Duration`: `1h30m`, `40s`, `500ms`. `None` if it is none, or negative.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    let parsed: SignedDuration = text.parse().ok()?;
    Duration::try_from(parsed).ok()
}

/// How long ago, as kubectl's age column prints it (apimachinery `duration.HumanDuration`): `5s`, `3m20s`, `2d4h`.
#[must_use]
pub fn age(since: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(since).as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let pair = |big: i64, unit: &str, small: i64, small_unit: &str| {
        if small == 0 { format!("{big}{unit}") } else { format!("{big}{unit}{small}{small_unit}") }
    };
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1..0 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => pair(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => pair(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => pair(days, "d", hours % 24, "h"),
        691_200..63_072_000 => format!("{days}d"),
        63_072_000..252_288_000 => pair(days / 365, "y", days % 365, "d"),
        _ => format!("{}y", days / 365),
    }
}

/// When [`age`] will read differently.
#[must_use]
pub fn age_changes(since: Timestamp, now: Timestamp) -> Timestamp {
    let seconds = now.duration_since(since).as_secs();
    let step = match seconds {
        ..0 => return now.saturating_add(SignedDuration::from_secs(1)).unwrap_or(Timestamp::MAX),
        0..600 => 1,
        600..28_800 => 60,
        28_800..691_200 => 3600,
        691_200..252_288_000 => 86_400,
        _ => 365 * 86_400,
    };
    since.saturating_add(SignedDuration::from_secs((seconds / step + 1) * step)).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_reads_the_same_until_it_changes() {
        let then = parse("2026-01-02T03:04:05.678901234Z").unwrap();
        let step = |by: i64| SignedDuration::from_millis(by);
        for seconds in [0, 1, 119, 120, 599, 600, 10_799, 10_800, 28_799, 28_800, 172_799, 691_199, 700_000, 63_072_000]
        {
            for millis in [0, 321, 999] {
                let now = then + SignedDuration::from_secs(seconds) + step(millis);
                let changes = age_changes(then, now);
                assert!(changes > now, "{seconds}");
                assert_eq!(age(then, changes - step(1)), age(then, now), "{seconds}");
                assert_ne!(age(then, changes), age(then, now), "{seconds}");
            }
        }
        assert!(age_changes(then, then - step(5000)) <= then - step(4000));
    }

    #[test]
    fn forms() {
        let at = parse("2026-01-02T03:04:05.678901234+01:00").unwrap();
        assert_eq!(seconds(at), "2026-01-02T02:04:05Z");
        assert_eq!(micros(at), "2026-01-02T02:04:05.678901Z");
        assert_eq!(parse("yesterday"), None);
    }

    #[test]
    fn zones() {
        let at = parse("2026-07-01T02:00:00Z").unwrap();
        let show = |name: &str| zone(name).map(|zone| seconds_in(at, &zone));
        assert_eq!(show("Europe/Berlin").as_deref(), Some("2026-07-01T04:00:00+02:00"));
        assert_eq!(show("UTC").as_deref(), Some("2026-07-01T02:00:00Z"));
        assert_eq!(show("Etc/UTC").as_deref(), Some("2026-07-01T02:00:00Z"));
        assert_eq!(show("Asia/Calcutta").as_deref(), Some("2026-07-01T07:30:00+05:30"));
        for wrong in ["", "Local", "europe/berlin", "Mars/Base", "+02:00", "CET-1CEST"] {
            assert_eq!(show(wrong), None, "{wrong:?}");
        }
        assert_eq!(for_people(at), "Wed, 01 Jul 2026 02:00:00 +0000");
    }

    #[test]
    fn lengths() {
        assert_eq!(duration("1h30m"), Some(Duration::from_secs(5400)));
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        for wrong in ["", "h", "2w", "-1h", "soon", "5"] {
            assert_eq!(duration(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn ages() {
        let at = |seconds: i64| Timestamp::from_second(seconds).unwrap();
        let check = |seconds: i64, expect: &str| assert_eq!(age(at(0), at(seconds)), expect, "{seconds} s");
        check(-5, "<invalid>");
        check(0, "0s");
        check(119, "119s");
        check(125, "2m5s");
        check(660, "11m");
        check(3 * 3600 + 60, "3h1m");
        check(47 * 3600, "47h");
        check(50 * 3600, "2d2h");
        check(9 * 86_400, "9d");
        check(800 * 86_400, "2y70d");
        check(3650 * 86_400, "10y");
    }
}
