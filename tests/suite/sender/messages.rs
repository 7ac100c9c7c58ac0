//! What a message says of a page: one table, sent as 1.0 and as 2.0.

use testkit::{
    Config, DEADLINE, FakeReceiver, FakeTarget, Reply, Series, Version, config, job, wait_until,
};

use crate::rollcall;

/// A page, and what must be in the series that are sent of it.
struct Row {
    name: &'static str,
    page: Reply,
    check: fn(&Sent),
    /// Whether the page is bad, and said to be.
    is_bad: bool,
}

/// What was sent of one page.
struct Sent {
    name: &'static str,
    series: Vec<Series>,
}

fn text(name: &'static str, page: &str, check: fn(&Sent)) -> Row {
    Row { name, page: Reply::page(page.to_owned()), check, is_bad: false }
}

fn open_metrics(name: &'static str, page: &str, check: fn(&Sent)) -> Row {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let page = Reply::page(format!("{page}# EOF\n")).typed(content_type);
    Row { name, page, check, is_bad: false }
}

// === impl Sent ===

impl Sent {
    /// The first message about the series of this name.
    #[track_caller]
    fn series(&self, name: &str) -> &Series {
        self.find(name).unwrap_or_else(|| panic!("{}: no {name} in {:#?}", self.name, self.series))
    }

    fn find(&self, name: &str) -> Option<&Series> {
        self.series.iter().find(|series| series.labels["__name__"] == name)
    }

    #[track_caller]
    fn value(&self, name: &str) -> f64 {
        self.series(name).samples[0].1
    }

    #[track_caller]
    fn label(&self, series: &str, label: &str) -> &str {
        self.series(series).labels.get(label).map_or("", String::as_str)
    }
}

/// Runs all rows through one rollcall, and checks each.
async fn check(rows: Vec<Row>, version: Version) {
    let pages: Vec<Reply> = rows.iter().map(|row| row.page.clone()).collect();
    let target = FakeTarget::answering(move |request, _| {
        let number = request.path().trim_start_matches('/').parse::<usize>();
        number.map_or(Reply::status(404), |number| pages[number].clone())
    })
    .await;
    let receiver = FakeReceiver::accepting().await;
    let app = rollcall().config(&scraping(&rows, &target, &receiver, version)).start().await;
    let of = |at: usize| -> Vec<Series> {
        let at = at.to_string();
        let pushes = receiver.pushes();
        let series = pushes.into_iter().flat_map(|push| push.series);
        series.filter(|series| series.labels.get("case") == Some(&at)).collect()
    };
    wait_until("every page was sent twice", DEADLINE, || async {
        let n_ups =
            |at: usize| receiver.samples(&[("__name__", "up"), ("case", &at.to_string())]).len();
        let missing = (0..rows.len()).find(|at| n_ups(*at) < 2);
        missing.map_or(Ok(()), |at| Err(format!("{}\n{}", rows[at].name, app.log())))
    })
    .await;
    assert!(receiver.pushes().iter().all(|push| push.version == version));
    for (at, row) in rows.iter().enumerate() {
        (row.check)(&Sent { name: row.name, series: of(at) });
    }
    let bad = (0..rows.len()).filter(|at| rows[*at].is_bad);
    let announced: Vec<String> = bad.map(|at| format!("{}/{at}", target.address())).collect();
    app.stop_expecting(&announced.iter().map(String::as_str).collect::<Vec<_>>()).await;
}

fn scraping(rows: &[Row], target: &FakeTarget, to: &FakeReceiver, version: Version) -> Config {
    let message = match version {
        Version::One => "prometheus.WriteRequest",
        Version::Two => "io.prometheus.write.v2.Request",
    };
    let mut config = config().global("scrape_interval: 1s").remote_write(&format!(
        "url: {}\nprotobuf_message: {message}\nsend_exemplars: true\n\
         queue_config: {{ batch_send_deadline: 50ms }}",
        to.url()
    ));
    for at in 0..rows.len() {
        config = config.job(job(&format!("job-{at}")).with(&format!(
            "metrics_path: /{at}\nstatic_configs: [{{ targets: ['{}'], labels: {{ case: '{at}' }} }}]",
            target.address()
        )));
    }
    config
}

#[tokio::test]
async fn values_labels_and_names_arrive_as_they_were_in_1() {
    check(common_rows(), Version::One).await;
}

#[tokio::test]
async fn values_labels_and_names_arrive_as_they_were_in_2() {
    check(common_rows(), Version::Two).await;
}

/// What both versions must say the same of.
fn common_rows() -> Vec<Row> {
    let mut rows = values();
    rows.extend(labels());
    rows.extend(families());
    rows
}

