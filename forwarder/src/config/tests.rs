//! What is accepted and what is refused, with the words.

use kit::config::yaml;

use super::*;

fn read(text: &str) -> Result<Config, String> {
    #[derive(Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct File {
        remote_write: Vec<Option<RemoteWriteSpec>>,
        forwarders: Vec<Option<ForwarderSpec>>,
        data_types: Vec<Option<DataTypeSpec>>,
        routes: Vec<Option<RouteSpec>>,
    }
    let document = yaml::Document::parse("f", text).map_err(|error| error.to_string())?;
    let file: File = document.decode().map_err(|error| error.to_string())?;
    let File { remote_write, forwarders, data_types, routes } = file;
    let spec = Spec { remote_write, forwarders, data_types, routes };
    let external_labels = &Labels::default();
    let common = Common { external_labels, names: NameScheme::default(), elsewhere: &["status"] };
    spec.check(&common).map_err(|invalid| document.locate(invalid).to_string())
}

#[track_caller]
fn check(text: &str, want: &str) {
    let got = read(text).map_or_else(|error| error, |_| "ok".to_owned());
    assert_eq!(got, want, "{text}");
}

#[test]
fn remote_write_is_refused_in_prometheus_words() {
    let entry = |keys: &str, want: &str| {
        check(&format!("remote_write: [{{ url: http://a/, {keys} }}]"), want);
    };
    check("remote_write: [{ url: localhost:9090 }, { url: localhost:9201 }]", "ok");
    check("remote_write: [{ url: }]", "f:1: remote_write[0].url: url for remote_write is empty");
    let null = "f:1: remote_write[0]: empty or null remote write config section";
    check("remote_write: [null]", null);
    let two = "remote_write: [{ url: a, name: q }, { url: b, name: q }]";
    let want = "found multiple remote write configs with job name \"q\"";
    check(two, &format!("f:1: remote_write[1].name: {want}"));
    let want = "empty or null relabeling rule in remote write config";
    let key = "f:1: remote_write[0].write_relabel_configs[0]";
    entry("write_relabel_configs: [null]", &format!("{key}: {want}"));
    let want = "x-amz-date is a reserved header. It must not be changed";
    entry(
        "headers: { x-amz-date: now }",
        &format!("f:1: remote_write[0].headers.x-amz-date: {want}"),
    );
    let want = "authorization header must be changed via the basic_auth, authorization, oauth2, \
        sigv4, azuread or google_iam parameter";
    let key = "f:1: remote_write[0].headers.Authorization";
    entry("headers: { Authorization: x }", &format!("{key}: {want}"));
    let want = "invalid protobuf_message value: unknown type for remote write protobuf message \
        x.Y, supported: prometheus.WriteRequest, io.prometheus.write.v2.Request";
    entry("protobuf_message: x.Y", &format!("f:1: remote_write[0].protobuf_message: {want}"));
    entry("sigv4: { region: x }", "f:1: remote_write[0].sigv4: not supported by rollcall: sigv4");
    entry("protobuf_message: io.prometheus.write.v2.Request, follow_redirects: false", "ok");
    let want = "field uri not found in type config.plain";
    check("remote_write:\n- uri: x", &format!("f:2: remote_write[0].uri: {want}"));
}

#[test]
fn queues_are_refused_in_prometheus_words() {
    let queue = |keys: &str, key: &str, want: &str| {
        let text = format!("remote_write: [{{ url: http://a/, queue_config: {{ {keys} }} }}]");
        let place = format!("f:1: remote_write[0].queue_config.{key}");
        check(&text, &format!("{place}: remote write queue {want}"));
    };
    for key in ["capacity", "max_shards", "min_shards", "max_samples_per_send"] {
        queue(&format!("{key}: 0"), key, &format!("{key} must be positive"));
    }
    let want = "min_shards must not be greater than max_shards";
    queue("min_shards: 9, max_shards: 8", "min_shards", want);
    let many = "remote_write: [{ url: x, queue_config: { min_shards: 70000, max_shards: 90000 } }]";
    let queue_of_many = read(many).unwrap().destinations.remove(0).queue;
    assert_eq!((queue_of_many.shards_min, queue_of_many.shards_max), (4096, 4096));
    let want = "max_queued_samples must not be less than max_samples_per_send, which is 2000";
    queue("max_queued_samples: 1999", "max_queued_samples", want);
    let want = "max_backoff must not be less than min_backoff";
    queue("min_backoff: 10s, max_backoff: 1s", "max_backoff", want);
}

