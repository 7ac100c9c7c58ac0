//! Stories of who may change what.

mod orders;
mod stories;
