//! `postern call`: what the workers of a UM service know of recent calls.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use jiff::Timestamp;
use postern_slots::{RecentCall, Slot};
use postern_um::{StoryError, ask_recent_calls, ask_story};
use serde::Serialize;

use crate::output;

/// Arguments of `postern call`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Call-ID whose story is told; without, the calls that are known are listed
    #[arg(value_name = "ID")]
    id: Option<String>,
    /// Configuration of the UM service
    #[arg(long, value_name = "FILE", default_value = "/etc/postern/postern.toml")]
    config: PathBuf,
    /// List as JSON
    #[arg(long, conflicts_with = "id")]
    json: bool,
}

/// Runs `postern call`.
///
/// # Errors
/// The configuration cannot be used, no worker answers, or none knows the call.
pub async fn run(args: Args) -> Result<ExitCode> {
    let config = crate::configuration::load(&args.config)?;
    let Some(um) = config.um else {
        bail!("{} has no [um], which says where workers listen: name the UM service's file", args.config.display())
    };
    let text = match &args.id {
        Some(id) => story(&um.runtime_directory, id).await?,
        None => recent(&um.runtime_directory, args.json).await?,
    };
    output::print(text)?;
    Ok(ExitCode::SUCCESS)
}

/// The story of a call, of each worker that knows it: a call that one handed on to the other has two.
async fn story(directory: &Path, id: &str) -> Result<String> {
    let [a, b] = Slot::BOTH.map(|slot| ask_story(directory, slot, id));
    let (told, silent) = answers(tokio::join!(a, b).into());
    let stories: Vec<_> = told.into_iter().filter(|(_, story)| !story.is_empty()).collect();
    match &stories[..] {
        [] if silent.len() == Slot::BOTH.len() => bail!(nobody(&silent, directory)),
        [] => bail!(
            "no worker knows the call {}: `postern call` lists those that are known, and worker.recent_calls says how \
             many are{}",
            harmless(id),
            silent.iter().map(|why| format!("; {why}")).collect::<String>()
        ),
        _ => {}
    }
    let mut text = String::new();
    for (slot, story) in stories {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "slot {slot}: {}", harmless(&story).trim_end());
    }
    Ok(text)
}

/// The calls that are known, the youngest first.
async fn recent(directory: &Path, as_json: bool) -> Result<String> {
    let [a, b] = Slot::BOTH.map(|slot| ask_recent_calls(directory, slot));
    let (told, silent) = answers(tokio::join!(a, b).into());
    if silent.len() == Slot::BOTH.len() {
        bail!(nobody(&silent, directory))
    }
    let of_slot = |(slot, calls): (Slot, Vec<RecentCall>)| calls.into_iter().map(move |call| Known::of(slot, call));
    let mut known: Vec<Known> = told.into_iter().flat_map(of_slot).collect();
    known.sort_by(|one, other| other.began.cmp(&one.began).then_with(|| one.call_id.cmp(&other.call_id)));
    Ok(match as_json {
        true => serde_json::to_string_pretty(&known)? + "\n",
        false => table(&known),
    })
}

/// What was answered, and why some did not.
fn answers<T>(asked: [Result<T, StoryError>; 2]) -> (Vec<(Slot, T)>, Vec<StoryError>) {
    let (mut told, mut silent) = (Vec::new(), Vec::new());
    for (slot, answer) in Slot::BOTH.into_iter().zip(asked) {
        match answer {
            Ok(answer) => told.push((slot, answer)),
            Err(error) => silent.push(error),
        }
    }
    (told, silent)
}

fn nobody(silent: &[StoryError], directory: &Path) -> String {
    let why: Vec<String> = silent.iter().map(ToString::to_string).collect();
    let place = directory.display();
    format!("{}: run this as the user of the UM service while it runs; its workers listen in {place}", why.join("; "))
}

/// A call in the list.
#[derive(Debug, Serialize)]
struct Known {
    call_id: String,
    /// UTC, RFC 3339, with milliseconds.
    began: String,
    /// `None` while it is under way.
    ended: Option<String>,
    slot: Slot,
}

impl Known {
    fn of(slot: Slot, call: RecentCall) -> Self {
        // A time beyond what can be written is none.
        let time = |millis| format!("{:.3}", Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH));
        Self {
            call_id: call.call.as_str().to_owned(),
            began: time(call.began_unix_millis),
            ended: call.ended_unix_millis.map(time),
            slot,
        }
    }
}

fn table(known: &[Known]) -> String {
    if known.is_empty() {
        return "No calls are known.\n".into();
    }
    let mut text = format!("{:<24}  {:<24}  SLOT  CALL-ID\n", "BEGAN", "ENDED");
    for Known { call_id, began, ended, slot } in known {
        let ended = ended.as_deref().unwrap_or("under way");
        let _ = writeln!(text, "{began:<24}  {ended:<24}  {:<4}  {}", slot.name(), harmless(call_id));
    }
    text
}

/// What callers sent, without what a terminal would obey.
fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '.' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use postern_slots::CallKey;

    use super::*;

    #[test]
    fn calls_are_listed_with_what_is_known_of_them() {
        let call = |id: &str, ended| RecentCall {
            call: CallKey::of(id),
            began_unix_millis: 1_800_000_000_000,
            ended_unix_millis: ended,
        };
        let known = [
            Known::of(Slot::A, call("a@host", None)),
            Known::of(Slot::B, call("\u{1b}[2Jb", Some(1_800_000_003_012))),
            Known::of(Slot::B, call("c", Some(i64::MAX))),
        ];
        let expected = "\
BEGAN                     ENDED                     SLOT  CALL-ID
2027-01-15T08:00:00.000Z  under way                 A     a@host
2027-01-15T08:00:00.000Z  2027-01-15T08:00:03.012Z  B     .[2Jb
2027-01-15T08:00:00.000Z  1970-01-01T00:00:00.000Z  B     c
";
        assert_eq!(table(&known), expected);
        assert_eq!(table(&[]), "No calls are known.\n");
    }

    #[test]
    fn lines_of_a_story_stay_lines() {
        assert_eq!(harmless("--> INVITE\n<-- 200\u{7}\t!\n"), "--> INVITE\n<-- 200..!\n");
    }
}
