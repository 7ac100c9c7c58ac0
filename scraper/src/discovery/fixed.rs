//! `static_configs`: targets written into the configuration.

use std::sync::Arc;

use futures::future::BoxFuture;

use super::{Found, Group, Mechanism, Provider, Tools, Wanted};

pub(super) const MECHANISM: Mechanism = Mechanism {
    name: "static",
    wanted: |job| match job.static_groups().to_vec() {
        groups if groups.is_empty() => Vec::new(),
        groups => vec![Arc::new(Fixed { groups }) as Arc<dyn Wanted>],
    },
};

/// All `static_configs` of a job.
#[derive(PartialEq)]
struct Fixed {
    groups: Vec<Group>,
}

impl Provider for Fixed {
    fn run(self: Arc<Self>, found: Arc<Found>, _tools: Tools) -> BoxFuture<'static, ()> {
        found.replace(self.groups.clone());
        Box::pin(std::future::pending())
    }
}
