//! From a text to a tree, by the grammar of CEL; macros become loops.
//!
//! Text and nesting are bounded, so that neither the parser nor what walks the tree later can run out of stack.

use super::syntax::{Access, Call, Entry, Item, Kind, Literal, Loop, Node, What};
use super::token::{self, Placed, Token};
use super::{Issue, NESTING_MAX};

/// Words that stand for nothing, and may not be names.
pub(crate) const RESERVED: [&str; 17] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];
const OPERAND: &str = "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, \
                       BYTES, IDENTIFIER}";
const RELATIONS: [&str; 6] = ["<", "<=", ">=", ">", "==", "!="];

pub(super) fn parse(text: &str) -> Result<Node, Issue> {
    let tokens = token::read(text)?;
    let mut parser = Parser { tokens, next: 0, nesting: 0 };
    let node = parser.expression()?;
    match parser.peek() {
        Token::End => Ok(node),
        _ => Err(parser.unexpected("<EOF>")),
    }
}

struct Parser {
    tokens: Vec<Placed>,
    next: usize,
    nesting: usize,
}

type Parsed = Result<Node, Issue>;

// === impl Parser ===

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.next].token
    }

    fn at(&self) -> u32 {
        self.tokens[self.next].at
    }

    /// The end is never passed.
    fn step(&mut self) -> Placed {
        let placed = self.tokens[self.next].clone();
        if placed.token != Token::End {
            self.next += 1;
        }
        placed
    }

    fn is(&self, sign: &str) -> bool {
        matches!(self.peek(), Token::Sign(found) if *found == sign)
    }

    fn takes(&mut self, sign: &str) -> bool {
        let is_there = self.is(sign);
        if is_there {
            self.step();
        }
        is_there
    }

    fn wants(&mut self, sign: &str) -> Result<(), Issue> {
        if self.takes(sign) { Ok(()) } else { Err(self.unexpected(&format!("'{sign}'"))) }
    }

    fn unexpected(&self, wanted: &str) -> Issue {
        let found = &self.tokens[self.next];
        Issue { at: found.at, message: format!("Syntax error: mismatched input '{}' expecting {wanted}", found.text) }
    }

    fn node(at: u32, kind: Kind) -> Parsed {
        let deepest = children(&kind).map(|child| child.depth).max().unwrap_or(0);
        if usize::from(deepest) >= NESTING_MAX {
            return Err(too_deep(at));
        }
        Ok(Node { at, depth: deepest + 1, kind })
    }

    fn call(at: u32, name: &str, target: Option<Node>, args: Vec<Node>) -> Parsed {
        let call = Call { name: name.to_owned(), target, args, found: Vec::new() };
        Parser::node(at, Kind::Call(Box::new(call)))
    }

    fn expression(&mut self) -> Parsed {
        if self.nesting >= NESTING_MAX {
            return Err(too_deep(self.at()));
        }
        self.nesting += 1;
        let condition = self.any_of()?;
        let at = self.at();
        let node = if self.takes("?") {
            let yes = self.any_of()?;
            self.wants(":")?;
            let no = self.expression()?;
            Parser::node(at, Kind::If(Box::new([condition, yes, no])))?
        } else {
            condition
        };
        self.nesting -= 1;
        Ok(node)
    }

    fn any_of(&mut self) -> Parsed {
        let at = self.at();
        let mut all = vec![self.all_of()?];
        while self.takes("||") {
            all.push(self.all_of()?);
        }
        if all.len() == 1 { Ok(all.remove(0)) } else { Parser::node(at, Kind::Or(all)) }
    }

    fn all_of(&mut self) -> Parsed {
        let at = self.at();
        let mut all = vec![self.relation()?];
        while self.takes("&&") {
            all.push(self.relation()?);
        }
        if all.len() == 1 { Ok(all.remove(0)) } else { Parser::node(at, Kind::And(all)) }
    }

    fn relation(&mut self) -> Parsed {
        let mut left = self.sum()?;
        loop {
            let operator = match self.peek() {
                Token::Sign(sign) if RELATIONS.contains(sign) => format!("_{sign}_"),
                Token::Word(word) if word == "in" => "@in".to_owned(),
                _ => return Ok(left),
            };
            let at = self.step().at;
            let right = self.sum()?;
            left = Parser::call(at, &operator, None, vec![left, right])?;
        }
    }

    fn sum(&mut self) -> Parsed {
        let mut left = self.product()?;
        while let Token::Sign(sign @ ("+" | "-")) = *self.peek() {
            let at = self.step().at;
            let right = self.product()?;
            left = Parser::call(at, &format!("_{sign}_"), None, vec![left, right])?;
        }
        Ok(left)
    }

    fn product(&mut self) -> Parsed {
        let mut left = self.unary()?;
        while let Token::Sign(sign @ ("*" | "/" | "%")) = *self.peek() {
            let at = self.step().at;
            let right = self.unary()?;
            left = Parser::call(at, &format!("_{sign}_"), None, vec![left, right])?;
        }
        Ok(left)
    }

    /// Two of the same undo each other.
    fn unary(&mut self) -> Parsed {
        let at = self.at();
        let Token::Sign(sign @ ("!" | "-")) = *self.peek() else { return self.member() };
        let mut count = 0;
        while self.is(sign) {
            self.step();
            count += 1;
        }
        let is_odd = count % 2 == 1;
        if sign == "-"
            && is_odd
            && let Token::Int(digits) = self.peek().clone()
        {
            self.step();
            let literal = int(at, &format!("-{digits}"))?;
            return self.members_of(literal);
        }
        let operand = self.member()?;
        if !is_odd {
            return Ok(operand);
        }
        let name = if sign == "!" { "!_" } else { "-_" };
        Parser::call(at, name, None, vec![operand])
    }

    fn member(&mut self) -> Parsed {
        let primary = self.primary()?;
        self.members_of(primary)
    }

    fn members_of(&mut self, mut node: Node) -> Parsed {
        loop {
            let at = self.at();
            if self.takes(".") {
                let (field, is_quoted) = self.field()?;
                if !is_quoted && self.is("(") {
                    let at = self.step().at;
                    let args = self.list(")")?;
                    node = member_call(at, node, &field, args)?;
                } else {
                    node = Parser::node(at, Kind::Select { of: Box::new(node), field, form: Access::Plain })?;
                }
            } else if self.takes(".?") {
                let (field, _) = self.field()?;
                node = Parser::node(at, Kind::Select { of: Box::new(node), field, form: Access::Optional })?;
            } else if self.is("[") || self.is("[?") {
                let is_optional = self.is("[?");
                self.step();
                let key = Box::new(self.expression()?);
                self.wants("]")?;
                node = Parser::node(at, Kind::Index { of: Box::new(node), key, is_optional })?;
            } else {
                return Ok(node);
            }
        }
    }

    fn field(&mut self) -> Result<(String, bool), Issue> {
        match self.peek().clone() {
            Token::Word(word) if !is_keyword(&word) => {
                self.step();
                Ok((word, false))
            }
            Token::Quoted(name) => {
                self.step();
                Ok((name, true))
            }
            _ => Err(self.unexpected("IDENTIFIER")),
        }
    }

    fn list(&mut self, end: &str) -> Result<Vec<Node>, Issue> {
        let mut all = Vec::new();
        while !self.takes(end) {
            all.push(self.expression()?);
            if !self.takes(",") {
                self.wants(end)?;
                break;
            }
        }
        Ok(all)
    }

    fn primary(&mut self) -> Parsed {
        let Placed { token, at, .. } = self.tokens[self.next].clone();
        let literal = match token {
            Token::Sign("(") => {
                self.step();
                let inner = self.expression()?;
                self.wants(")")?;
                return Ok(inner);
            }
            Token::Sign("[") => {
                self.step();
                return self.elements(at);
            }
            // What `[?` is in front of a list's first element.
            Token::Sign("[?") => {
                self.step();
                return self.elements_after(at, true);
            }
            Token::Sign("{") => {
                self.step();
                return self.entries(at);
            }
            Token::Sign(".") => {
                self.step();
                return self.name();
            }
            Token::Int(digits) => {
                self.step();
                return int(at, &digits);
            }
            Token::Word(word) if !is_keyword(&word) => return self.name(),
            Token::Word(word) if word == "true" || word == "false" => Literal::Bool(word == "true"),
            Token::Word(word) if word == "null" => Literal::Null,
            Token::Uint(value) => Literal::Uint(value),
            Token::Double(value) => Literal::Double(value),
            Token::String(text) => Literal::String(text),
            Token::Bytes(bytes) => Literal::Bytes(bytes),
            Token::Word(_) | Token::Quoted(_) | Token::Sign(_) | Token::End => return Err(self.unexpected(OPERAND)),
        };
        self.step();
        Parser::node(at, Kind::Literal(literal))
    }

    fn name(&mut self) -> Parsed {
        let at = self.at();
        let (text, is_quoted) = self.field()?;
        if is_quoted {
            return Err(Issue { at, message: "Syntax error: unsupported syntax: '`'".to_owned() });
        }
        if RESERVED.contains(&text.as_str()) {
            return Err(Issue { at, message: format!("reserved identifier: {text}") });
        }
        if !self.is("(") {
            return Parser::node(at, Kind::Name { text, slot: 0 });
        }
        let open = self.step().at;
        let mut args = self.list(")")?;
        if text == "has" && args.len() == 1 {
            let only = args.remove(0);
            return match only.kind {
                Kind::Select { of, field, form: Access::Plain } => {
                    Parser::node(open, Kind::Select { of, field, form: Access::Test })
                }
                _ => Err(Issue { at: only.at, message: "invalid argument to has() macro".to_owned() }),
            };
        }
        Parser::call(open, &text, None, args)
    }

    fn elements(&mut self, at: u32) -> Parsed {
        let is_optional = self.takes("?");
        self.elements_after(at, is_optional)
    }

    fn elements_after(&mut self, at: u32, mut is_optional: bool) -> Parsed {
        let mut all = Vec::new();
        while is_optional || !self.takes("]") {
            all.push(Item { value: self.expression()?, is_optional });
            if !self.takes(",") {
                self.wants("]")?;
                break;
            }
            is_optional = self.takes("?");
        }
        Parser::node(at, Kind::List(all))
    }

    fn entries(&mut self, at: u32) -> Parsed {
        let mut all = Vec::new();
        while !self.takes("}") {
            let is_optional = self.takes("?");
            let key = self.expression()?;
            self.wants(":")?;
            let value = self.expression()?;
            all.push(Entry { key, value, is_optional });
            if !self.takes(",") {
                self.wants("}")?;
                break;
            }
        }
        Parser::node(at, Kind::Map(all))
    }
}

