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
/// The one to compare with must be older than the reading of the files, as [`crate::Config::fingerprint`] is: what
/// changes in between is then seen.
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

    /// Looks at one more path; a path that is known already keeps its first look.
    pub(crate) fn look_at(&mut self, path: &Path) {
        self.targets.entry(path.to_path_buf()).or_insert_with(|| look(path));
    }

    /// The paths, sorted.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.targets.keys().map(PathBuf::as_path)
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

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::testing::Scratch;

    #[test]
    fn nothing_has_changed_when_nothing_was_done() {
        let directory = Scratch::new();
        directory.write("edge.pem", "one");
        let before = Fingerprint::of([directory.path("edge.pem"), directory.path("absent.pem")]);
        assert_eq!(before.refreshed(), before);
        assert_eq!(before.changed(&before.refreshed()), Vec::<PathBuf>::new());
    }

    #[test]
    fn a_file_that_is_written_replaced_or_removed_has_changed() {
        let directory = Scratch::new();
        let path = directory.path("edge.pem");
        directory.write("edge.pem", "one");
        let before = Fingerprint::of([&path]);
        directory.write("edge.pem", "three");
        let written = before.refreshed();
        assert_eq!(before.changed(&written), std::slice::from_ref(&path));

        // Same length, and the same time: the inode tells.
        directory.write("new.pem", "seven");
        let modified = std::fs::metadata(&path).and_then(|metadata| metadata.modified()).expect("a time");
        let new = std::fs::File::options().write(true).open(directory.path("new.pem")).expect("own file");
        new.set_modified(modified).expect("own file");
        std::fs::rename(directory.path("new.pem"), &path).expect("own files");
        let replaced = written.refreshed();
        assert_eq!(written.changed(&replaced), std::slice::from_ref(&path));

        std::fs::remove_file(&path).expect("own file");
        assert_eq!(replaced.changed(&replaced.refreshed()), [path]);
    }

    #[test]
    fn a_symlink_in_the_middle_that_leads_elsewhere_is_a_change() {
        // As Kubernetes mounts secrets: edge.pem -> ..data/edge.pem, and ..data is switched.
        let directory = Scratch::new();
        for generation in ["1", "2"] {
            std::fs::create_dir(directory.path(generation)).expect("own directory");
            directory.write(&format!("{generation}/edge.pem"), "same length");
        }
        let link = |from: &str, to: &str| std::os::unix::fs::symlink(from, directory.path(to)).expect("own directory");
        link("1", "data");
        link("data/edge.pem", "edge.pem");
        let before = Fingerprint::of([directory.path("edge.pem")]);
        link("2", "data.new");
        std::fs::rename(directory.path("data.new"), directory.path("data")).expect("own files");
        assert_eq!(before.changed(&before.refreshed()), [directory.path("edge.pem")]);
    }
}
