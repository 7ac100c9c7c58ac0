//! The `file_sd` file of a fleet: one group a host, with the labels that operators give hosts.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::Path;

use serde::Serialize;

use super::fleet::Fleet;

#[derive(Serialize)]
struct Group<'f> {
    targets: [String; 1],
    labels: BTreeMap<&'static str, &'f str>,
}

/// Writes the file whole, then moves it to its place: a reader never sees half of it.
///
/// # Errors
/// The folder cannot be written.
pub(super) fn write(fleet: &Fleet, path: &Path) -> io::Result<()> {
    let groups: Vec<Group<'_>> = fleet
        .hosts()
        .iter()
        .map(|host| Group {
            targets: [host.address.to_string()],
            labels: BTreeMap::from([("host", host.name.as_str()), ("rack", host.rack.as_str())]),
        })
        .collect();
    let draft = path.with_extension("json.new");
    let mut file = std::fs::File::create(&draft)?;
    serde_json::to_writer_pretty(&mut file, &groups)?;
    file.write_all(b"\n")?;
    drop(file);
    std::fs::rename(&draft, path)
}

#[cfg(test)]
mod tests {
    use kit::ManualClock;

    use super::super::fleet::Size;
    use super::*;

    #[test]
    fn the_file_has_one_group_a_host() {
        let size = Size { hosts: 2, vms_per_host: 1, seed: 1, churn_percent: 0 };
        let fleet = Fleet::new(size, ManualClock::at(0), 9100);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts.json");
        write(&fleet, &path).unwrap();
        let groups: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let want = serde_json::json!([
            { "targets": ["127.1.0.1:9100"], "labels": { "host": "host-001", "rack": "r1" } },
            { "targets": ["127.1.0.2:9100"], "labels": { "host": "host-002", "rack": "r1" } },
        ]);
        assert_eq!(groups, want);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
