//! Typed readings of header fields, made when asked for.

use crate::fields::{CSeq, ContentType, EventPackage, RAck, Reason, SessionExpires, parse_retry_after};
use crate::header_name::HeaderName;
use crate::headers::{HeaderError, HeaderFault, Headers};
use crate::name_addr::NameAddr;
use crate::text::{parse_u32, trim};
use crate::via::Via;

/// Contact of a message (RFC 3261 section 20.10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contacts {
    /// `*`, in a REGISTER only.
    Star,
    List(Vec<NameAddr>),
}

/// The addresses of a header that is read leniently: those that can be read, and how many cannot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    pub list: Vec<NameAddr>,
    pub unreadable: usize,
}

/// Each reads what is there on every call; the cost is linear in the header's length. Those returning `Result` report a
/// header that is malformed, repeated although single, or missing although always needed.
impl Headers {
    /// The value of a header that stands at most once.
    fn single(&self, name: HeaderName) -> Result<Option<&str>, HeaderError> {
        let mut values = self.values(name.clone());
        let first = values.next();
        if values.next().is_some() {
            return Err(HeaderFault::Repeated.of(name));
        }
        Ok(first)
    }

    fn read<T>(&self, name: HeaderName, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>, HeaderError> {
        match self.single(name.clone())? {
            Some(text) => parse(text).map(Some).ok_or(HeaderFault::Malformed.of(name)),
            None => Ok(None),
        }
    }

    fn need<T>(&self, name: HeaderName, parse: impl Fn(&str) -> Option<T>) -> Result<T, HeaderError> {
        self.read(name.clone(), parse)?.ok_or(HeaderFault::Missing.of(name))
    }

    fn address_list(&self, name: HeaderName) -> Result<Vec<NameAddr>, HeaderError> {
        let read = |text: &str| NameAddr::parse(text).ok_or_else(|| HeaderFault::Malformed.of(name.clone()));
        self.list(name.clone())?.into_iter().map(read).collect()
    }

    fn lenient_addresses(&self, name: HeaderName) -> Addresses {
        let mut addresses = Addresses::default();
        for line in self.values(name) {
            let (pieces, _) = crate::text::split_leniently(line, b',');
            for piece in pieces.into_iter().filter(|piece| !piece.is_empty()) {
                match NameAddr::parse(piece) {
                    Some(address) if addresses.list.len() < crate::limits::VALUES_MAX => addresses.list.push(address),
                    _ => addresses.unreadable += 1,
                }
            }
        }
        addresses
    }

    fn tokens(&self, name: HeaderName) -> Vec<&str> {
        self.list(name).unwrap_or_default()
    }

    /// The topmost Via: of the last hop in a request, ours in a response.
    pub fn top_via(&self) -> Result<Via, HeaderError> {
        let line = self.value(HeaderName::Via).ok_or(HeaderFault::Missing.of(HeaderName::Via))?;
        crate::text::split_list(line, b',')
            .and_then(|pieces| Via::parse(pieces.first()?))
            .ok_or(HeaderFault::Malformed.of(HeaderName::Via))
    }

    /// All Vias, topmost first; none is an error.
    pub fn vias(&self) -> Result<Vec<Via>, HeaderError> {
        let mut vias = Vec::new();
        for line in self.values(HeaderName::Via) {
            let malformed = || HeaderFault::Malformed.of(HeaderName::Via);
            for piece in crate::text::split_list(line, b',').ok_or_else(malformed)? {
                vias.push(Via::parse(piece).ok_or_else(malformed)?);
                if vias.len() > crate::limits::VALUES_MAX {
                    return Err(HeaderFault::TooMany.of(HeaderName::Via));
                }
            }
        }
        if vias.is_empty() { Err(HeaderFault::Missing.of(HeaderName::Via)) } else { Ok(vias) }
    }

    /// Puts another Via in place of the topmost.
    pub fn replace_top_via(&mut self, via: &Via) {
        self.pop_first_value(HeaderName::Via);
        self.push_first(HeaderName::Via, via);
    }

    pub fn from(&self) -> Result<NameAddr, HeaderError> {
        self.need(HeaderName::From, NameAddr::parse)
    }

    pub fn to(&self) -> Result<NameAddr, HeaderError> {
        self.need(HeaderName::To, NameAddr::parse)
    }

    /// The tag of From; `None` when it has none (RFC 2543) or cannot be read.
    pub fn from_tag(&self) -> Option<String> {
        self.from().ok()?.tag().map(str::to_owned)
    }

    /// The tag of To; `None` outside of a dialog.
    pub fn to_tag(&self) -> Option<String> {
        self.to().ok()?.tag().map(str::to_owned)
    }

    pub fn call_id(&self) -> Result<&str, HeaderError> {
        let malformed = HeaderFault::Malformed.of(HeaderName::CallId);
        match self.single(HeaderName::CallId)? {
            Some(id) if !id.is_empty() && !id.contains([' ', '\t']) => Ok(id),
            Some(_) => Err(malformed),
            None => Err(HeaderFault::Missing.of(HeaderName::CallId)),
        }
    }

    pub fn cseq(&self) -> Result<CSeq, HeaderError> {
        self.need(HeaderName::CSeq, CSeq::parse)
    }

    /// 0 to 255 (RFC 3261 section 20.22).
    pub fn max_forwards(&self) -> Result<Option<u8>, HeaderError> {
        self.read(HeaderName::MaxForwards, |text| parse_u32(text).and_then(|hops| u8::try_from(hops).ok()))
    }

    pub fn contacts(&self) -> Result<Contacts, HeaderError> {
        let mut lines = self.values(HeaderName::Contact);
        match (lines.next(), lines.next()) {
            (Some("*"), None) => Ok(Contacts::Star),
            _ => self.address_list(HeaderName::Contact).map(Contacts::List),
        }
    }

    /// The first Contact: a dialog's remote target.
    pub fn contact(&self) -> Result<Option<NameAddr>, HeaderError> {
        match self.contacts()? {
            Contacts::Star => Ok(None),
            Contacts::List(list) => Ok(list.into_iter().next()),
        }
    }

    /// The Contacts of a redirection, best first (RFC 3261 section 8.1.3.4); none where they cannot be read.
    pub fn contacts_by_preference(&self) -> Vec<NameAddr> {
        let Ok(Contacts::List(mut list)) = self.contacts() else { return Vec::new() };
        list.sort_by_key(|contact| std::cmp::Reverse(contact.q_thousandths()));
        list
    }

    pub fn routes(&self) -> Result<Vec<NameAddr>, HeaderError> {
        self.address_list(HeaderName::Route)
    }

    pub fn record_routes(&self) -> Result<Vec<NameAddr>, HeaderError> {
        self.address_list(HeaderName::RecordRoute)
    }

    /// Diversion (RFC 5806), the last diverting party first. What cannot be read is passed over and counted.
    pub fn diversions(&self) -> Addresses {
        self.lenient_addresses(HeaderName::Diversion)
    }

    /// History-Info (RFC 7044) in order of appearance; `index` is among the parameters, Reason among the URI's headers.
    pub fn history_info(&self) -> Addresses {
        self.lenient_addresses(HeaderName::HistoryInfo)
    }

    /// P-Asserted-Identity (RFC 3325): believed from gateways only.
    pub fn asserted_identities(&self) -> Addresses {
        self.lenient_addresses(HeaderName::PAssertedIdentity)
    }

    pub fn session_expires(&self) -> Result<Option<SessionExpires>, HeaderError> {
        self.read(HeaderName::SessionExpires, SessionExpires::parse)
    }

    /// Min-SE in seconds (RFC 4028 section 5).
    pub fn min_se_secs(&self) -> Result<Option<u32>, HeaderError> {
        self.read(HeaderName::MinSe, |text| parse_u32(trim(text.split(';').next()?)))
    }

    /// Expires in seconds. A number too large counts as the largest (RFC 3261 section 20.19).
    pub fn expires_secs(&self) -> Option<u32> {
        let text = self.value(HeaderName::Expires)?;
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().unwrap_or(u32::MAX))
    }

