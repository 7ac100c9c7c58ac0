//! Relabel rules as they are written: `relabel_configs`, `metric_relabel_configs`,
//! `write_relabel_configs`.

use model::{NameScheme, Rule, RuleFields};
use serde::{Deserialize, Deserializer, Serialize};

use super::{Invalid, LabelName, no_null_items};

/// One entry of a list of relabel rules.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "relabel.plain")]
pub struct RelabelSpec {
    /// Labels whose values are joined.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub source_labels: Vec<LabelName>,
    /// What they are joined with. Default `;`.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub separator: Option<String>,
    /// Go's syntax, anchored. Default `(.*)`.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub regex: Option<String>,
    /// For `hashmod`.
    #[serde(skip_serializing_if = "super::is_default")]
    pub modulus: u64,
    /// The label to change.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub target_label: String,
    /// What it becomes. Default `$1`.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub replacement: Option<String>,
    /// What to do. Default `replace`.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
}

/// A key that is there with nothing behind it is the empty text, not the default.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    String::deserialize(deserializer).map(Some)
}

// === impl RelabelSpec ===

impl RelabelSpec {
    /// Checks and compiles the rules of the list at `key`; a null among them is refused with
    /// `null_message`.
    ///
    /// # Errors
    /// `key[i].field: why`, as Prometheus words it.
    pub fn check_all(
        rules: Vec<Option<RelabelSpec>>,
        key: &str,
        null_message: &str,
        names: NameScheme,
    ) -> Result<Vec<Rule>, Invalid> {
        let rules = no_null_items(rules, key, null_message)?.into_iter().enumerate();
        rules
            .map(|(at, rule)| {
                rule.check(names).map_err(|invalid| invalid.under(format!("{key}[{at}]")))
            })
            .collect()
    }

    /// Checks and compiles one rule.
    ///
    /// # Errors
    /// When Prometheus refuses it.
    pub fn check(self, names: NameScheme) -> Result<Rule, Invalid> {
        let RelabelSpec {
            source_labels,
            separator,
            regex,
            modulus,
            target_label,
            replacement,
            action,
        } = self;
        let source_labels = source_labels.into_iter().map(LabelName::into_inner).collect();
        let fields = RuleFields {
            source_labels,
            separator,
            regex,
            modulus,
            target_label,
            replacement,
            action,
        };
        Rule::new(fields, names).map_err(|error| Invalid::new(error.key, error.message))
    }

    /// Writes out what is taken when nothing is said, for the dump of the configuration.
    pub fn fill_defaults(&mut self) {
        self.separator.get_or_insert_with(|| ";".to_owned());
        self.regex.get_or_insert_with(|| "(.*)".to_owned());
        self.replacement.get_or_insert_with(|| "$1".to_owned());
        let action = self.action.get_or_insert_with(|| "replace".to_owned());
        *action = action.to_lowercase();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::yaml;

    #[track_caller]
    fn check(text: &str, want: &str) {
        let got = yaml::from_str::<Vec<Option<RelabelSpec>>>("f", text)
            .map_err(|error| error.to_string())
            .and_then(|rules| {
                RelabelSpec::check_all(rules, "rules", "null rule", NameScheme::Utf8)
                    .map_err(|invalid| invalid.to_string())
            });
        assert_eq!(got.map_or_else(|error| error, |_| "ok".to_owned()), want, "{text}");
    }

    #[test]
    fn rules_are_read_and_refused_as_prometheus_does() {
        check("[{source_labels: [a], target_label: b}]", "ok");
        check("[{regex: , replacement: static, target_label: abc}]", "ok");
        check("[{regex: 1, action: labelmap}]", "ok");
        check("[null]", "rules[0]: null rule");
        check("[{action: null}]", "rules[0].action: relabel action cannot be empty");
        check(
            "[{action: labelmap}, {}]",
            "rules[1].target_label: relabel configuration for replace action requires 'target_label' value",
        );
        check(
            "[{source_labels: ['']}]",
            r#"f:1: [0].source_labels[0]: "" is not a valid label name"#,
        );
        check(
            "[{sourcelabels: [a]}]",
            "f:1: [0].sourcelabels: field sourcelabels not found in type relabel.plain",
        );
    }
}
