//! Every command of kubectl that people use, and what it prints: `tests/golden/kubectl.txt`, which
//! `make golden` rewrites. What differs from run to run is replaced by a word for it.

use std::fmt::Write as _;
use std::path::Path;

use testkit::{FakeTarget, Kubectl, Printed, Rollcall, config};

use super::kubectl;
use crate::kinds::{VMS, vms};
use crate::rollcall;

/// A kind that only the API writes, beside those of the stories.
const NOTE: &str = "
    - kind: Note
      namespaced: true
      fields:
        text: { type: string, description: What somebody wants to remember. }
        pages: { type: number }
      conditions: { Read: { description: Somebody has read it. } }
      columns: [text, pages]
";

/// Files that commands name, and what is in them.
const FILES: [(&str, &str); 3] = [
    (
        "note.yml",
        "apiVersion: status.rollcall/v1\nkind: Note\nmetadata: { name: a }\nstatus: { text: milk, pages: 1 }\n",
    ),
    (
        "more.yml",
        "apiVersion: status.rollcall/v1\nkind: Note\nmetadata: { name: a }\nstatus: { text: bread, pages: 2 }\n",
    ),
    (
        "wrong.yml",
        "apiVersion: status.rollcall/v1\nkind: Note\nmetadata: { name: w }\nstatus: { color: red }\n",
    ),
];

/// In this order: later ones see what earlier ones did.
const COMMANDS: &[&str] = &[
    "get vm",
    "get vm -A",
    "get vm 1",
    "get vm 1 2",
    "get vm 1 -o json",
    "get vm 1 -o yaml",
    "get vm -o name",
    "get vm -o jsonpath={.items[*].status.state}",
    "get vm -o custom-columns=VM:.metadata.name,IS:.status.state",
    "get vm --sort-by=.status.state",
    "get vm --sort-by=.status.cpu",
    "get vm --chunk-size=1 -o name",
    "get vm,host",
    "get vm -o wide",
    "get vm -L color",
    "get vm --show-labels",
    "get vm -l color=blue",
    "get vm --field-selector status.cpu>=0.5",
    "get vm --field-selector status.state!=running,status.cpu<1",
    "get vm --field-selector cel:object.status.state.startsWith('st')",
    "get vm --field-selector status.nope=1",
    "get vm none",
    "get nonsense",
    "get all",
    "describe vm 1",
    "describe vm",
    "api-resources",
    "api-resources --namespaced=true -o name",
    "api-versions",
    "explain vm",
    "explain vm --recursive",
    "explain vm.status.conditions",
    "explain vm.status.nope",
    "explain note.status.text",
    "create -f note.yml",
    "create -f note.yml",
    "create -f wrong.yml",
    "apply -f note.yml",
    "diff -f more.yml",
    "apply -f more.yml",
    "get note",
    "get note -A",
    "apply --server-side --force-conflicts -f note.yml",
    "replace -f more.yml",
    "patch note a -p {\"status\":{\"pages\":3}}",
    "patch note a --type merge -p {\"status\":{\"pages\":3}}",
    "patch note a --type merge -p {\"status\":{\"pages\":\"many\"}}",
    "patch note a --type json -p [{\"op\":\"replace\",\"path\":\"/status/pages\",\"value\":4}]",
    "patch note a --type json -p [{\"op\":\"test\",\"path\":\"/status/pages\",\"value\":5}]",
    "patch note a --subresource status --type merge -p {\"status\":{\"text\":\"salt\"}}",
    "label note a color=blue",
    "label note a color=red",
    "annotate note a by=me",
    "edit note a",
    "get note a -o jsonpath={.status.text}",
    "get note -l color=blue --show-labels",
    "wait note/a --for=jsonpath={.status.text}=pepper --timeout=20s",
    "wait note/a --for=create --timeout=20s",
    "wait note/a --for=condition=Read --timeout=1s",
    "apply --server-side --field-manager=other -f more.yml",
    "apply --server-side --field-manager=third -f note.yml",
    "apply --server-side --field-manager=third --force-conflicts -f note.yml",
    "get note a -o jsonpath={.metadata.managedFields[*].manager}",
    "diff --server-side --force-conflicts -f more.yml",
    "scale note a --replicas=2",
    "rollout status note/a",
    "delete note a --dry-run=server",
    "delete note a",
    "wait note/a --for=delete --timeout=20s",
    "create -f note.yml",
    "delete note -l color=blue",
    "delete note --all",
    "delete note a --ignore-not-found",
    "create namespace blue",
    "auth can-i get vm",
    "get --raw /apis/status.rollcall/v1",
    "get --raw /livez",
    "get --raw /apis/none",
];

