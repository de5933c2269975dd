//! Where a call is sent on: a listener of the active worker.

use postern_dialplan::{Listeners, keeps_to_tls};
use postern_sip::host::Host;
use postern_sip::{Source, Uri};
use postern_slots::{Contacts, Door};

pub(crate) fn door_of(source: &Source, called: &Uri) -> Door {
    if keeps_to_tls(source, called) { Door::Tls } else { Door::Tcp }
}

/// What a worker told of itself, as the rules of calls know it.
pub(crate) fn listeners(contacts: &Contacts) -> Listeners {
    let named = contacts.tls.as_ref().and_then(|named| Some((Host::parse(&named.host)?, named.port)));
    Listeners { tcp: contacts.tcp.clone(), tls: named }
}
