//! The mailbox that Diversion names (RFC 5806).

use postern_sip::Uri;
use postern_sip::typed::Addresses;

use crate::limits::ENTRIES_MAX;
use crate::peer::DiversionOrder;
use crate::reason::CallReason;

/// The first entry, in the order wanted, that names a mailbox. `mailbox` gives the address that a URI names in the plan,
/// `None` for pilots, ourselves and strangers.
pub(crate) fn choose(
    entries: &Addresses,
    order: DiversionOrder,
    mailbox: impl Fn(&Uri) -> Option<String>,
) -> Option<(String, CallReason)> {
    let named = |entry: &postern_sip::NameAddr| {
        let reason = CallReason::of_diversion(entry.params.value("reason"));
        Some((mailbox(&entry.uri)?, reason))
    };
    let entries = &entries.list[..entries.list.len().min(ENTRIES_MAX)];
    match order {
        DiversionOrder::Top => entries.iter().find_map(named),
        DiversionOrder::Bottom => entries.iter().rev().find_map(named),
    }
}
