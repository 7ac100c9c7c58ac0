//! Setting a full file aside: `path` becomes `path.1`, `path.1` becomes `path.2`; the last goes.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufReader, ErrorKind};
use std::path::PathBuf;

use flate2::write::GzEncoder;

use crate::modules::packing::Packing;

/// When a file is set aside, and how many are kept.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rotation {
    pub(super) path: PathBuf,
    pub(super) bytes_max: u64,
    pub(super) files_max: usize,
    pub(super) packing: Packing,
}

// === impl Rotation ===

impl Rotation {
    /// Whether a file of this size gets too large by a block. An empty one never does.
    pub(super) fn is_due(&self, whole_bytes: u64, block_bytes: usize) -> bool {
        whole_bytes > 0 && whole_bytes + block_bytes as u64 > self.bytes_max
    }

    /// Sets the file aside. What fails is tried again with the next block: no file that was set
    /// aside before goes until this one can take its place.
    pub(super) fn set_aside(&self) -> io::Result<()> {
        let whole = self.packed()?;
        missing_is_fine(fs::remove_file(self.aside(self.files_max)))?;
        for number in (1..self.files_max).rev() {
            missing_is_fine(fs::rename(self.aside(number), self.aside(number + 1)))?;
        }
        fs::rename(&whole, self.aside(1))?;
        if whole == self.path { Ok(()) } else { fs::remove_file(&self.path) }
    }

    /// Where the file lies whole, as it shall be set aside.
    fn packed(&self) -> io::Result<PathBuf> {
        if self.packing == Packing::None {
            return Ok(self.path.clone());
        }
        let whole = self.numbered(".packing");
        let mut plain = BufReader::new(File::open(&self.path)?);
        let mut packed = File::create(&whole)?;
        match self.packing {
            Packing::Gzip => {
                let mut encoder = GzEncoder::new(&mut packed, flate2::Compression::fast());
                io::copy(&mut plain, &mut encoder)?;
                encoder.finish()?;
            }
            Packing::Zstd | Packing::None => zstd::stream::copy_encode(plain, &mut packed, 3)?,
        }
        packed.sync_all()?;
        Ok(whole)
    }

    fn aside(&self, number: usize) -> PathBuf {
        self.numbered(&format!(".{number}{}", self.packing.ending()))
    }

    fn numbered(&self, end: &str) -> PathBuf {
        let mut path = OsString::from(&self.path);
        path.push(end);
        path.into()
    }
}

fn missing_is_fine(done: io::Result<()>) -> io::Result<()> {
    done.or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[track_caller]
    fn check(packing: Packing, unpack: fn(Vec<u8>) -> Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.ndjson");
        let rotation = Rotation { path: path.clone(), bytes_max: 10, files_max: 2, packing };
        for nth in 0..4 {
            fs::write(&path, format!("file {nth}\n")).unwrap();
            assert!(rotation.is_due(7, 4) && !rotation.is_due(7, 3) && !rotation.is_due(0, 99));
            rotation.set_aside().unwrap();
        }
        let read = |number| unpack(fs::read(rotation.aside(number)).unwrap());
        assert_eq!((read(1), read(2)), (b"file 3\n".to_vec(), b"file 2\n".to_vec()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn the_newest_files_are_kept_and_can_be_read() {
        check(Packing::None, |bytes| bytes);
        check(Packing::Zstd, |bytes| zstd::bulk::decompress(&bytes, 100).unwrap());
        check(Packing::Gzip, |bytes| {
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(&*bytes).read_to_end(&mut plain).unwrap();
            plain
        });
    }

    #[test]
    fn what_was_set_aside_stays_while_packing_fails() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.ndjson");
        let packing = Packing::Gzip;
        let rotation = Rotation { path: path.clone(), bytes_max: 10, files_max: 2, packing };
        for _ in 0..2 {
            fs::write(&path, "file\n").unwrap();
            rotation.set_aside().unwrap();
        }
        fs::write(&path, "last file\n").unwrap();
        fs::create_dir(rotation.numbered(".packing")).unwrap(); // nothing can be packed there
        for _ in 0..3 {
            rotation.set_aside().unwrap_err();
        }
        assert!(path.exists() && rotation.aside(1).exists() && rotation.aside(2).exists());
    }
}
