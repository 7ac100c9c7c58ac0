//! The text format: each odd line alone, between two good ones, so that both what it becomes and
//! what it takes down with it are seen.

use super::case::{Case, page};
use super::check;

/// A line between two good ones.
fn line(name: &'static str, line: &str) -> Case {
    page(name, &format!("before 1\n{line}\nafter 2\n"))
}

fn lines(cases: &[(&'static str, &str)]) -> Vec<Case> {
    cases.iter().map(|(name, text)| line(name, text)).collect()
}

fn pages(cases: &[(&'static str, &str)]) -> Vec<Case> {
    cases.iter().map(|(name, text)| page(name, text)).collect()
}

#[tokio::test]
async fn numbers_are_what_go_reads() {
    check(lines(&[
        ("an integer", "a 1"),
        ("a negative number", "a -1.5"),
        ("a plus sign", "a +1.5"),
        ("a point first", "a .5"),
        ("a point last", "a 5."),
        ("a point alone", "a ."),
        ("minus zero", "a -0"),
        ("leading zeros", "a 00012"),
        ("a small exponent", "a 1e3"),
        ("a capital exponent", "a 1E-3"),
        ("a signed exponent", "a 1e+05"),
        ("an exponent without digits", "a 1e"),
        ("an exponent alone", "a e5"),
        ("two signs", "a --1"),
        ("a comma for a point", "a 1,5"),
        ("an underscore between digits", "a 1_000"),
        ("a hexadecimal float", "a 0x1p4"),
        ("a hexadecimal integer", "a 0x10"),
        ("an octal integer", "a 0o17"),
        ("a binary integer", "a 0b1"),
        ("the largest float", "a 1.7976931348623157e308"),
        ("more than the largest float", "a 1.7976931348623159e308"),
        ("far more than the largest float", "a 1e400"),
        ("the smallest float", "a 5e-324"),
        ("less than the smallest float", "a 1e-400"),
        ("more digits than a float holds", "a 1.00000000000000000000000000000001"),
        ("a hard case of rounding", "a 9007199254740993"),
        ("another hard case of rounding", "a 2.2250738585072011e-308"),
        ("sixty digits", "a 123456789012345678901234567890123456789012345678901234567890"),
        ("infinity", "a +Inf"),
        ("infinity in small letters", "a inf"),
        ("infinity in words", "a Infinity"),
        ("infinity in odd letters", "a -iNfInItY"),
        ("infinity and a letter more", "a infx"),
        ("not a number", "a NaN"),
        ("not a number in small letters", "a nan"),
        ("not a number with a sign", "a -NaN"),
        ("a stale marker in words", "a StaleNaN"),
        ("digits of another script", "a \u{0661}"),
        ("a quoted value", "a \"1\""),
        ("a word for a value", "a one"),
    ]))
    .await;
}

#[tokio::test]
async fn white_space_separates_where_it_may() {
    let mut cases = lines(&[
        ("several spaces before the value", "a    1"),
        ("a tab before the value", "a\t1"),
        ("a space after the value", "a 1 "),
        ("tabs after the value", "a 1\t\t"),
        ("a space before the brace", "a {x=\"1\"} 2"),
        ("spaces all over the labels", "a{ x = \"1\" , y = \"2\" } 3"),
        ("tabs all over the labels", "a{\tx\t=\t\"1\"\t}\t3"),
        ("no space after the brace", "a{x=\"1\"}2"),
        ("no space before the value", "a1"),
        ("an empty line", ""),
        ("a line of spaces", "   "),
        ("a carriage return", "a 1\r"),
        ("a carriage return alone", "\r"),
        ("a form feed", "a\u{c}1"),
        ("a no-break space", "a\u{a0}1"),
        ("a vertical tab after the value", "a 1\u{b}"),
        ("several spaces before the timestamp", "a 1   {T1}"),
        ("a tab before the timestamp", "a 1\t{T1}"),
        ("a space after the timestamp", "a 1 {T1} "),
    ]);
    cases.extend(pages(&[
        ("an empty page", ""),
        ("a page of one line end", "\n"),
        ("a page of many line ends", "\n\n\n"),
        ("a page of comments", "# one\n# two\n"),
        ("a page of spaces", "   "),
        ("no line end at the end", "a 1\nb 2"),
        ("a comment without a line end at the end", "a 1\n# b"),
        ("spaces without a line end at the end", "a 1\n   "),
        ("a name without a line end at the end", "a 1\nb"),
        ("a name and a space at the end", "a 1\nb "),
        ("an open brace at the end", "a 1\nb{"),
        ("an open quote at the end", "a 1\nb{x=\"1"),
        ("an open label set at the end", "a 1\nb{x=\"1\""),
        ("a label set without a value at the end", "a 1\nb{x=\"1\"}"),
        ("line ends of another system", "a 1\r\nb 2\r\n"),
        ("a byte order mark", "\u{feff}a 1\n"),
        ("a zero byte at the start of a line", "a 1\n\0\nb 2\n"),
        ("a zero byte in a name", "a 1\nb\0 2\n"),
        ("a zero byte in a value", "a 1\0\nb 2\n"),
        ("a zero byte in a label value", "a{x=\"\0\"} 1\n"),
        ("a zero byte at the end", "a 1\n\0"),
    ]));
    check(cases).await;
}

#[tokio::test]
async fn names_and_labels_follow_the_grammar() {
    check(lines(&[
        ("a colon in the name", "a:b 1"),
        ("a colon before the name", ":a 1"),
        ("an underscore alone", "_ 1"),
        ("capital letters", "A_B 1"),
        ("a digit in the name", "a1 1"),
        ("a digit before the name", "1a 1"),
        ("a dash in the name", "a-b 1"),
        ("an umlaut in the name", "\u{e4} 1"),
        ("a name alone", "a"),
        ("a label set without a value", "a{x=\"1\"}"),
        ("an empty label set", "a{} 1"),
        ("a space as label set", "a{ } 1"),
        ("a comma as label set", "a{,} 1"),
        ("a comma after the last label", "a{x=\"1\",} 2"),
        ("two commas after the last label", "a{x=\"1\",,} 2"),
        ("a comma before the first label", "a{,x=\"1\"} 2"),
        ("two commas between labels", "a{x=\"1\",,y=\"2\"} 3"),
        ("no comma between labels", "a{x=\"1\"y=\"2\"} 3"),
        ("a space between labels", "a{x=\"1\" y=\"2\"} 3"),
        ("labels that are not sorted", "a{y=\"1\",x=\"2\"} 3"),
        ("a label without a value", "a{x} 1"),
        ("a label without quotes", "a{x=1} 1"),
        ("a label in single quotes", "a{x='1'} 1"),
        ("two equal signs", "a{x==\"1\"} 1"),
        ("no equal sign", "a{x\"1\"} 1"),
        ("an empty label value", "a{x=\"\"} 1"),
        ("an empty label value beside another", "a{x=\"\",y=\"1\"} 1"),
        ("an escaped backslash", "a{x=\"\\\\\"} 1"),
        ("an escaped quote", "a{x=\"\\\"\"} 1"),
        ("an escaped line end", "a{x=\"\\n\"} 1"),
        ("an escaped tab", "a{x=\"\\t\"} 1"),
        ("an escaped letter", "a{x=\"\\q\"} 1"),
        ("a backslash before an escape", "a{x=\"\\\\n\"} 1"),
        ("a backslash before the quote", "a{x=\"\\\"} 1"),
        ("a line end in a label value", "a{x=\"1\n2\"} 1"),
        ("an umlaut in a label value", "a{x=\"\u{e4}\u{1f600}\"} 1"),
        ("a brace in a label value", "a{x=\"}\"} 1"),
        ("a comma in a label value", "a{x=\",\"} 1"),
        ("a hash in a label value", "a{x=\"# HELP\"} 1"),
        ("a tab in a label value", "a{x=\"\t\"} 1"),
        ("an open quote", "a{x=\"1} 1"),
        ("an open label set", "a{x=\"1\" 1"),
        ("a brace too many", "a{x=\"1\"}} 1"),
        ("two label sets", "a{x=\"1\"}{y=\"2\"} 1"),
        ("a digit before the label name", "a{1x=\"1\"} 1"),
        ("a colon in a label name", "a{x:y=\"1\"} 1"),
        ("a dash in a label name", "a{x-y=\"1\"} 1"),
        ("an umlaut in a label name", "a{\u{e4}=\"1\"} 1"),
        ("underscores before a label name", "a{__x=\"1\"} 1"),
        ("the same label twice", "a{x=\"1\",x=\"2\"} 3"),
        ("the same label twice with one value", "a{x=\"1\",x=\"1\"} 3"),
        ("the same label twice, once empty", "a{x=\"\",x=\"1\"} 3"),
        ("a label for the name", "a{__name__=\"b\"} 1"),
        ("an empty label for the name", "a{__name__=\"\"} 1"),
        ("a reserved word as name", "NaN 1"),
        ("a word after the value", "a 1 x"),
        ("an exemplar in the text format", "a 1 # {id=\"7\"} 2"),
        ("a semicolon", "a; 1"),
    ]))
    .await;
}

#[tokio::test]
async fn comments_help_and_types_are_read_as_prometheus_reads_them() {
    let mut cases = lines(&[
        ("a hash", "#"),
        ("a hash and a space", "# "),
        ("a comment without a space", "#comment"),
        ("a comment behind spaces", "  # comment"),
        ("a help text", "# HELP a It is good."),
        ("a help text without words", "# HELP a"),
        ("a help text of a space", "# HELP a "),
        ("help for nothing", "# HELP"),
        ("help for nothing and a space", "# HELP "),
        ("help without a space", "#HELP a b"),
        ("help with two spaces", "#  HELP a b"),
        ("help with a tab", "#\tHELP\ta\tb"),
        ("help in small letters", "# help a b"),
        ("help for a bad name", "# HELP 1a b"),
        ("help with escapes", "# HELP a \\\\ \\n \\q"),
        ("help with an umlaut", "# HELP a \u{e4}"),
        ("a type without samples", "# TYPE a counter"),
        ("a type without a word", "# TYPE a"),
        ("a type of nothing", "# TYPE"),
        ("an unknown type", "# TYPE a sparse"),
        ("the unknown type", "# TYPE a unknown"),
        ("the untyped type", "# TYPE a untyped"),
        ("the info type", "# TYPE a info"),
        ("the state set type", "# TYPE a stateset"),
        ("the gauge histogram type", "# TYPE a gaugehistogram"),
        ("a type with a capital letter", "# TYPE a Counter"),
        ("a type and a space", "# TYPE a counter "),
        ("a type and a word", "# TYPE a counter really"),
        ("a type with two spaces", "# TYPE a  counter"),
        ("a type for a bad name", "# TYPE 1a counter"),
        ("a type twice", "# TYPE a counter\n# TYPE a counter\na 1"),
        ("two types", "# TYPE a counter\n# TYPE a gauge\na 1"),
        ("a type behind its samples", "a 1\n# TYPE a counter"),
        ("a type between its samples", "a{x=\"1\"} 1\n# TYPE a counter\na{x=\"2\"} 1"),
        ("a counter that goes down", "# TYPE a counter\na -5"),
        ("a unit", "# UNIT a seconds"),
        ("an end", "# EOF"),
        ("a histogram without a sum", "# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\nh_count 1"),
        ("a summary", "# TYPE s summary\ns{quantile=\"0.5\"} 1\ns_sum 2\ns_count 3"),
        ("quantiles of a gauge", "# TYPE s gauge\ns{quantile=\"1\"} 1\nother{le=\"1\"} 2"),
    ]);
    cases.push(page("everything in one", ALL_IN_ONE));
    check(cases).await;
}

const ALL_IN_ONE: &str = "\
# HELP go_gc_duration_seconds A summary of the GC invocation durations.
# \tTYPE go_gc_duration_seconds summary
go_gc_duration_seconds{quantile=\"0.25\",} 7.424100000000001e-05
go_gc_duration_seconds{quantile=\"0.5\",a=\"b\"} 8.3835e-05
go_gc_duration_seconds_count 99
some:aggregate:rate5m{a_b=\"c\"} 1
# HELP go_goroutines Number of goroutines that currently exist.
# TYPE go_goroutines gauge
go_goroutines 33  \t{T1}
_metric_starting_with_underscore 1
testmetric{_label_starting_with_underscore=\"foo\"} 1
testmetric{label=\"\\\"bar\\\"\"} 1
testmetric{label=\"\\\\bar\"} 1
";

#[tokio::test]
async fn timestamps_are_whole_milliseconds_that_move_forward() {
    let mut cases = lines(&[
        ("a timestamp", "a 1 {T1}"),
        ("a timestamp of zero", "a 1 0"),
        ("a negative timestamp", "a 1 -1"),
        ("a timestamp with a plus sign", "a 1 +1"),
        ("a timestamp with a point", "a 1 1.5"),
        ("a timestamp with an exponent", "a 1 1e3"),
        ("a timestamp that is no number", "a 1 now"),
        ("a timestamp that does not fit", "a 1 9223372036854775808"),
        ("the latest timestamp there is", "a 1 9223372036854775807"),
        ("a timestamp of seconds", "a 1 1600000000"),
        ("two timestamps", "a 1 {T1} {T2}"),
        ("a series with two timestamps", "a 1 {T1}\na 2 {T2}"),
        ("a series that goes back", "a 1 {T2}\na 2 {T1}"),
        ("a series with one timestamp twice", "a 1 {T1}\na 2 {T1}"),
        ("a series with and without timestamp", "a 1\na 2 {T1}"),
        ("a label set with a timestamp", "a{x=\"1\"} 1 {T1}"),
        ("no number with a timestamp", "a NaN {T1}"),
    ]);
    // The second line is in the page twice: without a timestamp of its own it is a duplicate.
    cases.push(line("a series without and with timestamp", "a 2 {T1}\na 1").differs(
        "scrape/scrape.go",
        "
        scrape 1
          report up=1 scraped=4 kept=4 added=3
          after 2
          before 1
        scrape 2
          report up=1 scraped=4 kept=4 added=0
          after 2
          before 1
        stamped: a 2 @1000ms
        ",
    ));
    cases.push(
        page("timestamps that are ignored", "a 1 {T1}\nb 2 {T1}\n").job("honor_timestamps: false"),
    );
    cases.push(page("a timestamp that comes later", "a 1\n").then("a 2 {T1}\n").then("a 3 {T2}\n"));
    cases.push(page("a timestamp that goes away", "a 1 {T1}\n").then("a 2\n").then("b 2\n"));
    cases.push(page("a stamped series that vanishes", "a 1 {T1}\n").then("b 1\n").then("b 2\n"));
    cases
        .push(page("a stamped target that fails", "a 1 {T1}\n").then("a b c\n").then("a 1 {T2}\n"));
    check(cases).await;
}

#[tokio::test]
async fn of_a_series_that_is_there_twice_the_first_sample_wins() {
    let many: String = (0..3000).map(|n| format!("many{{n=\"{n}\"}} {n}\n")).collect();
    let long = "x".repeat(20_000);
    let mut cases = pages(&[
        ("the same line twice", "a 1\na 1\n"),
        ("another value the second time", "a 1\na 2\n"),
        ("three times", "a{x=\"1\"} 1\na{x=\"1\"} 2\na{x=\"1\"} 3\n"),
        ("in another order of labels", "a{x=\"1\",y=\"2\"} 1\na{y=\"2\",x=\"1\"} 2\n"),
        ("in another spelling", "a{x=\"1\"} 1\na{ x=\"1\",} 2\n"),
        ("with an empty label more", "a 1\na{x=\"\"} 2\n"),
        ("with other series between", "a 1\nb 1\na 2\nc 1\na 3\n"),
        ("a name that a report has", "up 7\nscrape_duration_seconds 8\n"),
    ]);
    cases.push(page("three thousand series", &many));
    cases.push(page("a long label value", &format!("a{{x=\"{long}\"}} 1\n")));
    cases.push(page("a long name", &format!("a{long} 1\n")));
    cases.push(page("twice, then once", "a 1\na 2\n").then("a 3\n").then("a 4\na 5\n"));
    cases.push(page("two spellings that take turns", "a{x=\"1\"} 1\n").then("a{x=\"1\",} 2\n"));
    cases.push(
        page("two spellings, then one", "a{x=\"1\"} 1\na{x=\"1\",} 2\n")
            .then("a{x=\"1\",} 3\n")
            .then("b 1\n"),
    );
    check(cases).await;
}
