//! Flags that only a Prometheus server knows. A command line that has them keeps working: they
//! are taken out before the rest is read, and named in a warning.

use std::ffi::OsString;

/// Flags with a value. Those that start with one of these and a point or a dash count too.
const WITH_VALUE: [&str; 30] = [
    "storage.tsdb.path",
    "storage.tsdb.retention",
    "storage.tsdb.retention.time",
    "storage.tsdb.retention.size",
    "storage.tsdb.min-block-duration",
    "storage.tsdb.max-block-duration",
    "storage.tsdb.max-block-chunk-segment-size",
    "storage.tsdb.wal-segment-size",
    "storage.tsdb.wal-compression-type",
    "storage.tsdb.head-chunks-write-queue-size",
    "storage.tsdb.samples-per-chunk",
    "storage.tsdb.delayed-compaction.max-percent",
    "storage.tsdb.delay-compact-file.path",
    "storage.tsdb.block-reload-interval",
    "storage.remote.read-sample-limit",
    "storage.remote.read-concurrent-limit",
    "storage.remote.read-max-bytes-in-frame",
    "rules.alert.for-outage-tolerance",
    "rules.alert.for-grace-period",
    "rules.alert.resend-delay",
    "rules.max-concurrent-evals",
    "alertmanager.notification-queue-capacity",
    "alertmanager.notification-batch-size",
    "query.lookback-delta",
    "query.timeout",
    "query.max-concurrency",
    "query.max-samples",
    "web.user-assets",
    "web.local-assets",
    "web.remote-write-receiver.accepted-protobuf-messages",
];

/// More flags with a value: those of the pages we do not have.
const OF_PAGES: [&str; 6] = [
    "web.console.templates",
    "web.console.libraries",
    "web.page-title",
    "web.max-notifications-subscribers",
    "scrape.timestamp-tolerance",
    "scrape.discovery-reload-interval",
];

/// Flags that are on or off.
const SWITCHES: [&str; 11] = [
    "web.enable-admin-api",
    "web.enable-remote-write-receiver",
    "web.enable-otlp-receiver",
    "storage.tsdb.wal-compression",
    "storage.tsdb.no-lockfile",
    "storage.tsdb.use-lockfile",
    "storage.tsdb.allow-overlapping-compaction",
    "storage.tsdb.allow-overlapping-blocks",
    "alertmanager.drain-notification-queue-on-shutdown",
    "rules.alert.restore-new-rule-groups",
    "scrape.adjust-timestamps",
];

/// Splits the arguments: what is left, and the names of the flags that were taken out.
pub(super) fn take_out(arguments: impl Iterator<Item = OsString>) -> (Vec<OsString>, Vec<String>) {
    let (mut left, mut names) = (Vec::new(), Vec::new());
    let mut arguments = arguments.peekable();
    while let Some(argument) = arguments.next() {
        let flag = argument.to_str().and_then(|text| text.strip_prefix("--"));
        let (name, inline) = match flag.map(|flag| flag.split_once('=')) {
            Some(Some((name, _))) => (name, true),
            Some(None) => (flag.unwrap_or_default(), false),
            None => ("", false),
        };
        let switch = SWITCHES.contains(&name.strip_prefix("no-").unwrap_or(name));
        if !switch && !WITH_VALUE.contains(&name) && !OF_PAGES.contains(&name) {
            left.push(argument);
            continue;
        }
        names.push(name.to_owned());
        if !switch && !inline {
            arguments.next();
        }
    }
    (left, names)
}