fn too_deep(at: u32) -> Issue {
    Issue { at, message: format!("expression recursion limit exceeded: {NESTING_MAX}") }
}

fn is_keyword(word: &str) -> bool {
    matches!(word, "true" | "false" | "null" | "in")
}

fn int(at: u32, written: &str) -> Parsed {
    let (sign, digits) = written.strip_prefix('-').map_or(("", written), |digits| ("-", digits));
    let hexadecimal = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let (digits, radix) = hexadecimal.map_or((digits, 10), |digits| (digits, 16));
    match i64::from_str_radix(&format!("{sign}{digits}"), radix) {
        Ok(value) => Parser::node(at, Kind::Literal(Literal::Int(value))),
        Err(_) => Err(Issue { at, message: "invalid int literal".to_owned() }),
    }
}

fn children(kind: &Kind) -> Box<dyn Iterator<Item = &Node> + '_> {
    match kind {
        Kind::Literal(_) | Kind::Name { .. } => Box::new(std::iter::empty()),
        Kind::Select { of, .. } => Box::new(std::iter::once(&**of)),
        Kind::Index { of, key, .. } => Box::new([&**of, &**key].into_iter()),
        Kind::And(all) | Kind::Or(all) => Box::new(all.iter()),
        Kind::If(parts) => Box::new(parts.iter()),
        Kind::Call(call) => Box::new(call.target.iter().chain(&call.args)),
        Kind::List(all) => Box::new(all.iter().map(|item| &item.value)),
        Kind::Map(all) => Box::new(all.iter().flat_map(|entry| [&entry.key, &entry.value])),
        Kind::Loop(one) => Box::new([&one.range, &one.body].into_iter().chain(&one.filter)),
    }
}