#[test]
fn forwarders_data_types_and_routes_say_what_they_lack() {
    check("forwarders: [{ name: a, module: file, path: x }]", "ok");
    check("forwarders: [{ module: file }]", "f:1: forwarders[0].name: forwarder has no name");
    let want = "file forwarder has no path";
    check("forwarders: [{ name: a, module: file }]", &format!("f:1: forwarders[0].path: {want}"));
    let error = read("forwarders: [{ name: a, module: fiel }]").unwrap_err();
    let want = "f:1: forwarders[0].module: unknown module \"fiel\", known: remote_write, ";
    assert!(error.starts_with(want), "{error}");
    let want = "found multiple destinations with name \"status\"";
    check(
        "forwarders: [{ name: status, module: file, path: x }]",
        &format!("f:1: forwarders[0].name: {want}"),
    );
    let want = "forwarders[0].url: not the URL of a NATS server: \"x://y\"";
    let urls = "nats://a, x://y";
    check(
        &format!("forwarders: [{{ name: a, module: nats, subject: s, url: {urls:?} }}]"),
        &format!("f:1: {want}"),
    );
    check("data_types: [{ match: [up] }]", "f:1: data_types[0].name: data type has no name");
    let want = "data type needs `match` or `types`";
    check("data_types: [{ name: a }]", &format!("f:1: data_types[0].match: {want}"));
    let want = "unknown metric type \"set\", known: unknown, counter, gauge, histogram, \
        gaugehistogram, summary, info, stateset";
    check(
        "data_types: [{ name: a, types: [set] }]",
        &format!("f:1: data_types[0].types[0]: {want}"),
    );
    let types = "data_types: [{ name: a, match: [up] }]\nroutes:\n";
    let route = |keys: &str, want: &str| check(&format!("{types}- {{ {keys} }}"), want);
    route("data_types: [a], to: [status], continue: true", "ok");
    route("data_types: [a], to: []", "ok");
    route("to: [status]", "f:3: routes[0].data_types: route takes no data type");
    route("data_types: [a]", "f:3: routes[0].to: route goes nowhere: needs `to`");
    let want = "f:3: routes[0].data_types[0]: no data type has the name \"b\"";
    route("data_types: [b], to: [status]", want);
    let want = "f:3: routes[0].to[0]: no destination has the name \"reports\"";
    route("data_types: [a], to: [reports]", want);
}

#[test]
fn delivery_says_what_it_does_not_know() {
    let delivery = |keys: &str, want: &str| {
        let text = format!("forwarders: [{{ name: a, module: stdout, delivery: {{ {keys} }} }}]");
        let want = match want {
            "ok" => "ok".to_owned(),
            want => format!("f:1: forwarders[0].delivery.{want}"),
        };
        check(&text, &want);
    };
    delivery("durability: disk, disk: { path: q, fsync: always, max_size: 1GB }", "ok");
    // Who writes the one means the other; who wants it off says so.
    delivery("disk: { path: q }", "disk: of no effect without durability: disk");
    delivery("durability: memory, disk: { path: q }", "ok");
    delivery("durability: tape", "durability: unknown durability \"tape\", known: memory, disk");
    let want = "disk.fsync: unknown fsync \"often\", known: always, interval, never";
    delivery("disk: { fsync: often }", want);
    delivery("disk: { max_size: 0 }", "disk.max_size: max_size must be positive");
    let want = "order: unknown order \"random\", known: oldest_first, newest_first";
    delivery("order: random", want);
    delivery("answers: { 429: retry, 4xx: drop, refused: drop }", "ok");
    delivery("answers: { 5xx: dead_letter }, dead_letter: { path: d }", "ok");
    delivery("answers: { 5xx: dead_letter }", "answers.5xx: needs dead_letter.path");
    let want = "answers.5xx: unknown action \"wait\", known: retry, drop, dead_letter";
    delivery("answers: { 5xx: wait }", want);
    for key in ["200", "2xx", "6xx", "4x", "all"] {
        let want = "must be 300 to 599, 3xx, 4xx, 5xx or refused";
        delivery(&format!("answers: {{ '{key}': drop }}"), &format!("answers.{key}: {want}"));
    }
    delivery("best_effort: [up, '{job=\"x\"}']", "ok");
    let want = "max_samples_per_second: max_samples_per_second must not be negative";
    delivery("max_samples_per_second: -1", want);
    delivery("durabilty: disk", "durabilty: field durabilty not found in type config.Delivery");
    let disk = "delivery: { durability: disk, disk: { path: q } }";
    let one = |name: &str| format!("{{ name: {name}, module: stdout, {disk} }}");
    check(&format!("forwarders: [{}, {}]", one("a"), one("b")), "ok");
    let other = one("b").replace("delivery: {", "delivery: { min_interval: 1m,");
    let want = "f:1: forwarders[1].delivery.disk.path: two destinations have their queue in q: a and b can not share it, since they \
        differ in min_interval";
    check(&format!("forwarders: [{}, {other}]", one("a")), want);
}

