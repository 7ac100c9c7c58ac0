//! Remote write over the wire, 1.0 and 2.0, as a receiver sees it.

use model::{
    ABSENT, Carried, Exemplar, Histogram, HistogramCounts, NEW_SERIES, ResetHint, STALE_MARKER,
    Span, Stamped,
};
use testkit::{FakeReceiver, Push, Reply, Version, is_stale, label_set};

use super::*;

const V2: &str = "protobuf_message: io.prometheus.write.v2.Request";

/// Confirms everything, as a receiver of 2.0 must.
fn confirming() -> impl Fn(&Push, usize) -> Reply + Send + Sync + 'static {
    |push, _| {
        let samples: usize = push.series.iter().map(|series| series.samples.len()).sum();
        let histograms: usize = push.series.iter().map(|series| series.histograms.len()).sum();
        let exemplars: usize = push.series.iter().map(|series| series.exemplars.len()).sum();
        Reply::status(204)
            .header("X-Prometheus-Remote-Write-Samples-Written", &samples.to_string())
            .header("X-Prometheus-Remote-Write-Histograms-Written", &histograms.to_string())
            .header("X-Prometheus-Remote-Write-Exemplars-Written", &exemplars.to_string())
    }
}

fn world(receiver: &FakeReceiver, more: &str) -> World {
    let more = if more.is_empty() { String::new() } else { format!(", {more}") };
    let queue =
        "batch_send_deadline: 10ms, min_backoff: 1ms, max_backoff: 10ms, retry_on_http_429: true";
    World::start(&format!(
        "external_labels: {{ cluster: c1, zone: z }}\n\
         remote_write: [{{ name: r, url: {:?}, queue_config: {{ {queue} }}{more} }}]",
        receiver.url()
    ))
}

/// A page with one of everything: series 0 has its own zone and a stale marker, 1 its own
/// timestamps, 2 a histogram, 3 one with custom bounds, 4 an exemplar and a start, 5 nothing.
fn one_of_everything(world: &World) -> (Target, Samples) {
    let family = Arc::new(Family {
        name: "m".into(),
        kind: MetricType::Counter,
        help: "Help.".into(),
        unit: "s".into(),
    });
    let mut builder = LayoutBuilder::new(&world.symbols);
    builder.push([("__name__", "m0"), ("zone", "own")].into_iter(), &family);
    for name in ["m1", "m2", "m3", "m4", "m5"] {
        builder.push([("__name__", name)].into_iter(), &family);
    }
    let target = world.target_of("a", builder.build());
    let mut values = vec![ABSENT; 6];
    (values[0], values[4]) = (STALE_MARKER, 4.0);
    let exponential = histogram(1, Vec::new());
    let custom = histogram(-53, vec![0.5, 1.0]);
    let labels = [("trace_id", "abc")].into_iter().collect();
    let exemplar = Exemplar { labels, value: 0.25, timestamp_ms: None };
    let layout = Arc::clone(&target.layout);
    let samples = Samples {
        stamped: vec![
            Stamped { series: 1, timestamp_ms: 5, value: 1.5 },
            Stamped { series: 1, timestamp_ms: 6, value: 0.0 },
        ],
        histograms: vec![(2, None, exponential), (3, Some(7), custom)],
        exemplars: vec![(4, exemplar)],
        created: vec![(4, NOW_MS - 1000)],
        ..Samples::plain(Role::Page, layout, values)
    };
    (target, samples)
}

fn histogram(schema: i32, custom_bounds: Vec<f64>) -> Histogram {
    Histogram {
        reset_hint: ResetHint::No,
        schema,
        zero_threshold: 0.001,
        sum: 12.5,
        positive_spans: vec![Span { offset: -1, length: 2 }],
        negative_spans: Vec::new(),
        custom_bounds,
        counts: HistogramCounts::Integer {
            count: 3,
            zero_count: 1,
            positive_deltas: vec![1, -1],
            negative_deltas: Vec::new(),
        },
    }
}

