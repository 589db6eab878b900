//! The part of kubectl's JSONPath that columns, scale and selectable fields are written in.
//!
//! Members, positions, `[*]`, `..name` and filters of one comparison (`[?(@.type=="Ready")]`).

use crate::Tree;

/// A parsed path.
#[derive(Debug, Clone)]
pub struct Path {
    steps: Vec<Step>,
    text: String,
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Member(String),
    /// Of all levels below.
    Anywhere(String),
    /// Counted from the end if negative.
    Index(i64),
    Slice(Option<i64>, Option<i64>),
    Every,
    Filter(Vec<Step>, Operator, Tree),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Operator {
    Exists,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Paths are the same if they are written the same.
impl PartialEq for Path {
    fn eq(&self, other: &Path) -> bool {
        self.text == other.text
    }
}

impl Eq for Path {}

impl std::hash::Hash for Path {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

// === impl Path ===

impl Path {
    /// Reads `.spec.ports[0].port`, with or without the braces around it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Path, String> {
        let bare = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(text);
        let bare = bare.strip_prefix('$').unwrap_or(bare);
        if !bare.starts_with(['.', '[']) {
            return Err(format!("path {text:?} does not begin with a dot"));
        }
        Ok(Path { steps: Reader { rest: bare }.steps()?, text: text.to_owned() })
    }

    /// All values that it names.
    #[must_use]
    pub fn find<'t>(&self, tree: &'t Tree) -> Vec<&'t Tree> {
        find(&self.steps, tree)
    }

    /// The members of a path that has nothing else in it: `spec`, `replicas`.
    #[must_use]
    pub fn members(&self) -> Option<Vec<&str>> {
        self.steps.iter().map(|step| if let Step::Member(name) = step { Some(name.as_str()) } else { None }).collect()
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

fn find<'t>(steps: &[Step], tree: &'t Tree) -> Vec<&'t Tree> {
    steps.iter().fold(vec![tree], |found, step| found.into_iter().flat_map(|tree| below(step, tree)).collect())
}

fn below<'t>(step: &Step, tree: &'t Tree) -> Vec<&'t Tree> {
    let empty: &[Tree] = &[];
    let all = tree.as_array().map_or(empty, Vec::as_slice);
    match step {
        Step::Member(name) => tree.get(name).into_iter().collect(),
        Step::Anywhere(name) => {
            let mut found: Vec<&Tree> = tree.get(name).into_iter().collect();
            let children: Vec<&Tree> = match tree {
                Tree::Object(map) => map.values().collect(),
                _ => all.iter().collect(),
            };
            found.extend(children.into_iter().flat_map(|child| below(step, child)));
            found
        }
        Step::Index(at) => place(*at, all.len()).and_then(|at| all.get(at)).into_iter().collect(),
        Step::Slice(from, to) => {
            let from = from.map_or(Some(0), |from| place(from, all.len())).unwrap_or(0);
            let to = to.map_or(Some(all.len()), |to| place(to, all.len())).unwrap_or(0);
            all.get(from..to.min(all.len())).unwrap_or_default().iter().collect()
        }
        Step::Every => match tree {
            Tree::Object(map) => map.values().collect(),
            _ => all.iter().collect(),
        },
        Step::Filter(path, operator, value) => all.iter().filter(|item| holds(path, *operator, value, item)).collect(),
    }
}

fn place(at: i64, length: usize) -> Option<usize> {
    usize::try_from(if at < 0 { at + i64::try_from(length).ok()? } else { at }).ok()
}

fn holds(path: &[Step], operator: Operator, value: &Tree, item: &Tree) -> bool {
    let found = find(path, item);
    let Some(found) = found.first() else { return false };
    let order = match (found, value) {
        (Tree::Number(found), Tree::Number(value)) => found.as_f64().partial_cmp(&value.as_f64()),
        (Tree::String(found), Tree::String(value)) => Some(found.cmp(value)),
        (Tree::Bool(found), Tree::Bool(value)) => Some(found.cmp(value)),
        _ => None,
    };
    match operator {
        Operator::Exists => true,
        Operator::Equal => order.is_some_and(std::cmp::Ordering::is_eq),
        Operator::NotEqual => order.is_none_or(std::cmp::Ordering::is_ne),
        Operator::Less => order.is_some_and(std::cmp::Ordering::is_lt),
        Operator::LessOrEqual => order.is_some_and(std::cmp::Ordering::is_le),
        Operator::Greater => order.is_some_and(std::cmp::Ordering::is_gt),
        Operator::GreaterOrEqual => order.is_some_and(std::cmp::Ordering::is_ge),
    }
}

struct Reader<'p> {
    rest: &'p str,
}

// === impl Reader ===

impl<'p> Reader<'p> {
    fn steps(&mut self) -> Result<Vec<Step>, String> {
        let mut steps = Vec::new();
        while !self.rest.is_empty() {
            if let Some(rest) = self.rest.strip_prefix("..") {
                self.rest = rest;
                steps.push(Step::Anywhere(self.name()?));
            } else if let Some(rest) = self.rest.strip_prefix('.') {
                self.rest = rest;
                if self.rest.is_empty() || self.rest.starts_with('[') {
                    continue;
                }
                let name = self.name()?;
                steps.push(if name == "*" { Step::Every } else { Step::Member(name) });
            } else if self.rest.starts_with('[') {
                let inner = self.bracket()?;
                steps.push(bracketed(inner)?);
            } else {
                return Err(format!("unexpected {:?}", self.rest));
            }
        }
        Ok(steps)
    }