#[test]
fn a_file_is_for_one_destination_alone() {
    let file = |name: &str, path: &str, more: &str| {
        format!("{{ name: {name}, module: file, path: {path}{more} }}")
    };
    let letters = ", delivery: { dead_letter: { path: x } }";
    let both = |one: String, other: String, want: &str| {
        let needs = "each needs a file of its own, also for dead letters and for what is set aside";
        let want = match want {
            "" => "ok".to_owned(),
            want => format!("f:1: forwarders{want}: {needs}"),
        };
        check(&format!("forwarders: [{one}, {other}]"), &want);
    };
    both(file("a", "x", ""), file("b", "y", ""), "");
    both(file("a", "/dev/stdout", ""), file("b", "/dev/stdout", ""), "");
    both(file("a", "x", ""), file("b", "x.y", ""), "");
    let written = "is written to by a and by b";
    let b_too = format!("[1].path: x {written}");
    both(file("a", "x", ""), file("b", "x", ""), &b_too);
    let to_letters = format!("[1].delivery.dead_letter.path: x {written}");
    both(file("a", "x", ""), file("b", "y", letters), &to_letters);
    both(file("a", "y", letters), file("b", "z", letters), &to_letters);
    let own = "[0].delivery.dead_letter.path: x is written to by a and by a";
    both(file("a", "x", letters), file("b", "y", ""), own);
    let turns = ", max_size: 1MB, max_files: 2";
    both(file("a", "x", ""), file("b", "x.2.gz", ""), "");
    both(file("a", "x", turns), file("b", "x.3", letters.replace('x', "x.4").as_str()), "");
    both(file("a", "x", turns), file("b", "x.2.gz", ""), &format!("[1].path: x.2.gz {written}"));
    both(file("a", "x.packing", ""), file("b", "x", turns), &b_too);
}

#[test]
fn metadata_is_not_sent_without_a_pause() {
    let text = "remote_write: [{ url: x, metadata_config: { send_interval: 0s } }]";
    let plan = read(text).unwrap().destinations[0].metadata.unwrap();
    assert!(plan.interval >= std::time::Duration::from_secs(1), "{plan:?}");
}

#[test]
fn secrets_are_not_shown() {
    let text = "forwarders:\n\
        - name: k\n  module: kafka\n  brokers: [b]\n  topic: t\n  \
          options: { sasl.password: hidden, acks: all }\n\
        - { name: n, module: nats, url: 'nats://u:hidden@a,u:hidden@b', subject: s }\n\
        - { name: h, module: http, url: 'http://u:hidden@h/', headers: { X-Api-Key: hidden } }\n\
        - { name: o, module: otlp, url: 'http://u:hidden@h/', headers: { Authorization: hidden } }\n\
        - { name: e, module: exec, command: [cat], env: { DB_PASS: hidden, DB: 'pg://u:hidden@h/d' } }\n\
        - { name: r, module: redis, stream: s, url: 'redis://u:hidden@h/' }\n";
    let config = read(text).unwrap();
    for destination in &config.destinations {
        let shown = destination.settings.shown().to_string();
        assert!(!shown.contains("hidden"), "{shown}");
        let module = (destination.build)(&kit::SystemClock::shared()).unwrap();
        assert!(!module.endpoint().contains("hidden"), "{}", module.endpoint());
    }
    let kafka = config.destinations[0].settings.shown();
    assert_eq!(kafka["options"]["acks"], "all");
}

