use super::*;
use crate::time::zone;
use proptest::prelude::*;

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

/// The next times after one, in a zone, as the wall shows them.
#[track_caller]
fn check(schedule: &str, place: &str, after: &str, expect: &[&str]) {
    let schedule = Schedule::parse(schedule).expect("a schedule");
    let zone = zone(place).expect("a zone");
    let mut last = at(after);
    for wanted in expect {
        last = schedule.next(last, &zone).expect("a next time");
        let shown = last.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M%:z").to_string();
        assert_eq!(shown, *wanted);
    }
}

#[test]
fn schedules_and_what_is_wrong_with_them() {
    let good = ["* * * * *", "*/5 0-6,12 1 jan-mar MON", "@hourly", "@every 1h30m", "0 0 ? * 6", "1,,2 * * * *"];
    for good in good.into_iter().chain(["*-7 * * * *", "TZ=Europe/Paris 0 4 * * *", "CRON_TZ=UTC @daily"]) {
        assert_eq!(Schedule::parse(good).err(), None, "{good}");
    }
    for (bad, why) in [
        ("", "empty spec string"),
        ("bad", "expected exactly 5 fields, found 1: [bad]"),
        ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("* * * * 7", "end of range (7) above maximum (6): 7"),
        ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ("1/2/3 * * * *", "too many slashes: 1/2/3"),
        ("x * * * *", "failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax"),
        ("*/-2 * * * *", "negative number (-2) not allowed: -2"),
        ("@now", "unrecognized descriptor: @now"),
        ("@every soon", "failed to parse duration @every soon: time: invalid duration \"soon\""),
        ("TZ=Mars/Base * * * * *", "provided bad location Mars/Base: unknown time zone Mars/Base"),
    ] {
        assert_eq!(Schedule::parse(bad), Err(why.to_owned()), "{bad}");
    }
}

#[test]
fn the_next_times() {
    let start = "2026-01-01T00:00:00Z";
    check("*/15 * * * *", "UTC", start, &["2026-01-01 00:15+00:00", "2026-01-01 00:30+00:00"]);
    check(
        "7/20 3 * * *",
        "UTC",
        start,
        &["2026-01-01 03:07+00:00", "2026-01-01 03:27+00:00", "2026-01-01 03:47+00:00"],
    );
    check("0 0 * * *", "UTC", "2025-12-31T23:59:59.9Z", &["2026-01-01 00:00+00:00", "2026-01-02 00:00+00:00"]);
    check("0 12 29 feb *", "UTC", start, &["2028-02-29 12:00+00:00"]);
    check("30 6-16/4 * * 1-5", "UTC", "2026-01-02T16:00:00Z", &["2026-01-05 06:30+00:00", "2026-01-05 10:30+00:00"]);
    check("@monthly", "Asia/Tokyo", start, &["2026-02-01 00:00+09:00", "2026-03-01 00:00+09:00"]);
    check("@every 90m", "UTC", "2026-01-01T00:00:30.5Z", &["2026-01-01 01:30+00:00", "2026-01-01 03:00+00:00"]);
    check("TZ=Asia/Tokyo 0 1 * * *", "UTC", start, &["2026-01-01 16:00+00:00"]);
}

#[test]
fn a_day_of_the_month_or_of_the_week_is_enough_if_both_are_named() {
    let start = "2026-01-01T00:00:00Z";
    check("0 0 13 * 5", "UTC", start, &["2026-01-02 00:00+00:00", "2026-01-09 00:00+00:00", "2026-01-13 00:00+00:00"]);
    check("0 0 13 * *", "UTC", start, &["2026-01-13 00:00+00:00"]);
    check("0 0 * * 5", "UTC", start, &["2026-01-02 00:00+00:00", "2026-01-09 00:00+00:00"]);
    // Every day of the month with a step is not any day: then both sets count.
    check(
        "0 0 */10 * 5",
        "UTC",
        start,
        &["2026-01-02 00:00+00:00", "2026-01-09 00:00+00:00", "2026-01-11 00:00+00:00"],
    );
}

#[test]
fn an_hour_that_is_left_out_has_no_activation() {
    let berlin = "Europe/Berlin";
    check("30 2 * * *", berlin, "2026-03-28T12:00:00Z", &["2026-03-30 02:30+02:00"]);
    check("0 * * * *", berlin, "2026-03-29T00:30:00Z", &["2026-03-29 03:00+02:00", "2026-03-29 04:00+02:00"]);
    // A midnight that does not exist.
    check("0 0 * * *", "America/Sao_Paulo", "2018-11-03T12:00:00Z", &["2018-11-05 00:00-02:00"]);
    check("0 6 4 11 *", "America/Sao_Paulo", "2018-11-03T12:00:00Z", &["2018-11-04 06:00-02:00"]);
    check("0 6 4 nov *", "America/Sao_Paulo", "2018-09-03T12:00:00Z", &["2018-11-04 06:00-02:00"]);
}

