//! What was found wrong so far, in the words of upstream's `field.Error`.

use super::place::Place;
use crate::Tree;
use crate::rejected::Cause;
use std::fmt;

/// A test of `names`: says all that is wrong with a text.
pub(super) type Test = fn(&str) -> Vec<String>;

/// Faults in the order in which they were found. A fault found twice is told twice, as upstream's causes do.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) causes: Vec<Cause>,
}

// === impl Findings ===

impl Findings {
    pub(super) fn required(&mut self, at: &Place<'_, '_>, why: &str) {
        self.causes.push(Cause::required(at.to_string(), why));
    }

    /// Shows the value that is there.
    pub(super) fn invalid(&mut self, at: &Place<'_, '_>, why: impl fmt::Display) {
        self.causes.push(Cause::invalid(at.to_string(), at.value(), why));
    }

    /// Shows a value as Go sees it, where that is not what the object holds: `""` and `0` for what is absent.
    pub(super) fn invalid_as(&mut self, at: &Place<'_, '_>, value: impl Into<Tree>, why: impl fmt::Display) {
        self.causes.push(Cause::invalid(at.to_string(), &value.into(), why));
    }

    /// Without a value to show.
    pub(super) fn wrong(&mut self, at: &Place<'_, '_>, why: &str) {
        let message = format!("Invalid value: {why}");
        self.causes.push(Cause { reason: "FieldValueInvalid".to_owned(), message, field: at.to_string() });
    }

    pub(super) fn forbidden(&mut self, at: &Place<'_, '_>, why: impl fmt::Display) {
        self.causes.push(Cause::forbidden(at.to_string(), why));
    }

    pub(super) fn duplicate(&mut self, at: &Place<'_, '_>) {
        self.causes.push(Cause::duplicate(at.to_string(), at.value()));
    }

    pub(super) fn duplicate_as(&mut self, at: &Place<'_, '_>, value: impl Into<Tree>) {
        self.causes.push(Cause::duplicate(at.to_string(), &value.into()));
    }

    pub(super) fn unsupported(&mut self, at: &Place<'_, '_>, supported: &[&str]) {
        self.unsupported_as(at, at.value().clone(), supported);
    }

    pub(super) fn unsupported_as(&mut self, at: &Place<'_, '_>, value: impl Into<Tree>, supported: &[&str]) {
        self.causes.push(Cause::unsupported(at.to_string(), &value.into(), supported));
    }

    pub(super) fn not_found(&mut self, at: &Place<'_, '_>, why: &str) {
        let why = if why.is_empty() { String::new() } else { format!(": {why}") };
        let message = format!("Not found: {}{why}", Tree::from(at.text()));
        self.causes.push(Cause { reason: "FieldValueNotFound".to_owned(), message, field: at.to_string() });
    }

    pub(super) fn too_long(&mut self, at: &Place<'_, '_>, bytes_max: usize) {
        let message = format!("Too long: may not be more than {bytes_max} bytes");
        self.causes.push(Cause { reason: "FieldValueTooLong".to_owned(), message, field: at.to_string() });
    }

    pub(super) fn too_many(&mut self, at: &Place<'_, '_>, count: usize, most: usize) {
        let message = format!("Too many: {count}: must have at most {most} items");
        self.causes.push(Cause { reason: "FieldValueTooMany".to_owned(), message, field: at.to_string() });
    }

    /// A text that has to pass a test.
    pub(super) fn test(&mut self, at: &Place<'_, '_>, test: Test) {
        for why in test(at.text()) {
            self.invalid_as(at, at.text(), why);
        }
    }

    /// A text that has to be there and to pass a test.
    pub(super) fn name(&mut self, at: &Place<'_, '_>, test: Test) {
        if at.text().is_empty() { self.required(at, "") } else { self.test(at, test) }
    }

    /// A text that has to pass a test if it is not empty.
    pub(super) fn optional_name(&mut self, at: &Place<'_, '_>, test: Test) {
        if !at.text().is_empty() {
            self.test(at, test);
        }
    }

    /// A text of a fixed set that has to be there.
    pub(super) fn one_of(&mut self, at: &Place<'_, '_>, supported: &[&str]) {
        if at.text().is_empty() { self.required(at, "") } else { self.optional_one_of(at, supported) }
    }

    /// A text of a fixed set, if it is given: a Go pointer.
    pub(super) fn optional_one_of(&mut self, at: &Place<'_, '_>, supported: &[&str]) {
        if at.is_given() && !supported.contains(&at.text()) {
            self.unsupported(at, supported);
        }
    }

    /// A text of a fixed set, which may be the empty one by mistake: a Go value that no rule requires first.
    pub(super) fn member(&mut self, at: &Place<'_, '_>, supported: &[&str]) {
        if !supported.contains(&at.text()) {
            self.unsupported_as(at, at.text(), supported);
        }
    }

    /// A number that is not negative, if it is given.
    pub(super) fn natural(&mut self, at: &Place<'_, '_>) {
        if at.number() < 0 {
            self.invalid(at, "must be greater than or equal to 0");
        }
    }

    /// Numbers that are not negative, in the order given.
    pub(super) fn naturals(&mut self, below: &Place<'_, '_>, keys: &[&str]) {
        for key in keys {
            self.natural(&below.get(key));
        }
    }

    /// A number between two others, if it is given.
    pub(super) fn within(&mut self, at: &Place<'_, '_>, least: i64, most: i64) {
        if at.integer().is_some_and(|number| !(least..=most).contains(&number)) {
            self.invalid(at, format!("must be between {least} and {most}, inclusive"));
        }
    }
}
