//! `static_configs`: targets written into the file.

use std::collections::BTreeMap;

use kit::config::{Invalid, LabelName, LabelValue};
use model::Labels;
use serde::{Deserialize, Serialize};

use crate::discovery::Group;

/// What the file says.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "struct")]
pub struct StaticSpec {
    /// Addresses.
    pub targets: Vec<LabelValue>,
    /// Labels for all of them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<LabelName, LabelValue>,
}

// === impl StaticSpec ===

impl StaticSpec {
    pub(super) fn check(self, at: usize) -> Result<Group, Invalid> {
        let StaticSpec { targets, labels } = self;
        let target =
            |address: LabelValue| Labels::from_iter([("__address__", address.into_inner())]);
        let labels =
            labels.into_iter().map(|(name, value)| (name.into_inner(), value.into_inner()));
        Ok(Group {
            source: at.to_string().into(),
            targets: targets.into_iter().map(target).collect(),
            labels: labels.collect(),
        })
    }
}
