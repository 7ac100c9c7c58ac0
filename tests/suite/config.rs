//! Mistakes in files: each is refused with the file, the line and the key; what ships is accepted.

use std::path::Path;
use std::process::{Command, Output};

use crate::{BINARY, rollcall};

/// Runs `rollcall check config` on a file in its folder.
fn check_config(folder: &Path, file: &str) -> Output {
    let mut command = Command::new(BINARY);
    command.args(["check", "config", file]).current_dir(folder).output().unwrap()
}

/// A mistake: what it is, the file, and words that the refusal must have.
struct Mistake(&'static str, &'static str, &'static [&'static str]);

const JOB: &str = "scrape_configs:\n  - job_name: j\n";

const MISTAKES: &[Mistake] = &[
    Mistake("no YAML", "global: [", &["rollcall.yml"]),
    Mistake("a tab for spaces", "global:\n\tscrape_interval: 5s\n", &["rollcall.yml", "2"]),
    Mistake("a list for a mapping", "- a\n- b\n", &["rollcall.yml"]),
    Mistake("an unknown section", "globl: {}\n", &["globl"]),
    Mistake("an unknown key", "global:\n  scrape_intervall: 5s\n", &["scrape_intervall", "2"]),
    Mistake("a key twice", "global:\n  scrape_interval: 5s\n  scrape_interval: 6s\n", &["3"]),
    Mistake("a bad duration", "global: { scrape_interval: often }\n", &["often"]),
    Mistake("a duration without a unit", "global: { scrape_interval: 5 }\n", &["5"]),
    Mistake(
        "a timeout that is too long",
        "global: { scrape_interval: 5s, scrape_timeout: 6s }\n",
        &["timeout"],
    ),
    Mistake("a job without a name", "scrape_configs: [{ metrics_path: /x }]\n", &["job_name"]),
    Mistake("an empty entry", "scrape_configs: [null]\n", &["scrape_configs[0]"]),
    Mistake(
        "two jobs of a name",
        "scrape_configs: [{ job_name: a }, { job_name: a }]\n",
        &["scrape_configs[1].job_name", "\"a\""],
    ),
    Mistake(
        "a target with a path",
        "scrape_configs:\n  - job_name: j\n    static_configs: [{ targets: ['http://x/y'] }]\n",
        &["http://x/y"],
    ),
    Mistake(
        "a bad regex",
        "scrape_configs:\n  - job_name: j\n    relabel_configs: [{ regex: '(', action: drop }]\n",
        &["relabel_configs"],
    ),
    Mistake(
        "an unknown action",
        "scrape_configs:\n  - job_name: j\n    relabel_configs: [{ action: shuffle }]\n",
        &["shuffle"],
    ),
    Mistake(
        "a hash without a modulus",
        "scrape_configs:\n  - job_name: j\n    relabel_configs: [{ action: hashmod, source_labels: [a], target_label: b }]\n",
        &["modulus"],
    ),
    Mistake(
        "a size without a unit",
        "scrape_configs: [{ job_name: j, body_size_limit: 5 }]\n",
        &["5"],
    ),
    Mistake(
        "two kinds of authorization",
        "scrape_configs: [{ job_name: j, basic_auth: { username: a }, bearer_token: b }]\n",
        &["basic_auth"],
    ),
    Mistake("remote write without a URL", "remote_write: [{ name: a }]\n", &["url"]),
    Mistake(
        "two destinations of a name",
        "remote_write: [{ name: a, url: 'http://x/' }, { name: a, url: 'http://y/' }]\n",
        &["remote_write[1].name", "\"a\""],
    ),
    Mistake(
        "a queue of nothing",
        "remote_write: [{ url: 'http://x/', queue_config: { max_shards: 0 } }]\n",
        &["max_shards"],
    ),
    Mistake(
        "an external label without a name",
        "global: { external_labels: { '': x } }\n",
        &["external_labels"],
    ),
    Mistake("an unknown module", "forwarders: [{ name: a, module: pigeon }]\n", &["pigeon"]),
    Mistake("a forwarder without a module", "forwarders: [{ name: a }]\n", &["module"]),
    Mistake(
        "a forwarder named as ours",
        "forwarders: [{ name: status, module: file, path: x }]\n",
        &["status"],
    ),
    Mistake("a data type without a name", "data_types: [{ match: ['a'] }]\n", &["name"]),
    Mistake("a data type of nothing", "data_types: [{ name: a, match: ['{'] }]\n", &["match"]),
    Mistake(
        "a route to nowhere",
        "data_types: [{ name: a, match: ['a'] }]\nroutes: [{ data_types: [a], to: [nowhere] }]\n",
        &["nowhere"],
    ),
    Mistake(
        "a route of nothing",
        "routes: [{ data_types: [nothing], to: [status] }]\n",
        &["nothing"],
    ),
    Mistake(
        "a kind without a name",
        "status: { kinds: [{ kind: Vm, fields: { x: { metric: m } } }] }\n",
        &["name"],
    ),
    Mistake("a kind twice", "status: { kinds: [{ kind: Vm }, { kind: Vm }] }\n", &["Vm"]),
    Mistake(
        "a field from nowhere",
        "status: { kinds: [{ kind: Vm, name: '{a}', fields: { m: { metric: m }, x: { from_label: y } } }] }\n",
        &["fields.x.from_label"],
    ),
    Mistake(
        "a field of an unknown type",
        "status: { kinds: [{ kind: Vm, name: '{a}', fields: { x: { metric: m, type: color } } }] }\n",
        &["color"],
    ),
    Mistake(
        "an index on no field",
        "status: { kinds: [{ kind: Vm, name: '{a}', fields: { x: { metric: m } }, index: [y] }] }\n",
        &["index[0]", "there are: x"],
    ),
    Mistake(
        "a column of no field",
        "status: { kinds: [{ kind: Vm, name: '{a}', fields: { x: { metric: m } }, columns: [y] }] }\n",
        &["columns[0]", "there are: x"],
    ),
    Mistake(
        "a mirror of no kind",
        "status: { kinds: [{ kind: Vm, name: '{a}', fields: { m: { metric: m }, x: { mirror: { kind: Host, name: '{h}', field: up } } } }] }\n",
        &["Host"],
    ),
    Mistake("a template that is open", "status: { kinds: [{ kind: Vm, name: '{a' }] }\n", &["{a"]),
];

