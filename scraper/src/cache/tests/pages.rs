//! Single pages and short sequences: staleness, counts, timestamps, families.

use super::*;
use crate::sample_rules::SampleLimits;

#[test]
fn a_series_that_vanishes_ends_once() {
    let mut page = Page::plain();
    page.check("a 1\nb 2\n", &[r#"{__name__="a"} 1"#, r#"{__name__="b"} 2"#]);
    page.check("b 3\n", &[r#"{__name__="a"} stale"#, r#"{__name__="b"} 3"#]);
    page.check("b 4\n", &[r#"{__name__="b"} 4"#]);
}

#[test]
fn the_layout_stays_the_same_as_long_as_the_series_do() {
    let mut page = Page::plain();
    page.counts("# TYPE a counter\na 1\nb{x=\"1\"} 2\n");
    let first = page.cache.layout().unwrap().id();
    for same in
        ["# TYPE a counter\na 12345\nb{x=\"1\"} -2e9\n", "b{x=\"1\"} 5\n# TYPE a counter\na 6 \n"]
    {
        page.counts(same);
        assert_eq!(page.cache.layout().unwrap().id(), first);
        assert!(page.out[0].carried.is_none());
    }
    page.check(
        "# TYPE a counter\na 7\nb{x=\"1\"} 8\n",
        &[r#"{__name__="a"} 7"#, r#"{__name__="b", x="1"} 8"#],
    );
    page.counts("# TYPE a counter\na 1\nb{x=\"2\"} 2\n");
    assert_ne!(page.cache.layout().unwrap().id(), first);
    let carried = page.out[1].carried.as_ref().unwrap();
    assert_eq!(carried.from, first);
    assert_eq!(carried.index, [0, NEW_SERIES]);
}

#[test]
fn a_refused_page_ends_what_it_has_not_named_and_forgets_no_line() {
    let mut page = Page::plain();
    page.counts("a 1\nb 2\n");
    let layout = page.cache.layout().unwrap().id();
    let counts = page.check_refused(
        b"a 1\nb \xff\n",
        "strconv.ParseFloat: parsing \"\\xff\": invalid syntax while parsing: \"b \\xff\"",
    );
    assert_eq!(counts, PageCounts { scraped: 1, kept: 1, ..PageCounts::default() });
    page.check_ended(&[r#"{__name__="b"} stale"#]);
    page.check_ended(&[r#"{__name__="a"} stale"#]);
    page.check_ended(&[]);
    let counts = page.check("a 3\nb 4\n", &[r#"{__name__="a"} 3"#, r#"{__name__="b"} 4"#]);
    assert_eq!(counts.series_added, 0);
    assert_eq!(page.cache.layout().unwrap().id(), layout);
}

#[test]
fn what_a_refused_page_has_named_ends_with_the_page_that_lacks_it() {
    let mut page = Page::plain();
    page.counts("a 1\nb 2\n");
    page.read(b"new 1\na 1\n!").unwrap_err();
    page.check_ended(&[r#"{__name__="b"} stale"#]);
    page.read(b"newer 1\nnew 1\n!").unwrap_err();
    page.check_ended(&[r#"{__name__="a"} stale"#]);
    let counts = page.check(
        "a 1\nnewer 3\n",
        &[r#"{__name__="a"} 1"#, r#"{__name__="new"} stale"#, r#"{__name__="newer"} 3"#],
    );
    assert_eq!(counts.series_added, 0, "both were counted when they were refused");
    page.check("a 1\nnewer 4\n", &[r#"{__name__="a"} 1"#, r#"{__name__="newer"} 4"#]);
}

#[test]
fn of_a_page_with_too_many_samples_those_within_the_limit_are_named() {
    let mut rules = SampleRules::of_target(Labels::default());
    rules.limits = SampleLimits { samples: 2, ..SampleLimits::default() };
    let mut page = Page::new(rules);
    page.check_refused(b"a 1\nb 2\nc 3\n", "sample limit exceeded");
    page.check_ended(&[]);
    page.check("a 4\n", &[r#"{__name__="a"} 4"#, r#"{__name__="b"} stale"#]);
}

#[test]
fn zero_has_no_sign() {
    let mut page = Page::plain();
    page.check("a -0\nb -0 \n", &[r#"{__name__="a"} 0"#, r#"{__name__="b"} 0"#]);
    page.check("a -0.0\nb -0 \n", &[r#"{__name__="a"} 0"#, r#"{__name__="b"} 0"#]);
}

#[test]
fn an_empty_body_is_a_good_page_that_ends_every_series() {
    let mut page = Page::plain();
    assert_eq!(page.counts(""), PageCounts::default());
    assert!(page.out.is_empty());
    page.counts("a 1\n");
    assert_eq!(page.check("", &[r#"{__name__="a"} stale"#]), PageCounts::default());
    page.check("", &[]);
    assert_eq!(page.check("a 2\n", &[r#"{__name__="a"} 2"#]).series_added, 0);
}

#[test]
fn a_page_of_comments_is_a_good_page() {
    let mut page = Page::plain();
    page.counts("a 1\n");
    let counts = page.check("# nothing here\n\n \n", &[r#"{__name__="a"} stale"#]);
    assert_eq!(counts, PageCounts::default());
    page.check("# nothing here\n\n \n", &[]);
}

#[test]
fn of_a_repeated_line_the_first_wins_and_the_rest_is_counted() {
    let mut page = Page::plain();
    for _ in 0..3 {
        let counts =
            page.check("a 1\na 2\nb 3\na 4\n", &[r#"{__name__="a"} 1"#, r#"{__name__="b"} 3"#]);
        assert_eq!((counts.scraped, counts.kept, counts.duplicates), (4, 4, 2));
    }
    let counts = page.check("b 3\na 4\n", &[r#"{__name__="a"} 4"#, r#"{__name__="b"} 3"#]);
    assert_eq!(counts.duplicates, 0);
}

#[test]
fn two_spellings_of_a_series_are_both_sent_as_the_agent_does() {
    let mut page = Page::plain();
    for n in 1..4 {
        page.check(
            "a{x=\"1\",y=\"2\"} 1\na{y=\"2\",x=\"1\"} 2\n",
            &[&format!(r#"{{__name__="a", x="1", y="2"}} 1 2@{}"#, 1_000_000 + n * 5000)],
        );
    }
    page.check("a{y=\"2\",x=\"1\"} 5\n", &[r#"{__name__="a", x="1", y="2"} 5"#]);
    let layout = page.cache.layout().unwrap().id();
    page.check("a{y=\"2\",x=\"1\",} 6\n", &[r#"{__name__="a", x="1", y="2"} 6"#]);
    assert_eq!(page.cache.layout().unwrap().id(), layout, "a new spelling is no new series");
}

#[test]
fn dropped_series_count_as_scraped_only() {
    let mut rules = SampleRules::of_target([("job", "j")].into_iter().collect());
    rules.relabel = dropping("go_.*");
    let mut page = Page::new(rules);
    for added in [1, 0, 0] {
        let counts = page.check("go_x 1\na 2\ngo_y 3 17\n", &[r#"{__name__="a", job="j"} 2"#]);
        let want = PageCounts { scraped: 3, kept: 1, series_added: added, ..Default::default() };
        assert_eq!(counts, want);
    }
    page.check_refused(
        b"go_x one\na 2\n",
        "strconv.ParseFloat: parsing \"one\": invalid syntax while parsing: \"go_x one\"",
    );
}

#[test]
fn the_sample_limit_counts_to_the_end_and_added_series_only_up_to_it() {
    let mut rules = SampleRules::of_target(Labels::default());
    rules.limits = SampleLimits { samples: 2, ..SampleLimits::default() };
    let mut page = Page::new(rules);
    let want = PageCounts { scraped: 4, kept: 4, series_added: 2, ..PageCounts::default() };
    assert_eq!(page.check_refused(b"a 1\nb 2\nc 3\nd 4\n", "sample limit exceeded"), want);
    let again = PageCounts { series_added: 0, ..want };
    assert_eq!(page.check_refused(b"a 1\nb 2\nc 3\nd 4\n", "sample limit exceeded"), again);
    assert_eq!(page.counts("a 1\nc 2\nc 2\n").series_added, 1);
    assert_eq!(page.counts("a 1\nc 2\nc 2\n").duplicates, 1);
}

#[test]
fn an_explicit_timestamp_is_taken_and_ends_no_series() {
    let mut page = Page::plain();
    page.check("a 1 900000\nb 2\n", &[r#"{__name__="a"} 1@900000"#, r#"{__name__="b"} 2"#]);
    let counts = page.check("a 1 900000\nb 2\n", &[r#"{__name__="b"} 2"#]);
    assert_eq!(counts.out_of_order, 1);
    page.check("a 1 900001\nb 2\n", &[r#"{__name__="a"} 1@900001"#, r#"{__name__="b"} 2"#]);
    page.check("b 2\n", &[r#"{__name__="b"} 2"#]);
}

#[test]
fn a_timestamp_far_ahead_is_out_of_bounds() {
    let mut page = Page::plain();
    let counts = page.check("a 1 1605001\n", &[]);
    assert_eq!((counts.out_of_bounds, counts.kept), (1, 1));
    page.check("a 1 1610000\n", &[r#"{__name__="a"} 1@1610000"#]);
    let counts = page.check("a 2\n", &[]);
    assert_eq!(counts.out_of_order, 1, "the scrape is not newer than the last sample");
}

#[test]
fn a_series_whose_samples_get_timestamps_ends_unless_these_are_tracked() {
    let mut page = Page::plain();
    page.counts("a 1\n");
    page.check("a 1 1009000\n", &[r#"{__name__="a"} 1@1009000 stale@1010000"#]);
    page.check("a 1 1014000\n", &[r#"{__name__="a"} 1@1014000"#]);
    let mut rules = SampleRules::of_target(Labels::default());
    rules.track_timestamps_staleness = true;
    let mut page = Page::new(rules);
    page.counts("a 1\n");
    page.check("a 1 1009000\n", &[r#"{__name__="a"} 1@1009000"#]);
    page.check("b 1\n", &[r#"{__name__="a"} stale"#, r#"{__name__="b"} 1"#]);
}

#[test]
fn timestamps_are_ignored_when_they_are_not_honored() {
    let mut rules = SampleRules::of_target(Labels::default());
    rules.honor_timestamps = false;
    let mut page = Page::new(rules);
    for _ in 0..2 {
        page.check("a 1 900000\n", &[r#"{__name__="a"} 1"#]);
    }
    page.check("b 1\n", &[r#"{__name__="a"} stale"#, r#"{__name__="b"} 1"#]);
}

#[test]
fn bounds_become_canonical_under_the_type_that_was_declared_last() {
    let mut page = Page::plain();
    let lines = "h_bucket{le=\"1\"} 3\ns{quantile=\"0.50\"} 4\n";
    page.check(
        &format!("# TYPE h histogram\n{lines}"),
        &[r#"{__name__="h_bucket", le="1.0"} 3"#, r#"{__name__="s", quantile="0.50"} 4"#],
    );
    page.check(
        &format!("# TYPE h summary\n{lines}"),
        &[
            r#"{__name__="h_bucket", le="1"} 3"#,
            r#"{__name__="h_bucket", le="1.0"} stale"#,
            r#"{__name__="s", quantile="0.5"} 4"#,
            r#"{__name__="s", quantile="0.50"} stale"#,
        ],
    );
}

#[test]
fn a_bare_name_that_gets_labels_is_another_series() {
    let mut page = Page::plain();
    page.counts("metric 1\nother 2\n");
    for changed in ["metric{a=\"1\"} 1\nother 2\n", "metric {a=\"1\"} 1\nother 2\n"] {
        page.check(
            changed,
            &if changed.contains(" {") {
                vec![r#"{__name__="metric", a="1"} 1"#, r#"{__name__="other"} 2"#]
            } else {
                vec![
                    r#"{__name__="metric", a="1"} 1"#,
                    r#"{__name__="metric"} stale"#,
                    r#"{__name__="other"} 2"#,
                ]
            },
        );
    }
    page.check(
        "metric_more 1\nother 2\n",
        &[
            r#"{__name__="metric", a="1"} stale"#,
            r#"{__name__="metric_more"} 1"#,
            r#"{__name__="other"} 2"#,
        ],
    );
}

#[test]
fn families_say_type_and_help_of_their_own_series_only() {
    let mut page = Page::plain();
    page.counts(
        "# HELP a Help\\nof \\\\ a.\n# TYPE a counter\na_total 1\nb 2\n\
         # TYPE h histogram\nh_bucket{le=\"1\"} 3\nh_sum 4\nhx 5\n",
    );
    let layout = page.cache.layout().unwrap();
    let family = |at: usize| {
        let family = layout.family(at);
        format!("{} {} {:?}", family.name, family.kind, family.help)
    };
    assert_eq!(family(0), r#"a counter "Help\nof \\ a.""#);
    assert_eq!(family(1), r#"b unknown """#);
    assert_eq!(family(2), r#"h histogram """#);
    assert_eq!(family(3), r#"h histogram """#);
    assert_eq!(family(4), r#"hx unknown """#);
}

#[test]
fn a_changed_help_text_is_a_new_layout_of_the_same_series() {
    let mut page = Page::plain();
    page.counts("# HELP a one\na 1\nb 2\n");
    page.check("# HELP a two\na 1\nb 2\n", &[r#"{__name__="a"} 1"#, r#"{__name__="b"} 2"#]);
    assert_eq!(&*page.cache.layout().unwrap().family(0).help, "two");
    assert_eq!(page.out[0].carried.as_ref().unwrap().index, [0, 1]);
    page.counts("# HELP a two\n# TYPE a gauge\na 1\nb 2\n");
    let family = page.cache.layout().unwrap().family(0);
    assert_eq!((&*family.help, family.kind.name()), ("two", "gauge"));
}

#[test]
fn a_label_limit_fails_the_page_after_what_was_counted() {
    let mut rules = SampleRules::of_target(Labels::default());
    rules.limits = SampleLimits { labels: 2, ..SampleLimits::default() };
    let mut page = Page::new(rules);
    let counts = page.check_refused(
        b"a 1\nb{x=\"1\",y=\"2\"} 2\nc 3\n",
        "label_limit exceeded (metric: b, number of labels: 3, limit: 2)",
    );
    assert_eq!((counts.scraped, counts.kept, counts.series_added), (2, 1, 1));
}

#[test]
fn targets_with_the_same_pages_share_families_and_symbols() {
    let shared = Shared::new(Symbols::new());
    let rules = |instance| SampleRules::of_target([("instance", instance)].into_iter().collect());
    let body = "# HELP a text\n# TYPE a gauge\na{x=\"1\"} 1\n";
    let mut first = Page::sharing(&shared, rules("one"));
    let mut second = Page::sharing(&shared, rules("two"));
    first.check(body, &[r#"{__name__="a", instance="one", x="1"} 1"#]);
    second.check(body, &[r#"{__name__="a", instance="two", x="1"} 1"#]);
    let family = |page: &Page| Arc::clone(page.cache.layout().unwrap().family(0));
    assert!(Arc::ptr_eq(&family(&first), &family(&second)));
    assert_eq!(first.shared.symbols.read().len(), 4);
}
