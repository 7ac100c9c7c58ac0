//! Objects: what their JSON says.
