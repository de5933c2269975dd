//! Where a configuration comes from: a file, or a text with its files held in memory.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Largest configuration, in bytes.
pub const CONFIG_BYTES_MAX: usize = 1 << 20;

/// A configuration's text, and how to reach the files it names.
#[derive(Clone)]
pub struct Source {
    pub(crate) name: PathBuf,
    pub(crate) text: String,
    base: PathBuf,
    memory: BTreeMap<PathBuf, Vec<u8>>,
}

impl Source {
    /// Reads the file at `path`; files it names are relative to its directory.
    ///
    /// # Errors
    /// A sentence for the operator: unreadable, too large, or not UTF-8.
    pub fn file(path: &Path) -> Result<Self, String> {
        let name = std::path::absolute(path).map_err(|error| format!("has no absolute path ({error})"))?;
        let bytes = read(&name, CONFIG_BYTES_MAX)?;
        let text = String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_string())?;
        let base = name.parent().unwrap_or(Path::new("/")).to_path_buf();
        Ok(Self { name, text, base, memory: BTreeMap::new() })
    }

    /// An embedded configuration; findings call it `name`, files it names are relative to `base`.
    pub fn text(name: &str, text: &str, base: &Path) -> Self {
        Self { name: name.into(), text: text.into(), base: base.into(), memory: BTreeMap::new() }
    }

    /// Adds a file that exists in memory alone, found under `path` (as the configuration writes it).
    pub fn with_file(mut self, path: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.memory.insert(self.base.join(path), bytes.into());
        self
    }

    /// Where `path` of the configuration leads.
    pub(crate) fn resolve(&self, path: &str) -> PathBuf {
        self.base.join(path)
    }

    /// Whether `path`, already resolved, exists in memory alone.
    pub(crate) fn is_in_memory(&self, path: &Path) -> bool {
        self.memory.contains_key(path)
    }

    /// Contents of a resolved path, at most `bytes_max` of them.
    pub(crate) fn read(&self, path: &Path, bytes_max: usize) -> Result<Vec<u8>, String> {
        match self.memory.get(path) {
            Some(bytes) => Ok(bytes.clone()),
            None => read(path, bytes_max),
        }
    }
}

fn read(path: &Path, bytes_max: usize) -> Result<Vec<u8>, String> {
    let told = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => "does not exist".to_string(),
        std::io::ErrorKind::PermissionDenied => "may not be read by this user".to_string(),
        _ => format!("cannot be read ({error})"),
    };
    let file = std::fs::File::open(path).map_err(told)?;
    if !file.metadata().map_err(told)?.is_file() {
        return Err("is no regular file".into());
    }
    let mut bytes = Vec::new();
    file.take(bytes_max as u64 + 1).read_to_end(&mut bytes).map_err(told)?;
    if bytes.len() > bytes_max {
        return Err(format!("is larger than {bytes_max} bytes"));
    }
    Ok(bytes)
}
