//! Where a log is: in the folder that the configuration names, or in one by the names of those who
//! share it.

use std::path::{Path, PathBuf};

use crate::config::DiskConfig;

/// Where queues on disk are in the daemon's folder.
const QUEUES_FOLDER: &str = "queues";
/// Longer names of folders are refused by file systems; what is left is for temporary names.
const NAME_BYTES_MAX: usize = 200;

/// The folder of folders.
pub(super) fn of_queues(storage: &Path) -> PathBuf {
    storage.join(QUEUES_FOLDER)
}

/// The folder of the log that destinations of these names share.
pub(super) fn of_log<'n>(
    disk: &DiskConfig,
    names: impl Iterator<Item = &'n str>,
    storage: &Path,
) -> PathBuf {
    if let Some(folder) = &disk.folder {
        return folder.clone();
    }
    let names: Vec<String> = names.map(file_name).collect();
    let mut name = names.join("+");
    if name.len() > NAME_BYTES_MAX {
        name = format!("{:016x}", rapidhash::v3::rapidhash_v3(name.as_bytes()));
    }
    of_queues(storage).join(name)
}

/// A name as a file's name: what is not a letter, a digit, `-` or `_` is written as its bytes.
pub(crate) fn file_name(name: &str) -> String {
    let mut file = String::new();
    for byte in name.bytes() {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'_' => file.push(char::from(byte)),
            _ => file.push_str(&format!("%{byte:02X}")),
        }
    }
    file
}
