//! `global`: what every job takes if it says nothing else.

use std::collections::BTreeMap;
use std::path::Path;

use kit::config::{Duration, Invalid, LabelName, LabelValue, Size, is_default, resolve_path};
use model::{Labels, NameScheme};
use serde::{Deserialize, Serialize};

use super::protocols;

/// What the file says.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "config.plain")]
pub struct GlobalSpec {
    /// Time between scrapes. Default 1m.
    #[serde(skip_serializing_if = "Duration::is_zero")]
    pub scrape_interval: Duration,
    /// The longest a scrape may take. Default 10s, or the interval if that is less.
    #[serde(skip_serializing_if = "Duration::is_zero")]
    pub scrape_timeout: Duration,
    /// Formats to ask for, the most wanted first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scrape_protocols: Option<Vec<String>>,
    /// For rules, which an agent does not evaluate. Default 1m.
    #[serde(skip_serializing_if = "Duration::is_zero")]
    pub evaluation_interval: Duration,
    /// For rules, which an agent does not evaluate.
    #[serde(skip_serializing_if = "Duration::is_zero")]
    pub rule_query_offset: Duration,
    /// For queries, which an agent does not answer.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub query_log_file: String,
    /// Where failed scrapes are logged.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub scrape_failure_log_file: String,
    /// Labels for everything that leaves; `$VARIABLE` and `${VARIABLE}` are replaced.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub external_labels: BTreeMap<LabelName, LabelValue>,
    /// Largest body, inflated; 0 for any.
    #[serde(skip_serializing_if = "Size::is_zero")]
    pub body_size_limit: Size,
    /// Most samples of a scrape, after relabelling; 0 for any.
    #[serde(skip_serializing_if = "is_default")]
    pub sample_limit: u64,
    /// Most targets of a job; 0 for any.
    #[serde(skip_serializing_if = "is_default")]
    pub target_limit: u64,
    /// Most labels of a series; 0 for any.
    #[serde(skip_serializing_if = "is_default")]
    pub label_limit: u64,
    /// Longest label name; 0 for any.
    #[serde(skip_serializing_if = "is_default")]
    pub label_name_length_limit: u64,
    /// Longest label value; 0 for any.
    #[serde(skip_serializing_if = "is_default")]
    pub label_value_length_limit: u64,
    /// Most dropped targets shown per job; 0 for any.
    #[serde(skip_serializing_if = "is_default")]
    pub keep_dropped_targets: u64,
    /// `utf8` (default) or `legacy`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub metric_name_validation_scheme: String,
    /// `allow-utf-8`, `underscores`, `dots`, `values`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub metric_name_escaping_scheme: String,
    /// Whether native histograms are scraped. Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scrape_native_histograms: Option<bool>,
    /// Whether classic histograms become native ones. Default false.
    #[serde(skip_serializing_if = "is_default")]
    pub convert_classic_histograms_to_nhcb: bool,
    /// Whether classic histograms are scraped beside native ones. Default false.
    #[serde(skip_serializing_if = "is_default")]
    pub always_scrape_classic_histograms: bool,
    /// Whether `scrape_timeout_seconds` and its kin are reported. Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra_scrape_metrics: Option<bool>,
}

/// Checked, with all defaults. Invariant: `0 < scrape_timeout <= scrape_interval`.
#[derive(Debug, Clone)]
pub struct GlobalConfig {
    spec: GlobalSpec,
    pub(super) names: NameScheme,
    external_labels: Labels,
}

const INTERVAL_DEFAULT: Duration = Duration::from_secs(60);
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

// === impl GlobalSpec ===

impl GlobalSpec {
    /// Makes its paths relative to `dir`.
    pub fn resolve_paths(&mut self, dir: &Path) {
        resolve_path(&mut self.query_log_file, dir);
        resolve_path(&mut self.scrape_failure_log_file, dir);
    }