#[test]
fn secrets_may_stand_in_files() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let nats = file("nats", "nats://u:hidden@n:4222\n");
    let redis = file("redis", "redis://u:hidden@r/\n");
    let kafka = file("kafka", "# ours\n sasl.password = hidden\n\nacks=1\n");
    let text = format!(
        "forwarders:\n\
         - {{ name: n, module: nats, url_file: {nats:?}, subject: s }}\n\
         - {{ name: r, module: redis, url_file: {redis:?}, stream: s }}\n\
         - name: k\n  module: kafka\n  brokers: [b]\n  topic: t\n  \
           options: {{ acks: all }}\n  options_file: {kafka:?}\n"
    );
    let text_of_all = text.clone();
    let before = read(&text).unwrap();
    for (destination, endpoint) in before.destinations.iter().zip(["nats://n:4222 s", "r:6379 s"]) {
        let shown = destination.settings.shown().to_string();
        assert!(shown.contains("_file") && !shown.contains("hidden"), "{shown}");
        let module = (destination.build)(&kit::SystemClock::shared()).unwrap();
        assert_eq!(module.endpoint(), endpoint);
    }
    // A reload takes what they say by then.
    file("kafka", "sasl.password=another");
    let after = read(&text).unwrap();
    let same =
        |nth: usize| before.destinations[nth].settings.same(&*after.destinations[nth].settings);
    assert_eq!([same(0), same(1), same(2)], [true, true, false]);

    file("kafka", "acks=all\nhidden");
    let error = read(&text).unwrap_err();
    assert_eq!(error, "f:9: forwarders[2].options_file: line 2 is not name=value");
    let bad = |text: &str| {
        file("kafka", text);
        read(&text_of_all).unwrap_err()
    };
    let want = "No such configuration property: \"sasl.pasword\"";
    assert_eq!(bad("sasl.pasword=hidden"), format!("f:9: forwarders[2].options_file: {want}"));
    for no_mechanism in
        ["security.protocol=sasl_ssl\nsasl.mechanism=GSSAPI", "security.protocol=SASL_SSL"]
    {
        let error = bad(no_mechanism);
        assert!(error.contains("Kerberos") && error.contains("sasl.mechanism to PLAIN"), "{error}");
    }
    let want = "not a value of \"security.protocol\"";
    assert_eq!(bad("security.protocol=hidden"), format!("f:9: forwarders[2].options_file: {want}"));
    let text = text.replace("url_file:", "url: nats://x, url_file:");
    let error = read(&text).unwrap_err();
    assert!(
        error.ends_with("url_file: at most one of url & url_file must be configured"),
        "{error}"
    );
    std::fs::remove_file(&nats).unwrap();
    let error = read(&text).unwrap_err();
    let want = format!("forwarders[0].url_file: read {nats}: No such file");
    assert!(error.contains(&want), "{error}");
}

#[test]
fn advice_names_what_can_never_happen() {
    let text = "data_types: [{ name: a, match: [up] }, { name: b, match: [down] }]\n\
        routes: [{ data_types: [a], to: [status] }, { data_types: [a], to: [] }]";
    let advice: Vec<String> =
        read(text).unwrap().advice().iter().map(ToString::to_string).collect();
    let want = [
        "data_types[1]: no route names the data type \"b\"",
        "routes[1]: earlier routes take all its data types and do not continue",
    ];
    assert_eq!(advice, want);
}

#[test]
fn metrics_may_reach_a_destination_or_surely_do_not() {
    let text = "data_types:\n\
        - { name: state, match: ['{__name__=~\"vm_.+\"}'] }\n\
        - { name: h1, match: ['{host=\"h1\"}'] }\n\
        routes:\n\
        - { data_types: [state], to: [status] }\n\
        - { data_types: [h1], to: [status] }\n\
        remote_write: [{ name: r, url: x }]";
    let config = read(text).unwrap();
    let reach = |metric: &str| ["status", "r"].map(|name| config.may_reach(name, metric));
    assert_eq!(reach("vm_state"), [true, false]);
    assert_eq!(reach("up"), [true, true]);
}

#[test]
fn an_equal_entry_is_the_same_destination_and_a_changed_one_is_not() {
    let one = |keys: &str| -> DestinationConfig {
        let text = format!("remote_write: [{{ name: r, url: x, {keys} }}]");
        read(&text).unwrap().destinations.remove(0)
    };
    let plain = one("");
    assert!(plain.is_same(&one("remote_timeout: 30s")));
    assert!(!plain.is_same(&one("remote_timeout: 31s")));
    assert!(!plain.is_same(&one("basic_auth: { username: u, password: p }")));
    let (p, q) = ("basic_auth: { password: p }", "basic_auth: { password: q }");
    assert!(!one(p).is_same(&one(q)));
    assert!(!plain.is_same(&one("write_relabel_configs: [{ action: drop, regex: x }]")));
    assert!(!plain.is_same(&one("queue_config: { max_shards: 7 }")));
    assert!(!plain.is_same(&one("delivery: { durability: disk }")));
    assert!(!plain.is_same(&one("failover_urls: [y]")));
}

#[test]
fn a_remote_write_without_a_name_gets_one_that_stays() {
    let name = |url: &str| {
        let text = format!("remote_write: [{{ url: {url} }}]");
        read(&text).unwrap().destinations.remove(0).name
    };
    assert_eq!(name("a"), name("a"));
    assert_ne!(name("a"), name("b"));
    assert_eq!(name("a").len(), 6);
}
