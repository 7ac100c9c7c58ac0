//! Targets that change from scrape to scrape in ways that nobody thought of: pages by chance, from
//! a fixed seed.
//!
//! Left out is what 2.42 is known to do otherwise than 3.14: pages that break behind a series that
//! is new, series with and without a timestamp in one page, and timestamps that stand still.

use testkit::Reply;

use super::case::{Case, reply};
use super::check;

/// Numbers that look like chance (xorshift).
struct Chance(u64);

/// Series, in several spellings each.
const SERIES: [[&str; 3]; 8] = [
    ["a", "a{}", "a{ }"],
    ["a{x=\"1\"}", "a{x=\"1\",}", "a{ x = \"1\" }"],
    ["a{x=\"2\"}", "a{x=\"2\",y=\"\"}", "a {x=\"2\"}"],
    ["a{x=\"1\",y=\"2\"}", "a{y=\"2\",x=\"1\"}", "a{y=\"2\",x=\"1\",}"],
    ["b", "b{}", "b{x=\"\"}"],
    ["b{job=\"mine\"}", "b{job=\"mine\",}", "b{ job=\"mine\"}"],
    ["c_total", "c_total{}", "c_total{ }"],
    ["d{z=\"\\\"q\\\" \\\\ \\n\"}", "d{z=\"\\\"q\\\" \\\\ \\n\",}", "d {z=\"\\\"q\\\" \\\\ \\n\"}"],
];

const VALUES: [&str; 12] =
    ["0", "1", "-1", "1.5", "1e3", "NaN", "+Inf", "-Inf", "-0", "007", "123456789.125", "5e-324"];

const COMMENTS: [&str; 7] = [
    "# TYPE a gauge",
    "# TYPE a counter",
    "# HELP a Help.",
    "# HELP b Other help.",
    "# TYPE c_total counter",
    "# a comment",
    "",
];

// === impl Chance ===

impl Chance {
    /// A number below `end`.
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end
    }

    fn of<'t>(&mut self, things: &[&'t str]) -> &'t str {
        things[self.below(things.len())]
    }

    /// A page of the series that are there now, stamped where `stamped` says so.
    fn page(&mut self, nth: usize, there: &[usize], stamped: &[bool]) -> String {
        let mut page = String::new();
        for series in there {
            if self.below(4) == 0 {
                page += self.of(&COMMENTS);
                page.push('\n');
            }
            let spelling = if self.below(5) == 0 { self.below(3) } else { 0 };
            let n_times = if self.below(12) == 0 { 2 } else { 1 };
            for _ in 0..n_times {
                page += SERIES[*series][spelling];
                page.push(' ');
                page += self.of(&VALUES);
                if stamped[*series] {
                    page += &format!(" {{T{}}}", nth + 1);
                }
                page.push('\n');
            }
        }
        page
    }

    fn fault(&mut self) -> Option<Reply> {
        match self.below(24) {
            0 => Some(Reply::status(500)),
            1 => Some(Reply::closed()),
            2 => Some(Reply::page("!\n")),
            3 => Some(Reply::page("")),
            _ => None,
        }
    }

    /// One target: some series come, some go, some change places, each scrape.
    fn case(&mut self, name: &'static str, n_pages: usize) -> Case {
        let mut there: Vec<usize> = (0..SERIES.len()).filter(|_| self.below(3) > 0).collect();
        let stamped: Vec<bool> = SERIES.iter().map(|_| self.below(6) == 0).collect();
        let mut replies = Vec::new();
        for nth in 0..n_pages {
            let text = self.page(nth, &there, &stamped);
            replies.push(self.fault().unwrap_or_else(|| Reply::page(text)));
            for series in 0..SERIES.len() {
                match there.iter().position(|known| *known == series) {
                    Some(at) if self.below(5) == 0 => drop(there.remove(at)),
                    Some(_) => {}
                    None if self.below(4) == 0 => {
                        let at = self.below(there.len() + 1);
                        there.insert(at, series);
                    }
                    None => {}
                }
            }
            if self.below(5) == 0 {
                there.reverse();
            }
        }
        Case { replies, ..reply(name, Reply::status(500)) }
    }
}

async fn check_seed(seed: u64, more: &str) {
    const N_CASES: usize = 40;
    const N_PAGES: usize = 8;
    let mut chance = Chance(seed);
    let mut cases = Vec::new();
    for _ in 0..N_CASES {
        cases.push(chance.case("by chance", N_PAGES).job(more));
    }
    check(cases).await;
}