async fn start() -> (FakeTarget, Rollcall, Kubectl) {
    let page = vms(&[("1", "running"), ("2", "stopped")])
        + "vm_cpu{vmid=\"1\"} 0.75\nvm_cpu{vmid=\"2\"} 0.25\n";
    let target = FakeTarget::serving(page).await;
    let kinds = VMS.replace("stale_after: 600ms", "") + NOTE;
    // Scraped once, at the start: from then on only commands change something.
    let config = config().global("scrape_interval: 1h").scrape(&target).section(&kinds);
    let app = rollcall().config(&config).start().await;
    let kubectl = kubectl(&app).variable("KUBE_EDITOR", "sed -i s/salt/pepper/");
    for (name, text) in FILES {
        std::fs::write(kubectl.folder().join(name), text).unwrap();
    }
    (target, app, kubectl)
}

/// A word of the output: what differs from run to run becomes the same.
fn steady(word: &str) -> &str {
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let is_age = |text: &str| text.strip_suffix(['s', 'm']).is_some_and(is_digits);
    match word {
        _ if is_digits(word) && word.len() >= 16 => "VERSION",
        _ if word.len() == 36 && word.matches('-').count() == 4 => "UID",
        _ if word.len() == 20 && word.ends_with('Z') && word.starts_with("20") => "TIME",
        _ if is_age(word) && word.len() <= 4 => "AGE",
        _ => word,
    }
}

/// The output without what differs from run to run; columns are two spaces apart.
fn steadied(text: &str, app: &Rollcall, target: &FakeTarget, kubectl: &Kubectl) -> String {
    let text = text.replace(&target.address(), "TARGET");
    let text = text.replace(app.url("").trim_start_matches("http://"), "SERVER");
    let text = text.replace(&kubectl.folder().display().to_string(), "HOME");
    let mut out = String::new();
    for line in text.lines() {
        // Parts that change their names with every run, and the notes of diff about files.
        if line.starts_with("diff -u") || line.starts_with("--- ") || line.starts_with("+++ ") {
            continue;
        }
        let indent = line.len() - line.trim_start_matches(' ').len();
        out.push_str(if line.trim().is_empty() { "" } else { &line[..indent] });
        let columns = line.trim().split("  ").map(str::trim).filter(|it| !it.is_empty());
        let columns: Vec<String> = columns
            .map(|column| {
                let edges = |c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == ':');
                let words = column.split_inclusive(edges).map(|part| {
                    let end = part.trim_end_matches(|c| edges(c) || c == ':').len();
                    format!("{}{}", steady(&part[..end]), &part[end..])
                });
                words.collect()
            })
            .collect();
        let _ = writeln!(out, "{}", columns.join("  "));
    }
    out
}

fn entry(command: &str, printed: &Printed) -> String {
    let mut entry = format!("$ kubectl {command}\n{}{}", printed.out, printed.err);
    if !entry.ends_with('\n') {
        entry.push('\n');
    }
    if printed.code != Some(0) {
        let _ = writeln!(entry, "[exit {}]", printed.code.unwrap_or(-1));
    }
    entry
}

#[tokio::test]
async fn every_command_prints_what_it_should() {
    let (target, app, kubectl) = start().await;
    let mut transcript = String::new();
    for command in COMMANDS {
        let arguments: Vec<&str> = command.split(' ').collect();
        let printed = kubectl.run(&arguments).await;
        transcript += &steadied(&entry(command, &printed), &app, &target, &kubectl);
        transcript.push('\n');
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/kubectl.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&golden, &transcript).unwrap();
    }
    let want = std::fs::read_to_string(&golden).unwrap();
    for (got, want) in transcript.split("$ kubectl ").zip(want.split("$ kubectl ")) {
        assert_eq!(got, want);
    }
    assert_eq!(transcript, want);
    app.stop().await;
}
