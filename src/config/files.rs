//! Files that a configuration names: read once, judged, and remembered for the watch.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use zeroize::Zeroizing;

use crate::certificate::{PEM_BYTES_MAX, PairError, load_certificates, load_pair};
use crate::reader::Notes;
use crate::source::Source;
use crate::tree::{CertifiedPair, SecretBytes};
use crate::tree_owner::SecretText;
use crate::watch::Fingerprint;

/// Shorter secrets can be found by trying.
const SECRET_BYTES_MIN: usize = 16;
const SECRET_BYTES_MAX: usize = 1024;
/// The secret of the documentation, which everybody knows.
const SECRET_OF_THE_EXAMPLE: &[u8] = b"at-least-sixteen-bytes";

/// The files around one configuration.
pub(crate) struct Files<'a> {
    source: &'a Source,
    notes: &'a Notes,
    watched: RefCell<Fingerprint>,
}

impl<'a> Files<'a> {
    pub(crate) fn new(source: &'a Source, notes: &'a Notes) -> Self {
        Self { source, notes, watched: RefCell::default() }
    }

    /// Where `path` of the configuration leads.
    pub(crate) fn resolve(&self, path: &str) -> PathBuf {
        self.source.resolve(path)
    }

    /// Every file that was read, whether it was well or not.
    pub(crate) fn into_watch(self) -> Fingerprint {
        self.watched.into_inner()
    }

    fn read(&self, key: &str, path: &str, bytes_max: usize) -> Option<(PathBuf, Vec<u8>)> {
        let path = self.source.resolve(path);
        if !self.source.is_in_memory(&path) {
            self.watched.borrow_mut().look_at(&path);
        }
        match self.source.read(&path, bytes_max) {
            Ok(bytes) => Some((path, bytes)),
            Err(what) => {
                let remedy = "name a file that the service's user can read, relative to this configuration";
                self.notes.error(key, format!("{} {what}", path.display()), remedy);
                None
            }
        }
    }

    /// A certificate chain and the key that belongs to it.
    pub(crate) fn pair(&self, cert_key: &str, cert: &str, key_key: &str, private_key: &str) -> Option<CertifiedPair> {
        let chain = self.read(cert_key, cert, PEM_BYTES_MAX);
        let key = self.read(key_key, private_key, PEM_BYTES_MAX);
        let ((certificate, chain), (private_key, key)) = (chain?, key?);
        self.judge_secrecy(key_key, &private_key);
        match load_pair(&chain, &key) {
            Ok(material) => Some(CertifiedPair { certificate, private_key, material: Arc::new(material) }),
            Err(error) => {
                let (at, path, remedy) = match error {
                    PairError::Certificate(_) => {
                        (cert_key, certificate, "name a PEM file, the server's certificate first")
                    }
                    PairError::PrivateKey(_) => {
                        (key_key, private_key, "name the unencrypted PEM key of the certificate")
                    }
                    PairError::Mismatch => (key_key, private_key, "name the key that the certificate was made for"),
                };
                self.notes.error(at, format!("{}: {error}", path.display()), remedy);
                None
            }
        }
    }

