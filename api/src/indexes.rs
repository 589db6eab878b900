//! Sets of completion indexes, as an indexed Job writes them: `0,2-4`.

use std::fmt;

/// A set of indexes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Indexes {
    /// First and last of each range, in order, with a gap between any two.
    ranges: Vec<(i32, i32)>,
}

// === impl Indexes ===

impl Indexes {
    /// Reads what is there below `completions`; passes over what is no index.
    #[must_use]
    pub fn read(text: &str, completions: i32) -> Indexes {
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last): (i32, i32) = (first.parse().ok()?, last.parse().ok()?);
            let last = last.min(completions - 1);
            (first <= last).then_some((first, last))
        };
        Indexes::of(text.split(',').filter_map(range).collect())
    }

    /// Reads a set all of whose indexes are below `completions`, in order; what is wrong with it.
    pub fn parse(text: &str, completions: i32) -> Result<Indexes, String> {
        let mut ranges: Vec<(i32, i32)> = Vec::new();
        for part in text.split(',').filter(|_| !text.is_empty()) {
            let (first, last) = interval(part, completions)?;
            if let Some((_, before)) = ranges.last().filter(|(_, before)| *before >= first) {
                return Err(disordered(*before, first));
            }
            ranges.push((first, last));
        }
        Ok(Indexes::of(ranges))
    }

    fn of(mut ranges: Vec<(i32, i32)>) -> Indexes {
        ranges.sort_unstable();
        let mut joined: Vec<(i32, i32)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match joined.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
                _ => joined.push((first, last)),
            }
        }
        Indexes { ranges: joined }
    }

    #[must_use]
    pub fn contains(&self, index: i32) -> bool {
        let at = self.ranges.partition_point(|(_, last)| *last < index);
        self.ranges.get(at).is_some_and(|(first, _)| *first <= index)
    }

    #[must_use]
    pub fn len(&self) -> i32 {
        self.ranges.iter().map(|(first, last)| last - first + 1).sum()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// What is in one of the two sets.
    #[must_use]
    pub fn union(&self, other: &Indexes) -> Indexes {
        Indexes::of(self.ranges.iter().chain(&other.ranges).copied().collect())
    }

    /// The least index that is in both sets, and how many are.
    #[must_use]
    pub fn common(&self, other: &Indexes) -> (Option<i32>, i32) {
        let (mut mine, mut theirs) = (self.ranges.iter().peekable(), other.ranges.iter().peekable());
        let (mut least, mut count) = (None, 0);
        while let (Some(one), Some(two)) = (mine.peek(), theirs.peek()) {
            let (first, last) = (one.0.max(two.0), one.1.min(two.1));
            if first <= last {
                least = least.or(Some(first));
                count += last - first + 1;
            }
            if one.1 < two.1 {
                mine.next()
            } else {
                theirs.next()
            };
        }
        (least, count)
    }

    /// The indexes below `end` that are not in the set, in order.
    pub fn missing(&self, end: i32) -> impl Iterator<Item = i32> {
        let starts = std::iter::once(0).chain(self.ranges.iter().map(|(_, last)| last.saturating_add(1)));
        let ends = self.ranges.iter().map(move |(first, _)| (*first).min(end)).chain([end]);
        starts.zip(ends).flat_map(|(start, end)| start..end)
    }
}

impl FromIterator<i32> for Indexes {
    fn from_iter<I: IntoIterator<Item = i32>>(all: I) -> Indexes {
        Indexes::of(all.into_iter().map(|index| (index, index)).collect())
    }
}

impl fmt::Display for Indexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (first, last)) in self.ranges.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            match last - first {
                0 => write!(f, "{comma}{first}")?,
                1 => write!(f, "{comma}{first},{last}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

fn interval(text: &str, completions: i32) -> Result<(i32, i32), String> {
    let ends: Vec<&str> = text.split('-').collect();
    if ends.len() > 2 {
        return Err(format!(
            "the fragment {text:?} violates the requirement that an index interval can have at most two parts separated \
             by '-'"
        ));
    }
    let index = |text: &str| {
        let index: i64 = text.parse().map_err(|_| format!("cannot convert string to integer for index: {text:?}"))?;
        i32::try_from(index).ok().filter(|index| *index < completions).ok_or(format!("too large index: {text:?}"))
    };
    let first = index(ends[0])?;
    let Some(last) = ends.get(1) else { return Ok((first, first)) };
    let last = index(last)?;
    if first >= last { Err(disordered(first, last)) } else { Ok((first, last)) }
}

fn disordered(before: i32, index: i32) -> String {
    format!("non-increasing order, previous: {before}, current: {index}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn forms() {
        let check = |text: &str, expect: &str| assert_eq!(Indexes::read(text, 10).to_string(), expect, "{text}");
        check("", "");
        check("0,2-4", "0,2-4");
        check("0,1,2", "0-2");
        check("0-1,5-20,30", "0,1,5-9");
        check("x,1-y,3", "3");
        for (bad, why) in [
            ("1,x", "cannot convert string to integer for index: \"x\""),
            ("", ""),
            (
                "1-2-3",
                "the fragment \"1-2-3\" violates the requirement that an index interval can have at most two parts separated by '-'",
            ),
            ("3-10", "too large index: \"10\""),
            ("3-3", "non-increasing order, previous: 3, current: 3"),
            ("4,2", "non-increasing order, previous: 4, current: 2"),
        ] {
            assert_eq!(Indexes::parse(bad, 10).err().unwrap_or_default(), why, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn they_are_sets(one in prop::collection::btree_set(0i32..40, 0..20), two in prop::collection::btree_set(0i32..40, 0..20)) {
            let (left, right): (Indexes, Indexes) = (one.iter().copied().collect(), two.iter().copied().collect());
            let all = |set: &Indexes| (0..40).filter(|index| set.contains(*index)).collect::<BTreeSet<i32>>();
            prop_assert_eq!(all(&left), one.clone());
            prop_assert_eq!(all(&left.union(&right)), one.union(&two).copied().collect::<BTreeSet<i32>>());
            let both: Vec<i32> = one.intersection(&two).copied().collect();
            prop_assert_eq!(left.common(&right), (both.first().copied(), i32::try_from(both.len()).expect("few")));
            prop_assert_eq!(left.missing(30).collect::<Vec<_>>(), (0..30).filter(|index| !one.contains(index)).collect::<Vec<_>>());
            prop_assert_eq!(Indexes::parse(&left.to_string(), 40), Ok(left.clone()));
            prop_assert_eq!(left.len(), i32::try_from(one.len()).expect("few"));
        }
    }
}
