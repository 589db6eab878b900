use super::*;
use crate::Tree;
use serde_json::json;

/// What an expression evaluates to, as `%s` prints it; else, why it does not.
fn evaluated(text: &str, tree: &Tree) -> String {
    let program = match Program::compile(text, &[("self", Type::ANY)]) {
        Ok(program) => program,
        Err(why) => return why.lines().next().unwrap_or_default().to_owned(),
    };
    let value = Value::seen(tree, &Type::ANY).expect("it is seen");
    let mut left = OBJECT_COST_MAX;
    match program.run(&[value], &mut left) {
        Ok(value) => library::shown(&value),
        Err(Failure::Error(why)) => format!("error: {why}"),
        Err(Failure::Spent) => "spent".to_owned(),
    }
}

fn check(cases: &[(&str, &str)]) {
    let tree = json!({
        "n": 3, "half": 0.5, "text": "hello", "list": [1, 2, 3], "names": ["b", "a"], "map": {"k": "v", "l": "w"}, "nothing": null,
        "deep": [{"a": 1}, {"a": 2}],
    });
    for (text, expect) in cases {
        assert_eq!(evaluated(text, &tree), *expect, "{text}");
    }
}

#[test]
fn the_language() {
    check(&[
        ("1 + 2 * 3 - 4 / 2 % 3", "5"),
        ("-(-2) == 2 && !(1 > 2) || false", "true"),
        ("7 / 0", "error: division by zero"),
        ("9223372036854775807 + 1", "error: integer overflow"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("1u - 2u", "error: unsigned integer overflow"),
        ("1.5 + 1.5", "3"),
        ("string(1000000.0) + string(0.25)", "1e+060.25"),
        ("'a' + \"b\" + '''c''' + r'\\d'", "abc\\d"),
        ("b'ab' == bytes('ab')", "true"),
        ("0x1F + 1", "32"),
        ("[1, 2] + [3]", "[1, 2, 3]"),
        ("{'a': 1, 'b': 2}['b']", "2"),
        ("{'a': 1}.a", "1"),
        ("{'a': 1, 'a': 2}", "error: insert failed: key a already exists"),
        ("[1, 2][5]", "error: index out of bounds: 5"),
        ("{'a': 1}['b']", "error: no such key: b"),
        ("2 in [1, 2] && 'k' in self.map && !(5 in self.list)", "true"),
        ("self.n == 3 && self.half == 0.5 && self.nothing == null", "true"),
        ("self.missing", "error: no such key: missing"),
        ("has(self.n) && !has(self.missing)", "true"),
        ("self.missing == 1 || true", "true"),
        ("true || self.missing == 1", "true"),
        ("self.missing == 1 && false", "false"),
        ("self.n > 2 ? 'more' : 'less'", "more"),
        ("1 < 1.5 && 2u > 1 && 1 == int(1.0)", "true"),
        ("self.n == 3.0 && self.n in [3.0]", "true"),
        ("type(1) == int && type(self.text) == string && type(type(1)) == type", "true"),
        ("self.n == 'three'", "false"),
        ("self.text < 1", "error: no such overload"),
        ("null == null", "true"),
    ]);
}

#[test]
fn what_macros_do() {
    check(&[
        ("self.list.all(x, x > 0)", "true"),
        ("self.list.exists(x, x > 2)", "true"),
        ("self.list.exists_one(x, x > 1)", "false"),
        ("self.list.map(x, x * 2)", "[2, 4, 6]"),
        ("self.list.map(x, x > 1, x * 2)", "[4, 6]"),
        ("self.list.filter(x, x != 2)", "[1, 3]"),
        ("self.map.all(k, k != 'z')", "true"),
        ("self.map.map(k, self.map[k])", "[v, w]"),
        ("self.list.all(i, x, i + 1 == x)", "true"),
        ("self.map.exists(k, v, k == 'k' && v == 'v')", "true"),
        ("self.list.transformList(i, x, x > 1, i * x)", "[2, 6]"),
        ("self.map.transformMap(k, v, k + v)", "{k: kv, l: lw}"),
        ("self.map.transformMapEntry(k, v, {v: k})", "{v: k, w: l}"),
        ("self.deep.all(x, self.deep.exists(y, y.a == x.a))", "true"),
        ("[self.missing, 1].all(x, x > 0)", "error: no such key: missing"),
        ("self.list.exists(x, 1 / (x - 1) > 0 || x == 3)", "true"),
        ("self.list.all(x, 1 / (x - 1) >= 0)", "error: division by zero"),
        ("self.n.all(x, true)", "error: no such overload"),
        ("self.?missing.orValue('x') + self.?text.orValue('')", "xhello"),
        ("self.?missing.?below.hasValue()", "false"),
        ("self.map[?'k'].optMap(v, v + '!').value()", "v!"),
        ("optional.none().optFlatMap(v, optional.of(v)).hasValue()", "false"),
        ("[?self.?missing, ?self.?n]", "[3]"),
        ("{?'a': self.?missing, 'b': 1}", "{b: 1}"),
        ("optional.none().value()", "error: optional.none() dereference"),
        ("optional.ofNonZeroValue('').or(optional.of('y')).value()", "y"),
        ("self.deep.sortBy(x, -x.a).map(x, x.a)", "[2, 1]"),
    ]);
}

#[test]
fn texts_and_lists() {
    check(&[
        ("'héllo'.charAt(1) + 'abc'.substring(1) + 'abc'.substring(0, 1)", "ébca"),
        ("'hello'.indexOf('l') + 'hello'.lastIndexOf('l') + 'hello'.indexOf('l', 3) + 'x'.indexOf('y')", "7"),
        ("'a,b,c'.split(',') + 'abc'.split('') + 'a,b,c'.split(',', 2)", "[a, b, c, a, b, c, a, b,c]"),
        ("['a', 'b'].join('-') + ['c'].join()", "a-bc"),
        ("'aXbX'.replace('X', 'y') + 'aXbX'.replace('X', 'y', 1)", "aybyaybX"),
        ("' Trim '.trim().upperAscii() + 'LOW'.lowerAscii()", "TRIMlow"),
        ("strings.quote('a\"b\\n')", "\"a\\\"b\\n\""),
        ("'%s is %d of %.2f, %x and %b'.format([dyn('x'), 3, 1.5, 255, true])", "x is 3 of 1.50, ff and 1"),
        ("'%s %s'.format([dyn([1, 'a'.size()]), {'k': 1}])", "[1, 1] {k: 1}"),
        ("'%e 100%%'.format([1234.5])", "1.234500e+03 100%"),
        ("'%d'.format(['x'])", "error: error during formatting: decimal clause cannot be used on string"),
        ("'%s'.format([])", "error: index 0 out of range"),
        ("size('héllo') + self.text.size() + size(self.list)", "13"),
        ("self.text.startsWith('he') && self.text.endsWith('lo') && self.text.contains('ell')", "true"),
        ("self.text.matches('^h.*o$') && !matches('x', '[0-9]')", "true"),
        ("'abc123'.find('[0-9]+') + ' ' + 'a1b2'.findAll('[0-9]').join(',')", "123 1,2"),
        ("'a1b2'.findAll('[0-9]', 1)", "[1]"),
        ("[1, 2, 2].isSorted() && !['b', 'a'].isSorted() && [].isSorted()", "true"),
        ("[1, 3].sum() + [4, 2].min() + [4, 2].max()", "10"),
        ("[1.5, 1.5].sum()", "3"),
        ("self.list.sum()", "6"),
        ("[].min()", "error: min called on empty list"),
        ("[1, 2, 2].indexOf(2) + [1, 2, 2].lastIndexOf(2)", "3"),
        ("[3, 1, 2].sort().reverse().slice(0, 2)", "[3, 2]"),
        ("[1, 1, 2].distinct() + [[1], [2, 3]].flatten() + lists.range(2)", "[1, 2, 1, 2, 3, 0, 1]"),
        ("[1, 2].first().value() + [1, 2].last().value()", "3"),
        ("sets.contains([1, 2], [2]) && sets.intersects([1], [1, 2]) && sets.equivalent([1, 2], [2, 1, 1])", "true"),
    ]);
}

#[test]
fn times_amounts_and_addresses() {
    check(&[
        ("timestamp('2026-01-02T03:04:05Z').getFullYear()", "2026"),
        ("timestamp('2026-01-02T03:04:05Z').getHours('-08:00')", "19"),
        ("timestamp('2026-01-01T00:00:00Z') + duration('36h') > timestamp('2026-01-02T00:00:00Z')", "true"),
        ("(timestamp('2026-01-02T00:00:00Z') - timestamp('2026-01-01T00:00:00Z')).getHours()", "24"),
        ("duration('90s') == duration('1m30s') && string(duration('90s')) == '90s'", "true"),
        ("duration('1m').getSeconds() + int(timestamp('1970-01-01T00:00:10Z'))", "70"),
        ("timestamp('2026-03-01T00:00:00Z').getDayOfWeek()", "0"),
        ("quantity('1.5Gi').isGreaterThan(quantity('1G')) && isQuantity('5m') && !isQuantity('x')", "true"),
        ("quantity('50k').add(20).sub(quantity('50k')).asInteger()", "20"),
        ("quantity('1500m').isInteger() || quantity('1').sign() == -1", "false"),
        ("quantity('1500m').asApproximateFloat()", "1.5"),
        ("quantity('200M').compareTo(quantity('0.2G'))", "0"),
        (
            "quantity('Three')",
            "error: quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        ("ip('127.0.0.1').isLoopback() && ip('::1').family() == 6 && !isIP('1.2.3')", "true"),
        ("ip('10.0.0.1').isGlobalUnicast() && !ip('224.0.0.1').isGlobalUnicast()", "true"),
        ("ip.isCanonical('2001:DB8::1') || isIP('::ffff:1.2.3.4') || isIP('1.2.3.04')", "false"),
        ("cidr('10.0.0.0/8').containsIP('10.1.2.3') && !cidr('10.0.0.0/8').containsIP(ip('11.0.0.1'))", "true"),
        ("cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8')", "true"),
        ("cidr('10.0.0.0/8').prefixLength() + cidr('::/0').prefixLength()", "8"),
        ("string(cidr('::1/128').ip()) + string(cidr('10.0.0.0/8'))", "::110.0.0.0/8"),
        ("isCIDR('10.0.0.0/33')", "false"),
        ("url('https://u:p@Example.com:80/a b?x=1&x=2&y=%20#f').getHost()", "Example.com:80"),
        ("url('https://example.com:80/a b?x=1&x=2').getEscapedPath()", "/a%20b"),
        ("url('https://[::1]:80/').getHostname() + url('https://[::1]:80/').getPort()", "::180"),
        ("url('https://e.com/?x=1&x=2&y=a+b').getQuery()", "{x: [1, 2], y: [a b]}"),
        ("isURL('../x') || isURL('https://a:b:c/') || !isURL('/abs')", "false"),
        (
            "format.dns1123Label().validate('UP').hasValue() && !format.named('uuid').value().validate('x').hasValue()",
            "false",
        ),
        ("format.named('nope').hasValue()", "false"),
        ("semver('1.2.3-rc.1').isLessThan(semver('1.2.3')) && isSemver('v1.0', true) && !isSemver('v1.0')", "true"),
    ]);
}

#[test]
fn what_does_not_compile() {
    check(&[
        ("foo == 1", "ERROR: <input>:1:1: undeclared reference to 'foo' (in container '')"),
        ("foo(1)", "ERROR: <input>:1:4: undeclared reference to 'foo' (in container '')"),
        ("self.foo()", "ERROR: <input>:1:9: undeclared reference to 'foo' (in container '')"),
        ("1 + 'a'", "ERROR: <input>:1:3: found no matching overload for '_+_' applied to '(int, string)'"),
        ("'a'.size(1)", "ERROR: <input>:1:9: found no matching overload for 'size' applied to 'string.(int)'"),
        ("[1, 'a']", "ERROR: <input>:1:5: expected type 'int' but found 'string'"),
        ("1 && true", "ERROR: <input>:1:1: found no matching overload for '_&&_' applied to '(int, bool)'"),
        (
            "'a'.matches('(')",
            "ERROR: <input>:1:13: invalid matches argument: error parsing regexp: unclosed group: `(`",
        ),
        ("duration('x')", "ERROR: <input>:1:10: invalid duration argument"),
        (
            "timestamp('2026-01-01T00:00:00Z').getHours('Europe/Paris')",
            "ERROR: <input>:1:44: time zone 'Europe/Paris' is not supported: only 'UTC' and offsets such as '-08:00' are",
        ),
        (
            "1.all(x, true)",
            "ERROR: <input>:1:1: expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)",
        ),
        ("[1].map(x, y)", "ERROR: <input>:1:12: undeclared reference to 'y' (in container '')"),
        ("'a'.b", "ERROR: <input>:1:4: type 'string' does not support field selection"),
        ("1 == 'a'", "ERROR: <input>:1:3: found no matching overload for '_==_' applied to '(int, string)'"),
        ("cel.bind(x, 1, x)", "ERROR: <input>:1:1: undeclared reference to 'cel' (in container '')"),
    ]);
    let long = format!("'{}'", "a".repeat(TEXT_BYTES_MAX));
    assert!(evaluated(&long, &Tree::Null).contains("expression size exceeds limit"));
    let place = Program::compile("1 +\n\tself.\n x.y.(", &[("self", Type::ANY)]).expect_err("no expression");
    assert_eq!(
        place,
        "ERROR: <input>:3:6: Syntax error: mismatched input '(' expecting IDENTIFIER\n |  x.y.(\n | .....^"
    );
}

#[test]
fn nothing_runs_for_long() {
    let many = Tree::from((0..3000).collect::<Vec<i64>>());
    let doubling = (0..15).fold("self.map(x, 'aaaaaaaa')".to_owned(), |text, _| format!("[{text}].map(s, s + s)[0]"));
    for text in [
        "self.all(a, self.all(b, self.all(c, a + b + c >= 0)))",
        "self.map(a, self.map(b, self.map(c, c))).size() > 0",
        "self.map(a, self.map(b, string(b)).join('').matches('(a|b)*c' + string(a))).size() > 0",
        "lists.range(1000000000000).size() > 0",
        "self.map(a, string(a)).join('aaaa').replace('', 'aaaaaaaaaa').replace('', 'aaaaaaaaaa').replace('', 'aaaaaaaaaaa')",
        &doubling,
    ] {
        assert_eq!(evaluated(text, &many), "spent", "{text}");
    }
}

#[test]
fn names_are_escaped() {
    for (name, expect) in [
        ("plain", Some("plain")),
        ("a-b.c/d", Some("a__dash__b__dot__c__slash__d")),
        ("a__b", Some("a__underscores__b")),
        ("namespace", Some("__namespace__")),
        ("in", Some("__in__")),
        ("9x", None),
        ("a b", None),
        ("", None),
    ] {
        assert_eq!(escaped(name).as_deref(), expect, "{name}");
    }
}
