//! Label selectors: `a=b`, `a!=b`, `a in (b,c)`, `a notin (b)`, `a`, `!a`, `a>1`, `a<1`, and `metav1.LabelSelector`.

use crate::names;
use crate::view::{LabelSelector, LabelSelectorRequirement};

/// A parsed label selector: all requirements must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    all: Vec<Requirement>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    operator: Operator,
    /// Sorted.
    values: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    In,
    /// Holds for an absent key too.
    NotIn,
    Exists,
    DoesNotExist,
    Greater,
    Less,
    /// From an operator that does not exist: matches nothing, as upstream's conversion error does.
    Never,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    End,
    /// `( ) , ! = == != > <`
    Sign(&'a str),
    Word(&'a str),
}

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
}

// === impl Labels ===

impl Labels {
    /// Reads the query form. The error is in upstream's words.
    pub fn parse(text: &str) -> Result<Labels, String> {
        let mut parser = Parser { tokens: tokens(text), at: 0 };
        let mut all = Vec::new();
        loop {
            match parser.peek() {
                Token::End => return Ok(Labels { all }),
                Token::Word(_) | Token::Sign("!") => {}
                other => return Err(format!("found '{}', expected: !, identifier, or 'end of string'", other.text())),
            }
            all.push(parser.requirement().map_err(|why| format!("unable to parse requirement: {why}"))?);
            match parser.next() {
                Token::End => return Ok(Labels { all }),
                Token::Sign(",") => match parser.peek() {
                    Token::Word(_) | Token::Sign("!") => {}
                    other => return Err(format!("found '{}', expected: identifier after ','", other.text())),
                },
                other => return Err(format!("found '{}', expected: ',' or 'end of string'", other.text())),
            }
        }
    }

    /// The object form. An empty selector matches everything.
    #[must_use]
    pub fn from_view(selector: &LabelSelector) -> Labels {
        let exact = selector.match_labels.iter().map(|(key, value)| Requirement {
            key: key.clone(),
            operator: Operator::In,
            values: vec![value.clone()],
        });
        let more = selector.match_expressions.iter().map(Requirement::from_view);
        Labels { all: exact.chain(more).collect() }
    }

    /// A plain map, as in the selectors of Services and node selectors.
    pub fn from_map<K: Into<String>, V: Into<String>>(map: impl IntoIterator<Item = (K, V)>) -> Labels {
        let exact = map.into_iter().map(|(key, value)| Requirement {
            key: key.into(),
            operator: Operator::In,
            values: vec![value.into()],
        });
        Labels { all: exact.collect() }
    }

    /// `matchExpressions` alone, with `Gt` and `Lt`: node selector terms.
    #[must_use]
    pub fn from_expressions(all: &[LabelSelectorRequirement]) -> Labels {
        Labels { all: all.iter().map(Requirement::from_view).collect() }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    #[must_use]
    pub fn matches<'a>(&self, get: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.all.iter().all(|one| one.holds(get(&one.key)))
    }

    /// A key and value that every match has, for an index.
    #[must_use]
    pub fn exact(&self) -> Option<(&str, &str)> {
        let one = self.all.iter().find(|one| one.operator == Operator::In && one.values.len() == 1)?;
        Some((&one.key, &one.values[0]))
    }
}

/// The query form, as `scale` and others report a selector.
impl std::fmt::Display for Labels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, one) in self.all.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            let (key, values) = (&one.key, one.values.join(","));
            match one.operator {
                Operator::In if one.values.len() == 1 => write!(f, "{comma}{key}={values}")?,
                Operator::In => write!(f, "{comma}{key} in ({values})")?,
                Operator::NotIn if one.values.len() == 1 => write!(f, "{comma}{key}!={values}")?,
                Operator::NotIn => write!(f, "{comma}{key} notin ({values})")?,
                Operator::Exists => write!(f, "{comma}{key}")?,
                Operator::DoesNotExist => write!(f, "{comma}!{key}")?,
                Operator::Greater => write!(f, "{comma}{key}>{values}")?,
                Operator::Less => write!(f, "{comma}{key}<{values}")?,
                Operator::Never => write!(f, "{comma}{key},!{key}")?,
            }
        }
        Ok(())
    }
}

// === impl Requirement ===

impl Requirement {
    fn from_view(view: &LabelSelectorRequirement) -> Requirement {
        let operator = match view.operator.as_str() {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            "Gt" => Operator::Greater,
            "Lt" => Operator::Less,
            _ => Operator::Never,
        };
        let mut values = view.values.clone();
        values.sort();
        Requirement { key: view.key.clone(), operator, values }
    }

    fn holds(&self, value: Option<&str>) -> bool {
        let is_listed = |value: &str| self.values.iter().any(|have| have == value);
        match self.operator {
            Operator::In => value.is_some_and(is_listed),
            Operator::NotIn => !value.is_some_and(is_listed),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::Greater => self.compared(value, |have, bound| have > bound),
            Operator::Less => self.compared(value, |have, bound| have < bound),
            Operator::Never => false,
        }
    }

