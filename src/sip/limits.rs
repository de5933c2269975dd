//! Limits of the messages, transactions, connections and queues. Each is named once here, so that a reader sees at a
//! glance what a stranger can make us hold.

use std::time::Duration;

/// Longest message in bytes, headers and body, unless set otherwise.
pub const MESSAGE_BYTES_MAX: usize = 65_536;

/// Longest start line and header part of a message in bytes: a sender of a stream that has not ended it by then is
/// closed.
pub const HEAD_BYTES_MAX: usize = 32_768;

/// Header lines of one message.
pub const HEADERS_MAX: usize = 256;

/// Values of one list header (Via, Route, Contact and so on), over all its lines.
pub const VALUES_MAX: usize = 128;

/// Parameters of one URI or header value.
pub const PARAMS_MAX: usize = 64;

/// Headers in one URI.
pub const URI_HEADERS_MAX: usize = 32;

/// Longest URI in bytes.
pub const URI_BYTES_MAX: usize = 8_192;

/// Longest host name in bytes (RFC 1035 section 2.3.4).
pub const HOST_BYTES_MAX: usize = 255;

/// Largest CSeq number (RFC 3261 section 8.1.1.5: below 2^31).
pub const CSEQ_MAX: u32 = (1 << 31) - 1;

/// Largest request that goes out by UDP without a transport being asked for (RFC 3261 section 18.1.1).
pub const DATAGRAM_REQUEST_BYTES_MAX: usize = 1_300;

/// Server transactions at once, unless set otherwise; a request beyond gets a 503 without a transaction.
pub const SERVER_TRANSACTIONS_MAX: usize = 20_000;

/// Server transactions of one source address at once, unless set otherwise.
pub const SERVER_TRANSACTIONS_PER_SOURCE_MAX: usize = 15_000;

/// Client transactions at once, unless set otherwise.
pub const CLIENT_TRANSACTIONS_MAX: usize = 20_000;

/// Messages that wait to be told of.
pub const TRACED_MAX: usize = 4_096;

/// Connections at once, unless set otherwise.
pub const CONNECTIONS_MAX: usize = 4_096;

/// Connections of one source address at once, unless set otherwise.
pub const CONNECTIONS_PER_SOURCE_MAX: usize = 256;

/// Bytes that wait for a connection to be made.
pub const CONNECTING_BYTES_MAX: usize = 262_144;

/// How long a connection may take to be made, its TLS handshake included.
pub const CONNECT_TIME: Duration = Duration::from_secs(4);

/// How long a message on a stream may take from its first byte to its last.
pub const MESSAGE_TIME: Duration = Duration::from_secs(10);

/// How long an accepted connection may live without a valid message.
pub const FIRST_MESSAGE_TIME: Duration = Duration::from_secs(30);

/// How long a connection lives without a byte, unless set otherwise: longer than the longest call by default, since a
/// peer behind NAT is reached over it only.
pub const IDLE_TIME: Duration = Duration::from_secs(40 * 60);

/// How long an INVITE may ring before the endpoint answers it itself. Above a proxy's Timer C (RFC 3261 section 16.6).
pub const INVITE_PENDING_TIME: Duration = Duration::from_secs(600);

/// When an INVITE that has no answer yet gets 100 Trying (RFC 3261 section 17.2.1).
pub const TRYING_TIME: Duration = Duration::from_millis(200);

/// Addresses that are tried for one request.
pub const DESTINATIONS_MAX: usize = 16;

/// SRV records of one name that are looked at.
pub const SRV_RECORDS_MAX: usize = 16;

/// DNS questions open at once; a request that needs one more fails.
pub const QUESTIONS_MAX: usize = 1_024;

/// How long a DNS question may stay open.
pub const QUESTION_TIME: Duration = Duration::from_secs(5);

/// Longest session description in bytes; an offer with many ICE candidates of many lines stays far below.
pub const SDP_BYTES_MAX: usize = 32_768;

/// m= lines of one session description: an answer mirrors each.
pub const SDP_MEDIA_MAX: usize = 16;

/// Lines of one media description, or of the session's part.
pub const SDP_ATTRIBUTES_PER_MEDIA_MAX: usize = 256;

/// Formats of one m= line.
pub const SDP_FORMATS_MAX: usize = 64;

/// Longest word of a session description in bytes: protocols, encodings, names.
pub const SDP_TOKEN_BYTES_MAX: usize = 255;

/// Longest text of an a=fmtp line in bytes.
pub const SDP_FMTP_BYTES_MAX: usize = 1_024;

/// a=crypto lines of one media description that are kept.
pub const SDP_CRYPTO_LINES_MAX: usize = 16;

/// Longest a=crypto line in bytes.
pub const SDP_CRYPTO_BYTES_MAX: usize = 512;

/// Longest master key identifier in bytes (RFC 4568 section 6.1).
pub const SDP_MKI_BYTES_MAX: u8 = 128;

/// a=fingerprint lines of one media description that are kept.
pub const SDP_FINGERPRINTS_MAX: usize = 8;

/// Candidates of one media description that are kept: the pairs of an agent grow with their product.
pub const ICE_CANDIDATES_MAX: usize = 64;

/// Longest ICE user fragment or password in bytes (RFC 8839 section 5.4).
pub const ICE_CREDENTIAL_BYTES_MAX: usize = 256;

/// Least milliseconds of voice in a packet that we send.
pub const PTIME_MS_MIN: u32 = 10;

/// Most milliseconds of voice in a packet that we send.
pub const PTIME_MS_MAX: u32 = 60;

