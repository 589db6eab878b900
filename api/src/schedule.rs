//! The schedules of CronJobs: five fields, a word for a common one, or a pause; and the times that they name.
//!
//! The grammar, its errors and the treatment of hours that a time zone leaves out or repeats are those of the parser
//! that upstream uses (`robfig/cron` v3, `ParseStandard`): an hour that is left out has no activation, one that is
//! repeated has its activations twice.

mod duration;
mod parse;

use crate::time::{SignedDuration, Timestamp};
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};

/// Years that are looked through for the next time; a schedule without one in them has none.
const YEARS_MAX: i16 = 5;
const HOUR: SignedDuration = SignedDuration::from_hours(1);
const MINUTE: SignedDuration = SignedDuration::from_mins(1);

/// When something is to happen.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    rule: Rule,
    /// Of a schedule that starts with `TZ=`.
    zone: Option<TimeZone>,
}

#[derive(Debug, Clone, PartialEq)]
enum Rule {
    /// At the minutes whose fields are in all sets.
    Calendar(Calendar),
    /// Each time so much later.
    Every(SignedDuration),
}

/// A bit for each value of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Calendar {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// A day has to be in both sets of days; otherwise one of them will do.
    needs_both: bool,
}

// === impl Schedule ===

impl Schedule {
    /// Reads a schedule; what is wrong with it.
    pub fn parse(text: &str) -> Result<Schedule, String> {
        parse::schedule(text)
    }

    /// The first time after `after`; `None` if there is none for years.
    #[must_use]
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        match &self.rule {
            Rule::Calendar(calendar) => calendar.next(after, self.zone.as_ref().unwrap_or(zone)),
            Rule::Every(pause) => whole(after)?.checked_add(*pause).ok(),
        }
    }

    /// The last time that is after `since` and not after `now`.
    #[must_use]
    pub fn latest(&self, since: Timestamp, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let first = self.next(since, zone).filter(|first| *first <= now)?;
        if let Rule::Every(pause) = &self.rule {
            let times = now.duration_since(first).as_secs() / pause.as_secs();
            let ahead = i32::try_from(times).ok().and_then(|times| pause.checked_mul(times))?;
            return first.checked_add(ahead).ok();
        }
        // Looks back over twice the time each turn: a schedule that was missed for years costs no more than its last
        // turns.
        let mut back = HOUR;
        let mut found = loop {
            let from = now.checked_sub(back).ok().filter(|from| *from > since).unwrap_or(since);
            match self.next(from, zone).filter(|found| *found <= now) {
                Some(found) => break found,
                None if from == since => return Some(first),
                None => back = back.checked_mul(2)?,
            }
        };
        while let Some(next) = self.next(found, zone).filter(|next| *next <= now) {
            found = next;
        }
        Some(found)
    }

    /// True if there are more than `count` times after `since` and not after `now`.
    #[must_use]
    pub fn has_more_than(&self, count: usize, since: Timestamp, now: Timestamp, zone: &TimeZone) -> bool {
        let mut at = since;
        (0..=count).all(|_| match self.next(at, zone).filter(|next| *next <= now) {
            Some(next) => {
                at = next;
                true
            }
            None => false,
        })
    }
}

fn whole(at: Timestamp) -> Option<Timestamp> {
    Timestamp::from_second(at.as_second()).ok()
}

// === impl Calendar ===

