//! What went wrong with a request, as Kubernetes clients expect to hear it: a `Status` object on
//! one line, with its HTTP code and reason.
//!
//! The only place that knows reasons and codes.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

/// A refused request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Failure(Box<Parts>);

#[derive(Debug, Clone, PartialEq)]
struct Parts {
    code: StatusCode,
    reason: &'static str,
    message: String,
    details: Option<Value>,
    retry_after_s: Option<u32>,
}

/// Which resource a failure is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct About<'a> {
    /// API group of the kind.
    pub(crate) group: &'a str,
    /// Its plural name.
    pub(crate) plural: &'a str,
    /// The object, if it is about one.
    pub(crate) name: &'a str,
}

/// One of several things that are wrong.
#[derive(Debug, Clone)]
pub(crate) struct Cause {
    /// `FieldValueInvalid`, `FieldManagerConflict`, …
    pub(crate) reason: &'static str,
    /// What is wrong.
    pub(crate) message: String,
    /// Where: `status.state`, `.spec`.
    pub(crate) field: String,
}

// === impl Failure ===

impl Failure {
    fn new(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Failure {
        let (message, details, retry_after_s) = (message.into(), None, None);
        Failure(Box::new(Parts { code, reason, message, details, retry_after_s }))
    }

    /// The request cannot be understood.
    pub(crate) fn bad_request(message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    /// There is no such path.
    pub(crate) fn no_path() -> Failure {
        let message = "the server could not find the requested resource";
        Failure::new(StatusCode::NOT_FOUND, "NotFound", message)
    }

    /// There is no such object.
    pub(crate) fn not_found(about: About<'_>) -> Failure {
        let About { group, plural, name } = about;
        let message = format!("{plural}.{group} {name:?} not found");
        Failure::new(StatusCode::NOT_FOUND, "NotFound", message).about(about)
    }

    /// There is such an object already.
    pub(crate) fn already_exists(about: About<'_>) -> Failure {
        let About { group, plural, name } = about;
        let message = format!("{plural}.{group} {name:?} already exists");
        Failure::new(StatusCode::CONFLICT, "AlreadyExists", message).about(about)
    }

    /// The object is not the one the client saw.
    pub(crate) fn conflict(about: About<'_>, why: &str) -> Failure {
        let About { group, plural, name } = about;
        let message = format!("Operation cannot be fulfilled on {plural}.{group} {name:?}: {why}");
        Failure::new(StatusCode::CONFLICT, "Conflict", message).about(about)
    }

    /// Other managers own with other values what was applied.
    pub(crate) fn apply_conflict(message: impl Into<String>, causes: Vec<Cause>) -> Failure {
        Failure::new(StatusCode::CONFLICT, "Conflict", message).with_causes(causes)
    }

    /// A limit of the configuration is reached.
    pub(crate) fn forbidden(about: About<'_>, why: &str) -> Failure {
        let About { group, plural, name } = about;
        let message = format!("{plural}.{group} {name:?} is forbidden: {why}");
        Failure::new(StatusCode::FORBIDDEN, "Forbidden", message).about(about)
    }

    /// The version is not known here: read everything again.
    pub(crate) fn expired(message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::GONE, "Expired", message)
    }

    /// The object, or an option, is not valid.
    pub(crate) fn invalid(about: About<'_>, causes: Vec<Cause>) -> Failure {
        let list: Vec<String> = causes
            .iter()
            .map(|cause| match cause.field.as_str() {
                "" => cause.message.clone(),
                field => format!("{field}: {}", cause.message),
            })
            .collect();
        let About { group, plural, name } = about;
        let message = match list.as_slice() {
            [one] => format!("{plural}.{group} {name:?} is invalid: {one}"),
            many => format!("{plural}.{group} {name:?} is invalid: [{}]", many.join(", ")),
        };
        Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message)
            .about(about)
            .with_causes(causes)
    }

    /// An option that the request may not have.
    pub(crate) fn invalid_option(field: &str, message: impl Into<String>) -> Failure {
        let message = message.into();
        let cause =
            Cause { reason: "FieldValueForbidden", message: message.clone(), field: field.into() };
        let kind = if field == "fieldManager" { "PatchOptions" } else { "ListOptions" };
        let text = format!("{kind}.meta.k8s.io \"\" is invalid: {field}: {message}");
        let failure = Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", text);
        let about = About { group: "meta.k8s.io", plural: kind, name: "" };
        failure.about(about).with_causes(vec![cause])
    }

