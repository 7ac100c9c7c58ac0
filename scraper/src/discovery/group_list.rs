//! The list of target groups that files and HTTP endpoints print: `[{targets: […], labels: {…}}]`.
//!
//! Strict as Prometheus is: an unknown key, a null group or an empty label name is an error.

use std::collections::BTreeMap;
use std::sync::Arc;

use kit::config::yaml;
use model::{Labels, LabelsBuilder};
use serde::Deserialize;

use super::Group;

/// Why a list of groups cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum ListError {
    #[error("parse JSON")]
    Json { source: serde_json::Error },
    #[error("parse YAML")]
    Yaml { source: kit::config::yaml::Error },
    #[error("nil target group item found")]
    NullGroup,
    #[error("\"\" is not a valid label name")]
    EmptyLabelName,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct GroupSpec {
    targets: Option<Vec<Option<String>>>,
    labels: Option<BTreeMap<String, Option<String>>>,
}

/// Reads JSON. Group `i` gets the source `name:i`, and the label `label` = `name`.
pub(super) fn from_json(text: &[u8], name: &str, label: &str) -> Result<Vec<Group>, ListError> {
    let specs: Option<Vec<Option<GroupSpec>>> =
        serde_json::from_slice(text).map_err(|source| ListError::Json { source })?;
    groups(specs, name, label)
}

/// Reads YAML; otherwise as [`from_json`].
pub(super) fn from_yaml(text: &str, name: &str, label: &str) -> Result<Vec<Group>, ListError> {
    let specs: Option<Vec<Option<GroupSpec>>> =
        yaml::from_str(name, text).map_err(|source| ListError::Yaml { source })?;
    groups(specs, name, label)
}

fn groups(
    specs: Option<Vec<Option<GroupSpec>>>,
    name: &str,
    label: &str,
) -> Result<Vec<Group>, ListError> {
    let specs = specs.unwrap_or_default().into_iter().enumerate();
    specs.map(|(at, spec)| group(spec.ok_or(ListError::NullGroup)?, at, name, label)).collect()
}

fn group(spec: GroupSpec, at: usize, name: &str, label: &str) -> Result<Group, ListError> {
    let GroupSpec { targets, labels } = spec;
    let mut common = LabelsBuilder::default();
    for (name, value) in labels.unwrap_or_default() {
        if name.is_empty() {
            return Err(ListError::EmptyLabelName);
        }
        common.set(name, value.unwrap_or_default());
    }
    common.set(label, name);
    let targets = targets.unwrap_or_default().into_iter().map(Option::unwrap_or_default);
    let targets = targets.map(|address| Labels::from_iter([("__address__", address)])).collect();
    Ok(Group { source: Arc::from(format!("{name}:{at}")), targets, labels: common.build() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(groups: &[Group]) -> String {
        let lines = groups.iter().map(|group| {
            let targets: Vec<String> = group.targets.iter().map(Labels::to_string).collect();
            format!("{} {} {}\n", group.source, group.labels, targets.join(" "))
        });
        lines.collect()
    }

    #[track_caller]
    fn check(read: Result<Vec<Group>, ListError>, want: &str) {
        let got = match &read {
            Ok(groups) => shown(groups),
            Err(error) => kit::Chain(error).to_string(),
        };
        assert!(got.starts_with(want), "{got}");
    }

    #[test]
    fn groups_are_read_from_json_and_yaml() {
        let want = concat!(
            r#"f:0 {__meta_x="f", env="a"} {__address__="h:1"} {__address__="h:2"}"#,
            "\n",
            r#"f:1 {__meta_x="f"} {__address__="h:3"}"#,
            "\n"
        );
        let json = r#"[{"targets":["h:1","h:2"],"labels":{"env":"a"}},{"targets":["h:3"]}]"#;
        check(from_json(json.as_bytes(), "f", "__meta_x"), want);
        let yaml = "- targets: ['h:1', 'h:2']\n  labels: {env: a}\n- targets: ['h:3']\n";
        check(from_yaml(yaml, "f", "__meta_x"), want);
    }

    #[test]
    fn an_empty_file_is_an_empty_list() {
        check(from_yaml("", "f", "__meta_x"), "");
        check(from_json(b"[]", "f", "__meta_x"), "");
        check(from_json(b"null", "f", "__meta_x"), "");
    }

    #[test]
    fn what_is_not_a_list_of_groups_is_refused() {
        let json = |text: &str| from_json(text.as_bytes(), "f", "__meta_x");
        check(json("[null]"), "nil target group item found");
        check(json(r#"[{"targets":[],"label":{}}]"#), "parse JSON: unknown field `label`");
        check(json(r#"[{"targets":"h:1"}]"#), "parse JSON: invalid type");
        check(json(r#"[{"targets":[],"labels":{"":"x"}}]"#), "\"\" is not a valid label name");
        check(json(""), "parse JSON: EOF");
        check(from_yaml("- targets: [x]\n  extra: 1\n", "f", "__meta_x"), "parse YAML");
        check(from_yaml("- null\n", "f", "__meta_x"), "nil target group item found");
    }
}
