//! `postern mail`: letters that wait or were given up, as an administrator sees them and acts on them.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use jiff::Timestamp;
use postern_mailbox::{LetterId, StoreError};

use crate::mail_listing as listing;
use crate::mailbox_desk::{Desk, mend};
use crate::output;

/// Arguments of `postern mail`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// List mail that waits to be sent, and mail that was given up
    List(ListArgs),
    /// Have mail tried now that waits or was given up
    Retry(RetryArgs),
    /// Remove mail unsent
    Remove(RemoveArgs),
}

#[derive(clap::Args, Debug)]
struct ListArgs {
    /// Configuration of the UM service
    #[arg(long, value_name = "FILE", default_value = "/etc/postern/postern.toml")]
    config: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args, Debug)]
struct RetryArgs {
    /// The mail, as `list` names it
    #[arg(required_unless_present = "all")]
    id: Option<LetterId>,
    /// All of it
    #[arg(long, conflicts_with = "id")]
    all: bool,
    /// Configuration of the UM service
    #[arg(long, value_name = "FILE", default_value = "/etc/postern/postern.toml")]
    config: PathBuf,
}

#[derive(clap::Args, Debug)]
struct RemoveArgs {
    /// The mail, as `list` names it
    id: LetterId,
    /// Configuration of the UM service
    #[arg(long, value_name = "FILE", default_value = "/etc/postern/postern.toml")]
    config: PathBuf,
}

/// Runs `postern mail`.
///
/// # Errors
/// What the operator must mend: the configuration, the store, an id.
pub async fn run(args: Args) -> Result<ExitCode> {
    match args.command {
        Command::List(args) => list(args).await,
        Command::Retry(args) => retry(args).await,
        Command::Remove(args) => remove(args).await,
    }
}

async fn list(args: ListArgs) -> Result<ExitCode> {
    let desk = Desk::open(&args.config)?;
    let folder = desk.dead_letters()?;
    let letters = desk.existing_store().await?.letters().await.map_err(mend)?;
    output::print(match args.json {
        true => listing::json(&letters, &folder)?,
        false => listing::table(&letters, &folder),
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn retry(args: RetryArgs) -> Result<ExitCode> {
    let desk = Desk::open(&args.config)?;
    let folder = desk.dead_letters()?;
    let store = desk.existing_store().await?;
    let before = store.letters().await.map_err(mend)?;
    let retried = store.retry_letters(args.id, Timestamp::now()).await.map_err(mend)?;
    if let (0, Some(id)) = (retried, args.id) {
        match before.iter().any(|letter| letter.id == id) {
            true => bail!("{id} told a PIN, which is gone: reset the PIN again, and remove this one"),
            false => return Err(unknown(id)),
        }
    }
    // A file that stays is swept later.
    for letter in before.iter().filter(|letter| letter.is_dead && args.id.is_none_or(|id| id == letter.id)) {
        let _ = folder.remove(letter.id);
    }
    let them = if retried == 1 { "mail is" } else { "mails are" };
    output::print_line(format_args!("{retried} {them} tried now, if the UM service runs."))?;
    Ok(ExitCode::SUCCESS)
}

async fn remove(args: RemoveArgs) -> Result<ExitCode> {
    let desk = Desk::open(&args.config)?;
    let folder = desk.dead_letters()?;
    let store = desk.existing_store().await?;
    match store.remove_letter(args.id).await {
        Ok(()) => {}
        Err(StoreError::Gone) => return Err(unknown(args.id)),
        Err(error) => return Err(mend(error)),
    }
    folder.remove(args.id)?;
    output::print_line(format_args!("Removed {}.", args.id))?;
    Ok(ExitCode::SUCCESS)
}

fn unknown(id: LetterId) -> anyhow::Error {
    anyhow::anyhow!("no mail {id} waits or was given up: `postern mail list` shows all")
}