    /// Certificates of authorities.
    pub(crate) fn roots(&self, key: &str, path: &str) -> Option<Vec<CertificateDer<'static>>> {
        let (path, bytes) = self.read(key, path, PEM_BYTES_MAX)?;
        match load_certificates(&bytes) {
            Ok(roots) => Some(roots),
            Err(what) => {
                let remedy = "name a PEM file with the authority's certificate";
                self.notes.error(key, format!("{} {what}", path.display()), remedy);
                None
            }
        }
    }

    /// A secret in a file of its own; line ends after it do not count.
    pub(crate) fn secret_file(&self, key: &str, path: &str) -> Option<SecretBytes> {
        let (path, mut bytes) = self.read(key, path, 2 * SECRET_BYTES_MAX)?;
        self.judge_secrecy(key, &path);
        while bytes.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
            bytes.pop();
        }
        self.secret(key, bytes)
    }

    /// A password in a file of its own, one line of text. Unlike other secrets it is refused when everybody can read it.
    pub(crate) fn password_file(&self, key: &str, path: &str) -> Option<SecretText> {
        let (path, bytes) = self.read(key, path, 2 * SECRET_BYTES_MAX)?;
        let bytes = Zeroizing::new(bytes);
        self.demand_secrecy(key, &path)?;
        let text = std::str::from_utf8(&bytes).unwrap_or_default().trim_end_matches(['\n', '\r']);
        if text.is_empty() || text.len() > SECRET_BYTES_MAX || text.chars().any(char::is_control) {
            let remedy = format!("write one line of 1 to {SECRET_BYTES_MAX} bytes into it");
            self.notes.error(key, format!("{} holds no password", path.display()), remedy);
            return None;
        }
        Some(SecretText::new(text))
    }

    /// Tokens in a file of their own, one a line: refused when everybody can read them.
    pub(crate) fn tokens_file(&self, key: &str, path: &str, tokens_max: usize) -> Option<Vec<SecretBytes>> {
        let (path, bytes) = self.read(key, path, (tokens_max + 1) * SECRET_BYTES_MAX)?;
        let bytes = Zeroizing::new(bytes);
        self.demand_secrecy(key, &path)?;
        let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
        let tokens: Option<Vec<SecretBytes>> = lines.map(|line| self.secret(key, line.to_vec())).collect();
        let tokens = tokens?;
        if tokens.is_empty() || tokens.len() > tokens_max {
            let remedy = format!("write one a line, and no more than {tokens_max}: the next one and the former");
            self.notes.error(key, format!("{} holds {} tokens", path.display(), tokens.len()), remedy);
            return None;
        }
        Some(tokens)
    }

    /// A secret within the configuration, which must then be as well kept as the secret.
    pub(crate) fn secret_inline(&self, key: &str, bytes: Vec<u8>) -> Option<SecretBytes> {
        self.judge_secrecy(key, &self.source.name);
        self.secret(key, bytes)
    }

    fn secret(&self, key: &str, bytes: Vec<u8>) -> Option<SecretBytes> {
        // Wiped when dropped, also on the ways out below.
        let secret = SecretBytes::new(bytes);
        let length = secret.expose().len();
        if !(SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&length) {
            let remedy =
                format!("use {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes, made by: openssl rand -base64 32");
            self.notes.error(key, format!("is a secret of {length} bytes"), remedy);
            return None;
        }
        if secret.expose() == SECRET_OF_THE_EXAMPLE {
            let remedy = "make your own: openssl rand -base64 32";
            self.notes.warn(key, "is the secret of the documentation, known to everybody", remedy);
        }
        Some(secret)
    }

    /// A file that will be written: its directory must be there.
    pub(crate) fn output(&self, key: &str, path: &str) -> Option<PathBuf> {
        let path = self.source.resolve(path);
        let directory = path.parent().unwrap_or(Path::new("/"));
        if path.is_dir() || !directory.is_dir() {
            let what = if path.is_dir() {
                "is a directory".into()
            } else {
                format!("{} is no directory", directory.display())
            };
            self.notes.error(key, what, "name a file in a directory that exists");
            return None;
        }
        Some(path)
    }

    fn judge_secrecy(&self, key: &str, path: &Path) {
        if self.is_open(path) {
            let remedy = format!("chmod o-rwx {}", path.display());
            self.notes.warn(key, format!("{} can be read by every user of this machine", path.display()), remedy);
        }
    }

    /// `None`, with an error, for a file that strangers on this machine can read.
    fn demand_secrecy(&self, key: &str, path: &Path) -> Option<()> {
        if self.is_open(path) {
            let remedy = format!("chmod o-rwx {}, and change what is in it", path.display());
            self.notes.error(key, format!("{} can be read by every user of this machine", path.display()), remedy);
            return None;
        }
        Some(())
    }

    #[cfg(unix)]
    fn is_open(&self, path: &Path) -> bool {
        use std::os::unix::fs::PermissionsExt;
        let mode = || std::fs::metadata(path).map(|metadata| metadata.permissions().mode());
        !self.source.is_in_memory(path) && mode().is_ok_and(|mode| mode & 0o004 != 0)
    }

    #[cfg(not(unix))]
    fn is_open(&self, _path: &Path) -> bool {
        false
    }
}
