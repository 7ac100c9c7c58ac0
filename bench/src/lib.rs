//! The parts of the way of a sample, each alone: for `cargo bench` and `bench instructions`.

pub mod parts;
