//! The whole program against the world: real exporters, real receivers, real clients, and fakes
//! where the real thing cannot be made to misbehave. One binary, a file per theme.

mod differential; // Prometheus and rollcall on the same targets, case by case
mod tidy; // what review forgets: layers, sizes, headers, lists that must agree

/// A rollcall ready to be configured and started.
fn rollcall() -> testkit::Launch {
    testkit::Launch::new(env!("CARGO_BIN_EXE_rollcall"))
}
