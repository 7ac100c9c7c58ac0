//! The parts of the way of a sample, each alone: for `cargo bench` and `bench instructions`.

pub mod parts;

/// The allocator of the daemon: what is measured here is what it does.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