/// A call of what stands before a dot: a macro's loop, or a function.
fn member_call(at: u32, target: Node, name: &str, mut args: Vec<Node>) -> Parsed {
    let what = match (name, args.len()) {
        ("all", 2 | 3) => What::All,
        ("exists", 2 | 3) => What::Exists,
        ("exists_one" | "existsOne", 2 | 3) => What::ExistsOne,
        ("map", 2 | 3) => What::Map,
        ("filter", 2) => What::Filter,
        ("transformList", 3 | 4) => What::TransformList,
        ("transformMap", 3 | 4) => What::TransformMap,
        ("transformMapEntry", 3 | 4) => What::TransformMapEntry,
        ("optMap", 2) => What::OptMap,
        ("optFlatMap", 2) => What::OptFlatMap,
        ("sortBy", 2) => What::SortBy,
        _ => return Parser::call(at, name, Some(target), args),
    };
    let has_two = match what {
        What::All | What::Exists | What::ExistsOne => args.len() == 3,
        What::TransformList | What::TransformMap | What::TransformMapEntry => true,
        _ => false,
    };
    let first = variable(args.remove(0))?;
    let second = if has_two { Some(variable(args.remove(0))?) } else { None };
    if second.as_ref() == Some(&first) {
        return Err(Issue { at, message: format!("overlapping declaration for name '{first}'") });
    }
    let filter = if args.len() == 2 { Some(args.remove(0)) } else { None };
    let body = args.remove(0);
    Parser::node(at, Kind::Loop(Box::new(Loop { what, range: target, name: first, second, filter, body })))
}

