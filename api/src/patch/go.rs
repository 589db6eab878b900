//! Values as Go prints them in messages: `%v` of what `encoding/json` made of a body.

use crate::Tree;
use std::fmt;

/// `map[a:1 b:[x y]]`: keys sorted, text bare.
pub(super) struct Shown<'t>(pub(super) &'t Tree);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Tree::Null => f.write_str("<nil>"),
            Tree::String(text) => f.write_str(text),
            Tree::Bool(value) => write!(f, "{value}"),
            Tree::Number(number) => write!(f, "{number}"),
            Tree::Array(all) => {
                let all: Vec<String> = all.iter().map(|one| Shown(one).to_string()).collect();
                write!(f, "[{}]", all.join(" "))
            }
            Tree::Object(members) => {
                let mut keys: Vec<&String> = members.keys().collect();
                keys.sort();
                let all: Vec<String> = keys.into_iter().map(|key| format!("{key}:{}", Shown(&members[key]))).collect();
                write!(f, "map[{}]", all.join(" "))
            }
        }
    }
}
