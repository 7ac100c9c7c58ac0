//! The Python client, unmodified: list, watch, patch, and what is gone.

use std::path::Path;

use testkit::{DEADLINE, FakeTarget, config};
use tokio::process::Command;

use crate::kinds::{VMS, vms};
use crate::rollcall;

/// Debian's interpreter, which is the one that has Debian's package of the client.
const PYTHON: &str = "/usr/bin/python3";

#[tokio::test]
async fn the_python_client_lists_watches_and_patches() {
    let target = FakeTarget::serving(vms(&[("1", "running"), ("2", "stopped")])).await;
    let app = rollcall().config(&config().scrape(&target).section(VMS)).start().await;
    // From here on no scrape corrects what the client says.
    target.hold();
    target.wait_for_more_requests(1).await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/status/python_client.py");
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(PYTHON);
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
