//! `postern mailbox`: what an administrator does to mailboxes, while workers run or not.

use std::io::{self, BufRead};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use postern_mailbox::{Address, GreetingInUse, Mailbox, MailboxId, OwnQuota, PlanName};
use postern_store::{AddError, Listed, MailAddress, MailSettings, NewMailbox};

use crate::mailbox_desk::{Desk, mend};
use crate::mailbox_export;
use crate::mailbox_listing as listing;
use crate::mailbox_pin::{self, Chosen};
use crate::output;

/// Arguments of `postern mailbox`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Add a mailbox
    Add(AddArgs),
    /// List mailboxes, their messages and their locks
    List(ListArgs),
    /// Give a mailbox another PIN, which unlocks it
    ResetPin(ResetPinArgs),
    /// Make the one-time link by which the owner of a mailbox sets the password of the web
    Link(LinkArgs),
    /// Unlock a mailbox after too many wrong PINs, or its sign-in on the web
    Unlock(UnlockArgs),
    /// Say where mail for the owner of a mailbox goes, and what it tells
    SetMail(SetMailArgs),
    /// Write the messages of a mailbox as WAV files
    Export(ExportArgs),
    /// Remove a mailbox with its messages and greetings
    Remove(RemoveArgs),
}

#[derive(clap::Args, Debug)]
struct Place {
    /// Configuration of the workers
    #[arg(long, value_name = "FILE", default_value = "/etc/postern/postern.toml")]
    config: PathBuf,
    /// Dial plan of the mailbox; may be left out where only one can be meant
    #[arg(long, value_name = "NAME")]
    plan: Option<String>,
}

#[derive(clap::Args, Debug)]
struct PinArgs {
    /// Read the PIN from standard input [default: one is made up, printed once, and to be changed at the first call]
    // Text, since a refusal by the parser would print it.
    #[arg(long, value_name = "-", allow_hyphen_values = true)]
    pin: Option<String>,
}

#[derive(clap::Args, Debug)]
struct AddArgs {
    /// What calls reach it by: 1001, +15551234567 or sip:alice@example.test, as its plan has them
    address: String,
    #[command(flatten)]
    place: Place,
    /// Name of its owner
    #[arg(long)]
    name: String,
    #[command(flatten)]
    pin: PinArgs,
    /// Further address (extension, E.164 number or SIP URI); may be given several times
    #[arg(long = "alias", value_name = "ADDRESS")]
    aliases: Vec<String>,
    /// Language of its prompts, such as en-US [default: the plan's]
    #[arg(long, value_name = "TAG")]
    language: Option<String>,
    /// Where its owner lives, such as Europe/Berlin, for times of day [default: the plan's]
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// Whom callers reach who ask for the operator: a number or user@host that dial_plan.allow lets pass; "" is nobody
    /// [default: the plan's, at each call]
    #[arg(long, value_name = "TARGET")]
    operator: Option<String>,
    /// Where its owner gets mail of new messages and of a new PIN [default: nowhere]
    #[arg(long, value_name = "ADDRESS")]
    mail: Option<MailAddress>,
    /// Also of calls that left no message
    #[arg(long, requires = "mail")]
    missed_calls: bool,
    /// Messages that it may hold [default: mailbox.quota_messages]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    quota_messages: Option<u32>,
    /// Minutes of audio that it may hold [default: mailbox.quota_minutes]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    quota_minutes: Option<u32>,
}

#[derive(clap::Args, Debug)]
struct ListArgs {
    #[command(flatten)]
    place: Place,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args, Debug)]
struct ResetPinArgs {
    /// Address of the mailbox
    address: String,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    pin: PinArgs,
}

#[derive(clap::Args, Debug)]
struct LinkArgs {
    /// Address of the mailbox
    address: String,
    #[command(flatten)]
    place: Place,
}

#[derive(clap::Args, Debug)]
struct UnlockArgs {
    /// Address of the mailbox
    address: String,
    /// Its sign-in on the web, not the phone
    #[arg(long)]
    web: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(clap::Args, Debug)]