fn values() -> Vec<Row> {
    vec![
        text("float_value_encoding", "m 123.45\n", |sent| assert_eq!(sent.value("m"), 123.45)),
        text("integer_value_encoding", "m 42\n", |sent| assert_eq!(sent.value("m"), 42.0)),
        text("zero_value_encoding", "m 0\n", |sent| assert_eq!(sent.value("m"), 0.0)),
        text("negative_value_encoding", "m -15.5\n", |sent| assert_eq!(sent.value("m"), -15.5)),
        text("positive_infinity_encoding", "m +Inf\n", |sent| {
            assert_eq!(sent.value("m"), f64::INFINITY);
        }),
        text("negative_infinity_encoding", "m -Inf\n", |sent| {
            assert_eq!(sent.value("m"), f64::NEG_INFINITY);
        }),
        text("nan_encoding", "m NaN\n", |sent| {
            assert_eq!(sent.value("m").to_bits(), 0x7ff8_0000_0000_0001);
        }),
        text("large_float_values", "m 1.7976931348623157e+308\n", |sent| {
            assert_eq!(sent.value("m"), f64::MAX);
        }),
        text("small_float_values", "m 2.2250738585072014e-308\n", |sent| {
            assert_eq!(sent.value("m"), f64::MIN_POSITIVE);
        }),
        text("scientific_notation", "m 1.23e-4\n", |sent| assert_eq!(sent.value("m"), 0.000123)),
        text("precision_preservation", "m 0.123456789012345\n", |sent| {
            assert_eq!(sent.value("m"), 0.123_456_789_012_345);
        }),
        text("timestamp_milliseconds_format", "m 1\n", |sent| {
            let (timestamp_ms, _) = sent.series("m").samples[0];
            assert!((1_000_000_000_000..10_000_000_000_000).contains(&timestamp_ms));
        }),
        text("timestamp_of_the_scrape", "m 1\n", |sent| {
            assert_eq!(sent.series("m").samples[0].0, sent.series("up").samples[0].0);
        }),
        text(
            "special_float_combinations",
            "m{t=\"1\"} NaN\nm{t=\"2\"} +Inf\nm{t=\"3\"} 0\n",
            |sent| {
                let kinds = sent.series.iter().filter(|series| series.labels["__name__"] == "m");
                let kinds: std::collections::BTreeSet<_> =
                    kinds.map(|s| s.labels["t"].clone()).collect();
                assert_eq!(kinds.len(), 3);
            },
        ),
        Row {
            is_bad: true,
            ..text("a_stale_marker_cannot_be_forged", "m StaleNaN\n", |sent| {
                assert!(sent.find("m").is_none());
                assert_eq!(sent.value("up"), 0.0);
            })
        },
        text("empty_scrape", "# No metrics\n", |sent| {
            assert_eq!(sent.value("scrape_samples_scraped"), 0.0);
            assert_eq!(sent.value("up"), 1.0);
        }),
    ]
}

fn labels() -> Vec<Row> {
    let long_value = "v".repeat(10_240);
    let long_name = "n".repeat(300);
    let many: String = (0..60).map(|n| format!("l{n}=\"v{n}\",")).collect();
    vec![
        text("label_lexicographic_ordering", "m{zzz=\"3\",aaa=\"1\",bbb=\"2\"} 42\n", |sent| {
            assert_eq!((sent.label("m", "aaa"), sent.label("m", "zzz")), ("1", "3"));
        }),
        text("job_instance_labels_present", "m 1\n", |sent| {
            assert!(sent.label("m", "job").starts_with("job-"));
            assert!(sent.label("m", "instance").starts_with("127.0.0.1:"));
        }),
        text("metric_name_with_colons", "http:request:duration:seconds 0.5\n", |sent| {
            assert_eq!(sent.value("http:request:duration:seconds"), 0.5);
        }),
        text("label_values_may_be_empty", "m{empty=\"\"} 42\n", |sent| {
            assert_eq!(sent.label("m", "empty"), "");
            assert!(!sent.series("m").labels.contains_key("empty"));
        }),
        text("unicode_in_label_values", "m{a=\"\u{1f680}\",b=\"\u{6d4b}\u{8bd5}\"} 42\n", |sent| {
            assert_eq!(
                (sent.label("m", "a"), sent.label("m", "b")),
                ("\u{1f680}", "\u{6d4b}\u{8bd5}")
            );
        }),
        text("special_chars_in_label_values", "m{path=\"/api/v1\",q=\"a=b&c=d\"} 42\n", |sent| {
            assert_eq!((sent.label("m", "path"), sent.label("m", "q")), ("/api/v1", "a=b&c=d"));
        }),
        text("escapes_in_label_values", "m{x=\"a\\\\b\\\"c\\nd\"} 42\n", |sent| {
            assert_eq!(sent.label("m", "x"), "a\\b\"c\nd");
        }),
        text("huge_label_values", &format!("m{{x=\"{long_value}\"}} 1\n"), |sent| {
            assert_eq!(sent.label("m", "x").len(), 10_240);
        }),
        text("very_long_metric_name", &format!("{long_name} 1\n"), |sent| {
            assert_eq!(sent.value(&"n".repeat(300)), 1.0);
        }),
        text("very_long_label_names", &format!("m{{{long_name}=\"v\"}} 1\n"), |sent| {
            assert_eq!(sent.label("m", &"n".repeat(300)), "v");
        }),
        text("many_labels_per_series", &format!("m{{{many}}} 1\n"), |sent| {
            assert_eq!(sent.label("m", "l59"), "v59");
            assert_eq!(sent.series("m").labels.len(), 64);
        }),
        text("utf8_names", "{\"a.b\",\"x y\"=\"1\"} 1\n", |sent| {
            assert_eq!(sent.label("a.b", "x y"), "1");
        }),
    ]
}

