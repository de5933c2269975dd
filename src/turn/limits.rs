//! Limits of the wire form, of the broker and of the server. Each is named once here, so that a reader sees at a glance
//! what a stranger can make us hold.

/// Bytes of a STUN header (RFC 8489 section 5).
pub const HEADER_BYTES: usize = 20;

/// Longest STUN message: the length field counts what follows the header and is a multiple of 4.
pub const MESSAGE_BYTES_MAX: usize = HEADER_BYTES + 65_532;

/// Bytes of a ChannelData header (RFC 8656 section 12.4).
pub const CHANNEL_HEADER_BYTES: usize = 4;

/// Longest frame on a stream: a ChannelData message of 65,535 bytes with its padding is shorter than the longest STUN
/// message.
pub const FRAME_BYTES_MAX: usize = MESSAGE_BYTES_MAX;

/// Longest USERNAME in bytes (RFC 8489 section 14.3: fewer than 509).
pub const USERNAME_BYTES_MAX: usize = 508;

/// Longest REALM, NONCE, SOFTWARE or reason phrase in bytes (RFC 8489 section 14: fewer than 128 characters, at most
/// 763 bytes).
pub const TEXT_BYTES_MAX: usize = 763;

/// Longest ALTERNATE-DOMAIN in bytes (RFC 8489 section 14.16).
pub const DOMAIN_BYTES_MAX: usize = 255;

/// XOR-PEER-ADDRESS attributes of one request that are kept. RFC 8656 sets no limit; a request with more says so in
/// [`Peers::overflowed`](crate::request::Peers::overflowed).
pub const PEERS_PER_REQUEST_MAX: usize = 16;

/// Distinct unknown comprehension-required attributes of one request that are kept and listed in a 420.
pub const UNKNOWN_ATTRIBUTES_MAX: usize = 64;

/// Characters of a nonce that we issue (at most 40, so that a challenge stays small).
pub const NONCE_CHARS: usize = 39;

/// How long a nonce is good for, in seconds.
pub const NONCE_LIFETIME_SECS: u64 = 600;

/// How far in the future a nonce's issue time may lie, in seconds: skew between edges that share secrets.
pub const NONCE_SKEW_SECS: u64 = 30;

/// Secrets that a nonce is verified with.
pub const NONCE_KEYS_MAX: usize = 8;

/// How long a released relay port rests before it is drawn again, in nanoseconds (60 s): late packets for its former
/// owner should not reach the next. A resting port is used all the same rather than refuse an Allocate.
pub const PORT_REST_NANOS: u64 = 60_000_000_000;

/// How long a reserved port waits for its token, in nanoseconds (RFC 8656 section 7.2: 30 s).
pub const RESERVATION_NANOS: u64 = 30_000_000_000;

/// Ports drawn for one relay when other programs hold those drawn before.
pub const DRAWS_MAX: u32 = 32;

/// How long a permission lasts, in seconds (RFC 8656 section 9).
pub const PERMISSION_LIFETIME_SECS: u64 = 300;

/// How long a channel lasts, in seconds (RFC 8656 section 12).
pub const CHANNEL_LIFETIME_SECS: u64 = 600;

/// Permissions of one allocation; a request for more gets 508.
pub const PERMISSIONS_PER_ALLOCATION_MAX: usize = 256;

/// Channels of one allocation; a request for more gets 508.
pub const CHANNELS_PER_ALLOCATION_MAX: usize = 1_024;

/// TCP connections with peers of one allocation (RFC 6062); a request for more gets 508, a peer's connection is closed.
pub const CONNECTIONS_PER_ALLOCATION_MAX: usize = 64;

/// How long a connection to a peer may take, and how long it waits for its ConnectionBind, in seconds (RFC 6062 section
/// 5.2).
pub const CONNECTION_WAIT_SECS: u64 = 30;

/// Allocations of one server; an Allocate beyond gets 508.
pub const ALLOCATIONS_PER_SHARD_MAX: usize = 1 << 20;

/// How long a 5-tuple is kept free for an allocation that comes from another shard, in nanoseconds (1 s): as long as two
/// busy shards may take, and no longer than a client waits for its second try.
pub const ADOPTION_WAIT_NANOS: u64 = 1_000_000_000;

/// Allocations on their way to one server; beyond, the client's next try finds room.
pub const ADOPTIONS_MAX: usize = 1_024;

/// ICMP errors told to one allocation's client in any second.
pub const ICMP_PER_SEC_MAX: usize = 10;

/// Unauthenticated answers to one source (/32, /64) in a second, unless the operator says otherwise.
pub const STRANGER_ANSWERS_PER_SEC: u32 = 20;

/// The most of them that an operator may allow.
pub const STRANGER_ANSWERS_PER_SEC_MAX: u32 = 1_000_000;

/// Sources that are told apart when strangers are counted.
pub const STRANGER_BUCKETS: usize = 1 << 16;

/// How long an answer is kept for a repeat of its request, in seconds: a client gives up after 39.5 (RFC 8489 section
/// 6.2.1).
pub const ANSWER_KEPT_SECS: u64 = 40;

/// Answers kept by one server; beyond, who has most of them loses his oldest.
pub const ANSWERS_KEPT_MAX: usize = 8_192;

/// Longest PADDING in an answer, in bytes; never more than the request brought (RFC 5780 section 7.6).
pub const PADDING_BYTES_MAX: usize = 1_500;

/// Identities of which it is remembered that they were warned of in the last minute.
pub const WARNED_MAX: usize = 256;
