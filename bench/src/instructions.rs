//! Instructions of each part, counted by valgrind: the same on every day, whatever else runs.
//!
//! A part is run a few times and then some more; the difference is what a run costs, without the
//! start of the process and the preparation.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};
use bench::parts::{PARTS, SAMPLES, prepare};

use crate::table;

/// How often a part is run for the lower and the higher count. Both pass every kind of page.
const RUNS: [u64; 2] = [16, 48];

/// Runs a part, for [`count`] to count.
pub(crate) fn run(part: &str, runs: u64) -> anyhow::Result<()> {
    let mut run = prepare(part).with_context(|| format!("no part {part:?}"))?;
    (0..runs).for_each(|_| run());
    Ok(())
}

/// Prints instructions a sample of each part.
pub(crate) fn count() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut rows = Vec::new();
    for part in PARTS {
        let [few, more] = RUNS.map(|runs| instructions(part, runs, folder.path()));
        let of_all = more? - few?;
        let per_sample = of_all as f64 / ((RUNS[1] - RUNS[0]) * SAMPLES as u64) as f64;
        rows.push(vec![(*part).to_owned(), format!("{per_sample:.1}")]);
    }
    table::print(&["part", "instructions/sample"], &rows);
    Ok(())
}

/// Instructions of a process of its own that runs `part` so often.
fn instructions(part: &str, runs: u64, folder: &Path) -> anyhow::Result<u64> {
    let file = folder.join("counted");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--error-exitcode=1"])
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(std::env::current_exe()?)
        .args(["part", part, &runs.to_string()])
        .output()
        .context("run valgrind (Debian's package valgrind)")?;
    if !output.status.success() {
        bail!("{part}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let counted = std::fs::read_to_string(&file).context("read what callgrind counted")?;
    let total = counted.lines().find_map(|line| line.strip_prefix("summary: "));
    let total = total.or(counted.lines().find_map(|line| line.strip_prefix("totals: ")));
    total.context("no total")?.trim().parse().context("read the total")
}
