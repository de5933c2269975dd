//! One fault of a configuration, as its operator reads it.

use std::fmt;
use std::path::PathBuf;

/// What is wrong, where, and what to do; printed as `file:line: key: what; remedy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub file: PathBuf,
    /// Counted from 1; the line of the key, of its table when it is absent, or 1 for the file as a whole.
    pub line: usize,
    /// Dotted path of the key with list positions, `edge.udp[0]`; empty for the file as a whole.
    pub key: String,
    pub what: String,
    pub remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file.display(), self.line)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}", self.what)?;
        if !self.remedy.is_empty() {
            write!(f, "; {}", self.remedy)?;
        }
        Ok(())
    }
}
