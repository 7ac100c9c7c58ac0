//! What Go accepts, refuses and means.

use super::*;

/// `matching` and `other` are texts, separated by spaces, that must and must not match.
#[track_caller]
fn check(pattern: &str, matching: &str, other: &str) {
    let regex = GoRegex::new(pattern).unwrap();
    for text in matching.split(' ').filter(|text| !text.is_empty()) {
        assert!(regex.is_match(text), "{pattern} should match {text:?}");
        assert!(regex.captures(text).is_some(), "{pattern} should capture {text:?}");
    }
    for text in other.split(' ').filter(|text| !text.is_empty()) {
        assert!(!regex.is_match(text), "{pattern} should not match {text:?}");
        assert!(regex.captures(text).is_none(), "{pattern} should not capture {text:?}");
    }
}

#[track_caller]
fn refused(pattern: &str, want: &str) {
    let got = GoRegex::new(pattern).expect_err(pattern).to_string();
    assert_eq!(got, format!("error parsing regexp: {want}"), "{pattern}");
}

#[test]
fn patterns_are_anchored_and_the_dot_takes_newlines() {
    check("a", "a", "ab ba A");
    check("a|b", "a b", "ab");
    check("(.*)", "a x\ny", "");
    check("a.*", "a a\nb", "ba");
    check(".*a", "a \na", "ab");
    check(".*a.*", "a xax", "b");
    check(".+", "a", "");
    check("(?-s:a.b)", "axb", "a\nb");
    check("a)|(b", "a b ab ax xb", "xa bx");
    assert!(GoRegex::new("").unwrap().is_match(""));
    assert!(!GoRegex::new("").unwrap().is_match("a"));
    assert!(!GoRegex::new(".+").unwrap().is_match(""));
    assert!(GoRegex::new(".*").unwrap().is_match(""));
}

#[test]
fn lists_of_strings_are_compared_without_an_engine() {
    let literals = |pattern: &str| {
        let regex = GoRegex::new(pattern).unwrap();
        let mut found: Vec<String> = regex.literals()?.into_iter().map(str::to_owned).collect();
        found.sort();
        Some(found.join(" "))
    };
    assert_eq!(literals("abc").as_deref(), Some("abc"));
    assert_eq!(literals("abc|abd|x").as_deref(), Some("abc abd x"));
    assert_eq!(literals("node_(load|cpu)").as_deref(), Some("node_cpu node_load"));
    assert_eq!(literals("a[12]?").as_deref(), Some("a a1 a2"));
    assert_eq!(literals("a\\.b").as_deref(), Some("a.b"));
    assert_eq!(literals("a.*"), None);
    assert_eq!(literals("(?i)ab").as_deref(), Some("AB Ab aB ab"));
    let many = (0..500).map(|at| format!("m{at}")).collect::<Vec<_>>().join("|");
    assert!(matches!(GoRegex::new(&many).unwrap().compiled.quick, Quick::Many(_)));
    check(&many, "m0 m499", "m500 m");
}

#[test]
fn what_go_accepts_and_rust_refuses_is_accepted() {
    check(r"\Qa.b\E", "a.b", "axb");
    refused(r"\Qa.b", r"missing closing ): `^(?s:\Qa.b)$`");
    check("[[]", "[", "x");
    check("[a[]", "a [", "x");
    check("a{", "a{", "a");
    check("{", "{", "x");
    check("a{,3}", "a{,3}", "a aa");
    check(r"\123", "S", "x");
    check(r"\07", "\u{7}", "x");
    check(r"[\07-\11]", "\u{8}", "x");
    check("x{2}{", "xx{", "xx");
    check("(?P<a>x)(?P<a>y)", "xy", "x");
    check("[^]a]", "b", "] a");
    check("[]a]", "] a", "b");
    check("[a-]", "a -", "b");
    check(r"[\]]", "]", "a");
    check(r"\_\-\ ", "", "a");
}