fn variable(node: Node) -> Result<String, Issue> {
    match node.kind {
        Kind::Name { text, .. } => Ok(text),
        _ => Err(Issue { at: node.at, message: "argument must be a simple name".to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_expression() {
        for (text, at, expect) in [
            ("1 +", 3, "Syntax error: mismatched input '<EOF>' expecting {'['"),
            ("a b", 2, "Syntax error: mismatched input 'b' expecting <EOF>"),
            ("'open", 0, "Syntax error: token recognition error at: ''open'"),
            ("a = 1", 2, "Syntax error: token recognition error at: '='"),
            ("a.all(b.c, true)", 7, "argument must be a simple name"),
            ("has(a)", 4, "invalid argument to has() macro"),
            ("namespace == 1", 0, "reserved identifier: namespace"),
            ("9223372036854775808", 0, "invalid int literal"),
            ("'\\q'", 1, "unable to unescape string"),
            ("(1", 2, "Syntax error: mismatched input '<EOF>' expecting ')'"),
        ] {
            let issue = parse(text).expect_err(text);
            assert!(issue.at == at && issue.message.starts_with(expect), "{text}: {issue:?}");
        }
        for good in [
            "-9223372036854775808 < 0",
            "a.?b[?0].c[1] in {?'k': x, 'l': 2}",
            "[?a, b,]",
            r#"r"\d" + '''a'b''' + b"\xff" == "\u00e9\101""#,
            "!!!a && --1 == 1 // and no more",
            "a.`b-c`.d",
        ] {
            assert!(parse(good).is_ok(), "{good}: {:?}", parse(good));
        }
    }

    #[test]
    fn depth_is_bounded() {
        for (open, close) in [("(", ")"), ("[", "]"), ("{1:", "}"), ("!a(", ")"), ("a ? b : ", ""), ("a.b + ", "")] {
            let text = [&open.repeat(2000), "1", &close.repeat(2000)].concat();
            let told = parse(&text).expect_err(open).message;
            assert!(told.starts_with("expression recursion limit exceeded"), "{open}: {told}");
        }
        assert!(parse(&["a"; 500].join(" && ")).is_ok());
    }
}
