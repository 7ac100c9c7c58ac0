//! The words that every part shares: labels, layouts, batches, and the port they travel through.
//!
//! Pure: no tokio, no clock, no I/O, no serialization. What is here is what a part may know of
//! another; everything else stays inside the part.

mod batch;
mod go_regex;
mod histogram;
mod labels;
mod layout;
mod matcher;
mod metadata;
mod names;
mod relabel;
mod sink;
mod symbols;
mod time;
mod value;

pub use batch::{Batch, Carried, Outcome, Role, Samples, Source, SourceId, Stamped};
pub use go_regex::{GoRegex, GoRegexError};
pub use histogram::{Exemplar, Histogram, HistogramCounts, ResetHint, Span};
pub use labels::{Labels, LabelsBuilder};
pub use layout::{Layout, LayoutBuilder, LayoutId, NEW_SERIES};
pub use matcher::{Matcher, SelectorError, SeriesSelector};
pub use metadata::{Family, MetricType};
pub use names::NameScheme;
pub use relabel::{Rule, RuleError, RuleFields, relabel};
pub use sink::{BatchSink, Memo, Selection};
pub use symbols::{PairId, PairTable, Symbols};
pub use time::Moment;
pub use value::{ABSENT, NORMAL_NAN, STALE_MARKER, is_absent, is_stale_marker};
