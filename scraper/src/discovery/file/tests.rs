//! Target files as they come, change, break and go.

use std::fs;

use tempfile::TempDir;
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::fixtures::{job, wait_until};
use crate::metrics::{MechanismLabel, Metrics};

struct Running {
    folder: TempDir,
    found: Arc<Found>,
    _task: AbortOnDropHandle<()>,
}

impl Running {
    /// Files are written, then `patterns` (in the same folder) are watched.
    fn start(files: &[(&str, &str)], patterns: &[&str]) -> Running {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let paths = patterns.iter().map(|name| format!("'{}/{name}'", folder.path().display()));
        let paths = paths.collect::<Vec<_>>().join(", ");
        let job = job(&format!(
            "{{job_name: j, file_sd_configs: [{{files: [{paths}], refresh_interval: 1h}}]}}"
        ));
        let section = wanted(&job).remove(0);
        let found = Found::new(Arc::new(Notify::new()));
        let tools = Tools {
            clock: kit::SystemClock::shared(),
            metrics: Metrics::register(&kit::metrics::SelfMetrics::new()).discovery,
            label: MechanismLabel { mechanism: "file", config: "j".into() },
        };
        let task = tokio::spawn(section.run(Arc::clone(&found), tools));
        Running { folder, found, _task: AbortOnDropHandle::new(task) }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    /// Waits until the targets are these.
    async fn finds(&self, want: &[&str]) {
        let look = || {
            let mut targets = Vec::new();
            for group in self.found.take().groups {
                for target in &group.targets {
                    let path = group.labels.get("__meta_filepath").unwrap().to_owned();
                    assert!(path.starts_with(self.folder.path().to_str().unwrap()), "{path}");
                    targets.push(target.get("__address__").unwrap().to_owned());
                }
            }
            targets.sort();
            if targets == want { Ok(()) } else { Err(targets) }
        };
        wait_until(&format!("targets {want:?}"), look).await;
    }
}

fn json(addresses: &[&str]) -> String {
    format!("[{{\"targets\": {addresses:?}}}]")
}

#[tokio::test]
async fn files_of_both_kinds_are_read_and_patterns_are_for_the_name_only() {
    let files = [
        ("a.json", json(&["h:1", "h:2"])),
        ("b.yml", "- targets: ['h:3']\n".to_owned()),
        ("c.yaml", "- targets: ['h:4']\n".to_owned()),
        ("other.txt", "nonsense".to_owned()),
    ];
    let files = files.each_ref().map(|(name, text)| (*name, text.as_str()));
    Running::start(&files, &["*.json", "b.yml"]).finds(&["h:1", "h:2", "h:3"]).await;
    Running::start(&files, &["c*.yaml"]).finds(&["h:4"]).await;
    Running::start(&files, &["missing.json"]).finds(&[]).await;
}

#[tokio::test]
async fn a_change_is_seen_without_waiting_for_the_refresh_interval() {
    let running = Running::start(&[("a.json", &json(&["h:1"]))], &["*.json"]);
    running.finds(&["h:1"]).await;
    running.write("a.json", &json(&["h:1", "h:2"]));
    running.finds(&["h:1", "h:2"]).await;
    running.write("b.json", &json(&["h:3"]));
    running.finds(&["h:1", "h:2", "h:3"]).await;
    // As editors and configuration tools do it: written beside, then renamed over.
    running.write("a.tmp", &json(&["h:9"]));
    fs::rename(running.folder.path().join("a.tmp"), running.folder.path().join("a.json")).unwrap();
    running.finds(&["h:3", "h:9"]).await;
    fs::remove_file(running.folder.path().join("b.json")).unwrap();
    running.finds(&["h:9"]).await;
}

#[tokio::test]
async fn a_broken_file_keeps_its_last_good_targets() {
    let files = [("a.json", json(&["h:1"])), ("b.json", json(&["h:2"]))];
    let files = files.each_ref().map(|(name, text)| (*name, text.as_str()));
    let running = Running::start(&files, &["*.json"]);
    running.finds(&["h:1", "h:2"]).await;
    running.write("a.json", "[{\"targets\": [\"h:1\", ");
    running.write("b.json", &json(&["h:3"]));
    running.finds(&["h:1", "h:3"]).await;
    running.write("a.json", &json(&["h:4"]));
    running.finds(&["h:3", "h:4"]).await;
}

#[test]
fn every_way_of_naming_files_is_understood() {
    let check = |path: &str, folder: &str, matches: &str, other: &str| {
        let pattern = Pattern::new(path);
        assert_eq!(pattern.folder, Path::new(folder));
        let matcher = pattern.matcher.expect("a pattern");
        assert!(matcher.is_match(matches), "{path} does not match {matches}");
        assert!(!matcher.is_match(other), "{path} matches {other}");
    };
    check("/etc/targets/*.json", "/etc/targets", "a.json", "a.yml");
    check("targets/host-*.yml", "targets", "host-1.yml", "vm-1.yml");
    check("*.json", "./", "a.json", "a.json.bak");
    check("{a,b}*.json", "./", "{a,b}1.json", "a1.json");
    assert!(Pattern::new("targets/hosts.json").matcher.is_none());
}
