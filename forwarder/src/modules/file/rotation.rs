//! Setting a full file aside: `path` becomes `path.1`, `path.1` becomes `path.2`; the last goes.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufReader, ErrorKind};
use std::path::PathBuf;

use flate2::write::GzEncoder;
use kit::config::Invalid;

/// When a file is set aside, and how many are kept.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rotation {
    pub(super) path: PathBuf,
    pub(super) bytes_max: u64,
    pub(super) files_max: usize,
    pub(super) packing: Packing,
}

/// What is done to files set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    None,
    Gzip,
    Zstd,
}

// === impl Packing ===

impl Packing {
    pub(super) fn named(name: &str) -> Result<Packing, Invalid> {
        match name {
            "none" => Ok(Packing::None),
            "gzip" => Ok(Packing::Gzip),
            "zstd" => Ok(Packing::Zstd),
            other => {
                let message = format!("unknown compression {other:?}, known: none, gzip, zstd");
                Err(Invalid::new("compression", message))
            }
        }
    }

    fn ending(self) -> &'static str {
        match self {
            Packing::None => "",
            Packing::Gzip => ".gz",
            Packing::Zstd => ".zst",
        }
    }
}

// === impl Rotation ===

impl Rotation {
    /// Whether a file of this size gets too large by a block. An empty one never does.
    pub(super) fn is_due(&self, whole_bytes: u64, block_bytes: usize) -> bool {
        whole_bytes > 0 && whole_bytes + block_bytes as u64 > self.bytes_max
    }

    /// Sets the file aside. What fails half way is made up for the next time.
    pub(super) fn set_aside(&self) -> io::Result<()> {
        missing_is_fine(fs::remove_file(self.aside(self.files_max)))?;
        for number in (1..self.files_max).rev() {
            missing_is_fine(fs::rename(self.aside(number), self.aside(number + 1)))?;
        }
        if self.packing == Packing::None {
            return fs::rename(&self.path, self.aside(1));
        }
        // The packed file gets its name when it is whole.
        let open = self.numbered(".packing");
        let mut plain = BufReader::new(File::open(&self.path)?);
        let packed = File::create(&open)?;
        match self.packing {
            Packing::Gzip => {
                let mut encoder = GzEncoder::new(packed, flate2::Compression::fast());
                io::copy(&mut plain, &mut encoder)?;
                encoder.finish()?.sync_all()?;
            }
            Packing::Zstd | Packing::None => zstd::stream::copy_encode(plain, packed, 3)?,
        }
        fs::rename(open, self.aside(1))?;
        fs::remove_file(&self.path)
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
}
