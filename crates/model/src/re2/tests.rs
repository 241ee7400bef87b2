//! The language and its error texts, as Go's documentation and behaviour have them.

use super::*;

fn matches(pattern: &str, text: &str) -> bool {
    let hir = parse_pattern(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
    compile_anchored(hir).unwrap().is_match(text)
}

#[test]
fn means_what_re2_means() {
    let cases: &[(&str, &[&str], &[&str])] = &[
        (".", &["\n", "é", "x"], &["", "xx"]),
        ("(?-s).", &["x"], &["\n"]),
        (r"\d+", &["09"], &["٣"]),
        (r"\w+", &["aZ_9"], &["é"]),
        (r"\W", &["é", " "], &["a"]),
        (r"\s", &[" ", "\t", "\x0c"], &["\x0b", "\u{a0}"]),
        (r"\Qa.b*\E+", &["a.b*", "a.b**"], &["axb*"]),
        (r"\Qa.b", &["a.b"], &["axb"]),
        (r"\<a\>", &["<a>"], &["a"]),
        (r"\_\-\!", &["_-!"], &[]),
        ("[a&&b]", &["a", "&", "b"], &["c", "&&"]),
        ("[+--]", &["+", ",", "-"], &["."]),
        ("[a~~b]", &["a", "~"], &["c"]),
        ("[]a]", &["]", "a"], &["b"]),
        ("[^]a]", &["b", "\n"], &["]", "a"]),
        ("[a-]", &["a", "-"], &["b"]),
        ("[[:alpha:]_]+", &["aZ_"], &["é", "1"]),
        ("[[:^digit:]]", &["a", "é"], &["1"]),
        ("[[a]", &["[", "a"], &[":"]),
        (r"[\d\-x]+", &["1-x"], &["y"]),
        (r"\pL+", &["aé"], &["1"]),
        (r"\p{Greek}", &["α"], &["a"]),
        (r"\p{^Greek}|\PN", &["a", "b"], &["1α"]),
        (r"\x41\x{263a}\101\0", &["A☺A\0"], &[]),
        (r"\Aa\z", &["a"], &["ab"]),
        ("^a$", &["a"], &["a\n"]),
        ("(?m)a$\n^b", &["a\nb"], &["ab"]),
        (r"a\bb|a\B.", &["ab"], &["a "]),
        (r"é\b.", &["éa"], &["éé", "é "]),
        ("(?i)straße", &["STRAßE", "straẞe"], &["strasse"]),
        ("(?i:a)b", &["Ab"], &["aB"]),
        ("(?i)k", &["K", "\u{212a}"], &[]),
        ("(?P<n>a)(?<m>b)(?P<n>c)", &["abc"], &[]),
        ("a{2,3}", &["aa", "aaa"], &["a", "aaaa"]),
        ("a{,3}", &["a{,3}"], &["aa"]),
        ("a{01}", &["a{01}"], &["a"]),
        ("a{", &["a{"], &[]),
        ("a{2}{", &["aa{"], &[]),
        ("^*a", &["a"], &["^a"]),
        ("(|a)*b", &["b", "aab"], &[]),
        ("a||b", &["", "a", "b"], &["ab"]),
        ("(a+)(?U)(b+?)", &["abb"], &["b"]),
        ("(?:(?:a{10}){10}){10}", &[], &["a"]),
        ("(?:b+)?c", &["c", "bbc"], &["b"]),
        ("(?:(?:ab)?)*?c", &["c", "ababc"], &["aab"]),
        ("(?:a|b)c|d", &["ac", "bc", "d"], &["a", "bd"]),
        (r"[^\x{0}-\x{10ffff}]|a", &["a"], &["", "b"]),
        ("#[ ]x", &["# x"], &[]),
    ];
    for (pattern, good, bad) in cases {
        for text in *good {
            assert!(matches(pattern, text), "{pattern:?} matches {text:?}");
        }
        for text in *bad {
            assert!(!matches(pattern, text), "{pattern:?} does not match {text:?}");
        }
    }
}

#[test]
fn refuses_in_the_words_of_go() {
    let deep = format!("{}{}", "(".repeat(300), ")".repeat(300));
    let cases = [
        ("(", "missing closing ): `(`"),
        ("a)(b", "unexpected ): `a)(b`"),
        ("x[a-z", "missing closing ]: `[a-z`"),
        ("[", "missing closing ]: `[`"),
        ("[a--c]", "invalid character class range: `a--`"),
        ("[z-a]", "invalid character class range: `z-a`"),
        ("[[:word2:]]", "invalid character class range: `[:word2:]`"),
        (r"\pX", r"invalid character class range: `\pX`"),
        (r"\p{Alphabetic}", r"invalid character class range: `\p{Alphabetic}`"),
        (r"\p{Greek", r"invalid character class range: `\p{Greek`"),
        ("*", "missing argument to repetition operator: `*`"),
        ("a|*", "missing argument to repetition operator: `*`"),
        ("(?i)*?", "missing argument to repetition operator: `*?`"),
        ("a**", "invalid nested repetition operator: `**`"),
        ("x++", "invalid nested repetition operator: `++`"),
        ("a*+?b", "invalid nested repetition operator: `*+?`"),
        ("a{2}{3}", "invalid nested repetition operator: `{2}{3}`"),
        ("a{1001}", "invalid repeat count: `{1001}`"),
        ("a{3,2}", "invalid repeat count: `{3,2}`"),
        ("a{99999999999}", "invalid repeat count: `{99999999999}`"),
        ("(a{100}){11}", "invalid repeat count: `{11}`"),
        ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
        ("(?i-)a", "invalid or unsupported Perl syntax: `(?i-)`"),
        ("(?x)a", "invalid or unsupported Perl syntax: `(?x`"),
        ("(?P<a b>x)", "invalid named capture: `(?P<a b>`"),
        ("(?P<a", "invalid named capture: `(?P<a`"),
        (r"\", "trailing backslash at end of expression: ``"),
        (r"\u0041", r"invalid escape sequence: `\u`"),
        (r"a\1", r"invalid escape sequence: `\1`"),
        (r"\8", r"invalid escape sequence: `\8`"),
        (r"\C", r"invalid escape sequence: `\C`"),
        (r"\x{110000}", r"invalid escape sequence: `\x{110000`"),
        (r"\xg", r"invalid escape sequence: `\xg`"),
        (&deep, &format!("expression nests too deeply: `{deep}`")),
    ];
    for (pattern, expected) in cases {
        let error = parse_pattern(pattern).expect_err(pattern);
        assert_eq!(error.to_string(), format!("error parsing regexp: {expected}"));
    }
}

#[test]
fn label_replace_gets_groups_and_errors_of_the_anchored_whole() {
    let regex = anchored_regex("(?P<host>.*):(\\d+)").unwrap();
    let captures = regex.captures("a\nb:80").unwrap();
    assert_eq!((&captures["host"], &captures[2]), ("a\nb", "80"));
    assert!(regex.captures("xa:80y").is_none());
    let error = anchored_regex("(").unwrap_err().to_string();
    assert_eq!(error, "error parsing regexp: missing closing ): `^(?s:()$`");
}

#[test]
fn an_expression_that_compiles_to_too_much_is_refused() {
    let error = anchored_regex(r"[\pL\pN]{1000}\pL{1000}").unwrap_err();
    assert_eq!(error, RegexError::TooLarge);
}
