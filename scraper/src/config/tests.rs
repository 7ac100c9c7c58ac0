//! Which jobs are accepted, what they take from `global`, and how they are refused.

use super::*;
use kit::config::yaml;
use serde::Deserialize;

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename = "config.plain")]
struct Whole {
    global: GlobalSpec,
    scrape_configs: Vec<Option<JobSpec>>,
}

fn load(text: &str) -> Result<Vec<Arc<JobConfig>>, String> {
    let document = yaml::Document::parse("f.yml", text).map_err(|error| error.to_string())?;
    let whole: Whole = document.decode().map_err(|error| error.to_string())?;
    let located = |invalid| document.locate(invalid).to_string();
    let global = whole.global.check().map_err(|error| located(error.under("global")))?;
    check_jobs(whole.scrape_configs, &global, &mut BTreeMap::new(), "f.yml").map_err(located)
}

#[track_caller]
fn refused(text: &str, want: &str) {
    assert_eq!(load(text).expect_err(text), want, "{text}");
}

/// The first job's dump must have these lines.
#[track_caller]
fn dumped(text: &str, lines: &[&str]) {
    let jobs = load(text).unwrap();
    let dump = jobs[0].yaml();
    for line in lines {
        assert!(dump.lines().any(|found| found == *line), "{line} is not in\n{dump}");
    }
}

#[test]
fn jobs_take_from_global_what_they_do_not_say() {
    dumped(
        "global: {scrape_interval: 5s, sample_limit: 7}\nscrape_configs: [{job_name: a}]",
        &["scrape_interval: 5s", "scrape_timeout: 5s", "sample_limit: 7", "honor_timestamps: true"],
    );
    dumped(
        "scrape_configs: [{job_name: a, scrape_interval: 2m, proxy_url: 'http://p'}]",
        &[
            "scrape_interval: 2m",
            "scrape_timeout: 10s",
            "enable_http2: true",
            "proxy_url: http://p",
        ],
    );
    dumped(
        "scrape_configs: [{job_name: a, metric_name_validation_scheme: legacy}]",
        &["metric_name_escaping_scheme: underscores"],
    );
    dumped(
        "global: {scrape_native_histograms: true}\nscrape_configs: [{job_name: a}]",
        &["scrape_native_histograms: true", "- PrometheusProto"],
    );
}

#[test]
fn what_prometheus_refuses_is_refused_with_its_place() {
    refused(
        "scrape_configs:\n-\n",
        "f.yml:2: scrape_configs[0]: empty or null scrape config section",
    );
    refused("scrape_configs: [{}]", "f.yml:1: scrape_configs[0].job_name: job_name is empty");
    refused(
        "scrape_configs:\n- job_name: a\n- job_name: a\n",
        "f.yml:3: scrape_configs[1].job_name: found multiple scrape configs with job name \"a\"",
    );
    refused(
        "scrape_configs: [{job_name: a, scrape_interval: 5s, scrape_timeout: 6s}]",
        "f.yml:1: scrape_configs[0].scrape_timeout: scrape timeout greater than scrape interval \
         for scrape config with job name \"a\"",
    );
    refused(
        "scrape_configs: [{job_name: a, scrape_protocols: []}]",
        "f.yml:1: scrape_configs[0].scrape_protocols: scrape_protocols cannot be empty for scrape \
         config with job name \"a\"",
    );
    refused(
        "scrape_configs:\n- job_name: a\n  consult_sd_configs: []\n",
        "f.yml:3: scrape_configs[0].consult_sd_configs: field consult_sd_configs not found in \
         type config.ScrapeConfig",
    );
    refused(
        "scrape_configs: [{job_name: a, static_configs: [{targets: ['http://x']}]}]",
        "f.yml:1: scrape_configs[0].static_configs[0].targets[0]: \"http://x\" is not a valid \
         hostname",
    );
    refused(
        "scrape_configs: [{job_name: a, ec2_sd_configs: [{region: x}]}]",
        "f.yml:1: scrape_configs[0].ec2_sd_configs: not supported by rollcall: ec2_sd_configs",
    );
    refused(
        "scrape_configs: [{job_name: a, http_sd_configs: [{url: 'ftp://x'}]}]",
        "f.yml:1: scrape_configs[0].http_sd_configs[0].url: URL scheme must be 'http' or 'https'",
    );
    refused(
        "global:\n  scrape_timeout: 2m\n",
        "f.yml:2: global.scrape_timeout: global scrape timeout greater than scrape interval",
    );
}

#[test]
fn a_url_as_address_is_left_to_relabelling() {
    let text = "scrape_configs: [{job_name: a, static_configs: [{targets: ['http://x']}], \
                relabel_configs: [{target_label: x, replacement: y}]}]";
    assert_eq!(load(text).unwrap()[0].static_groups().len(), 1);
}

#[test]
fn only_pace_and_client_may_change_while_what_is_remembered_stays() {
    let job =
        |more: &str| load(&format!("scrape_configs: [{{job_name: a{more}}}]")).unwrap().remove(0);
    assert!(*job("") == *job(""));
    assert!(*job("") != *job(", scrape_interval: 5s"));
    assert!(job("").keeps_cache(&job(", scrape_interval: 5s, sample_limit: 3")));
    assert!(job("").keeps_cache(&job(", bearer_token: x")));
    assert!(!job("").keeps_cache(&job(", honor_labels: true")));
    assert!(!job("").keeps_cache(&job(", relabel_configs: [{target_label: x}]")));
}
