//! Whatever pages follow each other, each is read as if it were the first: same samples, same
//! verdicts, same families, and stale markers for exactly the series that are gone.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

/// Lines that pages are made of, the odd ones among them.
const LINES: &[&str] = &[
    "a 1\n",
    "a{x=\"1\"} 2\n",
    "a {x=\"1\"} 2\n",
    "a{x=\"1\",} 3\n",
    "a{x=\"2\",y=\"3\"} 4\n",
    "a{y=\"3\",x=\"2\"} 4\n",
    "a_bucket{le=\"1\"} 5\n",
    "a_bucket{le=\"+Inf\"} 5\n",
    "a_sum 5.5\n",
    "a_total 5.5\n",
    "b 6 123456\n",
    "b{quantile=\"0.5\"} NaN\n",
    "b{v=\"line\\nbreak \\\"quoted\\\" \\\\\"} +Inf\n",
    "b{v=\"raw\nbreak\"} 1\n",
    "c\t7\n",
    "c 7 1004000\n",
    "  c 8\n",
    "{\"d.e\"} 9\n",
    "{\"d.e\",x=\"1\"} 9\n",
    "drop_me 1\n",
    "drop_me{x=\"1\"} 1\n",
    "e{x=\"\"} 1\n",
    "# TYPE a histogram\n",
    "# TYPE a counter\n",
    "# TYPE b summary\n",
    "# HELP a Help of a.\n",
    "# HELP b Help of b.\n",
    "# a comment\n",
    "#\n",
    "\n",
    " \n",
];

/// Lines that make a page bad.
const BAD: &[&str] =
    &["a{ 1\n", "a 1 2 3\n", "a} 1\n", "a{x=\"1\"}\n", "# TYPE a odd\n", "a 1\r\n"];

fn line() -> impl Strategy<Value = String> {
    let known = (0..LINES.len()).prop_map(|at| LINES[at].to_owned());
    let numbered = (0..12_u32, any::<i16>()).prop_map(|(n, v)| format!("n{{i=\"{n}\"}} {v}\n"));
    prop_oneof![3 => known, 3 => numbered]
}

/// How one page differs from the one before.
#[derive(Debug, Clone)]
enum Edit {
    Same,
    NewValues(u32),
    Delete(Index),
    Insert(Index, String),
    Move(Index, Index),
    Repeat(Index, Index),
    Bad(Index, usize),
    Reverse,
    NoFinalBreak,
    Truncate(Index),
    Empty,
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = any::<Index>;
    prop_oneof![
        2 => Just(Edit::Same),
        3 => any::<u32>().prop_map(Edit::NewValues),
        3 => at().prop_map(Edit::Delete),
        3 => (at(), line()).prop_map(|(at, line)| Edit::Insert(at, line)),
        2 => (at(), at()).prop_map(|(from, to)| Edit::Move(from, to)),
        1 => (at(), at()).prop_map(|(from, to)| Edit::Repeat(from, to)),
        1 => (at(), 0..BAD.len()).prop_map(|(at, bad)| Edit::Bad(at, bad)),
        1 => Just(Edit::Reverse),
        1 => Just(Edit::NoFinalBreak),
        1 => at().prop_map(Edit::Truncate),
        1 => Just(Edit::Empty),
    ]
}

/// The next page, and the lines that the page after it starts from.
fn apply(lines: &mut Vec<String>, edit: &Edit) -> String {
    let slot = |at: &Index, len: usize| at.index(len + 1);
    match edit {
        Edit::Same | Edit::NoFinalBreak | Edit::Truncate(_) | Edit::Empty | Edit::Bad(..) => {}
        Edit::NewValues(seed) => {
            for (n, line) in lines.iter_mut().enumerate() {
                if let Some((key, _)) = line.clone().rsplit_once("} ")
                    && line.starts_with('n')
                {
                    *line = format!("{key}}} {}\n", seed.rotate_left(n as u32 % 32) >> (n % 30));
                }
            }
        }
        Edit::Delete(at) if !lines.is_empty() => {
            lines.remove(at.index(lines.len()));
        }
        Edit::Insert(at, line) => lines.insert(slot(at, lines.len()), line.clone()),
        Edit::Move(from, to) if !lines.is_empty() => {
            let line = lines.remove(from.index(lines.len()));
            lines.insert(slot(to, lines.len()), line);
        }
        Edit::Repeat(from, to) if !lines.is_empty() => {
            let line = lines[from.index(lines.len())].clone();
            lines.insert(slot(to, lines.len()), line);
        }
        Edit::Reverse => lines.reverse(),
        Edit::Delete(_) | Edit::Move(..) | Edit::Repeat(..) => {}
    }
    let mut page = lines.clone();
    match edit {
        Edit::Bad(at, bad) => page.insert(slot(at, page.len()), BAD[*bad].to_owned()),
        Edit::Empty => page.clear(),
        _ => {}
    }
    let mut page = page.concat();
    match edit {
        Edit::NoFinalBreak => page.truncate(page.trim_end_matches('\n').len()),
        Edit::Truncate(at) => page.truncate(slot(at, page.len())),
        _ => {}
    }
    page
}

fn rules() -> SampleRules {
    let mut rules = SampleRules::of_target([("job", "j"), ("x", "t")].into_iter().collect());
    rules.relabel = dropping("drop_.*");
    rules
}