/// Every sample that was accepted, in words.
fn received(receiver: &FakeReceiver) -> Vec<String> {
    let mut received = Vec::new();
    for series in receiver.pushes().iter().flat_map(|push| &push.series) {
        let name = &series.labels["__name__"];
        assert_eq!(series.labels["cluster"], "c1");
        assert_eq!(series.labels["zone"], if name == "m0" { "own" } else { "z" });
        for (timestamp_ms, value) in &series.samples {
            let value = if is_stale(*value) { "stale".to_owned() } else { value.to_string() };
            let start_ms = series.starts_ms.first().copied().unwrap_or_default();
            received.push(format!("{name} {value} @{} ^{start_ms}", timestamp_ms % NOW_MS));
        }
        for found in &series.histograms {
            let (schema, count, at) = (found.schema, found.count, found.timestamp_ms % NOW_MS);
            received.push(format!("{name} histogram {schema} {count} @{at}"));
        }
        for found in &series.exemplars {
            assert_eq!(found.labels, label_set(&[("trace_id", "abc")]));
            let at = found.timestamp_ms % NOW_MS;
            received.push(format!("{name} exemplar {} @{at}", found.value));
        }
    }
    received
}

#[tokio::test]
async fn version_1_carries_everything_but_custom_bounds() {
    let receiver = FakeReceiver::accepting().await;
    let world = world(&receiver, "send_exemplars: true, send_native_histograms: true");
    let (mut target, samples) = one_of_everything(&world);
    world.send(&mut target, vec![samples], NOW_MS + 9);
    let account = world.settled("r").await;
    let want = [
        "m0 stale @9 ^0",
        "m4 4 @9 ^0",
        "m1 1.5 @5 ^0",
        "m1 0 @6 ^0",
        "m2 histogram 1 3 @9",
        "m4 exemplar 0.25 @9",
    ];
    assert_eq!(received(&receiver), want);
    assert_eq!(account.dropped(Reason::CustomBounds).histograms, 1);
    assert_eq!(account.delivered.total(), 6);
    let push = &receiver.pushes()[0];
    assert_eq!(push.version, Version::One);
    let header = |name: &str| push.request.header(name).unwrap_or_default().to_owned();
    assert_eq!(header("content-type"), "application/x-protobuf");
    assert_eq!(header("content-encoding"), "snappy");
    assert_eq!(header("x-prometheus-remote-write-version"), "0.1.0");
    assert!(header("user-agent").starts_with("rollcall/"), "{}", header("user-agent"));
    assert_eq!(header("retry-attempt"), "");
    world.stop().await;
}

#[tokio::test]
async fn version_2_carries_everything_with_metadata_and_starts() {
    let receiver = FakeReceiver::answering(confirming()).await;
    let more = format!("send_exemplars: true, send_native_histograms: true, {V2}");
    let world = world(&receiver, &more);
    let (mut target, samples) = one_of_everything(&world);
    world.send(&mut target, vec![samples], NOW_MS + 9);
    let account = world.settled("r").await;
    let started = NOW_MS - 1000;
    let want = [
        "m0 stale @9 ^0".to_owned(),
        format!("m4 4 @9 ^{started}"),
        "m1 1.5 @5 ^0".to_owned(),
        "m1 0 @6 ^0".to_owned(),
        "m2 histogram 1 3 @9".to_owned(),
        "m3 histogram -53 3 @7".to_owned(),
        "m4 exemplar 0.25 @9".to_owned(),
    ];
    assert_eq!(received(&receiver), want);
    assert_eq!(account.delivered.total(), 7);
    let push = &receiver.pushes()[0];
    let header = |name: &str| push.request.header(name).unwrap_or_default().to_owned();
    let content_type = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
    assert_eq!(header("content-type"), content_type);
    assert_eq!(header("x-prometheus-remote-write-version"), "2.0.0");
    for series in &push.series {
        let metadata = series.metadata.as_ref().unwrap();
        assert_eq!((metadata.kind, &*metadata.help, &*metadata.unit), (1, "Help.", "s"));
    }
    world.stop().await;
}

#[tokio::test]
async fn what_is_not_wanted_is_counted() {
    let receiver = FakeReceiver::accepting().await;
    let world = world(&receiver, "");
    let (mut target, samples) = one_of_everything(&world);
    world.send(&mut target, vec![samples], NOW_MS + 9);
    let account = world.settled("r").await;
    let not_wanted = account.dropped(Reason::NotWanted);
    assert_eq!((not_wanted.histograms, not_wanted.exemplars), (2, 1));
    assert_eq!(account.delivered.total(), 4);
    world.stop().await;
}