    /// The path does not know this verb.
    pub(crate) fn method_not_allowed() -> Failure {
        let message = "the server does not allow this method on the requested resource";
        Failure::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message)
    }

    /// No form that the client accepts can be made.
    pub(crate) fn not_acceptable() -> Failure {
        let message = "only the following media types are accepted: application/json";
        Failure::new(StatusCode::NOT_ACCEPTABLE, "NotAcceptable", message)
    }

    /// The body is of a form that is not read here.
    pub(crate) fn unsupported_media_type(accepted: &str) -> Failure {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: \
             {accepted}"
        );
        Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", message)
    }

    /// The body takes too long to arrive.
    pub(crate) fn too_slow(limit: std::time::Duration) -> Failure {
        let message = format!("the body of the request did not arrive within {limit:?}");
        Failure::new(StatusCode::REQUEST_TIMEOUT, "Timeout", message)
    }

    /// The body is compressed.
    pub(crate) fn unsupported_encoding() -> Failure {
        let message = "the body of the request must not be compressed: send it without \
                       Content-Encoding";
        Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", message)
    }

    /// The body is too large.
    pub(crate) fn too_large(limit_bytes: usize) -> Failure {
        let message = format!("the body of the request has more than {limit_bytes} bytes");
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", message)
    }

    /// The body has more of something than it may have.
    pub(crate) fn too_large_message(message: &str) -> Failure {
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", message)
    }

    /// Not now: come back in a second.
    pub(crate) fn too_many_requests(message: impl Into<String>) -> Failure {
        let mut failure = Failure::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", message);
        failure.0.retry_after_s = Some(1);
        failure.0.details = Some(json!({ "retryAfterSeconds": 1 }));
        failure
    }

    /// The status center stops.
    pub(crate) fn unavailable(message: impl Into<String>) -> Failure {
        let mut failure =
            Failure::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message);
        failure.0.retry_after_s = Some(1);
        failure
    }

    /// Says what it is about.
    pub(crate) fn about(mut self, about: About<'_>) -> Failure {
        let About { group, plural, name } = about;
        let mut details = serde_json::Map::new();
        if !name.is_empty() {
            details.insert("name".into(), name.into());
        }
        details.insert("group".into(), group.into());
        details.insert("kind".into(), plural.into());
        self.0.details = Some(Value::Object(details));
        self
    }

    /// Lists what is wrong.
    pub(crate) fn with_causes(mut self, causes: Vec<Cause>) -> Failure {
        let causes: Vec<Value> = causes
            .into_iter()
            .map(|it| json!({ "reason": it.reason, "message": it.message, "field": it.field }))
            .collect();
        let details = self.0.details.get_or_insert_with(|| json!({}));
        details["causes"] = Value::Array(causes);
        self
    }

    /// The HTTP code.
    pub(crate) fn code(&self) -> StatusCode {
        self.0.code
    }

    /// The word for it that programs look at.
    pub(crate) fn reason(&self) -> &'static str {
        self.0.reason
    }

    /// What a person is told.
    pub(crate) fn message(&self) -> &str {
        &self.0.message
    }

    /// The `Status` object.
    pub(crate) fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.0.message,
            "reason": self.0.reason,
        });
        if let Some(details) = &self.0.details {
            status["details"] = details.clone();
        }
        status["code"] = self.0.code.as_u16().into();
        status
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        // One line: kube-rs reads the errors of watches line by line.
        let body = self.status().to_string();
        let json = HeaderValue::from_static("application/json");
        let mut response = (self.0.code, [(header::CONTENT_TYPE, json)], body).into_response();
        if let Some(seconds) = self.0.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_a_status_on_one_line() {
        let about = About { group: "status.rollcall", plural: "virtualmachines", name: "x" };
        assert_eq!(
            Failure::not_found(about).status().to_string(),
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","#.to_owned()
                + r#""message":"virtualmachines.status.rollcall \"x\" not found","#
                + r#""reason":"NotFound","details":{"name":"x","group":"status.rollcall","#
                + r#""kind":"virtualmachines"},"code":404}"#
        );
    }

    #[test]
    fn who_must_come_back_is_told_when() {
        let response = Failure::too_many_requests("warming up").into_response();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    }
}
