//! The Python client, unmodified: list, watch, patch, and what is gone.

use std::path::Path;

use testkit::{DEADLINE, FakeTarget, Process, config, wait_until};
use tokio::process::Command;

use crate::kinds::{VMS, vms};
use crate::rollcall;

/// The interpreter: Debian's, which has Debian's package of the client, unless
/// `ROLLCALL_PYTHON` names another.
pub(crate) fn interpreter() -> String {
    std::env::var("ROLLCALL_PYTHON").unwrap_or_else(|_| "/usr/bin/python3".to_owned())
}

#[tokio::test]
async fn the_python_client_lists_watches_and_patches() {
    let target = FakeTarget::serving(vms(&[("1", "running"), ("2", "stopped")])).await;
    let app = rollcall().config(&config().scrape(&target).section(VMS)).start().await;
    // From here on no scrape corrects what the client says.
    target.hold();
    target.wait_for_more_requests(1).await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/status/python_client.py");
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(interpreter());
    command.arg("-I").arg(script).arg(app.url("")).kill_on_drop(true);
    command.env("HOME", home.path()).env("TMPDIR", home.path());
    let output = tokio::time::timeout(DEADLINE, command.output()).await.unwrap().unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let want = [
        "list 1:running 2:stopped",
        "selected 2:stopped",
        "patch 1:stopping",
        "watch ADDED 1:running ADDED 2:stopped MODIFIED 1:stopping",
        "gone 410",
        "missing 404 Not Found",
    ];
    assert_eq!(out.lines().collect::<Vec<_>>(), want, "{err}");
    target.release();
    app.terminate().await;
}

/// The piece of Python in the documentation.
fn example() -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/clients.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, rest) = page.split_once("```python\n").unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

#[tokio::test]
async fn the_example_of_the_documentation_runs_as_it_stands() {
    let target = FakeTarget::serving(vms(&[("100003", "running"), ("2", "crashed")])).await;
    let app = rollcall().config(&config().scrape(&target).section(VMS)).start().await;
    let address = app.address();
    // From here on no scrape corrects what the example says.
    target.hold();
    target.wait_for_more_requests(1).await;
    let home = tempfile::tempdir().unwrap();
    let code = example().replace("http://127.0.0.1:9090", app.url("").trim_end_matches('/'));
    let mut command = Command::new(interpreter());
    command.args(["-I", "-c", &code]).env("HOME", home.path()).env("TMPDIR", home.path());
    let python = Process::start("python", command, &home.path().join("out"));
    let printed = async |line: &str| {
        wait_until(&format!("the example prints {line}"), DEADLINE, || async {
            let log = python.log();
            if log.lines().any(|it| it == line) { Ok(()) } else { Err(log) }
        })
        .await;
    };
    printed("RESET ['100003', '2']").await;
    target.release();
    // The scrape knows better.
    printed("DELETED ['100003']").await;
    app.kill().await;
    target.serve(vms(&[("100003", "crashed"), ("2", "running")]));
    let app = rollcall().config(&config().scrape(&target).section(VMS)).at(address).start().await;
    printed("RESET ['100003']").await;
    drop(python);
    app.stop_expecting(&["scrape failed"]).await;
}
