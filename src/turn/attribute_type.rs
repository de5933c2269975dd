//! Numbers of the attributes of STUN, TURN and their extensions.

use crate::message::Method;

/// Number of an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttributeType(pub u16);

impl AttributeType {
    /// RFC 8489 section 14.1.
    pub const MAPPED_ADDRESS: Self = Self(0x0001);
    /// RFC 5780 section 7.2.
    pub const CHANGE_REQUEST: Self = Self(0x0003);
    /// RFC 8489 section 14.3.
    pub const USERNAME: Self = Self(0x0006);
    /// RFC 8489 section 14.5.
    pub const MESSAGE_INTEGRITY: Self = Self(0x0008);
    /// RFC 8489 section 14.8.
    pub const ERROR_CODE: Self = Self(0x0009);
    /// RFC 8489 section 14.13.
    pub const UNKNOWN_ATTRIBUTES: Self = Self(0x000A);
    /// RFC 8656 section 18.1.
    pub const CHANNEL_NUMBER: Self = Self(0x000C);
    /// RFC 8656 section 18.2.
    pub const LIFETIME: Self = Self(0x000D);
    /// RFC 8656 section 18.3.
    pub const XOR_PEER_ADDRESS: Self = Self(0x0012);
    /// RFC 8656 section 18.4.
    pub const DATA: Self = Self(0x0013);
    /// RFC 8489 section 14.9.
    pub const REALM: Self = Self(0x0014);
    /// RFC 8489 section 14.10.
    pub const NONCE: Self = Self(0x0015);
    /// RFC 8656 section 18.5.
    pub const XOR_RELAYED_ADDRESS: Self = Self(0x0016);
    /// RFC 8656 section 18.6.
    pub const REQUESTED_ADDRESS_FAMILY: Self = Self(0x0017);
    /// RFC 8656 section 18.7.
    pub const EVEN_PORT: Self = Self(0x0018);
    /// RFC 8656 section 18.8.
    pub const REQUESTED_TRANSPORT: Self = Self(0x0019);
    /// RFC 8656 section 18.9.
    pub const DONT_FRAGMENT: Self = Self(0x001A);
    /// RFC 8489 section 14.6.
    pub const MESSAGE_INTEGRITY_SHA256: Self = Self(0x001C);
    /// RFC 8489 section 14.12.
    pub const PASSWORD_ALGORITHM: Self = Self(0x001D);
    /// RFC 8489 section 14.4.
    pub const USERHASH: Self = Self(0x001E);
    /// RFC 8489 section 14.2.
    pub const XOR_MAPPED_ADDRESS: Self = Self(0x0020);
    /// RFC 8656 section 18.10.
    pub const RESERVATION_TOKEN: Self = Self(0x0022);
    /// RFC 8445 section 16.1.
    pub const PRIORITY: Self = Self(0x0024);
    /// RFC 8445 section 16.1.
    pub const USE_CANDIDATE: Self = Self(0x0025);
    /// RFC 5780 section 7.6.
    pub const PADDING: Self = Self(0x0026);
    /// RFC 5780 section 7.5.
    pub const RESPONSE_PORT: Self = Self(0x0027);
    /// RFC 6062 section 6.2.1.
    pub const CONNECTION_ID: Self = Self(0x002A);
    /// RFC 8656 section 18.11.
    pub const ADDITIONAL_ADDRESS_FAMILY: Self = Self(0x8000);
    /// RFC 8656 section 18.12.
    pub const ADDRESS_ERROR_CODE: Self = Self(0x8001);
    /// RFC 8489 section 14.11.
    pub const PASSWORD_ALGORITHMS: Self = Self(0x8002);
    /// RFC 8489 section 14.16.
    pub const ALTERNATE_DOMAIN: Self = Self(0x8003);
    /// RFC 8656 section 18.13.
    pub const ICMP: Self = Self(0x8004);
    /// RFC 8489 section 14.14.
    pub const SOFTWARE: Self = Self(0x8022);
    /// RFC 8489 section 14.15.
    pub const ALTERNATE_SERVER: Self = Self(0x8023);
    /// RFC 8489 section 14.7.
    pub const FINGERPRINT: Self = Self(0x8028);
    /// RFC 8445 section 16.1.
    pub const ICE_CONTROLLED: Self = Self(0x8029);
    /// RFC 8445 section 16.1.
    pub const ICE_CONTROLLING: Self = Self(0x802A);
    /// RFC 5780 section 7.3.
    pub const RESPONSE_ORIGIN: Self = Self(0x802B);
    /// RFC 5780 section 7.4.
    pub const OTHER_ADDRESS: Self = Self(0x802C);
    /// RFC 8016.
    pub const MOBILITY_TICKET: Self = Self(0x8030);
    /// ADDITIONAL-ADDRESS-FAMILY as the draft draft-martinsen-tram-ssoda numbered it, and as coturn's clients still do.
    /// Nobody else has registered the number. We read it and never write it.
    pub const ADDITIONAL_ADDRESS_FAMILY_OF_DRAFT: Self = Self(0x8032);

    /// The registered type that `value` under this number stands for in a request of `method`: itself, but for
    /// [`ADDITIONAL_ADDRESS_FAMILY_OF_DRAFT`](Self::ADDITIONAL_ADDRESS_FAMILY_OF_DRAFT) in an Allocate. What has not its
    /// length is something else that is optional to understand.
    pub fn meant(self, method: Method, value: &[u8]) -> Self {
        if self == Self::ADDITIONAL_ADDRESS_FAMILY_OF_DRAFT && method == Method::Allocate && value.len() == 4 {
            Self::ADDITIONAL_ADDRESS_FAMILY
        } else {
            self
        }
    }

    /// Whether a receiver that does not know it must refuse the message (RFC 8489 section 14).
    pub fn is_comprehension_required(self) -> bool {
        self.0 < 0x8000
    }
}
