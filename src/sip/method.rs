//! Request methods. A method is case-sensitive (RFC 3261 section 7.1), and an unknown one is kept as it came.

use std::fmt;

use crate::text::is_token;

macro_rules! methods {
    ($($variant:ident $word:literal $rfc:literal;)+) => {
        /// What a request asks for.
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Method {
            $(#[doc = $rfc] $variant,)+
            /// Any other token.
            Other(Box<str>),
        }

        impl Method {
            /// The method of a word; `None` when it is no token.
            pub fn parse(word: &str) -> Option<Method> {
                match word {
                    $($word => Some(Method::$variant),)+
                    _ if is_token(word) => Some(Method::Other(word.into())),
                    _ => None,
                }
            }

            /// The word on the wire.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Method::$variant => $word,)+
                    Method::Other(word) => word,
                }
            }
        }
    };
}

methods! {
    Invite "INVITE" "RFC 3261 section 13";
    Ack "ACK" "RFC 3261 section 13";
    Bye "BYE" "RFC 3261 section 15";
    Cancel "CANCEL" "RFC 3261 section 9";
    Options "OPTIONS" "RFC 3261 section 11";
    Register "REGISTER" "RFC 3261 section 10";
    Subscribe "SUBSCRIBE" "RFC 6665";
    Notify "NOTIFY" "RFC 6665";
    Refer "REFER" "RFC 3515";
    Info "INFO" "RFC 6086";
    Update "UPDATE" "RFC 3311";
    Prack "PRACK" "RFC 3262";
    Message "MESSAGE" "RFC 3428";
    Publish "PUBLISH" "RFC 3903";
    Service "SERVICE" "Requests for credentials of a media relay, as some pools make them.";
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