/// What the page says, without stale markers and exemplars (which are passed on once), and the
/// family of each series.
fn content(page: &Page) -> (Said, BTreeSet<String>) {
    let mut said = page.said();
    said.retain(|_, values| {
        values.retain(|value| !value.starts_with("stale") && !value.starts_with('#'));
        !values.is_empty()
    });
    let layout = page.cache.layout();
    let families = layout.iter().flat_map(|layout| {
        (0..layout.len()).map(|at| format!("{} {:?}", layout.labels(at), layout.family(at)))
    });
    (said, families.collect())
}

/// The series of which the page has a sample without a timestamp of its own.
fn alive(page: &Page) -> BTreeSet<String> {
    let said = page.said().into_iter();
    let plain = said.filter(|(_, values)| {
        values.iter().any(|value| !value.contains(['@', '#']) && value != "stale")
    });
    plain.map(|(series, _)| series).collect()
}

/// The series that go on.
fn going_on(page: &Page) -> BTreeSet<String> {
    let PageCache { layout, living, .. } = &page.cache;
    let labels = layout.iter().flat_map(|layout| {
        let alive = (0..layout.len()).filter(|at| living.has(*at as u32));
        alive.map(|at| layout.labels(at).to_string())
    });
    labels.collect()
}

/// The series that the page ends.
fn ended(page: &Page) -> BTreeSet<String> {
    let said = page.said().into_iter();
    let ended = said.filter(|(_, values)| values.iter().any(|value| value.starts_with("stale")));
    ended.map(|(series, _)| series).collect()
}

fn check_sequence(mut lines: Vec<String>, edits: &[Edit], format: Format) {
    let shared = Shared::new(Symbols::new());
    let mut cached = Page::sharing(&shared, rules());
    cached.format = format;
    let mut living = BTreeSet::new();
    for edit in edits {
        let mut body = apply(&mut lines, edit);
        if format == Format::OpenMetrics && !body.is_empty() {
            body.push_str("# EOF\n");
        }
        let mut fresh = Page::sharing(&shared, rules());
        fresh.format = format;
        fresh.now_ms = cached.now_ms;
        let (got, want) = (cached.read(body.as_bytes()), fresh.read(body.as_bytes()));
        match (got, want) {
            (Ok(got), Ok(want)) => {
                assert_eq!(
                    (got.scraped, got.kept, got.duplicates),
                    (want.scraped, want.kept, want.duplicates),
                    "{body:?}"
                );
                if got.out_of_order == 0 && !body.is_empty() {
                    assert_eq!(content(&cached), content(&fresh), "{body:?}");
                }
                let now = alive(&cached);
                let gone: BTreeSet<String> = living.difference(&now).cloned().collect();
                assert_eq!(ended(&cached), gone, "{body:?}");
                living = now;
            }
            (Err(got), Err(want)) => {
                assert_eq!(got.to_string(), want.to_string(), "{body:?}");
                assert_eq!(
                    (got.counts.scraped, got.counts.kept),
                    (want.counts.scraped, want.counts.kept)
                );
                // What was named before the fault goes on, everything else ends.
                for page in [&mut cached, &mut fresh] {
                    let Page { cache, room, out, now_ms, .. } = page;
                    cache.end(*now_ms, room, out);
                }
                let named = going_on(&fresh);
                assert_eq!(going_on(&cached), named, "{body:?}");
                let gone: BTreeSet<String> = living.difference(&named).cloned().collect();
                assert_eq!(ended(&cached), gone, "{body:?}");
                living = named;
            }
            (got, want) => panic!("{body:?}: cached {got:?}, fresh {want:?}"),
        }
    }
}

/// Lines of OpenMetrics pages.
const STRICT_LINES: &[&str] = &[
    "a 1\n",
    "a{x=\"1\"} 2\n",
    "a{x=\"1\",} 3\n",
    "a_bucket{le=\"1\"} 5 # {t=\"x\"} 0.5\n",
    "a_bucket{le=\"+Inf\"} 5 # {t=\"x\"} 0.5 1000.5\n",
    "a_total 5.5 # {t=\"y\"} 1\n",
    "a_created 12.5\n",
    "b 6 123456.789\n",
    "b{quantile=\"0.5\"} NaN\n",
    "c 7 1004\n",
    "{\"d.e\"} 9\n",
    "drop_me 1\n",
    "# TYPE a histogram\n",
    "# TYPE a counter\n",
    "# TYPE b summary\n",
    "# HELP a Help of a.\n",
    "# UNIT b_seconds seconds\n",
];

fn strict_line() -> impl Strategy<Value = String> {
    let known = (0..STRICT_LINES.len()).prop_map(|at| STRICT_LINES[at].to_owned());
    let numbered = (0..12_u32, any::<i16>()).prop_map(|(n, v)| format!("n{{i=\"{n}\"}} {v}\n"));
    prop_oneof![3 => known, 3 => numbered]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_page_of_text_is_read_as_if_it_were_the_first(
        lines in prop::collection::vec(line(), 0..40),
        edits in prop::collection::vec(edit(), 1..12),
    ) {
        check_sequence(lines, &edits, Format::Text);
    }

    #[test]
    fn every_page_of_openmetrics_is_read_as_if_it_were_the_first(
        lines in prop::collection::vec(strict_line(), 0..40),
        edits in prop::collection::vec(edit(), 1..12),
    ) {
        check_sequence(lines, &edits, Format::OpenMetrics);
    }
}
