//! Numbers against Go's rules, and against the standard library where the two agree.

use proptest::prelude::*;

use super::*;

#[track_caller]
fn check(token: &str, want: Result<f64, &str>) {
    let got = parse_float(token.as_bytes());
    match (&got, want) {
        (Ok(value), Ok(want)) => assert_eq!(value.to_bits(), want.to_bits(), "{token}"),
        (Err(error), Err(word)) => assert!(error.to_string().contains(word), "{token}: {error}"),
        _ => panic!("{token}: {got:?}, not {want:?}"),
    }
}

#[test]
fn floats_are_read_as_go_reads_them() {
    check("0", Ok(0.0));
    check("-0", Ok(-0.0));
    check("+1.5", Ok(1.5));
    check("1.", Ok(1.0));
    check(".5", Ok(0.5));
    check("5.e3", Ok(5000.0));
    check("1e+06", Ok(1e6));
    check("1E-6", Ok(1e-6));
    check("9.223372036854775e+18", Ok(9.223372036854775e18));
    check("1.7976931348623157e308", Ok(f64::MAX));
    check("4.9e-324", Ok(f64::from_bits(1)));
    check("1e-400", Ok(0.0));
    check("123456789012345678901234567890", Ok(123456789012345678901234567890.0));
}

#[test]
fn infinity_and_nan_are_read_in_any_case_and_every_nan_is_the_same() {
    check("+Inf", Ok(f64::INFINITY));
    check("-iNfInItY", Ok(f64::NEG_INFINITY));
    check("inf", Ok(f64::INFINITY));
    check("NaN", Ok(NORMAL_NAN));
    check("nan", Ok(NORMAL_NAN));
    check("-nan", Err("invalid syntax"));
    check("infin", Err("invalid syntax"));
}

#[test]
fn what_go_refuses_is_refused() {
    check("", Err("invalid syntax"));
    check("1\r", Err("invalid syntax"));
    check("+-1", Err("invalid syntax"));
    check("--1", Err("invalid syntax"));
    check("1e", Err("invalid syntax"));
    check("1e+", Err("invalid syntax"));
    check(".", Err("invalid syntax"));
    check("e5", Err("invalid syntax"));
    check("0x1", Err("invalid syntax"));
    check("0x1p3", Err("unsupported character"));
    check("1_000", Err("unsupported character"));
    check("1e309", Err("value out of range"));
    check("abc", Err(r#"strconv.ParseFloat: parsing "abc": invalid syntax"#));
}

#[test]
fn timestamps_have_at_most_63_bits() {
    assert_eq!(parse_digits(b"1395066363000"), Ok(1_395_066_363_000));
    assert_eq!(parse_digits(b"9223372036854775807"), Ok(i64::MAX));
    assert!(parse_digits(b"9223372036854775808").is_err());
}

#[test]
fn bounds_take_the_form_of_openmetrics() {
    let cases = [
        ("1", "1.0"),
        ("0", "0.0"),
        ("-1", "-1.0"),
        ("0.50", "0.5"),
        ("+Inf", "+Inf"),
        ("inf", "+Inf"),
        ("1e6", "1e+06"),
        ("1000000", "1e+06"),
        ("100000", "100000.0"),
        ("123456789", "1.23456789e+08"),
        ("0.0001", "0.0001"),
        ("0.00001", "1e-05"),
        ("1e100", "1e+100"),
        ("0x1p-2", "0.25"),
        ("1e21", "1e+21"),
    ];
    for (value, want) in cases {
        assert_eq!(canonical_bound(value).as_deref(), Some(want), "{value}");
    }
    assert_eq!(canonical_bound("many"), None);
}

#[test]
fn bytes_are_quoted_as_go_quotes_them() {
    assert_eq!(quoted(b"a\"\n\t\\\x00\xff\r"), r#""a\"\n\t\\\x00\xff\r""#);
    assert_eq!(quoted("ü".as_bytes()), "\"ü\"");
}

proptest! {
    #[test]
    fn every_printed_float_is_read_back(bits in any::<u64>()) {
        let value = f64::from_bits(bits);
        prop_assume!(value.is_finite());
        for text in [format!("{value}"), format!("{value:e}"), format!("{value:.3}")] {
            let want: f64 = text.parse().unwrap();
            prop_assert_eq!(parse_float(text.as_bytes()).map(f64::to_bits), Ok(want.to_bits()));
            let (scanned, end) = scan_float(text.as_bytes(), 0).unwrap();
            prop_assert_eq!((scanned.to_bits(), end), (want.to_bits(), text.len()));
        }
    }
}
