//! The HTTP API.

mod accept;
mod failure;
mod options;
mod page;
mod patch;
mod versions;
