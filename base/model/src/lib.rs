//! The words that every part shares: labels, layouts, batches, and the port they travel through.
//!
//! Pure: no tokio, no clock, no I/O, no serialization. What is here is what a part may know of
//! another; everything else stays inside the part.

mod batch;
mod histogram;
mod labels;
mod layout;
mod metadata;
mod sink;
mod symbols;
mod time;
mod value;

pub use batch::{Batch, Carried, Outcome, Role, Samples, Source, SourceId, Stamped};
pub use histogram::{Exemplar, Histogram, HistogramCounts, ResetHint, Span};
pub use labels::{Labels, LabelsBuilder};
pub use layout::{Layout, LayoutBuilder, LayoutId, NEW_SERIES};
pub use metadata::{Family, MetricType};
pub use sink::{BatchSink, Memo, Selection};
pub use symbols::{PairId, PairTable, Symbols};
pub use time::Moment;
pub use value::{ABSENT, NORMAL_NAN, STALE_MARKER, is_absent, is_stale_marker};
