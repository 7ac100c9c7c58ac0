//! The same targets through Debian's Prometheus 2.42 (agent mode) and through rollcall: what each
//! remote-writes must be the same, case by case.
//!
//! Where Prometheus 3.14 differs from 2.42, the case says what 3.14 does and which of its files
//! says so; then rollcall must do that, and 2.42 must indeed do something else.

mod by_chance; // pages that nobody thought of
mod case;
mod exchange; // HTTP: statuses, torn and late bodies, compression, redirects
mod exposition; // the text format, line by line
mod histograms; // protobuf, and the native histograms in it
mod labels; // conflicts between labels, and limits
mod openmetrics; // the other text format
mod recovery; // what comes back after faults
mod relabel; // every action and its corners
mod run;
mod since_three; // what 3.14 does and 2.42 does not
mod staleness; // series that vanish, targets that fail and recover
mod transcript;

use case::{Case, Want};
use run::{Agent, base_ms, run};

/// Runs the cases through both, and compares.
async fn check(cases: Vec<Case>) {
    let base_ms = base_ms();
    let theirs = run(Agent::Prometheus, &cases, base_ms);
    let (theirs, ours) = tokio::join!(theirs, run(Agent::Rollcall, &cases, base_ms));
    let mut wrong = String::new();
    for (at, case) in cases.iter().enumerate() {
        let (theirs, ours) = (&theirs[at], &ours[at]);
        let complaint = match &case.want {
            Want::Same | Want::NotScraped if ours == theirs => continue,
            Want::Same | Want::NotScraped => {
                format!("Prometheus 2.42:\n{theirs}rollcall:\n{ours}")
            }
            Want::Differs { transcript, .. } if theirs == transcript => {
                format!("2.42 does that too:\n{theirs}")
            }
            Want::Differs { transcript, .. } | Want::New { transcript, .. }
                if ours == transcript =>
            {
                continue;
            }
            Want::Differs { upstream, transcript } | Want::New { upstream, transcript } => {
                format!("Prometheus 3.14 ({upstream}):\n{transcript}rollcall:\n{ours}")
            }
        };
        wrong.push_str(&format!("\n=== {} ===\n{}", case.name, complaint));
    }
    assert!(wrong.is_empty(), "{wrong}");
}