#[tokio::test]
async fn a_receiver_that_answers_415_is_sent_version_1_from_then_on() {
    let receiver = FakeReceiver::answering(|push, _| match push.version {
        Version::Two => Reply::status(415),
        Version::One => Reply::status(204),
    })
    .await;
    let more = format!("send_exemplars: true, send_native_histograms: true, {V2}");
    let world = world(&receiver, &more);
    let (mut target, samples) = one_of_everything(&world);
    world.send(&mut target, vec![samples], NOW_MS + 9);
    let account = world.settled("r").await;
    assert_eq!(received(&receiver).len(), 6);
    assert_eq!(account.dropped(Reason::CustomBounds).histograms, 1);
    world.scrape(&mut target, 1);
    world.settled("r").await;
    assert_eq!(receiver.refused().len(), 1);
    world.stop().await;
}

#[tokio::test]
async fn a_shortfall_in_what_version_2_confirms_is_counted_as_lost() {
    let receiver = FakeReceiver::refusing(
        Reply::status(200).header("X-Prometheus-Remote-Write-Samples-Written", "3"),
    )
    .await;
    let world = world(&receiver, V2);
    let mut target = world.target("a", 5);
    world.scrape(&mut target, 1);
    let account = world.settled("r").await;
    assert_eq!(account.delivered.samples, 3);
    assert_eq!(dropped(&account, Reason::NotWritten), 2);

    let silent = ["Samples", "Histograms", "Exemplars"]
        .into_iter()
        .fold(Reply::status(200), |reply, what| {
            reply.header(&format!("X-Prometheus-Remote-Write-{what}-Written"), "?")
        });
    receiver.answer(silent);
    world.scrape(&mut target, 2);
    let account = world.settled("r").await;
    assert_eq!(dropped(&account, Reason::Refused), 5);
    world.stop().await;
}

#[tokio::test]
async fn other_4xx_drop_the_block_and_5xx_are_tried_again() {
    let receiver = FakeReceiver::refusing(Reply::status(400).body("out of order\nmore")).await;
    let world = world(&receiver, "");
    let mut target = world.target("a", 5);
    world.scrape(&mut target, 1);
    let account = world.settled("r").await;
    assert_eq!(dropped(&account, Reason::Refused), 5);
    let error = world.view("r").last_error.unwrap();
    assert_eq!(error.message, "server returned HTTP status 400 Bad Request: out of order");

    receiver.answer(Reply::status(500));
    world.scrape(&mut target, 2);
    receiver.wait_for_pushes(4).await;
    receiver.answer(Reply::closed());
    receiver.wait_for_pushes(6).await;
    receiver.accept();
    let account = world.settled("r").await;
    assert_eq!(account.delivered.samples, 5);
    let attempts = receiver.pushes()[0].request.header("retry-attempt").map(str::to_owned);
    assert!(attempts.unwrap().parse::<u32>().unwrap() >= 5);
    assert!(world.view("r").retried.samples >= 25);
    world.stop().await;
}

#[tokio::test]
async fn a_receiver_that_asks_for_rest_gets_it() {
    let receiver = FakeReceiver::answering(|_, before| match before {
        0 => Reply::status(429).header("Retry-After", "1"),
        _ => Reply::status(204),
    })
    .await;
    let world = world(&receiver, "");
    let mut target = world.target("a", 5);
    world.scrape(&mut target, 1);
    world.settled("r").await;
    let waited = receiver.pushes()[0].at - receiver.refused()[0].at;
    assert!(waited >= Duration::from_millis(950), "{waited:?}");
    world.stop().await;
}

#[tokio::test]
async fn a_receiver_that_asks_for_no_rest_has_the_usual_one() {
    let receiver = FakeReceiver::answering(|_, before| match before {
        0 => Reply::status(503).header("Retry-After", "0"),
        _ => Reply::status(204),
    })
    .await;
    let queue = "batch_send_deadline: 10ms, min_backoff: 500ms, max_backoff: 500ms";
    let world = World::start(&format!(
        "remote_write: [{{ name: r, url: {:?}, queue_config: {{ {queue} }} }}]",
        receiver.url()
    ));
    let mut target = world.target("a", 5);
    world.scrape(&mut target, 1);
    world.settled("r").await;
    let waited = receiver.pushes()[0].at - receiver.refused()[0].at;
    assert!(waited >= Duration::from_millis(240), "{waited:?}");
    world.stop().await;
}

