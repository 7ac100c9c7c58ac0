//! Every way of sending that the forwarder knows.
//!
//! To add one: write `modules/<name>.rs`, then add its `mod` line and its row here.

mod file;
mod remote_write;

pub(crate) use remote_write::{RemoteWriteConfig, WireVersion};

use crate::module::ModuleKind;

/// The module of `remote_write` entries.
pub(crate) const REMOTE_WRITE: &str = remote_write::KIND.name;

/// In the order the documentation lists them.
pub const MODULES: &[ModuleKind] = &[
    remote_write::KIND, // Prometheus' protocol, 1.0 and 2.0
    file::KIND,         // lines of JSON appended to a file
];