    /// Option tags the sender requires; empty too when the list cannot be read.
    pub fn required(&self) -> Vec<&str> {
        self.tokens(HeaderName::Require)
    }

    /// Option tags proxies on the way must know.
    pub fn proxy_required(&self) -> Vec<&str> {
        self.tokens(HeaderName::ProxyRequire)
    }

    /// Whether Supported or Require names this option tag.
    pub fn supports(&self, option_tag: &str) -> bool {
        let mut all = self.tokens(HeaderName::Supported).into_iter().chain(self.required());
        all.any(|tag| tag.eq_ignore_ascii_case(option_tag))
    }

    /// Methods in Allow; `None` without the header.
    pub fn allowed(&self) -> Option<Vec<&str>> {
        self.contains(HeaderName::Allow).then(|| self.tokens(HeaderName::Allow))
    }

    /// Reasons that can be read (RFC 3326).
    pub fn reasons(&self) -> Vec<Reason> {
        self.tokens(HeaderName::Reason).into_iter().filter_map(Reason::parse).collect()
    }

    pub fn refer_to(&self) -> Result<Option<NameAddr>, HeaderError> {
        self.read(HeaderName::ReferTo, NameAddr::parse)
    }

    pub fn referred_by(&self) -> Result<Option<NameAddr>, HeaderError> {
        self.read(HeaderName::ReferredBy, NameAddr::parse)
    }

    pub fn event(&self) -> Result<Option<EventPackage>, HeaderError> {
        self.read(HeaderName::Event, EventPackage::parse)
    }

    pub fn rack(&self) -> Result<Option<RAck>, HeaderError> {
        self.read(HeaderName::RAck, RAck::parse)
    }

    pub fn rseq(&self) -> Result<Option<u32>, HeaderError> {
        self.read(HeaderName::RSeq, parse_u32)
    }

    /// Retry-After in seconds; `None` too when it cannot be read.
    pub fn retry_after_secs(&self) -> Option<u32> {
        parse_retry_after(self.value(HeaderName::RetryAfter)?)
    }

    pub fn content_type(&self) -> Result<Option<ContentType>, HeaderError> {
        self.read(HeaderName::ContentType, ContentType::parse)
    }

    pub fn content_length(&self) -> Result<Option<usize>, HeaderError> {
        self.read(HeaderName::ContentLength, |text| parse_u32(text).map(|bytes| bytes as usize))
    }
}