fn families() -> Vec<Row> {
    let many: String = (0..1_000).map(|n| format!("many{{n=\"{n}\"}} {n}\n")).collect();
    vec![
        text("many_timeseries", &many, |sent| {
            let found = sent.series.iter().filter(|series| series.labels["__name__"] == "many");
            let names: std::collections::BTreeSet<_> =
                found.map(|s| s.labels["n"].clone()).collect();
            assert_eq!(names.len(), 1_000);
        }),
        text("complete_metric_family", HISTOGRAM, |sent| {
            for (name, want) in [("h_sum", 53.5), ("h_count", 7.0)] {
                assert_eq!(sent.value(name), want);
            }
            let buckets = sent.series.iter().filter(|s| s.labels["__name__"] == "h_bucket");
            let bounds: std::collections::BTreeSet<_> =
                buckets.map(|s| s.labels["le"].clone()).collect();
            assert_eq!(bounds.into_iter().collect::<Vec<_>>(), ["+Inf", "0.5", "1.0"]);
        }),
        text(
            "multiple_metric_types",
            "# TYPE c counter\nc 1\n# TYPE g gauge\ng 2\n# TYPE s summary\ns{quantile=\"0.5\"} 3\ns_sum 4\ns_count 5\n",
            |sent| {
                for (name, want) in
                    [("c", 1.0), ("g", 2.0), ("s", 3.0), ("s_sum", 4.0), ("s_count", 5.0)]
                {
                    assert_eq!(sent.value(name), want);
                }
            },
        ),
        open_metrics(
            "exemplar_with_trace_id",
            "# TYPE c counter\nc_total 1 # {trace_id=\"abc\"} 0.5\n",
            |sent| {
                let exemplar = exemplar(sent, "c_total");
                assert_eq!(exemplar.labels, testkit::label_set(&[("trace_id", "abc")]));
                assert_eq!(exemplar.value, 0.5);
                assert_eq!(
                    exemplar.timestamp_ms,
                    sent.series("up").samples[0].0,
                    "the scrape's own"
                );
            },
        ),
        open_metrics(
            "exemplar_timestamp_valid",
            "c_total 1 # {trace_id=\"abc\"} 0.5 1600000000.5\n",
            |sent| {
                assert_eq!(exemplar(sent, "c_total").timestamp_ms, 1_600_000_000_500);
            },
        ),
        open_metrics("exemplar_custom_labels", "c_total 1 # {a=\"1\",b=\"2\"} 1\n", |sent| {
            assert_eq!(
                exemplar(sent, "c_total").labels,
                testkit::label_set(&[("a", "1"), ("b", "2")])
            );
        }),
        open_metrics(
            "exemplar_on_histogram",
            "# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1 # {id=\"7\"} 0.5\nh_count 1\nh_sum 1\n",
            |sent| {
                assert_eq!(exemplar(sent, "h_bucket").labels, testkit::label_set(&[("id", "7")]));
            },
        ),
    ]
}

/// The first exemplar of a series: it may travel in a message of its own.
#[track_caller]
fn exemplar<'s>(sent: &'s Sent, name: &str) -> &'s testkit::Exemplar {
    let found = sent.series.iter().filter(|series| series.labels["__name__"] == name);
    let mut exemplars = found.flat_map(|series| &series.exemplars);
    exemplars.next().unwrap_or_else(|| panic!("{}: no exemplar of {name}", sent.name))
}