    /// Replaces `$NAME` and `${NAME}` in the values of external labels by what `variable` gives;
    /// `$$` is a dollar sign. Calls `empty` for each name that is not set, which gives nothing.
    pub fn expand_external_labels(
        &mut self,
        variable: impl Fn(&str) -> Option<String>,
        mut empty: impl FnMut(&str),
    ) {
        for value in self.external_labels.values_mut() {
            let expanded = expand(value.as_str(), |name| match variable(name) {
                Some(text) if !text.is_empty() => text,
                _ => {
                    empty(name);
                    String::new()
                }
            });
            *value = LabelValue::from(expanded);
        }
    }

    /// Checks it and fills in the defaults.
    ///
    /// # Errors
    /// Keys are relative to `global`.
    pub fn check(mut self) -> Result<GlobalConfig, Invalid> {
        let names = protocols::name_scheme(&self.metric_name_validation_scheme)?;
        let names = names.unwrap_or_default();
        for name in self.external_labels.keys().map(LabelName::as_str) {
            if !names.is_label_name(name) {
                let message = format!("{name:?} is not a valid label name");
                return Err(Invalid::new(format!("external_labels.{name}"), message));
            }
        }
        self.scrape_interval = self.scrape_interval.or(INTERVAL_DEFAULT);
        if self.scrape_timeout > self.scrape_interval {
            let message = "global scrape timeout greater than scrape interval";
            return Err(Invalid::new("scrape_timeout", message));
        }
        self.scrape_timeout = self.scrape_timeout.or(TIMEOUT_DEFAULT.min(self.scrape_interval));
        self.evaluation_interval = self.evaluation_interval.or(INTERVAL_DEFAULT);
        if let Some(wanted) = &self.scrape_protocols {
            protocols::protocols(wanted, " for global config")?;
        }
        self.metric_name_validation_scheme = names.name().to_owned();
        if self.metric_name_escaping_scheme.is_empty() {
            self.metric_name_escaping_scheme = protocols::default_escaping(names).to_owned();
        }
        protocols::escaping(&self.metric_name_escaping_scheme, "global")?;
        self.scrape_native_histograms.get_or_insert(false);
        self.extra_scrape_metrics.get_or_insert(false);
        let labels = self.external_labels.iter();
        let external_labels = labels.map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Ok(GlobalConfig { spec: self, names, external_labels })
    }
}

/// `$$` is a dollar; a `$` that no name follows vanishes with what stands in its place, as in Go's
/// `os.Expand`.
fn expand(text: &str, mut value: impl FnMut(&str) -> String) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded += &rest[..at];
        rest = &rest[at + 1..];
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let special = |c: char| "*#$@!?-0123456789".contains(c);
        let first = rest.chars().next();
        let (name, after) = match first {
            Some('{') => match rest.find('}') {
                Some(end) => (&rest[1..end], &rest[end + 1..]),
                // Bad syntax: the bracket is eaten.
                None => ("", &rest[1..]),
            },
            Some(sign) if special(sign) => rest.split_at(1),
            _ => rest.split_at(rest.find(|c| !is_word(c)).unwrap_or(rest.len())),
        };
        match name {
            "$" => expanded.push('$'),
            "" if first == Some('{') => {}
            "" => expanded.push('$'),
            name => expanded += &value(name),
        }
        rest = after;
    }
    expanded + rest
}

// === impl GlobalConfig ===

impl GlobalConfig {
    /// What the file says, with the defaults filled in.
    pub fn spec(&self) -> &GlobalSpec {
        &self.spec
    }

    /// Which names are valid where nothing else is said.
    pub fn names(&self) -> NameScheme {
        self.names
    }

    /// Labels for everything that leaves.
    pub fn external_labels(&self) -> &Labels {
        &self.external_labels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_replaced_as_go_does() {
        let check = |text: &str, want: &str| {
            let got = expand(text, |name| format!("<{name}>"));
            assert_eq!(got, want, "{text}");
        };
        check("foo", "foo");
        check("${TEST}", "<TEST>");
        check("foo${TEST}bar", "foo<TEST>bar");
        check("foo$TEST-bar", "foo<TEST>-bar");
        check("foo$${TEST}", "foo${TEST}");
        check("foo$$bar", "foo$bar");
        check("a$", "a$");
        check("a$-b", "a<->b");
        check("${}", "");
        check("${a", "a");
    }
}
