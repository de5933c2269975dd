//! Notices when a file behind a path has become another one, through any number of symlinks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What a path led to when it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    resolved: PathBuf,
    modified: Option<SystemTime>,
    inode: u64,
    bytes: u64,
}

/// The state of a set of files, to be compared with a later one.
///
/// Take the first one *before* loading the configuration that names the files: what changes in between is then seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint {
    /// `None`: nothing was there, or it could not be read.
    targets: BTreeMap<PathBuf, Option<Target>>,
}

impl Fingerprint {
    /// Looks at `paths`; each costs one `realpath` and one `stat`.
    pub fn of<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Self {
        let targets = paths.into_iter().map(|path| (path.as_ref().to_path_buf(), look(path.as_ref()))).collect();
        Self { targets }
    }

    /// Looks at the same paths again.
    pub fn refreshed(&self) -> Self {
        Self::of(self.targets.keys())
    }

    /// Paths that lead elsewhere, or to other contents, in `later`; paths that only one of the two knows are not named.
    pub fn changed(&self, later: &Self) -> Vec<PathBuf> {
        let differs = |(path, target): &(&PathBuf, &Option<Target>)| {
            later.targets.get(*path).is_some_and(|other| other != *target)
        };
        self.targets.iter().filter(differs).map(|(path, _)| path.clone()).collect()
    }
}

fn look(path: &Path) -> Option<Target> {
    let resolved = std::fs::canonicalize(path).ok()?;
    let metadata = std::fs::metadata(&resolved).ok()?;
    Some(Target { modified: metadata.modified().ok(), inode: inode(&metadata), bytes: metadata.len(), resolved })
}

#[cfg(unix)]
fn inode(metadata: &std::fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_: &std::fs::Metadata) -> u64 {
    0
}
