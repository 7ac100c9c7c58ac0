//! Which files load, and how mistakes in them are told.

use std::fs;
use std::path::Path;

use super::*;

/// Writes the files, loads `main.yml` (with `routing.yml`, if there is one) and gives the
/// configuration or the error's text, in which the folder is `DIR`.
fn load(files: &[(&str, &str)]) -> Result<Config, String> {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    let routing = dir.path().join("routing.yml");
    let routing = routing.exists().then_some(routing);
    let files = Files { main: dir.path().join("main.yml"), routing };
    let folder = dir.path().to_string_lossy().into_owned();
    let loaded = Config::check(&files, Depth::Everything);
    loaded.map_err(|error| kit::Chain(&error).to_string().replace(&folder, "DIR"))
}

#[track_caller]
fn refused(files: &[(&str, &str)], want: &str) {
    assert_eq!(load(files).expect_err(want), want);
}

#[track_caller]
fn linted(main: &str, want: &[&str]) {
    let lint = load(&[("main.yml", main)]).unwrap().lint();
    let lint: Vec<&str> = lint.iter().map(|line| line.split_once(".yml:").unwrap().1).collect();
    assert_eq!(lint, want, "{main}");
}

#[test]
fn an_empty_file_is_a_configuration() {
    let config = load(&[("main.yml", "")]).unwrap();
    assert!(config.scraper().jobs.is_empty());
    assert!(config.yaml().starts_with("global:\n  scrape_interval: 1m\n  scrape_timeout: 10s\n"));
}

#[test]
fn mistakes_are_told_with_file_line_and_key() {
    refused(
        &[("main.yml", "global: {}\nscrap_configs: []\n")],
        "DIR/main.yml:2: scrap_configs: field scrap_configs not found in type config.plain",
    );
    refused(
        &[("main.yml", "remote_write:\n- url: 'http://x'\n  queue_config: {capacity: 0}\n")],
        "DIR/main.yml:3: remote_write[0].queue_config.capacity: remote write queue capacity must \
         be positive",
    );
    refused(
        &[("main.yml", "routes:\n- {data_types: [a], to: [status]}\n")],
        "DIR/main.yml:2: routes[0].data_types[0]: no data type has the name \"a\"",
    );
    refused(
        &[("main.yml", "tracing:\n  sampling_fraction: 1\n")],
        "DIR/main.yml:1: tracing.endpoint: tracing endpoint must be set",
    );
    refused(&[("other.yml", "")], "read DIR/main.yml: No such file or directory (os error 2)");
}

#[test]
fn our_sections_may_stand_in_a_second_file() {
    let routing = "data_types: [{name: a, match: [up]}]\nroutes:\n- {data_types: [b], to: []}\n";
    refused(
        &[("main.yml", "global: {}\n"), ("routing.yml", routing)],
        "DIR/routing.yml:3: routes[0].data_types[0]: no data type has the name \"b\"",
    );
    refused(
        &[("main.yml", "routes: [{data_types: [a]}]\n"), ("routing.yml", routing)],
        "DIR/routing.yml:2: routes: this section also stands in DIR/main.yml",
    );
    refused(
        &[("main.yml", ""), ("routing.yml", "scrape_configs: []")],
        "DIR/routing.yml:1: scrape_configs: field scrape_configs not found in type routing",
    );
}

#[test]
fn jobs_of_further_files_count_as_their_own() {
    let main = "scrape_config_files: ['job*.yml']\nscrape_configs: [{job_name: a}]\n";
    let job = |name: &str| format!("scrape_configs: [{{job_name: {name}}}]");
    let (b, a) = (job("b"), job("a"));
    let config = load(&[("main.yml", main), ("job1.yml", &b), ("jb.yml", &a)]).unwrap();
    assert_eq!(config.scraper().jobs.len(), 2);
    assert_eq!(config.files().len(), 2);
    refused(
        &[("main.yml", main), ("job1.yml", &a)],
        "DIR/job1.yml:1: scrape_configs[0].job_name: found multiple scrape configs with job name \
         \"a\", first found in \"DIR/main.yml\"",
    );
    refused(
        &[("main.yml", "scrape_config_files: ['a/*/b']\n")],
        "DIR/main.yml:1: scrape_config_files[0]: invalid scrape config file path \"a/*/b\"",
    );
}

#[test]
fn what_was_perhaps_not_meant_is_told_on_demand() {
    let status = "status: {kinds: [{kind: Vm, name: '{vmid}', fields: {up: {metric: vm_up}}}]}\n";
    linted(
        &format!(
            "{status}data_types: [{{name: a, match: [vm_up]}}]\nscrape_configs: [{{job_name: a}}]"
        ),
        &[
            "2: data_types[0]: no route names the data type \"a\"",
            "1: status.kinds[0]: no route brings \"vm_up\" to \"status\", but Vm needs it",
        ],
    );
    linted(
        &format!(
            "{status}data_types: [{{name: a, match: [vm_up]}}]\n\
             routes: [{{data_types: [a], to: [status]}}]\n"
        ),
        &[],
    );
    // Fed over HTTP: no route is needed.
    linted(status, &[]);
    linted(
        "scrape_configs: [{job_name: a, scrape_interval: 10m}]",
        &["1: scrape_configs: job \"a\" is scraped each 10m: queries see gaps"],
    );
}

#[test]
fn the_dump_loads_again_and_says_the_same() {
    let main = "global: {external_labels: {a: $$x}}\n\
        scrape_configs:\n\
        - job_name: a\n\
        \x20 basic_auth: {username: u, password: hunter2}\n\
        \x20 relabel_configs: [{source_labels: [a], target_label: b}]\n\
        \x20 static_configs: [{targets: ['h:1'], labels: {x: y}}]\n\
        remote_write: [{url: 'http://x/w', name: reports}]\n\
        data_types: [{name: s, match: ['{a=\"b\"}'], types: [gauge]}]\n\
        routes: [{data_types: [s], to: [status]}]\n\
        status: {kinds: [{kind: Vm, name: '{vmid}', fields: {up: {metric: up}}}]}\n";
    let first = load(&[("main.yml", main)]).unwrap();
    assert!(!first.yaml().contains("hunter2"));
    assert!(first.yaml().contains("password: <secret>"));
    let again = load(&[("main.yml", &first.yaml().replace("a: $x", "a: $$x"))]).unwrap();
    assert_eq!(again.yaml(), first.yaml());
}

#[test]
fn the_files_of_this_repository_load() {
    for name in ["rollcall.yml", "prometheus.yml"] {
        let main = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs").join(name);
        let config = Config::check(&Files { main, routing: None }, Depth::Everything).unwrap();
        assert_eq!(config.lint(), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn targets_that_are_written_down_are_tried() {
    let job = "scrape_configs:\n- job_name: a\n  static_configs: [{ targets: ['x:1', 'x:2'] }]\n";
    let rule = "{ source_labels: [__address__], regex: 'x:2', target_label: __scrape_timeout__, \
                replacement: 1d }";
    let main = format!("{job}  relabel_configs: [{rule}]\n");
    refused(
        &[("main.yml", &main)],
        "DIR/main.yml:1: scrape_configs: job \"a\": instance 1 in group 0: scrape timeout cannot be \
         greater than scrape interval (\"1d\" > \"1m\")",
    );
}
