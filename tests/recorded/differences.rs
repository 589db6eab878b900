//! Differences from the recording: as the replayer prints them, and as the lists beside this file know them.
//!
//! A list is made of reasons and of rules. A line that begins with `=` is the reason of the rules below it, up to the next
//! such line. A rule is `PROFILE SCENARIO STEP PATH`, each a pattern in which `*` stands for anything, and after them,
//! where one is needed to tell it from others, a text that the answer of our server contains.

use std::fmt;
use std::fs;
use std::path::Path;

/// One answer, or a part of one, that is not the recorded one.
pub(crate) struct Difference {
    scenario: String,
    step: String,
    request: String,
    path: String,
    recorded: String,
    got: String,
}

impl Difference {
    /// All of a replayer's output.
    pub(crate) fn parse(printed: &str) -> Vec<Difference> {
        let (mut found, mut scenario): (Vec<Difference>, _) = (Vec::new(), String::new());
        // A value may hold lines of its own, which belong to what was said last.
        let mut says_got = false;
        for line in printed.lines() {
            if let Some(rest) = line.strip_prefix("FAIL ").or_else(|| line.strip_prefix("pass ")) {
                let (name, problem) = rest.split_once([' ', ':']).unwrap_or((rest, ""));
                name.clone_into(&mut scenario);
                if !problem.contains(" steps)") {
                    found.push(Difference::new(&scenario, "-", "the whole scenario"));
                    found.last_mut().expect("it was pushed").got = problem.trim().to_owned();
                }
            } else if let Some(rest) = line.strip_prefix("   step ") {
                let (step, request) = rest.split_once(' ').unwrap_or((rest, ""));
                found.push(Difference::new(&scenario, step, request));
                says_got = false;
            } else if line.ends_with(" steps pass") {
                break;
            } else if let Some(last) = found.last_mut() {
                if let Some(path) = line.strip_prefix("     at       ") {
                    path.clone_into(&mut last.path);
                } else if let Some(value) = line.strip_prefix("     recorded ") {
                    value.clone_into(&mut last.recorded);
                } else if let Some(value) = line.strip_prefix("     got      ") {
                    value.clone_into(&mut last.got);
                    says_got = true;
                } else {
                    let value = if says_got { &mut last.got } else { &mut last.recorded };
                    value.push('\n');
                    value.push_str(line);
                }
            }
        }
        found
    }

    fn new(scenario: &str, step: &str, request: &str) -> Difference {
        let [scenario, step, request] = [scenario, step, request].map(str::to_owned);
        Difference { scenario, step, request, path: String::new(), recorded: String::new(), got: String::new() }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} step {} {}", self.scenario, self.step, self.request)?;
        writeln!(f, "  at       {}\n  recorded {}\n  got      {}", self.path, self.recorded, self.got)
    }
}

/// What may differ, and why.
pub(crate) struct Rule {
    file: String,
    line: usize,
    profile: String,
    scenario: String,
    step: String,
    path: String,
    got: String,
    used: bool,
}

impl Rule {
    fn names(&self, difference: &Difference) -> bool {
        matches(&self.scenario, &difference.scenario)
            && matches(&self.step, &difference.step)
            && matches(&self.path, &difference.path)
            && difference.got.contains(&self.got)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rule { file, line, profile, scenario, step, path, got, .. } = self;
        write!(f, "tests/recorded/{file}:{line}: {profile} {scenario} {step} {path} {got}")
    }
}

/// All lists of a folder.
pub(crate) struct Known {
    rules: Vec<Rule>,
}

impl Known {
    /// Panics at a line that is none.
    pub(crate) fn read(folder: &Path) -> Known {
        let mut rules = Vec::new();
        for entry in fs::read_dir(folder).expect("the lists are there") {
            let path = entry.expect("a list").path();
            if path.extension().is_none_or(|end| end != "txt") {
                continue;
            }
            let file = path.file_name().expect("a name").to_string_lossy().into_owned();
            let mut has_reason = false;
            for (i, line) in fs::read_to_string(&path).expect("a list").lines().enumerate() {
                let line = line.trim();
                if line.starts_with('=') {
                    has_reason = true;
                } else if !line.is_empty() && !line.starts_with('#') {
                    assert!(has_reason, "{file}:{}: a rule without a reason", i + 1);
                    let mut words = line.splitn(5, ' ');
                    let mut word = || words.next().map(str::to_owned);
                    let (Some(profile), Some(scenario), Some(step), Some(path)) = (word(), word(), word(), word())
                    else {
                        panic!("{file}:{}: not PROFILE SCENARIO STEP PATH [TEXT]: {line}", i + 1);
                    };
                    let got = word().unwrap_or_default();
                    rules.push(Rule {
                        file: file.clone(),
                        line: i + 1,
                        profile,
                        scenario,
                        step,
                        path,
                        got,
                        used: false,
                    });
                }
            }
        }
        Known { rules }
    }

    /// Whether a rule names it; each that does has been used from now on.
    pub(crate) fn names(&mut self, profile: &str, difference: &Difference) -> bool {
        let naming = self.rules.iter_mut().filter(|rule| matches(&rule.profile, profile) && rule.names(difference));
        naming.map(|rule| rule.used = true).count() > 0
    }

    /// The rules for this profile alone that no difference needed.
    pub(crate) fn idle(&self, profile: &str) -> Vec<&Rule> {
        self.rules.iter().filter(|rule| !rule.used && rule.profile == profile).collect()
    }
}

/// Whether the text is of the pattern, in which `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut last = None;
    for part in parts {
        if let Some(middle) = last.replace(part) {
            match rest.split_once(middle) {
                Some((_, after)) => rest = after,
                None => return false,
            }
        }
    }
    last.map_or(rest.is_empty(), |end| rest.ends_with(end))
}

#[test]
fn patterns() {
    for (pattern, text, is_match) in [
        ("*", "", true),
        ("a*", "abc", true),
        ("a*c", "abc", true),
        ("a*c", "ab", false),
        ("*/metadata/*", "answer/body/metadata/name", true),
        ("*/a/*/b", "x/a/1/b", true),
        ("*ab*b", "ab", false),
        ("ab", "abc", false),
        ("7", "17", false),
    ] {
        assert_eq!(matches(pattern, text), is_match, "{pattern} {text}");
    }
}

#[test]
fn what_the_replayer_prints_is_read() {
    let printed = "\
FAIL one (1 of 2 steps)
   step 1 GET /api
     at       answer/text
     recorded a
b
     got      c
d
pass two (1 of 1 steps)
FAIL three: TimeoutError: timed out
1 of 3 scenarios and 2 of 3 steps pass
";
    let found = Difference::parse(printed);
    let shown: Vec<[&str; 5]> = found
        .iter()
        .map(|each| [&each.scenario, &each.step, &each.path, &each.recorded, &each.got].map(String::as_str))
        .collect();
    let expected = [["one", "1", "answer/text", "a\nb", "c\nd"], ["three", "-", "", "", "TimeoutError: timed out"]];
    assert_eq!(shown, expected);
}
