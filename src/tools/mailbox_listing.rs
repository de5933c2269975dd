//! Mailboxes as a table, and as JSON.

use std::fmt::Write;

use postern_store::{Listed, MailAddress};
use serde::Serialize;

const HEADINGS: [&str; 8] = ["PLAN", "ADDRESS", "NAME", "NEW", "SAVED", "PIN", "LANGUAGE", "TIME ZONE"];

/// One line each, its further addresses below it. A PIN is `locked`, or has so many wrong ones in a row behind it.
pub(crate) fn table(mailboxes: &[Listed], attempts_max: u32) -> String {
    if mailboxes.is_empty() {
        return "There are no mailboxes.\n".into();
    }
    let mut lines = vec![HEADINGS.map(str::to_owned)];
    for Listed { mailbox, new, saved, wrong_pins, .. } in mailboxes {
        let mut addresses = mailbox.addresses.iter().map(ToString::to_string);
        let pin = match *wrong_pins {
            0 => "ok".into(),
            wrong if wrong >= attempts_max => "locked".into(),
            wrong => format!("{wrong} wrong"),
        };
        lines.push([
            mailbox.plan.0.clone(),
            addresses.next().unwrap_or_default(),
            mailbox.name.clone(),
            new.to_string(),
            saved.to_string(),
            pin,
            mailbox.language.clone(),
            zone(mailbox),
        ]);
        lines.extend(addresses.map(|further| {
            let mut line: [String; 8] = Default::default();
            line[1] = further;
            line
        }));
    }
    let widths: Vec<usize> =
        (0..HEADINGS.len()).map(|at| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for line in lines {
        let mut row = String::new();
        for (cell, width) in line.iter().zip(&widths) {
            // Writing to a String cannot fail.
            let _ = write!(row, "{cell:<width$}  ");
        }
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text
}

#[derive(Serialize)]
struct Entry<'l> {
    id: String,
    plan: &'l str,
    addresses: Vec<String>,
    name: &'l str,
    language: &'l str,
    time_zone: String,
    operator: Option<&'l str>,
    /// Absent: as for all.
    quota_messages: Option<u32>,
    quota_minutes: Option<u32>,
    /// Absent: no mail is sent.
    mail: Option<&'l str>,
    missed_call_mail: bool,
    greeting: &'static str,
    recorded_greetings: Vec<&'static str>,
    new_messages: u32,
    saved_messages: u32,
    wrong_pins: u32,
    locked: bool,
}

/// A list of objects.
///
/// # Errors
/// None that a list of mailboxes can cause.
pub(crate) fn json(mailboxes: &[Listed], attempts_max: u32) -> serde_json::Result<String> {
    let entries = mailboxes.iter().map(|listed| {
        let mailbox = &listed.mailbox;
        Entry {
            id: mailbox.id.to_string(),
            plan: &mailbox.plan.0,
            addresses: mailbox.addresses.iter().map(ToString::to_string).collect(),
            name: &mailbox.name,
            language: &mailbox.language,
            time_zone: zone(mailbox),
            operator: mailbox.operator.as_deref(),
            quota_messages: mailbox.quota.messages,
            quota_minutes: mailbox.quota.audio_secs.map(|secs| secs / 60),
            mail: listed.mail.address.as_ref().map(MailAddress::as_str),
            missed_call_mail: listed.mail.missed_calls,
            greeting: mailbox.greeting.name(),
            recorded_greetings: mailbox.recorded.iter().map(|greeting| greeting.kind.name()).collect(),
            new_messages: listed.new,
            saved_messages: listed.saved,
            wrong_pins: listed.wrong_pins,
            locked: listed.wrong_pins >= attempts_max,
        }
    });
    Ok(serde_json::to_string_pretty(&entries.collect::<Vec<_>>())? + "\n")
}

fn zone(mailbox: &postern_mailbox::Mailbox) -> String {
    mailbox.time_zone.iana_name().unwrap_or("UTC").to_owned()
}

#[cfg(test)]
mod tests {
    use postern_mailbox::{GreetingInUse, Mailbox, MailboxId, OwnQuota, PlanName};
    use postern_store::MailSettings;

    use super::*;

    fn listed(name: &str, addresses: &[&str], wrong_pins: u32) -> Listed {
        let mailbox = Mailbox {
            id: MailboxId::from_bytes([1; 16]),
            plan: PlanName("office".into()),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            name: name.into(),
            language: "en-US".into(),
            time_zone: postern_mailbox::time_zone("Europe/Berlin").unwrap(),
            operator: None,
            quota: OwnQuota::default(),
            greeting: GreetingInUse::Standard,
            recorded: Vec::new(),
        };
        let mail = MailSettings { address: "alice@example.test".parse().ok(), missed_calls: false };
        Listed { mailbox, mail, new: 3, saved: 0, wrong_pins }
    }

    #[test]
    fn columns_stand_below_their_headings_whatever_the_names() {
        let all = [listed("Alice Ng", &["1001", "+15551234567"], 15), listed("Jürgen Weiß-Überlang", &["1002"], 2)];
        let expected = "\
PLAN    ADDRESS       NAME                  NEW  SAVED  PIN      LANGUAGE  TIME ZONE
office  1001          Alice Ng              3    0      locked   en-US     Europe/Berlin
        +15551234567
office  1002          Jürgen Weiß-Überlang  3    0      2 wrong  en-US     Europe/Berlin
";
        assert_eq!(table(&all, 15), expected);
        assert_eq!(table(&[], 15), "There are no mailboxes.\n");
    }

    #[test]
    fn json_says_what_the_table_says_and_the_lock_as_such() {
        let text = json(&[listed("Alice Ng", &["1001", "sip:alice@example.test"], 15)], 15).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value[0]["addresses"], serde_json::json!(["1001", "sip:alice@example.test"]));
        assert_eq!((&value[0]["mail"], &value[0]["missed_call_mail"]), (&"alice@example.test".into(), &false.into()));
        assert_eq!((&value[0]["locked"], &value[0]["new_messages"]), (&true.into(), &3.into()));
        assert_eq!(json(&[], 15).unwrap(), "[]\n");
    }
}
