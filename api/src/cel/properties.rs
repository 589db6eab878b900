//! Whatever somebody writes, it ends, and nothing breaks.

use super::*;
use crate::Tree;
use proptest::prelude::*;
use proptest::sample::select;

fn cases() -> ProptestConfig {
    ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() }
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        Just(Tree::Null),
        any::<bool>().prop_map(Tree::from),
        any::<i64>().prop_map(Tree::from),
        any::<f64>().prop_map(Tree::from),
        "[a-c0-9.:/é%-]{0,12}".prop_map(Tree::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Tree::from),
            proptest::collection::btree_map("[abc]", inner, 0..4)
                .prop_map(|map| Tree::Object(map.into_iter().collect())),
        ]
    })
}

/// Expressions of which many compile.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        4 => select(vec!["self", "self.a", "self.b", "self[0]", "x", "self.?c", "[1, 2]", "{'a': 1}"]).prop_map(str::to_owned),
        2 => select(vec!["1", "-9223372036854775808", "2u", "1e300", "0.0", "null", "true", "''", "'aé'", "b'x'"])
            .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(5, 40, 3, |inner| {
        let pair = (inner.clone(), inner.clone());
        let operators = vec!["+", "-", "*", "/", "%", "<", "<=", "==", "!=", ">", "in", "&&", "||"];
        let macros = vec!["all", "exists", "exists_one", "map", "filter", "sortBy", "optMap", "transformList"];
        let names: Vec<String> = library::names().collect();
        prop_oneof![
            (pair.clone(), select(operators)).prop_map(|((one, two), sign)| format!("({one} {sign} {two})")),
            (pair.clone(), select(macros)).prop_map(|((range, body), name)| match name {
                "transformList" => format!("{range}.{name}(i, x, {body})"),
                _ => format!("{range}.{name}(x, {body})"),
            }),
            (pair.clone(), select(names.clone())).prop_map(|((one, two), name)| format!("{one}.{name}({two})")),
            (pair.clone(), select(names.clone())).prop_map(|((one, two), name)| format!("{name}({one}, {two})")),
            (inner.clone(), select(names)).prop_map(|(one, name)| format!("{one}.{name}()")),
            (pair, inner).prop_map(|((one, two), three)| format!("({one} ? {two} : {three})")),
        ]
    })
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn text_of_all_kinds(text in "[ -~\\n\\té]{0,60}") {
        let _ = Program::compile(&text, &[("self", Type::ANY)]);
    }

    #[test]
    fn expressions_end(text in expression(), tree in tree()) {
        if let Ok(program) = Program::compile(&text, &[("self", Type::ANY), ("x", Type::ANY)]) {
            let seen = Value::seen(&tree, &Type::ANY).expect("anything is seen");
            let mut left = 20_000;
            let _ = program.run(&[seen.clone(), seen], &mut left);
        }
    }

    #[test]
    fn patterns_end(written in "[a-c\\\\\\[\\](){}*+?|^$.0-9dwsbp:&~-]{0,24}", text in "[a-c0-9 ]{0,40}") {
        if let Ok(pattern) = pattern::compile(&written) {
            let _ = pattern.is_match(&text);
        }
    }

    #[test]
    fn order_has_no_ring(all in proptest::collection::vec(any::<f64>(), 0..20), whole in any::<i64>()) {
        let values: Vec<Value<'_>> = all.into_iter().map(Value::Double).chain([Value::Int(whole), Value::Uint(7)]).collect();
        for one in &values {
            for two in &values {
                let reversed = two.compare(one).map(std::cmp::Ordering::reverse);
                prop_assert_eq!(one.compare(two), reversed);
            }
        }
    }
}