#[test]
fn an_hour_that_is_repeated_has_its_activations_twice() {
    let berlin = "Europe/Berlin";
    let twice = ["2026-10-25 02:30+02:00", "2026-10-25 02:30+01:00", "2026-10-26 02:30+01:00"];
    check("30 2 * * *", berlin, "2026-10-24T12:00:00Z", &twice);
    let hours = ["2026-10-25 02:00+02:00", "2026-10-25 02:00+01:00", "2026-10-25 03:00+01:00"];
    check("0 * * * *", berlin, "2026-10-24T23:30:00Z", &hours);
}

#[test]
fn a_schedule_that_never_comes_has_no_next_time() {
    let never = Schedule::parse("59 23 31 2 *").expect("it reads well");
    assert_eq!(never.next(at("2026-01-01T00:00:00Z"), &TimeZone::UTC), None);
    assert_eq!(
        Schedule::parse(", * * * *")
            .expect("so does a list of nothing")
            .next(at("2026-01-01T00:00:00Z"), &TimeZone::UTC),
        None
    );
}

#[test]
fn the_latest_time_and_how_many_were_missed() {
    let latest = |schedule: &str, since: &str, now: &str| {
        let schedule = Schedule::parse(schedule).expect("a schedule");
        let found = schedule.latest(at(since), at(now), &TimeZone::UTC).map(crate::time::seconds);
        (found.unwrap_or_default(), schedule.has_more_than(100, at(since), at(now), &TimeZone::UTC))
    };
    let some = |text: &str, many: bool| (text.to_owned(), many);
    assert_eq!(latest("0 * * * *", "2026-01-01T00:00:00Z", "2026-01-01T00:59:59Z"), some("", false));
    assert_eq!(
        latest("0 * * * *", "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"),
        some("2026-01-01T01:00:00Z", false)
    );
    let hundred = "2026-01-05T04:59:00Z";
    assert_eq!(latest("0 * * * *", "2026-01-01T00:00:00Z", hundred), some("2026-01-05T04:00:00Z", false));
    let more = "2026-01-05T05:00:00Z";
    assert_eq!(latest("0 * * * *", "2026-01-01T00:00:00Z", more), some(more, true));
    // Years later, and a schedule with uneven gaps.
    assert_eq!(latest("* * * * *", "1970-01-01T00:00:00Z", "2026-01-01T00:00:30Z"), some("2026-01-01T00:00:00Z", true));
    assert_eq!(
        latest("0,1 0 1 1 *", "2026-01-01T00:00:00Z", "2027-06-01T00:00:00Z"),
        some("2027-01-01T00:01:00Z", false)
    );
    assert_eq!(
        latest("@every 1h", "2026-01-01T00:10:00Z", "2026-01-01T05:00:00Z"),
        some("2026-01-01T04:10:00Z", false)
    );
    assert_eq!(latest("@every 1s", "1970-01-01T00:00:00Z", "2026-01-01T00:00:00Z"), some("2026-01-01T00:00:00Z", true));
}

proptest! {
    /// A next time is later, fits, and no minute in between does; looking back finds it again.
    #[test]
    fn next_and_latest_agree_with_a_look_at_every_minute(
        minute in 0u32..60, hour in 0u32..24, weekday in 0u32..7, start in 1_500_000_000i64..1_900_000_000,
    ) {
        let text = format!("{minute} {hour} * * {weekday}");
        let schedule = Schedule::parse(&text).expect("a schedule");
        let zone = zone("America/New_York").expect("a zone");
        let start = Timestamp::from_second(start).expect("a time");
        let next = schedule.next(start, &zone).expect("a weekday comes");
        prop_assert!(next > start);
        let fits = |at: Timestamp| {
            let wall = zone.to_datetime(at);
            u32::from(wall.minute().unsigned_abs()) == minute && u32::from(wall.hour().unsigned_abs()) == hour
                && u32::from(wall.weekday().to_sunday_zero_offset().unsigned_abs()) == weekday
        };
        prop_assert!(fits(next) && next.as_second() % 60 == 0);
        let minutes = (start.as_second() / 60 + 1)..(next.as_second() / 60);
        prop_assert!(minutes.into_iter().all(|minute| !fits(Timestamp::from_second(minute * 60).expect("a time"))));
        prop_assert_eq!(schedule.latest(start, next, &zone), Some(next));
    }
}
