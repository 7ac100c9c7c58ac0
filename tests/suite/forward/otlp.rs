//! OTLP's metrics as a receiver reads them: written from the public definition
//! (`opentelemetry/proto/metrics/v1/metrics.proto`), as far as tests look.

use prost::Message as _;

#[derive(Clone, PartialEq, prost::Message)]
struct ExportRequest {
    #[prost(message, repeated, tag = "1")]
    resources: Vec<ResourceMetrics>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ResourceMetrics {
    #[prost(message, repeated, tag = "2")]
    scopes: Vec<ScopeMetrics>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ScopeMetrics {
    #[prost(message, repeated, tag = "2")]
    metrics: Vec<Metric>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Metric {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "5")]
    gauge: Option<Points>,
    #[prost(message, optional, tag = "7")]
    sum: Option<Points>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Points {
    #[prost(message, repeated, tag = "1")]
    points: Vec<Point>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Point {
    #[prost(fixed64, tag = "3")]
    time_unix_nano: u64,
    #[prost(double, optional, tag = "4")]
    as_double: Option<f64>,
    #[prost(message, repeated, tag = "5")]
    exemplars: Vec<Exemplar>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Exemplar {
    #[prost(message, repeated, tag = "7")]
    attributes: Vec<Attribute>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Attribute {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct AnyValue {
    #[prost(string, tag = "1")]
    text: String,
}

/// The numbers of every point of one metric, in order.
pub(super) fn numbers_of_points(body: &[u8], name: &str) -> Vec<f64> {
    let points = points(body).into_iter().filter(|(metric, _)| metric == name);
    points
        .map(|(_, point)| {
            assert!(point.time_unix_nano > 1_600_000_000_000_000_000);
            point.as_double.unwrap()
        })
        .collect()
}

/// The attribute `trace` of every exemplar, in order.
pub(super) fn traces_of_exemplars(body: &[u8]) -> Vec<String> {
    let exemplars = points(body).into_iter().flat_map(|(_, point)| point.exemplars);
    let attributes = exemplars.flat_map(|exemplar| exemplar.attributes);
    let traces = attributes.filter(|attribute| attribute.key == "trace");
    traces.map(|attribute| attribute.value.unwrap_or_default().text).collect()
}

/// Every point of a number, with its metric's name.
fn points(body: &[u8]) -> Vec<(String, Point)> {
    let request = ExportRequest::decode(body).unwrap();
    let scopes = request.resources.into_iter().flat_map(|resource| resource.scopes);
    let metrics = scopes.flat_map(|scope| scope.metrics);
    metrics
        .flat_map(|metric| {
            let points = metric.gauge.or(metric.sum).unwrap_or_default().points;
            points.into_iter().map(move |point| (metric.name.clone(), point))
        })
        .collect()
}
