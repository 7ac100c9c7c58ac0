//! The formats that a target can be asked for, and how it may write names.

/// A format that can be asked for (`scrape_protocols`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ScrapeProtocol {
    /// `PrometheusProto`
    Protobuf,
    /// `PrometheusText0.0.4`
    Text0_0_4,
    /// `PrometheusText1.0.0`
    Text1_0_0,
    /// `OpenMetricsText0.0.1`
    OpenMetrics0_0_1,
    /// `OpenMetricsText1.0.0`
    OpenMetrics1_0_0,
}

/// How a target shall write names that are not `[a-zA-Z_:][a-zA-Z0-9_:]*`
/// (`metric_name_escaping_scheme`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum EscapingScheme {
    /// `allow-utf-8`: as they are.
    #[default]
    AllowUtf8,
    /// `underscores`: other characters become `_`.
    Underscores,
    /// `dots`: `.` becomes `_dot_`, other characters `__`.
    Dots,
    /// `values`: `U__` and the code point of each other character.
    Values,
}