impl Calendar {
    fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let mut walk =
            Walk { at: whole(after)?.checked_add(SignedDuration::from_secs(1)).ok()?, zone, is_moved: false };
        let last_year = walk.wall().year().checked_add(YEARS_MAX)?;
        while walk.wall().year() <= last_year {
            // Each step that leaves the larger unit looks at that one again.
            if self.month(&mut walk)? && self.day(&mut walk)? && self.hour(&mut walk)? && self.minute(&mut walk)? {
                return Some(walk.at);
            }
        }
        None
    }

    fn month(&self, walk: &mut Walk<'_>) -> Option<bool> {
        while !has(self.months, walk.wall().month()) {
            if !walk.is_moved {
                let wall = walk.wall();
                walk.go(wall.year(), wall.month(), 1, 0)?;
            }
            let wall = walk.wall();
            let (year, month) =
                if wall.month() == 12 { (wall.year().checked_add(1)?, 1) } else { (wall.year(), wall.month() + 1) };
            walk.go_at(year, month, i64::from(wall.day()), wall)?;
            if walk.wall().month() == 1 {
                return Some(false);
            }
        }
        Some(true)
    }

    fn day(&self, walk: &mut Walk<'_>) -> Option<bool> {
        while !self.has_day(walk.wall()) {
            let wall = walk.wall();
            if !walk.is_moved {
                walk.go(wall.year(), wall.month(), wall.day(), 0)?;
            }
            let wall = walk.wall();
            walk.go_at(wall.year(), wall.month(), i64::from(wall.day()) + 1, wall)?;
            // Where midnight does not exist, the day starts an hour later, or seems to start an hour earlier.
            match i32::from(walk.wall().hour()) {
                0 => {}
                hour if hour > 12 => walk.add(HOUR.checked_mul(24 - hour)?)?,
                hour => walk.add(HOUR.checked_mul(-hour)?)?,
            }
            if walk.wall().day() == 1 {
                return Some(false);
            }
        }
        Some(true)
    }

    fn hour(&self, walk: &mut Walk<'_>) -> Option<bool> {
        while !has(self.hours, walk.wall().hour()) {
            if !walk.is_moved {
                let wall = walk.wall();
                walk.go(wall.year(), wall.month(), wall.day(), wall.hour())?;
            }
            walk.add(HOUR)?;
            if walk.wall().hour() == 0 {
                return Some(false);
            }
        }
        Some(true)
    }

    /// Also the seconds: an activation is at the first one of its minute.
    fn minute(&self, walk: &mut Walk<'_>) -> Option<bool> {
        while !has(self.minutes, walk.wall().minute()) || walk.at.as_second().rem_euclid(60) != 0 {
            let past = SignedDuration::from_secs(walk.at.as_second().rem_euclid(60));
            walk.is_moved = true;
            walk.add(MINUTE - past)?;
            if walk.wall().minute() == 0 {
                return Some(false);
            }
        }
        Some(true)
    }

    fn has_day(&self, wall: DateTime) -> bool {
        let of_month = has(self.days, wall.day());
        let of_week = has(self.weekdays, wall.weekday().to_sunday_zero_offset());
        if self.needs_both { of_month && of_week } else { of_month || of_week }
    }
}

fn has(set: u64, value: i8) -> bool {
    set & (1 << value) != 0
}

/// A time that goes forward, as a clock on the wall shows it.
struct Walk<'a> {
    at: Timestamp,
    zone: &'a TimeZone,
    /// True once the smaller units have been set to their beginning.
    is_moved: bool,
}

// === impl Walk ===

impl Walk<'_> {
    fn wall(&self) -> DateTime {
        self.zone.to_datetime(self.at)
    }

    fn add(&mut self, duration: SignedDuration) -> Option<()> {
        self.at = self.at.checked_add(duration).ok()?;
        Some(())
    }

    fn go(&mut self, year: i16, month: i8, day: i8, hour: i8) -> Option<()> {
        self.is_moved = true;
        self.go_at(year, month, i64::from(day), DateTime::new(year, month, 1, hour, 0, 0, 0).ok()?)
    }

    /// To a date, whose day may be beyond its month, at the hour and minute of `clock`.
    fn go_at(&mut self, year: i16, month: i8, day: i64, clock: DateTime) -> Option<()> {
        let first = DateTime::new(year, month, 1, clock.hour(), clock.minute(), clock.second(), 0).ok()?;
        let wall = first.checked_add(SignedDuration::from_hours((day - 1) * 24)).ok()?;
        let as_utc = Offset::UTC.to_timestamp(wall).ok()?;
        // As Go's `time.Date`: the offset at this time is that of a guess made with the offset as if it were UTC.
        let guess = self.zone.to_offset(as_utc);
        let offset = match guess.seconds() {
            0 => guess,
            seconds => self.zone.to_offset(as_utc.checked_sub(SignedDuration::from_secs(i64::from(seconds))).ok()?),
        };
        self.at = offset.to_timestamp(wall).ok()?;
        Some(())
    }
}

#[cfg(test)]
mod tests;
