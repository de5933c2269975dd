//! Letters as a table, and as JSON.

use std::fmt::Write;

use postern_mail::DeadLetters;
use postern_store::ListedLetter;
use serde::Serialize;

/// Two lines each where one failed: what it is, and why it was not sent.
pub(crate) fn table(letters: &[ListedLetter], folder: &DeadLetters) -> String {
    if letters.is_empty() {
        return "No mail waits, and none was given up.\n".into();
    }
    let mut text = String::new();
    for letter in letters {
        let to = letter.to.as_deref().unwrap_or("nobody");
        let (id, kind, made, attempts) = (letter.id, letter.kind.name(), at(letter.made), letter.attempts);
        let state = if letter.is_dead { "given up".to_owned() } else { format!("due {}", at(letter.due)) };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{id}  {kind:<11}  {made}  {state}, attempts: {attempts}, to {to} ({})", letter.name);
        if let Some(error) = &letter.last_error {
            let _ = writeln!(text, "    {error}");
        }
        if let Some(file) = file(letter, folder) {
            let _ = writeln!(text, "    {file}");
        }
    }
    text
}

#[derive(Serialize)]
struct Entry<'l> {
    id: String,
    kind: &'static str,
    state: &'static str,
    mailbox: String,
    name: &'l str,
    to: Option<&'l str>,
    message: Option<String>,
    made: String,
    due: String,
    attempts: u32,
    last_error: Option<&'l str>,
    file: Option<String>,
}

/// A list of objects.
///
/// # Errors
/// None that a list of letters can cause.
pub(crate) fn json(letters: &[ListedLetter], folder: &DeadLetters) -> serde_json::Result<String> {
    let entries = letters.iter().map(|letter| Entry {
        id: letter.id.to_string(),
        kind: letter.kind.name(),
        state: if letter.is_dead { "dead" } else { "queued" },
        mailbox: letter.mailbox.to_string(),
        name: &letter.name,
        to: letter.to.as_deref(),
        message: letter.message.map(|message| message.to_string()),
        made: at(letter.made),
        due: at(letter.due),
        attempts: letter.attempts,
        last_error: letter.last_error.as_deref(),
        file: file(letter, folder),
    });
    Ok(serde_json::to_string_pretty(&entries.collect::<Vec<_>>())? + "\n")
}

fn at(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn file(letter: &ListedLetter, folder: &DeadLetters) -> Option<String> {
    let path = folder.path(letter.id);
    (letter.is_dead && path.exists()).then(|| path.display().to_string())
}
