//! The configuration, for commands that are no role of their own.

use std::path::Path;

use anyhow::{Result, bail};
use postern_config::Config;

/// Loads the file; what is only warned of is left to `postern check`.
///
/// # Errors
/// Every fault of the file, one a line.
pub(crate) fn load(path: &Path) -> Result<Config> {
    match postern_config::load(path, &[]) {
        Ok(loaded) => Ok(loaded.config),
        Err(findings) => {
            let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
            bail!("the configuration cannot be used:\n{}", lines.join("\n"))
        }
    }
}
