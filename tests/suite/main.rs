//! The whole program against the world: real exporters, real receivers, real clients, and fakes
//! where the real thing cannot be made to misbehave. One binary, a file per theme.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends with the place where")]

mod api; // endpoints that answer as those of Prometheus
mod config; // mistakes in files, and what is said of them; the files in configs/
mod dashboards; // what stock dashboards and alerts ask for
mod differential; // Prometheus and rollcall on the same targets, case by case
mod drop_in; // one prometheus.yml of a real exporter, through both
mod fleet; // what happens to a simulated fleet reaches listeners
mod forward; // destinations: delivered, waiting, or dropped and counted
mod keys; // every key and flag stands where a user looks for it
mod kinds; // the kinds and routes that the stories use
mod kubectl; // the real kubectl
mod pages; // pages of docs/ that say what the program says
mod reload; // a new configuration while everything runs
mod scrape; // targets, discovery, pools
mod sender; // remote write by the cases of prometheus/compliance
mod shutdown; // stopping in the order of the data
mod status; // what objects are made of, and whose word counts
mod tidy; // what review forgets: layers, sizes, headers, lists that must agree
mod watch; // edges, versions, resuming

/// The program under test.
const BINARY: &str = env!("CARGO_BIN_EXE_rollcall");

/// A rollcall ready to be configured and started.
fn rollcall() -> testkit::Launch {
    testkit::Launch::new(BINARY)
}

/// A program that `make tools` has fetched.
fn tool(name: &str) -> std::path::PathBuf {
    // The binary under test stands in `debug/` of the target folder, tools beside that.
    let target = std::path::Path::new(BINARY).ancestors().nth(2).unwrap();
    let path = target.join("test-tools").join(name);
    assert!(path.exists(), "no {}: run `make tools` first, which fetches it", path.display());
    path
}
