//! The files that a configuration was read from, and where in them something stands.

use std::fs;
use std::path::{Path, PathBuf};

use kit::config::{Invalid, yaml};

use super::{Files, LoadError};

/// Our sections: those that may stand in the second file.
const OUR_SECTIONS: [&str; 4] = ["forwarders", "data_types", "routes", "status"];

/// Every file that was read, the two that were named first.
#[derive(Clone)]
pub(super) struct Sources {
    main: (PathBuf, yaml::Document),
    routing: Option<(PathBuf, yaml::Document)>,
    /// Further files with jobs.
    further: Vec<PathBuf>,
}

// === impl Sources ===

impl Sources {
    pub(super) fn read(files: &Files) -> Result<Sources, LoadError> {
        let main = (files.main.clone(), read(&files.main)?);
        let routing = files.routing.as_ref().map(|path| Ok((path.clone(), read(path)?)));
        let routing = routing.transpose().map_err(|error: LoadError| error)?;
        Ok(Sources { main, routing, further: Vec::new() })
    }

    pub(super) fn main(&self) -> &yaml::Document {
        &self.main.1
    }

    pub(super) fn routing(&self) -> Option<&yaml::Document> {
        self.routing.as_ref().map(|(_, document)| document)
    }

    /// Whether `section` is one of ours and stands in the second file.
    pub(super) fn is_in_routing(&self, section: &str) -> bool {
        OUR_SECTIONS.contains(&section)
            && self.routing().is_some_and(|document| document.has_key(section))
    }

    pub(super) fn main_dir(&self) -> PathBuf {
        folder(&self.main.0)
    }

    pub(super) fn routing_dir(&self) -> PathBuf {
        self.routing.as_ref().map_or_else(|| self.main_dir(), |(path, _)| folder(path))
    }

    /// Where in the two files `invalid` is.
    pub(super) fn locate(&self, invalid: Invalid) -> yaml::Error {
        let end = invalid.key.find(['.', '[']).unwrap_or(invalid.key.len());
        match self.routing() {
            Some(routing) if self.is_in_routing(&invalid.key[..end]) => routing.locate(invalid),
            _ => self.main().locate(invalid),
        }
    }

    /// Reads a further file.
    pub(super) fn read_further(&mut self, path: &Path) -> Result<yaml::Document, LoadError> {
        let document = read(path)?;
        self.further.push(path.to_owned());
        Ok(document)
    }

    /// Every file that was read.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        let routing = self.routing.iter().map(|(path, _)| path.clone());
        let main = std::iter::once(self.main.0.clone());
        main.chain(routing).chain(self.further.iter().cloned()).collect()
    }
}

/// The folder of a file; the current one for a bare name.
pub(super) fn folder(path: &Path) -> PathBuf {
    path.parent().map(Path::to_owned).unwrap_or_default()
}

fn read(path: &Path) -> Result<yaml::Document, LoadError> {
    let bytes =
        fs::read(path).map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
    let text =
        String::from_utf8(bytes).map_err(|_| LoadError::NotUtf8 { path: path.to_owned() })?;
    Ok(yaml::Document::parse(&path.to_string_lossy(), &text)?)
}
