//! Targets to batches.

mod cache;
mod exposition;
mod sample_rules;
