//! docs/forwarders.md: its examples are accepted, and it has every module and every reason.

use std::path::Path;
use std::process::Command;

use testkit::{FakeReceiver, config};

use crate::{BINARY, rollcall};

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/forwarders.md");
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn every_example_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let page = page();
    let examples: Vec<&str> = page
        .split("```yaml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap_or_default())
        .collect();
    assert!(examples.len() >= 10, "{} examples", examples.len());
    for example in examples {
        let is_part = example.trim_start().starts_with("delivery:");
        let around = if is_part { "remote_write:\n  - url: http://127.0.0.1:1/\n" } else { "" };
        std::fs::write(folder.path().join("f.yml"), format!("{around}{example}")).unwrap();
        let mut command = Command::new(BINARY);
        command.args(["check", "config", "--syntax-only", "f.yml"]).current_dir(folder.path());
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{example}\n{said}");
    }
}

#[test]
fn every_module_is_described() {
    let listed = Command::new(BINARY).arg("modules").output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let names: Vec<&str> =
        listed.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.contains(&"kafka") && names.len() >= 9, "{listed}");
    let page = page();
    for name in names {
        assert!(page.contains(&format!("\n### {name}\n")), "{name} has no section");
        assert!(page.contains(&format!("\n| `{name}` |")), "{name} is not in the table");
    }
}

#[tokio::test]
async fn every_reason_is_explained() {
    let receiver = FakeReceiver::accepting().await;
    let app = rollcall().config(&config().forward_to(&receiver)).start().await;
    let metrics = app.metrics().await;
    app.stop().await;
    let page = page();
    let reasons = metrics.series("rollcall_forward_dropped_samples_total");
    assert!(reasons.len() > 9, "{reasons:?}");
    for (labels, _) in reasons {
        let reason = &labels["reason"];
        assert!(page.contains(&format!("\n| `{reason}` |")), "{reason} is not explained");
    }
}