const HISTOGRAM: &str = "\
# HELP h How long it took.
# TYPE h histogram
h_bucket{le=\"0.5\"} 1
h_bucket{le=\"1\"} 3
h_bucket{le=\"+Inf\"} 7
h_sum 53.5
h_count 7
";

/// Numbers of the types in 2.0's protobuf definition.
const COUNTER: i32 = 1;
const GAUGE: i32 = 2;
const TYPE_HISTOGRAM: i32 = 3;
const SUMMARY: i32 = 5;
const INFO: i32 = 6;
const STATESET: i32 = 7;

#[track_caller]
fn described(sent: &Sent, name: &str, kind: i32, help: &str, unit: &str) {
    let metadata = sent.series(name).metadata.clone().unwrap_or_default();
    let found = (metadata.kind, metadata.help.as_str(), metadata.unit.as_str());
    assert_eq!(found, (kind, help, unit), "{}: {name}", sent.name);
}

#[tokio::test]
async fn in_2_every_series_says_what_it_is() {
    check(
        vec![
            text("metadata_type_counter", "# HELP c Total.\n# TYPE c counter\nc 1\n", |sent| {
                described(sent, "c", COUNTER, "Total.", "");
            }),
            text("metadata_type_gauge", "# HELP g Now.\n# TYPE g gauge\ng 1\n", |sent| {
                described(sent, "g", GAUGE, "Now.", "");
            }),
            text("metadata_type_histogram", HISTOGRAM, |sent| {
                for name in ["h_bucket", "h_sum", "h_count"] {
                    described(sent, name, TYPE_HISTOGRAM, "How long it took.", "");
                }
            }),
            text("metadata_type_summary", "# TYPE s summary\ns{quantile=\"0.5\"} 1\ns_sum 1\ns_count 1\n", |sent| {
                for name in ["s", "s_sum", "s_count"] {
                    described(sent, name, SUMMARY, "", "");
                }
            }),
            text("metadata_empty_help_allowed", "# TYPE c counter\nc 1\n", |sent| {
                described(sent, "c", COUNTER, "", "");
            }),
            text("metadata_without_a_type", "# HELP u Something.\nu 1\n", |sent| {
                described(sent, "u", 0, "Something.", "");
            }),
            text("no_metadata_at_all", "u 1\n", |sent| described(sent, "u", 0, "", "")),
            text("metadata_help_with_newlines", "# HELP c One\\ntwo.\n# TYPE c counter\nc 1\n", |sent| {
                described(sent, "c", COUNTER, "One\ntwo.", "");
            }),
            text("metadata_help_with_special_chars", "# HELP c \"q\" and \\\\b\n# TYPE c counter\nc 1\n", |sent| {
                described(sent, "c", COUNTER, "\"q\" and \\b", "");
            }),
            text("metadata_consistent_across_series", "# HELP c T.\n# TYPE c counter\nc{x=\"1\"} 1\nc{x=\"2\"} 2\n", |sent| {
                let kinds = sent.series.iter().filter(|series| series.labels["__name__"] == "c");
                for series in kinds {
                    assert_eq!(series.metadata.as_ref().map(|m| m.kind), Some(COUNTER));
                }
            }),
            open_metrics("metadata_unit", "# HELP t_seconds T.\n# TYPE t_seconds gauge\n# UNIT t_seconds seconds\nt_seconds 1\n", |sent| {
                described(sent, "t_seconds", GAUGE, "T.", "seconds");
            }),
            open_metrics("metadata_of_a_counter_with_its_suffix", "# HELP c T.\n# TYPE c counter\nc_total 1\n", |sent| {
                described(sent, "c_total", COUNTER, "T.", "");
            }),
            open_metrics("metadata_type_info", "# TYPE i info\ni_info{v=\"1\"} 1\n", |sent| {
                described(sent, "i_info", INFO, "", "");
            }),
            open_metrics("metadata_type_stateset", "# TYPE s stateset\ns{s=\"on\"} 1\n", |sent| {
                described(sent, "s", STATESET, "", "");
            }),
        ],
        Version::Two,
    )
    .await;
}

#[tokio::test]
async fn in_1_metadata_travels_apart() {
    let target = FakeTarget::serving(HISTOGRAM.to_owned() + "# TYPE g gauge\ng 1\n").await;
    let receiver = FakeReceiver::accepting().await;
    let config = config().scrape(&target).remote_write(&format!(
        "url: {}\nqueue_config: {{ batch_send_deadline: 50ms }}\n\
         metadata_config: {{ send_interval: 200ms }}",
        receiver.url()
    ));
    let app = rollcall().config(&config).start().await;
    let found = wait_until("metadata arrives", DEADLINE, || async {
        let pushes = receiver.pushes();
        let metadata = pushes.iter().find(|push| push.metadata.len() >= 2);
        metadata.cloned().ok_or_else(|| format!("{} pushes", pushes.len()))
    })
    .await;
    assert!(found.series.is_empty());
    let of =
        |family: &str| found.metadata.iter().find(|metadata| metadata.family == family).unwrap();
    // The numbers of 1.0 are others: COUNTER 1, GAUGE 2, HISTOGRAM 3.
    assert_eq!((of("h").kind, of("h").help.as_str()), (3, "How long it took."));
    assert_eq!((of("g").kind, of("g").help.as_str()), (2, ""));
    app.stop().await;
}
