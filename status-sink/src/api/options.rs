//! The query parameters of a request, by Kubernetes' names, and a few of ours.
//!
//! Unknown parameters are ignored, as the Kubernetes API server does. Ours:
//! `envelope=prev,current,edge,cause,ts` (what watch events carry beside type and object),
//! `by=state,host` (fields of a summary) and `observedAt=true` (when each object was last seen).

use std::time::Duration;

use axum::extract::Query;
use http::Uri;

use super::failure::Failure;

/// A watch that asks for longer ends after this: a day is longer than any client asks for.
const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Bytes of a field manager's name (Kubernetes' limit).
const MANAGER_BYTES_MAX: usize = 128;

/// What a request asks for beside its path and body.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Options {
    /// `labelSelector`, not parsed.
    pub(crate) labels: String,
    /// `fieldSelector`, not parsed.
    pub(crate) fields: String,
    /// `resourceVersion`; none if unset or empty.
    pub(crate) version: Option<u64>,
    /// `resourceVersionMatch`.
    pub(crate) version_match: Option<VersionMatch>,
    /// `watch`.
    pub(crate) watch: bool,
    /// `sendInitialEvents`; none if unset.
    pub(crate) initial_events: Option<bool>,
    /// `allowWatchBookmarks`.
    pub(crate) bookmarks: bool,
    /// `timeoutSeconds`.
    pub(crate) timeout: Option<Duration>,
    /// `limit`; none if unset or zero.
    pub(crate) limit: Option<usize>,
    /// `continue`; none if empty.
    pub(crate) continue_at: Option<String>,
    /// `dryRun=All`.
    pub(crate) dry_run: bool,
    /// `fieldValidation`.
    pub(crate) validation: Validation,
    /// `fieldManager`.
    pub(crate) manager: Option<String>,
    /// `force`, of server-side apply.
    pub(crate) force: bool,
    /// `includeObject`, of tables.
    pub(crate) include: Include,
    /// `envelope`.
    pub(crate) envelope: Envelope,
    /// `by`, of summaries.
    pub(crate) by: Vec<String>,
    /// `observedAt`.
    pub(crate) observed_at: bool,
}

/// How a list's version relates to the asked one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VersionMatch {
    /// It is that version.
    Exact,
    /// It is that version or a newer one.
    NotOlderThan,
}

/// What is done about fields that the kind does not declare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Validation {
    /// They are dropped.
    Ignore,
    /// They are dropped, and the client is warned.
    #[default]
    Warn,
    /// The request is refused.
    Strict,
}

/// What table rows carry of their object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Include {
    /// Nothing.
    None,
    /// Its metadata.
    #[default]
    Metadata,
    /// All of it.
    Object,
}

/// What watch events carry beside type and object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Envelope {
    /// `prev`: the object before the change.
    pub(crate) prev: bool,
    /// `cause`: what changed it.
    pub(crate) cause: bool,
    /// `current`: of an object that no longer matches, what it is now.
    pub(crate) current: bool,
    /// `edge`: `enter`, `change`, `leave` or `delete`.
    pub(crate) edge: bool,
    /// `ts`: when it changed, in milliseconds since the epoch.
    pub(crate) ts: bool,
}

// === impl Options ===

impl Options {
    /// Reads the query of `uri`.
    ///
    /// # Errors
    /// 400 for a value that cannot be read, 422 for an unknown `resourceVersionMatch`.
    pub(crate) fn of(uri: &Uri) -> Result<Options, Failure> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|error| Failure::bad_request(format!("read the query: {error}")))?;
        let mut options = Options::default();
        for (key, value) in pairs {
            options.set(&key, value)?;
        }
        Ok(options)
    }

    fn set(&mut self, key: &str, value: String) -> Result<(), Failure> {
        match key {
            "labelSelector" => self.labels = value,
            "fieldSelector" => self.fields = value,
            "resourceVersion" if value.is_empty() => self.version = None,
            "resourceVersion" => self.version = Some(version(&value)?),
            "resourceVersionMatch" => self.version_match = version_match(&value)?,
            "watch" => self.watch = truth(&value),
            "sendInitialEvents" => self.initial_events = Some(truth(&value)),
            "allowWatchBookmarks" => self.bookmarks = truth(&value),
            "timeoutSeconds" => {
                let seconds: u64 = number(key, &value)?;
                let timeout = Duration::from_secs(seconds).min(TIMEOUT_MAX);
                self.timeout = (seconds > 0).then_some(timeout);
            }
            "limit" => self.limit = Some(number(key, &value)?).filter(|limit| *limit > 0),
            "continue" => self.continue_at = Some(value).filter(|token| !token.is_empty()),
            "dryRun" => self.dry_run = dry_run(&value)?,
            "fieldValidation" => self.validation = validation(&value)?,
            "fieldManager" => self.manager = manager(value)?,
            "force" => self.force = truth(&value),
            "includeObject" => self.include = include(&value)?,
            "envelope" => self.envelope = envelope(&value)?,
            "by" => self.by = value.split(',').map(str::trim).map(str::to_owned).collect(),
            "observedAt" => self.observed_at = truth(&value),
            _ => {}
        }
        Ok(())
    }
}

/// As the API server reads a boolean: everything but `false` and `0` is true.
fn truth(value: &str) -> bool {
    !(value.eq_ignore_ascii_case("false") || value == "0")
}

fn number<T: std::str::FromStr>(key: &str, value: &str) -> Result<T, Failure> {
    value.parse().map_err(|_| Failure::bad_request(format!("{key}: {value:?} is not a number")))
}