struct SetMailArgs {
    /// Address of the mailbox
    address: String,
    #[command(flatten)]
    place: Place,
    /// Where its owner gets mail
    #[arg(long, value_name = "ADDRESS", conflicts_with = "none", required_unless_present_any = ["none", "missed_calls"])]
    mail: Option<MailAddress>,
    /// Its owner gets no mail
    #[arg(long)]
    none: bool,
    /// Whether mail also tells of calls that left no message
    #[arg(long, value_name = "yes|no", hide_possible_values = true, action = clap::ArgAction::Set)]
    #[arg(value_parser = clap::builder::BoolishValueParser::new())]
    missed_calls: Option<bool>,
}

#[derive(clap::Args, Debug)]
struct ExportArgs {
    /// Address of the mailbox
    address: String,
    #[command(flatten)]
    place: Place,
    /// Where the files go; those that are there stay as they are
    #[arg(long, value_name = "DIRECTORY")]
    to: PathBuf,
}

#[derive(clap::Args, Debug)]
struct RemoveArgs {
    /// Address of the mailbox
    address: String,
    #[command(flatten)]
    place: Place,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Characters of an owner's name.
const NAME_CHARS_MAX: usize = 128;

/// Runs `postern mailbox`.
///
/// # Errors
/// What the operator must mend: the configuration, the store, an address, a PIN.
pub async fn run(args: Args) -> Result<ExitCode> {
    match args.command {
        Command::Add(args) => add(args).await,
        Command::List(args) => list(args).await,
        Command::ResetPin(args) => reset_pin(args).await,
        Command::Link(args) => link(args).await,
        Command::Unlock(args) => unlock(args).await,
        Command::SetMail(args) => set_mail(args).await,
        Command::Export(args) => export(args).await,
        Command::Remove(args) => remove(args).await,
    }
}

async fn add(args: AddArgs) -> Result<ExitCode> {
    let desk = Desk::open(&args.place.config)?;
    let plan = desk.plan(args.place.plan.as_deref())?;
    let mut addresses = desk.main_address(plan, &args.address)?;
    for alias in &args.aliases {
        for address in desk.alias(plan, alias)? {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }
    let time_zone = args.time_zone.unwrap_or_else(|| plan.time_zone.clone());
    let Some(zone) = postern_mailbox::time_zone(&time_zone) else {
        bail!("there is no time zone {time_zone:?}: name one as the IANA does, such as Europe/Berlin, with --time-zone")
    };
    let language = args.language.unwrap_or_else(|| plan.language.clone());
    let operator = args.operator.map(operator).transpose()?;
    desk.judge_operator(&plan.name, operator.as_deref().unwrap_or_default())?;
    let mailbox = Mailbox {
        id: MailboxId::from_bytes([0; 16]),
        plan: PlanName(plan.name.clone()),
        addresses,
        name: owner_name(&args.name)?,
        language: desk.language(language)?,
        time_zone: zone,
        operator,
        quota: OwnQuota { messages: args.quota_messages, audio_secs: args.quota_minutes.map(|minutes| minutes * 60) },
        greeting: GreetingInUse::Standard,
        recorded: Vec::new(),
    };
    let chosen = mailbox_pin::choose(args.pin.pin.as_deref(), &desk.pin_policy(), &mailbox)?;
    let store = desk.store().await?;
    let Mailbox { addresses, name, language, operator, quota, plan, .. } = mailbox;
    let new = NewMailbox {
        plan,
        addresses,
        name,
        language,
        time_zone,
        operator,
        quota,
        mail: MailSettings { address: args.mail, missed_calls: args.missed_calls },
        pin: chosen.pin.clone(),
        must_change: chosen.is_made_up,
    };
    desk.tell_of_mail(&new.mail);
    let said = format!("Added mailbox {} of the dial plan {} for {}.", listed(&new.addresses), new.plan, new.name);
    let added = match store.add_mailbox(new).await {
        Ok(added) => added,
        Err(AddError::Taken(address)) => {
            bail!("{address} belongs to another mailbox of the plan: `postern mailbox list` shows which")
        }
        Err(AddError::Addresses) => bail!("{}: leave out some --alias", AddError::Addresses),
        Err(AddError::Store(error)) => return Err(mend(error)),
    };
    output::print_line(said)?;
    tell(&chosen)?;
    // Last, and of no weight for what was done: another is made by `postern mailbox link`.
    if let Some(link) = desk.link(&store, added).await? {
        tell_link(&link)?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(args: ListArgs) -> Result<ExitCode> {
    let desk = Desk::open(&args.place.config)?;
    let mut mailboxes = desk.existing_store().await?.mailboxes().await.map_err(mend)?;
    if let Some(plan) = &args.place.plan {
        mailboxes.retain(|listed| listed.mailbox.plan.0 == *plan);
        if mailboxes.is_empty() {
            desk.plan(Some(plan))?;
        }
    }
    let attempts_max = desk.pin_policy().attempts_max;
    output::print(match args.json {
        true => listing::json(&mailboxes, attempts_max)?,
        false => listing::table(&mailboxes, attempts_max),
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn reset_pin(args: ResetPinArgs) -> Result<ExitCode> {
    let desk = Desk::open(&args.place.config)?;
    let store = desk.existing_store().await?;
    let mailbox = desk.find(&store, args.place.plan.as_deref(), &args.address).await?;
    let chosen = mailbox_pin::choose(args.pin.pin.as_deref(), &desk.pin_policy(), &mailbox)?;
    store.reset_pin(mailbox.id, chosen.pin.clone(), chosen.is_made_up).await.map_err(mend)?;
    output::print_line(format_args!("{} has another PIN, and is not locked.", called(&mailbox)))?;
    tell(&chosen)?;
    Ok(ExitCode::SUCCESS)
}

async fn link(args: LinkArgs) -> Result<ExitCode> {
    let desk = Desk::open(&args.place.config)?;
    let store = desk.existing_store().await?;
    let mailbox = desk.find(&store, args.place.plan.as_deref(), &args.address).await?;
    let Some(link) = desk.link(&store, mailbox.id).await? else {
        bail!("{} has no [web], whose page a link leads to: name the UM service's file", args.place.config.display())
    };
    tell_link(&link)?;
    Ok(ExitCode::SUCCESS)
}

async fn unlock(args: UnlockArgs) -> Result<ExitCode> {
    let desk = Desk::open(&args.place.config)?;
    let store = desk.existing_store().await?;
    let mailbox = desk.find(&store, args.place.plan.as_deref(), &args.address).await?;
    if args.web {
        store.unlock_web(mailbox.id).await.map_err(mend)?;
        output::print_line(format_args!("{} may be signed in to on the web again.", called(&mailbox)))?;
        return Ok(ExitCode::SUCCESS);
    }
    let Listed { wrong_pins, .. } = desk.look(&store, mailbox.id).await?;
    store.unlock(mailbox.id).await.map_err(mend)?;
    let was = match wrong_pins >= desk.pin_policy().attempts_max {
        true => "is unlocked",
        false => "was not locked",
    };
    output::print_line(format_args!("{} {was}: {} forgotten.", called(&mailbox), counted(wrong_pins, "wrong PIN")))?;
    Ok(ExitCode::SUCCESS)
}

async fn set_mail(args: SetMailArgs) -> Result<ExitCode> {
    let desk = Desk::open(&args.place.config)?;
    let store = desk.existing_store().await?;
    let mailbox = desk.find(&store, args.place.plan.as_deref(), &args.address).await?;
    let mut mail = store.mail_settings(mailbox.id).await.map_err(mend)?;
    match args.mail {
        Some(address) => mail.address = Some(address),
        None if args.none => mail.address = None,
        None => {}
    }
    mail.missed_calls = args.missed_calls.unwrap_or(mail.missed_calls);
    store.set_mail(mailbox.id, &mail).await.map_err(mend)?;
    desk.tell_of_mail(&mail);
    let of = if mail.missed_calls { "new messages and missed calls" } else { "new messages" };
    output::print_line(match &mail.address {
        Some(address) => format!("{} has mail of {of} sent to {address}.", called(&mailbox)),
        None => format!("{} has no mail sent.", called(&mailbox)),
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn export(args: ExportArgs) -> Result<ExitCode> {
    let desk = Desk::open(&args.place.config)?;
    let store = desk.existing_store().await?;
    let mailbox = desk.find(&store, args.place.plan.as_deref(), &args.address).await?;
    for path in mailbox_export::export(&store, &mailbox, &args.to).await? {
        output::print_line(path.display())?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn remove(args: RemoveArgs) -> Result<ExitCode> {
    let desk = Desk::open(&args.place.config)?;
    let store = desk.existing_store().await?;
    let mailbox = desk.find(&store, args.place.plan.as_deref(), &args.address).await?;
    let Listed { mailbox, new, saved, .. } = desk.look(&store, mailbox.id).await?;
    let held = format!(
        "{} with {}, {} and {}",
        called(&mailbox),
        counted(new, "new message"),
        counted(saved, "saved message"),
        counted(mailbox.recorded.len() as u32, "recorded greeting"),
    );
    if !args.yes && !confirmed(&held)? {
        output::complain("postern: nothing was removed; --yes removes without asking");
        return Ok(ExitCode::FAILURE);
    }
    store.remove_mailbox(mailbox.id).await.map_err(mend)?;
    output::print_line(format_args!("Removed {held}."))?;
    Ok(ExitCode::SUCCESS)
}

/// Asks on standard error, so that what is printed stays what was done.
fn confirmed(held: &str) -> Result<bool> {
    output::complain(format_args!("This removes {held}, for ever. Type yes to go on:"));
    let mut answer = String::new();
    io::Read::take(io::stdin().lock(), 16).read_line(&mut answer)?;
    Ok(answer.trim().eq_ignore_ascii_case("yes"))
}

/// A PIN is told where nobody knows it yet.
fn tell(chosen: &Chosen) -> Result<()> {
    if chosen.is_made_up {
        let digits = chosen.pin.digits();
        output::print_line(format_args!("PIN {digits}: shown this once, and to be changed at the first call."))?;
    }
    Ok(())
}

fn tell_link(link: &str) -> Result<()> {
    output::print_line(format_args!("Link {link}: sets the password of the web, once, within a day."))?;
    Ok(())
}

fn owner_name(name: &str) -> Result<String> {
    let name = name.trim();
    let chars = name.chars().count();
    if chars == 0 || chars > NAME_CHARS_MAX || name.chars().any(char::is_control) {
        bail!("--name takes 1 to {NAME_CHARS_MAX} characters, none of them a control character")
    }
    Ok(name.to_owned())
}

/// A number as it is dialled, or a SIP URI; "" is nobody.
fn operator(text: String) -> Result<String> {
    let is_number = text.len() <= postern_mailbox::limits::EXTENSION_DIGITS_MAX
        && text.strip_prefix('+').unwrap_or(&text).bytes().all(|byte| byte.is_ascii_digit() || b"*#".contains(&byte));
    match text.parse() {
        _ if text.is_empty() || is_number => Ok(text),
        Ok(Address::Uri(uri)) => Ok(Address::Uri(uri).to_string()),
        _ => bail!("{text:?} cannot be called as an operator: give a number or user@host with --operator"),
    }
}

/// A mailbox as its administrator knows it.
fn called(mailbox: &Mailbox) -> String {
    format!("mailbox {} of the dial plan {} ({})", listed(&mailbox.addresses), mailbox.plan, mailbox.name)
}

fn listed(addresses: &[Address]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn counted(count: impl Into<u64>, what: &str) -> String {
    let count = count.into();
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
