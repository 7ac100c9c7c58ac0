//! Kinds that are accepted, and what is said of those that are not.