#[test]
fn each_kind_of_mistake_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    for Mistake(what, yaml, words) in MISTAKES {
        std::fs::write(folder.path().join("rollcall.yml"), yaml).unwrap();
        let output = check_config(folder.path(), "rollcall.yml");
        let said =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        if output.status.code() != Some(1) {
            wrong.push(format!("{what}: {}: {said}", output.status));
        }
        for word in words.iter().chain(&["rollcall.yml"]).filter(|word| !said.contains(**word)) {
            wrong.push(format!("{what}: it does not say {word:?}: {said}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn a_daemon_does_not_start_on_a_bad_file() {
    let stopped = rollcall().yaml("globl: {}\n").start_and_fail().await;
    assert_eq!(stopped.code(), Some(1));
    assert!(stopped.log().contains("globl"), "{}", stopped.log());
    let missing = Command::new(BINARY).arg("--config.file=nowhere.yml").output().unwrap();
    assert_eq!(missing.status.code(), Some(1));
    let said = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(said.contains("nowhere.yml"), "{said}");
}

#[test]
fn a_good_file_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let good = [
        JOB.to_owned(),
        String::new(),
        "global: { scrape_interval: 5s, evaluation_interval: 1m }\nruntime: { gogc: 50 }\n"
            .to_owned(),
        format!("{JOB}    static_configs: [{{ targets: ['localhost:9100'] }}]\n"),
    ];
    for yaml in good {
        std::fs::write(folder.path().join("rollcall.yml"), &yaml).unwrap();
        let output = check_config(folder.path(), "rollcall.yml");
        assert!(output.status.success(), "{yaml}: {output:?}");
    }
}

#[test]
fn every_file_that_ships_is_accepted() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    let files: Vec<_> =
        std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
    let yaml = |path: &&std::path::PathBuf| path.extension().is_some_and(|ext| ext == "yml");
    assert!(files.iter().filter(yaml).count() >= 2, "{files:?}");
    for path in files.iter().filter(yaml) {
        let output = check_config(&folder, path.to_str().unwrap());
        assert!(output.status.success(), "{}: {output:?}", path.display());
    }
}

/// One is what the demo scrapes, the other is fed by remote write: of the same fleet.
#[test]
fn the_files_for_the_simulated_fleet_have_the_same_kinds() {
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    let kinds = |file: &str| {
        let text = std::fs::read_to_string(configs.join(file)).unwrap();
        let (_, kinds) = text.split_once("\nstatus:\n").unwrap();
        kinds.to_owned()
    };
    assert_eq!(kinds("rollcall.yml"), kinds("status-center.yml"));
}