    /// Up to the next dot or bracket; a backslash takes what follows as it is.
    fn name(&mut self) -> Result<String, String> {
        let mut name = String::new();
        let mut letters = self.rest.char_indices();
        let mut end = self.rest.len();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '\\' => name.extend(letters.next().map(|(_, letter)| letter)),
                '.' | '[' => {
                    end = at;
                    break;
                }
                _ => name.push(letter),
            }
        }
        self.rest = &self.rest[end..];
        if name.is_empty() { Err("a name is missing".to_owned()) } else { Ok(name) }
    }

    fn bracket(&mut self) -> Result<&'p str, String> {
        let mut quote = None;
        let mut depth = 0;
        for (at, letter) in self.rest.char_indices() {
            match (quote, letter) {
                (Some(open), letter) if letter == open => quote = None,
                (Some(_), _) => {}
                (None, '\'' | '"') => quote = Some(letter),
                (None, '[') => depth += 1,
                (None, ']') => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                let inner = &self.rest[1..at];
                self.rest = &self.rest[at + 1..];
                return Ok(inner);
            }
        }
        Err("unterminated array".to_owned())
    }
}

fn bracketed(inner: &str) -> Result<Step, String> {
    let inner = inner.trim();
    if inner == "*" {
        return Ok(Step::Every);
    }
    if let Some(filter) = inner.strip_prefix("?(").and_then(|rest| rest.strip_suffix(')')) {
        return filtered(filter);
    }
    if let Some(name) = quoted(inner) {
        return Ok(Step::Member(name.to_owned()));
    }
    let number = |text: &str| match text {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| format!("invalid array index {inner}")),
    };
    match inner.split_once(':') {
        Some((from, to)) => Ok(Step::Slice(number(from)?, number(to)?)),
        None => number(inner)?.map(Step::Index).ok_or_else(|| "an array index is missing".to_owned()),
    }
}

fn quoted(text: &str) -> Option<&str> {
    let inside = |quote: char| text.strip_prefix(quote)?.strip_suffix(quote);
    inside('\'').or_else(|| inside('"'))
}

/// Longer operators first: `<=` begins with `<`.
const OPERATORS: [(&str, Operator); 6] = [
    ("==", Operator::Equal),
    ("!=", Operator::NotEqual),
    ("<=", Operator::LessOrEqual),
    (">=", Operator::GreaterOrEqual),
    ("<", Operator::Less),
    (">", Operator::Greater),
];

fn filtered(filter: &str) -> Result<Step, String> {
    let path = |text: &str| {
        let text = text.trim();
        let rest = text.strip_prefix('@').ok_or_else(|| format!("unrecognized filter {filter:?}"))?;
        Reader { rest }.steps()
    };
    let found = OPERATORS.iter().find_map(|(word, operator)| Some((filter.split_once(word)?, *operator)));
    let Some(((left, right), operator)) = found else {
        return Ok(Step::Filter(path(filter)?, Operator::Exists, Tree::Null));
    };
    let right = right.trim();
    let value = match quoted(right) {
        Some(text) => text.into(),
        None => serde_json::from_str(right).map_err(|_| format!("unrecognized value {right:?}"))?,
    };
    Ok(Step::Filter(path(left)?, operator, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_find_values() {
        let tree = json!({"spec": {"ports": [{"port": 80, "name": "a.b"}, {"port": 81}], "x.y": 1},
            "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Old", "status": "False"}]}});
        let check = |path: &str, expect: Tree| {
            let path = Path::parse(path).unwrap_or_else(|why| panic!("{path}: {why}"));
            assert_eq!(path.find(&tree).into_iter().cloned().collect::<Tree>(), expect, "{path:?}");
        };
        check(".spec.ports[*].port", json!([80, 81]));
        check("{.spec.ports[0].port}", json!([80]));
        check(".spec.ports[-1:].port", json!([81]));
        check(r#".status.conditions[?(@.type=="Ready")].status"#, json!(["True"]));
        check(".status.conditions[?(@.type!='Ready')].status", json!(["False"]));
        check(".spec.ports[?(@.port>80)].port", json!([81]));
        check(".spec.ports[?(@.name)].port", json!([80]));
        check(r".spec.x\.y", json!([1]));
        check(".spec['x.y']", json!([1]));
        check("..port", json!([80, 81]));
        check(".none.at.all", json!([]));
        assert_eq!(Path::parse(".spec.replicas").unwrap().members(), Some(vec!["spec", "replicas"]));
        assert_eq!(Path::parse(".spec.a[0]").unwrap().members(), None);
        for bad in ["spec", ".spec[", ".a[x]", ".a[?(b)]"] {
            assert!(Path::parse(bad).is_err(), "{bad}");
        }
    }
}