    fn compared(&self, value: Option<&str>, holds: impl Fn(i64, i64) -> bool) -> bool {
        let number = |text: Option<&str>| text.and_then(|text| text.parse::<i64>().ok());
        match (number(value), number(self.values.first().map(String::as_str))) {
            (Some(have), Some(bound)) => holds(have, bound),
            _ => false,
        }
    }

    /// All that is wrong with the values, as one message; the key was looked at before.
    fn checked(self) -> Result<Requirement, String> {
        let is_compared = matches!(self.operator, Operator::Greater | Operator::Less);
        let mut wrong = Vec::new();
        for (at, value) in self.values.iter().enumerate().filter(|_| is_compared) {
            if value.parse::<i64>().is_err() {
                wrong.push(format!(
                    "values[{at}]: Invalid value: {value:?}: for 'Gt', 'Lt' operators, the value must be an integer"
                ));
            }
        }
        for (at, value) in self.values.iter().enumerate() {
            let whys = names::label_value(value);
            if !whys.is_empty() {
                wrong.push(format!("values[{at}][{}]: Invalid value: {value:?}: {}", self.key, whys.join("; ")));
            }
        }
        match wrong.len() {
            0 => Ok(self),
            1 => Err(wrong.concat()),
            _ => Err(format!("[{}]", wrong.join(", "))),
        }
    }
}

// === impl Token ===

impl<'a> Token<'a> {
    fn text(self) -> &'a str {
        match self {
            Token::End => "",
            Token::Sign(text) | Token::Word(text) => text,
        }
    }
}

// === impl Parser ===

impl<'a> Parser<'a> {
    fn peek(&self) -> Token<'a> {
        self.tokens.get(self.at).copied().unwrap_or(Token::End)
    }

    fn next(&mut self) -> Token<'a> {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let is_negated = self.peek() == Token::Sign("!");
        if is_negated {
            self.next();
        }
        let key = match self.next() {
            Token::Word(key) => key.to_owned(),
            other => return Err(format!("found '{}', expected: identifier", other.text())),
        };
        let whys = names::qualified_name(&key);
        if !whys.is_empty() {
            // Upstream has no path at this point, and prints Go's word for that.
            return Err(format!("<nil>: Invalid value: {key:?}: {}", whys.join("; ")));
        }
        if is_negated || matches!(self.peek(), Token::End | Token::Sign(",")) {
            let operator = if is_negated { Operator::DoesNotExist } else { Operator::Exists };
            return Requirement { key, operator, values: Vec::new() }.checked();
        }
        let word = self.next();
        let (operator, is_set) = match word.text() {
            "in" => (Operator::In, true),
            "notin" => (Operator::NotIn, true),
            "=" | "==" => (Operator::In, false),
            "!=" => (Operator::NotIn, false),
            ">" => (Operator::Greater, false),
            "<" => (Operator::Less, false),
            other => return Err(format!("found '{other}', expected: in, notin, =, ==, !=, gt, lt")),
        };
        let mut values = if is_set { self.set()? } else { vec![self.value()?] };
        values.sort();
        values.dedup();
        Requirement { key, operator, values }.checked()
    }

    fn value(&mut self) -> Result<String, String> {
        match self.peek() {
            Token::End | Token::Sign(",") => Ok(String::new()),
            Token::Word(value) => {
                self.next();
                Ok(value.to_owned())
            }
            other => Err(format!("found '{}', expected: identifier", other.text())),
        }
    }

    /// `(a, b)`; an empty place is the empty value.
    fn set(&mut self) -> Result<Vec<String>, String> {
        match self.next() {
            Token::Sign("(") => {}
            other => return Err(format!("found '{}' expected: '('", other.text())),
        }
        let mut values = Vec::new();
        let mut wanted = "',', ')' or identifier";
        loop {
            match self.next() {
                Token::Word(value) => {
                    values.push(value.to_owned());
                    match self.next() {
                        Token::Sign(",") => {}
                        Token::Sign(")") => return Ok(values),
                        other => return Err(format!("found '{}', expected: ',' or ')'", other.text())),
                    }
                }
                Token::Sign(",") => values.push(String::new()),
                Token::Sign(")") => {
                    values.push(String::new());
                    return Ok(values);
                }
                other => return Err(format!("found '{}', expected: {wanted}", other.text())),
            }
            wanted = "',', or identifier";
        }
    }
}

fn tokens(text: &str) -> Vec<Token<'_>> {
    let is_sign = |char: char| "()=!<>,".contains(char);
    let (mut all, mut rest) = (Vec::new(), text.trim_start());
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("==") || rest.starts_with("!=") {
            2
        } else if is_sign(first) {
            1
        } else {
            rest.find(|char: char| is_sign(char) || char.is_whitespace()).unwrap_or(rest.len())
        };
        let (token, after) = rest.split_at(length);
        all.push(if is_sign(first) { Token::Sign(token) } else { Token::Word(token) });
        rest = after.trim_start();
    }
    all
}