#[tokio::test]
async fn version_1_sends_metadata_of_the_families_it_has_seen() {
    let receiver = FakeReceiver::accepting().await;
    let world = world(&receiver, "metadata_config: { send_interval: 20ms }");
    let mut target = world.target("a", 5);
    world.scrape(&mut target, 1);
    let metadata = wait_until("metadata came", DEADLINE, || async {
        let pushes = receiver.pushes();
        let found = pushes.into_iter().find(|push| !push.metadata.is_empty());
        found.map(|push| push.metadata).ok_or_else(|| "none".to_owned())
    })
    .await;
    let [metadata] = &*metadata else { panic!("{metadata:?}") };
    let text = (&*metadata.family, metadata.kind, &*metadata.help);
    assert_eq!(text, ("cpu", 1, "Seconds."));
    world.stop().await;
}

#[tokio::test]
async fn relabel_rules_see_external_labels_and_decide_once_a_series() {
    let receiver = FakeReceiver::accepting().await;
    let rules = "write_relabel_configs: [\
        { source_labels: [cluster, core], regex: 'c1;[12]', action: drop },\
        { source_labels: [core], regex: '3', target_label: core, replacement: three }]";
    let world = world(&receiver, rules);
    let mut target = world.target("a", 6);
    world.scrape(&mut target, 1);
    let account = world.settled("r").await;
    assert_eq!(dropped(&account, Reason::DroppedSeries), 2);
    let cores = |receiver: &FakeReceiver| -> Vec<String> {
        receiver.samples(&[]).iter().map(|sample| sample.labels["core"].clone()).collect()
    };
    assert_eq!(cores(&receiver), ["0", "three", "4", "5"]);

    // Another layout: 5, a new one, 3 and 1 carried over.
    let before = Arc::clone(&target.layout);
    let mut builder = LayoutBuilder::new(&world.symbols);
    let family = Arc::clone(before.family(0));
    builder.push_from(&before, 5, &family);
    let labels = [("__name__", "cpu"), ("cluster", "own"), ("core", "2")];
    builder.push(labels.into_iter(), &family);
    builder.push_from(&before, 3, &family);
    builder.push_from(&before, 1, &family);
    let layout = builder.build();
    let carried = Carried { from: before.id(), index: vec![5, NEW_SERIES, 3, 1] };
    let samples =
        Samples { carried: Some(carried), ..Samples::plain(Role::Page, layout, vec![2.0; 4]) };
    world.send(&mut target, vec![samples], NOW_MS + 2000);
    let account = world.settled("r").await;
    assert_eq!(dropped(&account, Reason::DroppedSeries), 3);
    assert_eq!(cores(&receiver)[4..], ["5", "2", "three"]);
    world.stop().await;
}

#[tokio::test]
async fn metrics_have_prometheus_names_and_say_where_every_sample_went() {
    let receiver = FakeReceiver::accepting().await;
    let world = world(&receiver, "");
    let mut target = world.target("a", 5);
    world.scrape(&mut target, 1);
    world.settled("r").await;
    let metrics = world.metrics.expose().unwrap();
    let labels = format!("{{remote_name=\"r\",url=\"{}\"}}", receiver.url());
    for line in [
        format!("prometheus_remote_storage_samples_total{labels} 5"),
        format!("prometheus_remote_storage_samples_failed_total{labels} 0"),
        format!("prometheus_remote_storage_samples_pending{labels} 0.0"),
        format!("prometheus_remote_storage_shards{labels} 1.0"),
        format!(
            "prometheus_remote_storage_queue_highest_sent_timestamp_seconds{labels} 1767268801.0"
        ),
        "prometheus_remote_storage_highest_timestamp_in_seconds 1767268801.0".to_owned(),
        "rollcall_forward_accepted_samples_total{destination=\"r\"} 5".to_owned(),
        "rollcall_forward_delivered_samples_total{destination=\"r\"} 5".to_owned(),
        "rollcall_forward_dropped_samples_total{destination=\"r\",reason=\"queue_full\"} 0"
            .to_owned(),
    ] {
        assert!(metrics.lines().any(|found| found == line), "no {line} in:\n{metrics}");
    }
    world.stop().await;
}