#[test]
fn what_means_something_else_in_rust_means_what_go_means() {
    check("[a&&b]", "a & b", "c");
    check("[a[b]]", "a] b] []", "a ab");
    check("[a~~b]", "a ~ b", "c");
    refused("[a--b]", "invalid character class range: `a--`");
    check(r"\<a", "<a", "a");
    check(r"\d", "1", "\u{661}");
    check(r"\w", "a", "é");
    check(r"\s", "\t", "\u{a0} \u{b}");
    check(r"[[:space:]]", "\t \u{b}", "\u{a0}");
    check(r"[[:^digit:]]", "a", "1");
    check(r"é\bx", "éx", "");
    check(r"(?i)k", "k K \u{212a}", "x");
    check(r"(?i)[k]", "k K \u{212a}", "x");
    check(r"a#b", "a#b", "a");
    check("(?U)a+", "aa", "b");
}

#[test]
fn unicode_classes_have_the_names_of_go() {
    check(r"\pL+", "aé", "1");
    check(r"\p{Lu}", "A É", "a");
    check(r"\p{Greek}", "α", "a");
    check(r"\P{Greek}", "a", "α");
    check(r"\p{^Greek}", "a", "α");
    check(r"[\p{Nd}x]", "1 x", "a");
    check(r"\p{Any}", "a", "ab");
    refused(r"\p{lu}", r"invalid character class range: `\p{lu}`");
    refused(r"\p{Alphabetic}", r"invalid character class range: `\p{Alphabetic}`");
    refused(r"\p{scx=Greek}", r"invalid character class range: `\p{scx=Greek}`");
    refused(r"\pX", r"invalid character class range: `\pX`");
}

#[test]
fn what_go_refuses_is_refused_in_its_words() {
    refused("a**", "invalid nested repetition operator: `**`");
    refused("a+?*", "invalid nested repetition operator: `+?*`");
    refused("a{2}{3}", "invalid nested repetition operator: `{2}{3}`");
    refused("*a", "missing argument to repetition operator: `*`");
    refused("a|+", "missing argument to repetition operator: `+`");
    refused("(?i)*", "missing argument to repetition operator: `*`");
    refused("a{1001}", "invalid repeat count: `{1001}`");
    refused("(a{500}){3}", "invalid repeat count: `{3}`");
    refused("a{3,2}", "invalid repeat count: `{3,2}`");
    refused("a{99999999999}", "invalid repeat count: `{99999999999}`");
    refused("(a", "missing closing ): `^(?s:(a)$`");
    refused("a)", "unexpected ): `^(?s:a))$`");
    refused("[a", "missing closing ]: `[a)$`");
    refused("[b-a]", "invalid character class range: `b-a`");
    refused("[[:foo:]]", "invalid character class range: `[:foo:]`");
    refused(r"\y", r"invalid escape sequence: `\y`");
    refused(r"\u263a", r"invalid escape sequence: `\u`");
    refused(r"\8", r"invalid escape sequence: `\8`");
    refused(r"\1", r"invalid escape sequence: `\1`");
    refused(r"\C", r"invalid escape sequence: `\C`");
    refused(r"\x{110000}", r"invalid escape sequence: `\x{110000`");
    refused(r"\xg1", r"invalid escape sequence: `\xg1`");
    refused("(?x)a", "invalid or unsupported Perl syntax: `(?x`");
    refused("(?R)a", "invalid or unsupported Perl syntax: `(?R`");
    refused("(?-u:a)", "invalid or unsupported Perl syntax: `(?-u`");
    refused("(?=a)", "invalid or unsupported Perl syntax: `(?=`");
    refused("(?P<a b>c)", "invalid named capture: `(?P<a b>`");
    refused("(?P=a)", "invalid or unsupported Perl syntax: `(?P`");
    refused("a\\", r"missing closing ): `^(?s:a\)$`");
}

proptest::proptest! {
    #[test]
    fn a_quoted_text_matches_itself_alone(text in "[^\u{0}\\\\]{0,12}", other in ".{0,4}") {
        let regex = GoRegex::new(&format!("\\Q{text}\\E")).unwrap();
        assert!(regex.is_match(&text));
        assert_eq!(regex.is_match(&format!("{text}{other}")), other.is_empty());
    }

    #[test]
    fn the_quick_way_and_the_engine_agree(
        pattern in "(\\.\\*|\\.\\+|a|b|\\(|\\)|\\||\\?|[ab]{1,2}){0,6}",
        text in "[ab\n]{0,5}",
    ) {
        if let Ok(regex) = GoRegex::new(&pattern) {
            assert_eq!(regex.is_match(&text), regex.compiled.regex.is_match(&text), "{pattern}");
        }
    }
}
