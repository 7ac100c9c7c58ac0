//! In which form a client wants its answer: objects, a table, or their metadata alone; gzip or
//! plain.
//!
//! A form is sent only to who asked for it: reflectors refuse tables.

use http::{HeaderMap, header};

use super::failure::Failure;

/// What the answer is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Form {
    /// The objects as they are.
    #[default]
    Objects,
    /// `Table` of `meta.k8s.io/v1`: rows and columns for people.
    Table,
    /// `PartialObjectMetadata`.
    Metadata,
}

/// The form that the `Accept` headers ask for: of those that can be made, the one with the
/// greatest `q`, and the first of these.
///
/// # Errors
/// 406 if none can.
pub(crate) fn form(headers: &HeaderMap) -> Result<Form, Failure> {
    let mut asked = false;
    let mut best: Option<(f32, Form)> = None;
    for header in headers.get_all(header::ACCEPT) {
        for clause in header.to_str().unwrap_or_default().split(',') {
            asked |= !clause.trim().is_empty();
            let quality = quality(clause);
            let is_better = quality > best.map_or(0.0, |(known, _)| known);
            if let Some(form) = form_of(clause).filter(|_| is_better) {
                best = Some((quality, form));
            }
        }
    }
    match best {
        Some((_, form)) => Ok(form),
        None if asked => Err(Failure::not_acceptable()),
        None => Ok(Form::Objects),
    }
}

/// How much a clause is wanted: its `q`, 1 if it has none.
fn quality(clause: &str) -> f32 {
    let mut parts = clause.split(';').map(str::trim);
    let q = parts.find_map(|part| part.strip_prefix("q=")?.parse().ok());
    q.unwrap_or(1.0)
}

/// Whether a client takes gzip. Only lists are ever compressed.
pub(crate) fn takes_gzip(headers: &HeaderMap) -> bool {
    let clauses = headers.get_all(header::ACCEPT_ENCODING);
    let mut clauses = clauses.iter().filter_map(|it| it.to_str().ok()).flat_map(|it| it.split(','));
    clauses.any(|clause| {
        let mut parts = clause.split(';').map(str::trim);
        parts.next() == Some("gzip") && !parts.any(|it| matches!(it, "q=0" | "q=0.0"))
    })
}

/// Whether the aggregated form of discovery is asked for, and in which version.
pub(crate) fn aggregated_discovery(headers: &HeaderMap) -> Option<&'static str> {
    let clauses = headers.get_all(header::ACCEPT);
    let mut clauses = clauses.iter().filter_map(|it| it.to_str().ok()).flat_map(|it| it.split(','));
    clauses.find_map(|clause| {
        let has = |wanted: &str| clause.split(';').any(|part| part.trim() == wanted);
        if !has("application/json") {
            return None;
        }
        if !has("g=apidiscovery.k8s.io") || !has("as=APIGroupDiscoveryList") {
            return Some(None);
        }
        ["v2", "v2beta1"].into_iter().find(|version| has(&format!("v={version}"))).map(Some)
    })?
}

fn form_of(clause: &str) -> Option<Form> {
    let mut parts = clause.split(';').map(str::trim);
    if !matches!(parts.next()?, "application/json" | "application/*" | "*/*") {
        return None;
    }
    let (mut form, mut group, mut version) = (None, "meta.k8s.io", "v1");
    for (key, value) in parts.filter_map(|part| part.split_once('=')) {
        match key {
            "as" => form = Some(value),
            "g" => group = value,
            "v" => version = value,
            _ => {}
        }
    }
    match form {
        None => Some(Form::Objects),
        Some(_) if group != "meta.k8s.io" || !matches!(version, "v1" | "v1beta1") => None,
        Some("Table") => Some(Form::Table),
        Some("PartialObjectMetadata" | "PartialObjectMetadataList") => Some(Form::Metadata),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[track_caller]
    fn check(accept: &str, want: Option<Form>) {
        let mut headers = HeaderMap::new();
        if !accept.is_empty() {
            headers.insert(header::ACCEPT, HeaderValue::from_str(accept).unwrap());
        }
        assert_eq!(form(&headers).ok(), want, "{accept}");
    }

    #[test]
    fn the_first_form_that_can_be_made_is_made() {
        let protobuf = "application/vnd.kubernetes.protobuf";
        check("", Some(Form::Objects));
        check("*/*", Some(Form::Objects));
        check("application/json, */*", Some(Form::Objects));
        check("application/json;stream=watch", Some(Form::Objects));
        check("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", Some(Form::Table));
        check("application/json;as=Table;v=v2;g=meta.k8s.io,application/json", Some(Form::Objects));
        check(
            "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
            Some(Form::Metadata),
        );
        check(
            &format!(
                "{protobuf};as=PartialObjectMetadata;g=meta.k8s.io;v=v1,\
                 application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
            ),
            Some(Form::Metadata),
        );
        check(&format!("{protobuf},application/json"), Some(Form::Objects));
        check("application/json;q=0.5,application/json;as=Table;v=v1;q=0.9", Some(Form::Table));
        check("application/json;q=0.5,*/*;q=0.1", Some(Form::Objects));
        check("application/json;q=0", None);
        check(protobuf, None);
        check("application/cbor", None);
    }

    #[test]
    fn discovery_is_aggregated_for_who_prefers_it() {
        let of = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            aggregated_discovery(&headers)
        };
        let kubectl =
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
        assert_eq!(of(kubectl), Some("v2"));
        let kube_rs = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
        assert_eq!(of(kube_rs), Some("v2beta1"));
        assert_eq!(of("application/json, */*"), None);
    }

    #[test]
    fn gzip_is_for_who_takes_it() {
        let of = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(value));
            takes_gzip(&headers)
        };
        assert!(of("gzip"));
        assert!(of("deflate, gzip;q=0.5"));
        assert!(!of("gzip;q=0"));
        assert!(!of("identity"));
    }
}
