//! The sender of remote write, by the cases of prometheus/compliance (`remotewrite/sender`): what
//! its messages look like in both versions, and what it makes of answers.
//!
//! What every message must keep is checked by the fake receiver as it decodes: snappy's block
//! format, sorted and unique labels, symbols that exist and start with the empty one, samples in
//! the order of time, no series with samples and histograms at once.

mod answers; // statuses, retries, fallback to 1.0, what was written
mod messages; // names, labels, values, metadata, exemplars
