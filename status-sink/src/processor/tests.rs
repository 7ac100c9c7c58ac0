//! Stories of who may change what.

mod stories;