/// A resource version: decimal, without a leading zero (`0` itself means *any*).
pub(crate) fn version(text: &str) -> Result<u64, Failure> {
    let canonical = text == "0" || !text.starts_with('0');
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let parsed = text.parse().ok().filter(|_| canonical && digits);
    // More digits than we ever use are still a version, just none of ours.
    let foreign = canonical && digits && text.len() <= 39 && !text.is_empty();
    parsed.or(foreign.then_some(u64::MAX)).ok_or_else(|| {
        Failure::bad_request(format!("resourceVersion: invalid value {text:?}: not a version"))
    })
}

fn version_match(value: &str) -> Result<Option<VersionMatch>, Failure> {
    match value {
        "" => Ok(None),
        "Exact" => Ok(Some(VersionMatch::Exact)),
        "NotOlderThan" => Ok(Some(VersionMatch::NotOlderThan)),
        _ => {
            let message = "Unsupported value: supported values: \"Exact\", \"NotOlderThan\"";
            Err(Failure::invalid_option("resourceVersionMatch", message))
        }
    }
}

fn manager(value: String) -> Result<Option<String>, Failure> {
    if value.len() > MANAGER_BYTES_MAX {
        let message = format!("Too long: may not be more than {MANAGER_BYTES_MAX} bytes");
        return Err(Failure::invalid_option("fieldManager", message));
    }
    if value.chars().any(char::is_control) {
        let message = "Invalid value: should only contain printable characters";
        return Err(Failure::invalid_option("fieldManager", message));
    }
    Ok(Some(value).filter(|it| !it.is_empty()))
}

fn dry_run(value: &str) -> Result<bool, Failure> {
    match value {
        "" => Ok(false),
        "All" => Ok(true),
        _ => Err(Failure::bad_request(format!("dryRun: {value:?} is not All"))),
    }
}

fn validation(value: &str) -> Result<Validation, Failure> {
    match value {
        "Ignore" => Ok(Validation::Ignore),
        "Warn" | "" => Ok(Validation::Warn),
        "Strict" => Ok(Validation::Strict),
        _ => {
            let message = format!("fieldValidation: {value:?} is not Ignore, Warn or Strict");
            Err(Failure::bad_request(message))
        }
    }
}

fn include(value: &str) -> Result<Include, Failure> {
    match value {
        "None" => Ok(Include::None),
        "Metadata" | "" => Ok(Include::Metadata),
        "Object" => Ok(Include::Object),
        _ => {
            let message = format!("includeObject: {value:?} is not None, Metadata or Object");
            Err(Failure::bad_request(message))
        }
    }
}

fn envelope(value: &str) -> Result<Envelope, Failure> {
    let mut envelope = Envelope::default();
    for part in value.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        match part {
            "prev" => envelope.prev = true,
            "cause" => envelope.cause = true,
            "current" => envelope.current = true,
            "edge" => envelope.edge = true,
            "ts" => envelope.ts = true,
            _ => {
                let message = format!("envelope: {part:?} is not prev, current, edge, cause or ts");
                return Err(Failure::bad_request(message));
            }
        }
    }
    Ok(envelope)
}

// === impl Envelope ===

impl Envelope {
    /// Whether events are nothing but type and object.
    pub(crate) fn is_plain(self) -> bool {
        self == Envelope::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(query: &str) -> Result<Options, Failure> {
        Options::of(&format!("/apis/g/v1/vms?{query}").parse().unwrap())
    }

    #[test]
    fn what_clients_send_is_read() {
        // kube-rs begins with an ampersand.
        let options =
            of("&watch=true&timeoutSeconds=290&allowWatchBookmarks=true&resourceVersion=7");
        let options = options.unwrap();
        assert!(options.watch && options.bookmarks);
        assert_eq!(options.version, Some(7));
        assert_eq!(options.timeout, Some(Duration::from_secs(290)));
        let options =
            of("fieldSelector=metadata.name%3Dvm-1%2Cstatus.cpu%3E80&limit=500&unknown=1");
        let options = options.unwrap();
        assert_eq!(options.fields, "metadata.name=vm-1,status.cpu>80");
        assert_eq!(options.limit, Some(500));
        assert!(!of("watch=0").unwrap().watch && of("watch").unwrap().watch);
        assert_eq!(of("limit=0&continue=&resourceVersion=").unwrap(), Options::default());
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for query in [
            "resourceVersion=abc",
            "resourceVersion=007",
            "resourceVersion=-1",
            "resourceVersion=%2B1",
            "limit=-1",
            "limit=many",
            "timeoutSeconds=1h",
            "dryRun=Some",
            "fieldValidation=strict",
            "includeObject=Everything",
            "envelope=next",
        ] {
            assert_eq!(of(query).unwrap_err().code(), 400, "{query}");
        }
        assert_eq!(of("resourceVersionMatch=Newest").unwrap_err().code(), 422);
    }

    #[test]
    fn what_is_too_long_is_cut_or_refused() {
        for seconds in ["86401", "18446744073709551615"] {
            let timeout = of(&format!("timeoutSeconds={seconds}")).unwrap().timeout;
            assert_eq!(timeout, Some(TIMEOUT_MAX), "{seconds}");
        }
        assert_eq!(of("timeoutSeconds=18446744073709551616").unwrap_err().code(), 400);
        let long = "m".repeat(MANAGER_BYTES_MAX + 1);
        assert_eq!(of(&format!("fieldManager={long}")).unwrap_err().code(), 422);
        assert_eq!(of("fieldManager=a%0Ab").unwrap_err().code(), 422);
        assert_eq!(of("fieldManager=kubectl").unwrap().manager.as_deref(), Some("kubectl"));
    }

    #[test]
    fn a_version_too_long_for_us_is_still_one() {
        assert_eq!(of("resourceVersion=99999999999999999999").unwrap().version, Some(u64::MAX));
    }
}