#[tokio::test]
async fn pages_by_chance_become_the_same_samples() {
    check_seed(0x2545_f491_4f6c_dd1d, "").await;
}

#[tokio::test]
async fn pages_by_chance_become_the_same_samples_with_other_rules() {
    let rules = "honor_labels: true\nmetric_relabel_configs: [\
                 {action: drop, source_labels: [__name__], regex: c_total}, \
                 {source_labels: [x], target_label: was, replacement: 'x-$1'}]";
    check_seed(0x9e37_79b9_7f4a_7c15, rules).await;
}

/// Lines that are good, before a few of their characters are others.
const LINES: [&str; 9] = [
    "a 1",
    "a{x=\"1\"} 2.5",
    "a{x=\"1\",y=\"a b\"} -3e-2 {T1}",
    "a_b:c{x_1=\"\\\"q\\\\\"} +Inf",
    "# HELP a Some words.\na 1",
    "# TYPE a gauge\na 1",
    "a{} NaN",
    "a{x=\"\"} 7 {T1}",
    "a\t{ x = \"1\" , } 4",
];

/// What they become.
const ODD: [&str; 22] = [
    "", " ", "\t", "\n", "{", "}", "\"", "\\", ",", "=", "#", "0", "1", ".", "-", "+", "e", "_",
    ":", "x", "\u{e4}", "\r",
];

/// A good line with one or two characters that are others, more or missing.
fn odd_line(chance: &mut Chance, good: &[&str]) -> String {
    let mut line: Vec<String> = chance.of(good).chars().map(String::from).collect();
    for _ in 0..=chance.below(2) {
        let at = chance.below(line.len());
        // The place of a timestamp is left alone.
        let near = line[at.saturating_sub(3)..(at + 4).min(line.len())].concat();
        if near.contains("T1") || near.contains("S1") {
            continue;
        }
        let odd = chance.of(&ODD);
        line[at] = if chance.below(2) == 0 { odd.to_owned() } else { line[at].clone() + odd };
    }
    line.concat()
}

/// What 3.14 reads otherwise: names in quotes, blanks before a name, which then belong to it.
fn is_read_otherwise(line: &str) -> bool {
    line.contains("{\"") || line.contains(",\"") || line.starts_with([' ', '\t']) || {
        line.contains("\n ") || line.contains("\n\t") || line.contains("{ \"")
    }
}

#[tokio::test]
async fn lines_by_chance_are_read_the_same() {
    const N_CASES: usize = 120;
    let mut chance = Chance(0x1234_5678_9abc_def1);
    let mut cases = Vec::new();
    while cases.len() < N_CASES {
        let line = odd_line(&mut chance, &LINES);
        if !is_read_otherwise(&line) {
            // The odd line first: of a page that fails nothing is new then.
            cases.push(reply("a line by chance", Reply::page(format!("{line}\nafter 2\n"))));
        }
    }
    check(cases).await;
}

/// Lines of OpenMetrics that are good.
const STRICT_LINES: [&str; 8] = [
    "a 1",
    "a{x=\"1\",y=\"a b\"} -3e-2 {S1}",
    "a_total{x=\"\\\"q\\\\\"} 5 # {id=\"7\"} 0.5",
    "a_total 5 {S1} # {id=\"7\",b=\"c\"} 0.5",
    "# HELP a Some words.\na 1",
    "# TYPE a gauge\na 1",
    "# TYPE a_seconds gauge\n# UNIT a_seconds seconds\na_seconds 1",
    "a{} NaN",
];

#[tokio::test]
async fn lines_of_openmetrics_by_chance_are_read_the_same() {
    const N_CASES: usize = 120;
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let mut chance = Chance(0xfeed_5678_9abc_def1);
    let mut cases = Vec::new();
    while cases.len() < N_CASES {
        let line = odd_line(&mut chance, &STRICT_LINES);
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        // And commas after the last label, and exemplars of anything but counters.
        let is_new = line.contains(",}") || line.contains("# {") && !name.ends_with("_total");
        if !is_read_otherwise(&line) && !is_new {
            let page = Reply::page(format!("{line}\nafter 2\n# EOF\n")).typed(content_type);
            cases.push(reply("a line of OpenMetrics by chance", page));
        }
    }
    check(cases).await;
}
