//! The mailbox that History-Info names (RFC 7044): whom the call was meant for before it went to the pilot.

use postern_sip::fields::Reason;
use postern_sip::typed::Addresses;
use postern_sip::{NameAddr, Uri};

use crate::limits::ENTRIES_MAX;
use crate::reason::CallReason;

/// The entry nearest before the pilot that names a mailbox. Entries stand in the order of the retargetings; the last
/// one may be the hop to us itself (`is_called`), or be left out by the sender.
pub(crate) fn choose(
    entries: &Addresses,
    is_called: impl Fn(&Uri) -> bool,
    mailbox: impl Fn(&Uri) -> Option<String>,
) -> Option<(String, CallReason)> {
    let entries = &entries.list[..entries.list.len().min(ENTRIES_MAX)];
    let before = entries.iter().rposition(|entry| is_called(&entry.uri)).unwrap_or(entries.len());
    let (at, address) = entries[..before].iter().enumerate().rev().find_map(|(at, entry)| {
        // An entry that was called again later is the hop to us, not one before it.
        let address = (!is_called(&entry.uri)).then(|| mailbox(&entry.uri)).flatten()?;
        Some((at, address))
    })?;
    Some((address, reason(&entries[at], entries.get(at + 1))))
}

/// Why the entry was left: its Reason among the URI's headers (RFC 7044 section 10.2), or the cause of the next one's
/// URI (RFC 4458).
fn reason(entry: &NameAddr, next: Option<&NameAddr>) -> CallReason {
    let own = entry.uri.as_sip().and_then(|uri| uri.header("Reason")).and_then(|text| Reason::parse(&text));
    let of_next = || next?.uri.as_sip()?.param("cause")?.parse().ok();
    let cause = own.filter(|reason| reason.protocol.eq_ignore_ascii_case("SIP")).and_then(|reason| reason.cause);
    CallReason::of_cause(cause.or_else(of_next))
}
