//! The three NaNs that mean something.
//!
//! Parsers turn every NaN that a target prints into [`NORMAL_NAN`], so a target can forge neither
//! of the other two (Prometheus: `model/value/value.go`).

/// The NaN of a target's `NaN`.
pub const NORMAL_NAN: f64 = f64::from_bits(0x7ff8_0000_0000_0001);

/// The NaN that ends a series: Prometheus' stale marker, as it goes over the wire.
pub const STALE_MARKER: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// No sample: stands in `Samples::values` for a series of the layout that has no float value in
/// this batch. Never leaves the process.
pub const ABSENT: f64 = f64::from_bits(0x7ff4_0000_0000_0003);

/// Whether `value` is the stale marker.
pub fn is_stale_marker(value: f64) -> bool {
    value.to_bits() == STALE_MARKER.to_bits()
}

/// Whether `value` stands for "no sample".
pub fn is_absent(value: f64) -> bool {
    value.to_bits() == ABSENT.to_bits()
}
