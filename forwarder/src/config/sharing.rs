//! Which destinations are sent the same blocks: those that are durable share one log on disk.
//!
//! What makes up a block decides: the series, what is done to them, the encoding, the size. What
//! becomes of it on its way to a receiver does not.

use std::path::Path;

use model::Rule;

use super::{Config, DestinationConfig};
use crate::module::OwnFile;
use kit::config::Invalid;

impl Config {
    /// Destinations by the blocks that they are sent, in their order: each list shares a log, or
    /// is one destination.
    pub(crate) fn feeds(&self) -> Vec<Vec<usize>> {
        let mut feeds: Vec<Vec<usize>> = Vec::new();
        for (at, one) in self.destinations.iter().enumerate() {
            let same = |feed: &&mut Vec<usize>| {
                let first = &self.destinations[feed[0]];
                first.delivery.disk.is_some() && self.difference(first, one).is_none()
            };
            match feeds.iter_mut().find(same) {
                Some(feed) => feed.push(at),
                None => feeds.push(vec![at]),
            }
        }
        feeds
    }

    /// Two queues cannot be in one folder, unless they are the same. `keys` say where each
    /// destination stands in the file.
    pub(super) fn check_folders(&self, keys: &[String]) -> Result<(), Invalid> {
        let folder = |one: &DestinationConfig| one.delivery.disk.clone().and_then(|d| d.folder);
        for (at, one) in self.destinations.iter().enumerate() {
            let Some(taken) = folder(one) else { continue };
            for other in &self.destinations[..at] {
                let difference = self.difference(other, one);
                if let Some(what) = difference.filter(|_| folder(other).as_ref() == Some(&taken)) {
                    let (folder, one, other) = (taken.display(), &one.name, &other.name);
                    let message = format!(
                        "two destinations have their queue in {folder}: {other} and {one} can not \
                         share it, since they differ in {what}"
                    );
                    return Err(Invalid::new(format!("{}.delivery.disk.path", keys[at]), message));
                }
            }
        }
        Ok(())
    }

    /// Two cannot write to one file: each cuts off what it has not written whole. From a device
    /// nothing can be cut off.
    pub(super) fn check_files(&self, keys: &[String]) -> Result<(), Invalid> {
        let mut taken: Vec<(OwnFile, &str)> = Vec::new();
        for (one, key) in self.destinations.iter().zip(keys) {
            let letters = one.delivery.dead_letter.as_ref().map(|file| file.path.clone());
            let letters = letters.map(|path| OwnFile { path, set_aside_max: 0 });
            let files = [(one.file.clone(), "path"), (letters, "delivery.dead_letter.path")];
            for (file, last) in files {
                let Some(file) = file.filter(|file| !file.path.starts_with("/dev")) else {
                    continue;
                };
                if let Some((_, other)) = taken.iter().find(|(known, _)| meet(known, &file)) {
                    let (file, one) = (file.path.display(), &one.name);
                    let message = format!(
                        "{file} is written to by {other} and by {one}: each needs a file of its \
                         own, also for dead letters and for what is set aside"
                    );
                    return Err(Invalid::new(format!("{key}.{last}"), message));
                }
                taken.push((file, &one.name));
            }
        }
        Ok(())
    }

    /// The first thing in which the blocks of two destinations, or their logs, differ.
    fn difference(
        &self,
        one: &DestinationConfig,
        other: &DestinationConfig,
    ) -> Option<&'static str> {
        let fields =
            |rules: &[Rule]| -> Vec<_> { rules.iter().map(|rule| rule.fields().clone()).collect() };
        let (queue, of) = (&one.queue, &other.queue);
        let routed_alike = self
            .routes
            .iter()
            .all(|route| route.to.contains(&one.name) == route.to.contains(&other.name));
        let none_best_effort = [one, other].iter().all(|it| it.delivery.best_effort.is_empty());
        let alike = [
            ("the encoding of the module", one.encoding == other.encoding),
            (
                "the series that routes give them",
                routed_alike && one.takes_rest == other.takes_rest,
            ),
            ("external labels", one.external_labels == other.external_labels),
            ("write_relabel_configs", fields(&one.relabel) == fields(&other.relabel)),
            ("whether exemplars and native histograms are sent", one.wants == other.wants),
            ("the receivers that series are divided between", one.parts == other.parts),
            ("min_interval", one.delivery.min_interval == other.delivery.min_interval),
            ("max_interval", one.delivery.max_interval == other.delivery.max_interval),
            ("best_effort: each sheds on its own", none_best_effort),
            ("max_samples_per_send", queue.samples_per_block_max == of.samples_per_block_max),
            ("batch_send_deadline", queue.batch_deadline == of.batch_deadline),
            ("min_shards", queue.shards_min == of.shards_min),
            ("max_shards", queue.shards_max == of.shards_max),
            ("delivery.disk", one.delivery.disk == other.delivery.disk),
        ];
        alike.into_iter().find(|(_, alike)| !alike).map(|(what, _)| what)
    }
}

/// Whether two write to one file: their own, or one that either sets aside (`path.1`, `path.2.gz`,
/// `path.packing`).
fn meet(one: &OwnFile, other: &OwnFile) -> bool {
    one.path == other.path || sets_aside(one, &other.path) || sets_aside(other, &one.path)
}

fn sets_aside(base: &OwnFile, file: &Path) -> bool {
    let (file, path) = (file.as_os_str().as_encoded_bytes(), base.path.as_os_str());
    let rest = file.strip_prefix(path.as_encoded_bytes()).and_then(|it| it.strip_prefix(b"."));
    let Some(rest) = rest.and_then(|rest| std::str::from_utf8(rest).ok()) else { return false };
    let number = [".gz", ".zst"].iter().find_map(|ending| rest.strip_suffix(ending));
    let number = number.unwrap_or(rest).parse::<usize>();
    let is_one = number.is_ok_and(|number| (1..=base.set_aside_max).contains(&number));
    is_one || (base.set_aside_max > 0 && rest == "packing")
}
