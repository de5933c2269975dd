//! A private temporary directory that goes away with its owner.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};

/// A fresh directory of mode 0700 under the system's temporary directory, removed with all it holds on drop.
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes the directory; its name cannot be guessed.
    ///
    /// # Errors
    /// When the temporary directory cannot be written to, or the system has no randomness to give.
    pub fn new() -> Result<Self> {
        Self::within(&std::env::temp_dir())
    }

    /// As [`new`](Self::new), under a directory of the caller's choice.
    ///
    /// # Errors
    /// As `new`.
    pub fn within(parent: &Path) -> Result<Self> {
        let suffix = getrandom::u64().map_err(|error| anyhow!("no randomness from the system: {error}"))?;
        let path = parent.join(format!("postern-{suffix:016x}"));
        DirBuilder::new().mode(0o700).create(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nobody is left to tell when this fails, and the directory is readable by its owner alone.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scratch_directory_is_gone_with_its_contents_after_drop() {
        let scratch = Scratch::new().unwrap();
        let path = scratch.path().to_owned();
        fs::write(path.join("file"), "contents").unwrap();
        drop(scratch);
        assert!(!path.exists());
    }
}