/// Parts of a multipart body that are looked at.
pub const BODY_PARTS_MAX: usize = 8;

/// Calls of a user agent at once, unless set otherwise; an INVITE beyond gets a 503.
pub const CALLS_MAX: usize = 10_000;

/// Seconds after which one may come again who was refused for want of room.
pub const RETRY_AFTER_SECS: u32 = 5;

/// Routes of a dialog; a message with more sets up none.
pub const ROUTES_MAX: usize = 32;

/// How long the answer to a BYE may wait for the voice mail to be synced.
pub const BYE_ANSWER_TIME: Duration = Duration::from_millis(500);

/// How long a re-offer of the peer may wait for our side's answer before it is refused.
pub const OFFER_ANSWER_TIME: Duration = Duration::from_secs(10);

/// Redirections followed for one call.
pub const REDIRECTIONS_MAX: usize = 5;

/// Challenges of one response that are looked at.
pub const CHALLENGES_MAX: usize = 8;

/// Longest challenge that is read, in bytes.
pub const CHALLENGE_BYTES_MAX: usize = 2048;

/// Targets tried for one call, over all redirections.
pub const CALL_TARGETS_MAX: usize = 16;

/// How long a cancelled or hung-up call may take to end on the wire: 64 T1 and a little.
pub const END_TIME: Duration = Duration::from_secs(40);

/// Early dialogs of one outgoing call (forks that ring).
pub const EARLY_DIALOGS_MAX: usize = 8;

/// Further 2xx of one outgoing call that are acknowledged and hung up (forks that answered too).
pub const FORKS_ENDED_MAX: usize = 8;

/// Provisional responses that wait for the one before to be acknowledged (RFC 3262 section 3).
pub const PROVISIONALS_WAITING_MAX: usize = 4;

/// How long a peer that took a REFER may stay silent about it.
pub const REFER_NEWS_TIME: Duration = Duration::from_secs(180);

/// Least session interval that is taken (RFC 4028 section 5), unless set higher.
pub const MIN_SE_SECS: u32 = 90;

/// Session interval that we ask for.
pub const SESSION_EXPIRES_SECS: u32 = 1_800;

/// Largest session interval that is taken at its word: a day.
pub const SESSION_EXPIRES_SECS_MAX: u32 = 86_400;

/// Least time between two attempts to refresh a session.
pub const REFRESH_STEP: Duration = Duration::from_secs(5);

/// OPTIONS of ours at once.
pub const PINGS_MAX: usize = 4_096;

/// Requests that a proxy forwards at once, unless set otherwise; one beyond gets a 503.
pub const FORWARDED_MAX: usize = 20_000;

/// Targets that a proxy tries for one request, over all redirections.
pub const PROXY_TARGETS_MAX: usize = 16;

/// Timer C (RFC 3261 section 16.6: more than three minutes): how long a forwarded INVITE may stay without news.
pub const TIMER_C: Duration = Duration::from_secs(185);

/// Subscriptions at once, unless set otherwise; a SUBSCRIBE beyond gets a 503.
pub const SUBSCRIPTIONS_MAX: usize = 10_000;

/// Those of one subscriber's address: a PBX may subscribe to the mailbox of each of its phones.
pub const SUBSCRIPTIONS_PER_OWNER_MAX: usize = 5_000;

/// Those to one resource; one more takes the place of the one that was refreshed longest ago.
pub const SUBSCRIPTIONS_PER_RESOURCE_MAX: usize = 16;

/// Those of one subscriber's address to one resource: its further phones, or what a phone has left behind that comes back
/// from another port. One more takes the place of the one that was refreshed longest ago.
pub const SUBSCRIPTIONS_PER_OWNER_AND_RESOURCE_MAX: usize = 4;

/// Longest text of a subscription that is kept, in bytes; one that needs more is refused.
pub const SUBSCRIPTION_BYTES_MAX: usize = 4_096;

/// SUBSCRIBEs whose answer is being looked for; one more gets a 503.
pub const SUBSCRIBES_PENDING_MAX: usize = 256;

/// Shortest subscription that is taken; a wish for less gets a 423.
pub const SUBSCRIPTION_SECS_MIN: u32 = 60;

/// Subscription of one who says no time (RFC 3842 section 3.4).
pub const SUBSCRIPTION_SECS: u32 = 3_600;

/// Longest subscription; a wish for more gets this.
pub const SUBSCRIPTION_SECS_MAX: u32 = 86_400;

/// Between two NOTIFYs of one subscription: changes in between are told together.
pub const NOTIFY_INTERVAL_MIN: Duration = Duration::from_millis(500);

/// NOTIFYs of subscriptions that wait for their answer; others wait for them.
pub const NOTIFIES_UNDER_WAY_MAX: usize = 500;

/// CSeq numbers that a kept subscription reserves at once, so that not each NOTIFY is written down.
pub const CSEQ_RESERVED: u32 = 64;

/// Longest time that a peer may ask us to wait before the next NOTIFY.
pub const NOTIFY_RETRY_SECS_MAX: u32 = 300;

/// Announcements under way to one target.
pub const ANNOUNCEMENTS_UNDER_WAY_MAX: usize = 8;

/// Resources that are announced; the state of one more is told to subscribers alone.
pub const ANNOUNCED_MAX: usize = 100_000;

/// Before a target is tried again after its first failure; twice as long after each further one.
pub const ANNOUNCE_PAUSE_MIN: Duration = Duration::from_secs(1);

/// Longest such pause.
pub const ANNOUNCE_PAUSE_MAX: Duration = Duration::from_secs(60);
