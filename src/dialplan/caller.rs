//! Who calls, as far as the gateway says.

use postern_sip::host::Host;
use postern_sip::{HeaderName, NameAddr, Request, Uri};

use crate::limits::{ADDRESS_BYTES_MAX, DISPLAY_NAME_BYTES_MAX};
use crate::plan::Plan;

/// The caller of a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// Address in the form of the plan, when it has one: what mailboxes are compared with.
    pub address: Option<String>,
    /// User or number as it came, for whoever is told of the call; `None` when it is withheld.
    pub shown: Option<String>,
    pub display_name: Option<String>,
}

impl Caller {
    /// From P-Asserted-Identity (RFC 3325: it came from a gateway, which we trust), else Remote-Party-ID, else From. A
    /// caller who withholds the number is nobody.
    pub(crate) fn of(request: &Request, plan: &Plan, own: &[Host]) -> Self {
        let headers = &request.headers;
        if withheld(request) {
            return Self::default();
        }
        let party = || headers.value(HeaderName::RemotePartyId).and_then(NameAddr::parse);
        let asserted = headers.asserted_identities().list.into_iter().find(|address| address.uri.user().is_some());
        let Some(address) = asserted.or_else(party).or_else(|| headers.from().ok()) else { return Self::default() };
        if is_anonymous(&address.uri) {
            return Self::default();
        }
        Self {
            address: plan.address_of(&address.uri, own),
            shown: address.uri.user().map(|user| cut(&user, ADDRESS_BYTES_MAX)).filter(|user| !user.is_empty()),
            display_name: address.display_name.map(|name| cut(&name, DISPLAY_NAME_BYTES_MAX)),
        }
    }
}

/// Privacy that hides identity (RFC 3323 section 4.2, RFC 3325 section 9.3).
fn withheld(request: &Request) -> bool {
    let values = request.headers.values(HeaderName::Privacy).flat_map(|line| line.split([';', ',']));
    values.map(str::trim).any(|value| ["id", "user", "header"].iter().any(|word| value.eq_ignore_ascii_case(word)))
}

fn is_anonymous(uri: &Uri) -> bool {
    let Uri::Sip(sip) = uri else { return false };
    matches!(&sip.host, Host::Name(name) if name == "anonymous.invalid")
        || sip.user().is_some_and(|user| user.eq_ignore_ascii_case("anonymous"))
}

/// The first `bytes_max` bytes without control characters, whole characters only.
fn cut(text: &str, bytes_max: usize) -> String {
    let mut out = String::new();
    for c in text.chars().filter(|c| !c.is_control()) {
        if out.len() + c.len_utf8() > bytes_max {
            break;
        }
        out.push(c);
    }
    out
}
