// tidy: table
//! The parser against Prometheus' own cases, where the folder that holds them is there, and against
//! ours.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rangekeeper_promql::ast::{DurationContext, Expr};
use rangekeeper_promql::{ParserOptions, fuzz, parse, parse_metric_selector, pretty};
use regex::Regex;
use serde_json::Value;

/// The folder of shared conformance data; without it a test says that it is skipped.
fn shared() -> Option<PathBuf> {
    let folder = std::env::var_os("RANGEKEEPER_SHARED").map(PathBuf::from);
    if folder.is_none() {
        println!("skipped: RANGEKEEPER_SHARED does not name the folder of conformance data");
    }
    folder
}

fn json(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn printed(text: &str) -> String {
    match parse(text, &ParserOptions::ALL) {
        Ok(expr) => expr.to_string(),
        Err(errors) => panic!("{text}: {errors}"),
    }
}

fn error(text: &str) -> String {
    error_with(text, &ParserOptions::ALL)
}

fn error_with(text: &str, options: &ParserOptions) -> String {
    parse(text, options).expect_err(text).to_string()
}

/// Upstream's case was put together from pieces, because it has a backtick, and the list has only
/// the first of them: an unclosed brace, which Prometheus 3.5 refuses with this very text.
const CUT_SHORT: &str = "{'foo\\'bar', ";
const CUT_OFF: &str = "`a\\dos\\path`=\"boo\"}";

#[test]
fn upstream_parser_cases_give_the_same_errors_at_the_same_places() {
    let Some(shared) = shared() else { return };
    let cases = json(&shared.join("promql/parse_cases.json"));
    for case in &cases {
        let text = case["expr"].as_str().unwrap();
        if text == CUT_SHORT {
            assert_eq!(error(text), "1:14: parse error: unexpected end of input inside braces");
            assert!(parse(&format!("{CUT_SHORT}{CUT_OFF}"), &ParserOptions::ALL).is_ok());
            continue;
        }
        let expected: Vec<(String, String, String)> =
            serde_json::from_value(case["errs"].clone()).unwrap();
        let got: Vec<_> = match parse(text, &ParserOptions::ALL) {
            Ok(_) => Vec::new(),
            Err(errors) => errors
                .errors()
                .iter()
                .map(|e| (e.span.start.to_string(), e.span.end.to_string(), e.text.clone()))
                .collect(),
        };
        assert_eq!(got, expected, "{text}");
        assert_eq!(!got.is_empty(), case["fail"].as_bool().unwrap(), "{text}");
    }
    assert!(cases.len() > 100);
}

#[test]
fn upstream_printer_cases_print_the_same() {
    let Some(shared) = shared() else { return };
    for case in json(&shared.join("promql/printer_cases.json")) {
        assert_eq!(printed(case[0].as_str().unwrap()), case[1].as_str().unwrap());
    }
}

#[test]
fn every_expression_of_the_scripts_parses_and_prints_to_the_same() {
    let Some(shared) = shared() else { return };
    let instant = Regex::new(r"^eval(?:_\w+)?\s+instant\s+(?:at\s+(?:.+?))?\s+(.+)$").unwrap();
    let range = Regex::new(
        r"^eval(?:_\w+)?\s+range\s+from\s+(?:.+)\s+to\s+(?:.+)\s+step\s+(?:.+?)\s+(.+)$",
    )
    .unwrap();
    let mut count = 0;
    for file in fs::read_dir(shared.join("promqltest")).unwrap() {
        let script = fs::read_to_string(file.unwrap().path()).unwrap();
        for line in script.lines().map(str::trim).filter(|line| line.starts_with("eval")) {
            let found = instant.captures(line).or_else(|| range.captures(line));
            let text = found.unwrap_or_else(|| panic!("{line}")).get(1).unwrap().as_str();
            printed(text);
            fuzz::parse_anything(text.as_bytes());
            count += 1;
        }
    }
    println!("{count} expressions");
    assert!(count >= 1_715);
}

#[test]
fn our_own_texts_print_in_canonical_form() {
    for (text, expected) in [
        ("1_000", "1000"),
        ("0x_1F + 010 + 08", "31 + 8 + 8"),
        ("1e3 - .5e-3", "1000 - 0.0005"),
        ("-5m", "-5m"),
        ("90061s500ms", "1d1h1m1s500ms"),
        ("Inf - -iNf", "+Inf - -Inf"),
        ("-1 ^ 2 ^ -3", "-1 ^ 2 ^ -3"),
        ("- - 1", "1"),
        ("+-foo", "+-foo"),
        ("a+b*c^d", "a + b * c ^ d"),
        ("a </ 5 >/ 3", "a </ 5 >/ 3"),
        ("SUM BY (a, Bool, `b c`) (x)", "sum by (a, Bool, \"b c\") (x)"),
        ("topk by(inf_) (5, x)", "topk by (inf_) (5, x)"),
        ("sum(x) by (\"nan\")", "sum by (\"nan\") (x)"),
        ("a == bool on (x) group_left () b", "a == bool on (x) group_left () b"),
        ("a + fill_right(NaN) fill_left(1e21) b", "a + fill_left (1e+21) fill_right (NaN) b"),
        ("a + fill(5m) b", "a + fill (300) b"),
        ("fill + fill", "fill + fill"),
        ("{or =\"x\", y!~'z'}", "{or=\"x\",y!~\"z\"}"),
        ("x{b=\"2\",a=\"1\"}", "x{a=\"1\",b=\"2\"}"),
        ("{\"a b\", \"c d\"=~\"e|f\"}", "{\"c d\"=~\"e|f\",__name__=\"a b\"}"),
        ("x[5m # a comment\n]", "x[5m]"),
        ("x[1h30m:] @ -1.5 offset -1w", "x[1h30m:] @ -1.500 offset -1w"),
        ("x offset 0s offset 5m", "x offset 5m"),
        ("x offset 5m + 1", "x offset 5m + 1"),
        ("x offset (5m) + 1", "x offset (5m) + 1"),
        ("x offset --5m + 1", "x offset (5m + 1)"),
        ("x[(((step())))]", "x[(step())]"),
        ("x[1m:min_of(step(), 10) / 2]", "x[1m:min_of(step(), 10) / 2]"),
        ("x @ end() anchored offset 1m", "x @ end() anchored offset 1m"),
        ("info(x, {})", "info(x, {})"),
        ("info(x, {a=~\".*\"})", "info(x, {a=~\".*\"})"),
        ("\"\\xff\" ", "\"\\xff\""),
        ("count_values('a\\'b', x)", "count_values(\"a'b\", x)"),
        ("start() + end() - step() * range()", "start() + end() - step() * range()"),
        ("max_of(1, min_of(2, 3))", "max_of(1, min_of(2, 3))"),
        ("and and or or unless", "and and or or unless"),
        ("# only\n1 # one", "1"),
    ] {
        assert_eq!(printed(text), expected, "{text}");
        fuzz::parse_anything(text.as_bytes());
    }
}

#[test]
fn errors_say_line_column_and_what_upstream_says() {
    for (text, expected) in [
        ("", "unknown position: parse error: no expression found in input"),
        (" # nothing\n", "1:1: parse error: no expression found in input"),
        ("a +\n  é", "2:3: parse error: unexpected character: 'é'"),
        ("\"é\" + )", "1:9: parse error: unexpected right parenthesis ')'"),
        (
            "1e400",
            "1:1: parse error: error parsing number: strconv.ParseFloat: parsing \"1e400\": value out of range",
        ),
        ("nope(x)", "1:1: parse error: unknown function with name \"nope\""),
        ("integral(x[5m])", "1:1: parse error: unknown function with name \"integral\""),
        ("a[5m", "1:5: parse error: unclosed left bracket"),
        ("a[:5m]", "1:4: parse error: unexpected colon before duration in duration expression"),
        ("a[5m:1m:1m]", "1:8: parse error: unexpected colon ':'"),
        ("a[5m}", "1:5: parse error: unexpected character: '}'"),
        (
            "a[5m 5m]",
            "1:6: parse error: unexpected duration \"5m\" in subquery or range, expected \":\" or \"]\"",
        ),
        (
            "a[5m:5m 5]",
            "1:9: parse error: unexpected number \"5\" in subquery selector, expected \"]\"",
        ),
        ("a[0]", "1:3: parse error: duration must be greater than 0"),
        ("a[5m:0]", "1:6: parse error: duration must be greater than 0"),
        ("a[300y]", "1:3: parse error: duration out of range"),
        (
            "a offset",
            "1:9: parse error: unexpected end of input in offset, expected number, duration, step(), or range()",
        ),
        ("a @ foo", "1:5: parse error: unexpected identifier \"foo\" in @, expected timestamp"),
        ("a @ start", "1:10: parse error: unexpected end of input in @, expected timestamp"),
        (
            "a @ 1e19",
            "1:1: parse error: timestamp out of bounds for @ modifier: 10000000000000000000.000000",
        ),
        ("a @ 1 @ 2", "1:1: parse error: @ <timestamp> may not be set multiple times"),
        (
            "1 offset 5m",
            "1:1: parse error: offset modifier must be preceded by an instant vector selector or range vector selector or a subquery",
        ),
        (
            "a anchored smoothed",
            "1:1: parse error: anchored and smoothed modifiers cannot be used together",
        ),
        ("a[5m:] smoothed", "1:1: parse error: smoothed modifier is not supported for subqueries"),
    ] {
        assert_eq!(error(text), expected, "{text}");
        fuzz::parse_anything(text.as_bytes());
    }
}

#[test]
fn errors_of_meaning_say_what_upstream_says() {
    for (text, expected) in [
        (
            "sum by (a b) (x)",
            "1:11: parse error: unexpected identifier \"b\" in grouping opts, expected \",\" or \")\"",
        ),
        (
            "sum by a (x)",
            "1:8: parse error: unexpected identifier \"a\" in grouping opts, expected \"(\"",
        ),
        ("sum by (\"\") (x)", "1:9: parse error: invalid label name for grouping: \"\""),
        ("sum by (\"\\xff\") (x)", "1:9: parse error: invalid label name for grouping: \"\\xff\""),
        (
            "limitk(\"a\", x)",
            "1:8: parse error: expected type scalar in aggregation parameter, got string",
        ),
        ("a * group_left b", "1:5: parse error: unexpected <group_left>"),
        ("a + fill_left(1) fill_left(2) b", "1:18: parse error: unexpected <fill_left>"),
        (
            "a and fill(0) b",
            "1:1: parse error: filling in missing series not allowed for set operators",
        ),
        (
            "a + fill(0) 1",
            "1:1: parse error: filling in missing series only allowed between instant vectors",
        ),
        (
            "+\"a\"",
            "1:1: parse error: unary expression only allowed on expressions of type scalar or instant vector, got \"string\"",
        ),
        (
            "ln(0)",
            "1:4: parse error: expected type instant vector in call to function \"ln\", got scalar",
        ),
        (
            "label_join(a, 'b')",
            "1:1: parse error: expected at least 3 argument(s) in call to \"label_join\", got 2",
        ),
        (
            "round(a, 1, 2)",
            "1:1: parse error: expected at most 2 argument(s) in call to \"round\", got 3",
        ),
        (
            "info(a, b)",
            "1:9: parse error: expected label selectors only, got vector selector instead",
        ),
        ("a{b=~\"(\"}", "1:3: parse error: error parsing regexp: missing closing ): `(`"),
        (
            "a{b=\"c\" or d=\"e\"}",
            "1:9: parse error: unexpected identifier \"or\" in label matching, expected \",\" or \"}\"",
        ),
        (
            "a{__name__=\"b\"}",
            "1:1: parse error: metric name must not be set twice: \"a\" or \"b\"",
        ),
        ("\"a\\xz\"", "1:1: parse error: illegal character U+007A 'z' in escape sequence"),
        ("'a\nb'", "1:1: parse error: unterminated quoted string"),
        (
            "\"a\" + a",
            "1:1: parse error: binary expression must contain only scalar and instant vector types",
        ),
    ] {
        assert_eq!(error(text), expected, "{text}");
        fuzz::parse_anything(text.as_bytes());
    }
}

#[test]
fn what_is_experimental_can_be_refused() {
    let all = ParserOptions::ALL;
    let options = ParserOptions { experimental_functions: false, ..all };
    assert_eq!(
        error_with("info(a)", &options),
        "1:1: parse error: function \"info\" is not enabled"
    );
    assert_eq!(
        error_with("limitk(1, a)", &options),
        "1:1: parse error: limitk() is experimental and must be enabled with \
         --enable-feature=promql-experimental-functions"
    );
    let options = ParserOptions { duration_expressions: false, ..all };
    assert_eq!(
        error_with("a[5m + 5m]", &options),
        "1:3: parse error: experimental duration expression is not enabled"
    );
    let options = ParserOptions { extended_range_selectors: false, ..all };
    assert_eq!(
        error_with("a smoothed", &options),
        "1:1: parse error: smoothed modifier is experimental and not enabled"
    );
    let options = ParserOptions { fill_modifiers: false, ..all };
    assert_eq!(
        error_with("a + fill(1) b", &options),
        "1:1: parse error: binop fill modifiers are experimental and not enabled"
    );
}

#[test]
fn duration_expressions_resolve_to_a_query_s_times() {
    let resolved = |text: &str| -> Result<(i64, i64), String> {
        let context = DurationContext { start_ms: 10_000, end_ms: 70_000, step_ms: 5_000 };
        let mut expr = parse(text, &ParserOptions::ALL).map_err(|errors| errors.to_string())?;
        expr.resolve_durations(&context).map_err(|error| error.in_query(text))?;
        match expr {
            Expr::Matrix(matrix) => Ok((matrix.range.ms, matrix.selector.offset.ms)),
            Expr::Subquery(subquery) => Ok((subquery.step.unwrap().ms, subquery.offset.ms)),
            other => panic!("{other}"),
        }
    };
    assert_eq!(resolved("a[step()*2+1s] offset -range()"), Ok((11_000, -60_000)));
    assert_eq!(resolved("a[max_of(1m, step())] offset (2^3)"), Ok((60_000, 8_000)));
    assert_eq!(resolved("a[1h:range() / 4] offset -min_of(1s, 2s)"), Ok((15_000, -1_000)));
    assert_eq!(resolved("a[-(5s % 3) + 4]"), Ok((2_000, 0)));
    let refused = |text: &str, error: &str| assert_eq!(resolved(text), Err(error.to_owned()));
    refused("a[5s - step()]", "1:3: parse error: duration must be greater than 0");
    refused("\n a[1/(step()-5)]", "2:4: parse error: division by zero");
    refused("a[10^300]", "1:3: parse error: duration is out of range");
}

#[test]
fn selectors_of_match_parameters() {
    let count = |text| parse_metric_selector(text, &ParserOptions::ALL).map(|found| found.len());
    assert_eq!(count("up"), Ok(1));
    assert_eq!(count("up{job=\"a\",}"), Ok(2));
    assert_eq!(count("{__name__!=\"\"}"), Ok(1));
    assert_eq!(count("{\"a.b\", \"c d\"=~\".*\"}"), Ok(2));
    for (text, expected) in [
        ("{}", "match[] must contain at least one non-empty matcher"),
        ("{a=~\".*\"}", "match[] must contain at least one non-empty matcher"),
        ("up[5m]", "1:3: parse error: unexpected \"[\""),
        ("rate(up)", "1:5: parse error: unexpected \"(\""),
        ("", "unknown position: parse error: unexpected end of input"),
    ] {
        assert_eq!(count(text).unwrap_err().to_string(), expected);
    }
}

#[test]
fn long_lines_are_split_as_upstream_splits_them() {
    let long = "sum by (namespace) (rate(container_cpu_usage_seconds_total{namespace=\"default\"}[5m])) / \
                on (namespace) group_left () sum by (namespace) (kube_pod_container_resource_limits)";
    let expr = parse(long, &ParserOptions::ALL).unwrap();
    let expected = "  sum by (namespace) (rate(container_cpu_usage_seconds_total{namespace=\"default\"}[5m]))\n\
                    / on (namespace) group_left ()\n  \
                    sum by (namespace) (kube_pod_container_resource_limits)";
    assert_eq!(pretty(&expr), expected);
    let name = "a".repeat(90);
    let expr = parse(&format!("-topk(3, ({name} + b))[5m:1m]"), &ParserOptions::ALL);
    assert!(expr.is_err());
    let text = format!("max_over_time((topk(3, ({name} + b)))[5m:1m])");
    let expr = parse(&text, &ParserOptions::ALL).unwrap();
    let expected = format!(
        "max_over_time(\n  (\n    topk(\n      3,\n      ({name} + b)\n    )\n  )[5m:1m]\n)"
    );
    assert_eq!(pretty(&expr), expected);
}

#[test]
fn long_chains_are_quick_and_deep_nesting_is_refused() {
    let timed = |text: String| {
        let start = Instant::now();
        let options = ParserOptions { max_bytes: 1 << 20, ..ParserOptions::ALL };
        let parsed = parse(&text, &options).map(|expr| expr.clone().to_string());
        // Milliseconds; the limit leaves room for a busy machine, and none for what is quadratic.
        assert!(start.elapsed() < Duration::from_secs(2), "{} took too long", &text[..20]);
        parsed.map_err(|errors| errors.to_string())
    };
    let chain = |operator: &str| vec!["a"; 30_000].join(operator);
    assert_eq!(timed(chain("+")).unwrap().len(), 4 * 30_000 - 3);
    assert!(timed(chain(" or ")).is_ok());
    assert!(timed(format!("a[{}]", ["1m"; 100].join("+"))).is_ok());
    let deep = "expression is nested deeper than 200 levels";
    for text in [
        "(".repeat(30_000),
        "sum(".repeat(30_000),
        "-".repeat(60_000),
        chain("^"),
        format!("a{}", "[1m:]".repeat(10_000)),
        format!("a{}", " offset 0s".repeat(6_000)),
        format!("a[{}]", vec!["1m"; 10_000].join("+")),
        format!("a[{}1m]", "-".repeat(10_000)),
        format!("a[{}1m]", "(".repeat(10_000)),
    ] {
        let start = text[..10].to_owned();
        let error = timed(text).unwrap_err();
        assert!(error.ends_with(deep), "{start}: {error}");
    }
    assert!(timed("(".repeat(190) + "1" + &")".repeat(190)).is_ok());
    let error = error_with(&"a".repeat(70_000), &ParserOptions::ALL);
    assert_eq!(error, "1:1: parse error: expression is longer than 65536 bytes");
}

#[expect(clippy::too_many_lines, reason = "a table of pieces")]
#[test]
fn pieces_put_together_at_random_keep_what_must_hold() {
    const PIECES: &[&str] = &[
        "a",
        "foo:bar",
        "sum",
        "rate",
        "start",
        "step()",
        "min_of(",
        "inf",
        "nan",
        "fill(",
        "1",
        "5m",
        "0x1f",
        "1e3",
        "\"s\"",
        "'q'",
        "`r`",
        "{",
        "}",
        "(",
        ")",
        "[",
        "]",
        ":",
        ",",
        "+",
        "-",
        "*",
        "/",
        "%",
        "^",
        "==",
        "!=",
        "</",
        ">/",
        ">=",
        "=~",
        "!~",
        "=",
        "and",
        "or",
        "unless",
        "atan2",
        "bool",
        "on",
        "ignoring",
        "group_left",
        "by",
        "without",
        "offset",
        "@",
        "anchored",
        "smoothed",
        " ",
        "\n",
        "#",
        "é",
        "\\",
        "_",
        "x3",
        "{{",
        "}}",
        "stale",
        "schema:1",
        "@st",
        "a[5m]",
        "{a=\"b\"}",
        "sum by (a) (",
        "topk(1, a)",
        "a offset 5m",
        "[5m:1m]",
        "(a)",
        "(1)",
    ];
    let seed: u64 = std::env::var("RANGEKEEPER_SEED")
        .map_or(0x5eed, |seed| seed.parse().expect("RANGEKEEPER_SEED is a number"));
    println!("RANGEKEEPER_SEED={seed}");
    let mut state = seed;
    let mut next = || {
        // splitmix64
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) >> 33).unwrap()
    };
    for _ in 0..200_000 {
        let length = 1 + next() % 12;
        let text: String = (0..length)
            .flat_map(|_| {
                let space = if next() % 2 == 0 { " " } else { "" };
                [PIECES[next() % PIECES.len()], space]
            })
            .collect();
        fuzz::parse_anything(text.as_bytes());
    }
}
