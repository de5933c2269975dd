//! Names of header fields, compared without case, long or compact (RFC 3261 section 7.3.3).

use std::fmt;

use crate::text::is_token;

macro_rules! names {
    ($($variant:ident $long:literal $($compact:literal)?;)+) => {
        /// A header field's name. Known ones are written in their usual long form, others as they came.
        #[derive(Clone, Debug)]
        pub enum HeaderName {
            $(#[doc = $long] $variant,)+
            /// Any other token, as spelled.
            Other(Box<str>),
        }

        const KNOWN: &[(&str, HeaderName)] = &[
            $(($long, HeaderName::$variant), $(($compact, HeaderName::$variant),)?)+
        ];

        impl HeaderName {
            /// The long form.
            pub fn as_str(&self) -> &str {
                match self {
                    $(HeaderName::$variant => $long,)+
                    HeaderName::Other(name) => name,
                }
            }
        }
    };
}

names! {
    Accept "Accept";
    AcceptEncoding "Accept-Encoding";
    AcceptLanguage "Accept-Language";
    AlertInfo "Alert-Info";
    Allow "Allow";
    AllowEvents "Allow-Events" "u";
    AuthenticationInfo "Authentication-Info";
    Authorization "Authorization";
    CallId "Call-ID" "i";
    CallInfo "Call-Info";
    Contact "Contact" "m";
    ContentDisposition "Content-Disposition";
    ContentEncoding "Content-Encoding" "e";
    ContentLanguage "Content-Language";
    ContentLength "Content-Length" "l";
    ContentType "Content-Type" "c";
    CSeq "CSeq";
    Date "Date";
    Diversion "Diversion";
    ErrorInfo "Error-Info";
    Event "Event" "o";
    Expires "Expires";
    From "From" "f";
    HistoryInfo "History-Info";
    InfoPackage "Info-Package";
    MaxForwards "Max-Forwards";
    MimeVersion "MIME-Version";
    MinExpires "Min-Expires";
    MinSe "Min-SE";
    MsDiagnostics "ms-diagnostics";
    MsMrasAddress "Ms-Mras-Address";
    Organization "Organization";
    PAssertedIdentity "P-Asserted-Identity";
    Privacy "Privacy";
    ProxyAuthenticate "Proxy-Authenticate";
    ProxyAuthorization "Proxy-Authorization";
    ProxyRequire "Proxy-Require";
    RAck "RAck";
    Reason "Reason";
    RecordRoute "Record-Route";
    RecvInfo "Recv-Info";
    ReferSub "Refer-Sub";
    ReferTo "Refer-To" "r";
    ReferredBy "Referred-By" "b";
    RemotePartyId "Remote-Party-ID";
    Replaces "Replaces";
    Require "Require";
    RetryAfter "Retry-After";
    Route "Route";
    RSeq "RSeq";
    Server "Server";
    SessionExpires "Session-Expires" "x";
    Subject "Subject" "s";
    SubscriptionState "Subscription-State";
    Supported "Supported" "k";
    Timestamp "Timestamp";
    To "To" "t";
    Unsupported "Unsupported";
    UserAgent "User-Agent";
    Via "Via" "v";
    Warning "Warning";
    WwwAuthenticate "WWW-Authenticate";
}

impl HeaderName {
    /// The name of a token, long or compact; `None` when it is no token.
    pub fn parse(text: &str) -> Option<HeaderName> {
        match KNOWN.iter().find(|(known, _)| known.eq_ignore_ascii_case(text)) {
            Some((_, name)) => Some(name.clone()),
            None => is_token(text).then(|| HeaderName::Other(text.into())),
        }
    }

    /// Whether a message has at most one line of it: a second one would leave open which counts.
    pub(crate) fn is_single(&self) -> bool {
        use HeaderName::*;
        matches!(
            self,
            CallId
                | ContentLength
                | ContentType
                | CSeq
                | From
                | MaxForwards
                | To
                | Expires
                | MinExpires
                | MinSe
                | RAck
                | RSeq
                | ReferTo
                | ReferredBy
                | Replaces
                | SessionExpires
                | Event
                | SubscriptionState
        )
    }
}

impl PartialEq for HeaderName {
    fn eq(&self, other: &HeaderName) -> bool {
        match (self, other) {
            (HeaderName::Other(one), HeaderName::Other(other)) => one.eq_ignore_ascii_case(other),
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}

impl Eq for HeaderName {}

impl From<&str> for HeaderName {
    /// Of a text that is a token; what is none becomes one, with `-` in place of other characters.
    fn from(text: &str) -> HeaderName {
        HeaderName::parse(text).unwrap_or_else(|| {
            let clean: String =
                text.chars().map(|char| if char.is_ascii_alphanumeric() { char } else { '-' }).collect();
            HeaderName::Other(if clean.is_empty() { "-".into() } else { clean.into() })
        })
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_without_case_long_or_compact() {
        assert_eq!(HeaderName::parse("V"), Some(HeaderName::Via));
        assert_eq!(HeaderName::parse("cALL-iD"), Some(HeaderName::CallId));
        assert_eq!(HeaderName::from("X-Odd"), HeaderName::from("x-oDD"));
        assert_ne!(HeaderName::from("X-Odd"), HeaderName::from("X-Even"));
        assert_eq!(HeaderName::parse("a b"), None);
        assert_eq!(HeaderName::parse(""), None);
    }
}
