//! Limits of an agent: what a peer or a stranger can make it hold, and how long it waits.

use std::time::Duration;

/// Components of a stream: RTP and RTCP.
pub const COMPONENTS_MAX: usize = 2;

/// Local sockets of one agent.
pub const SOCKETS_MAX: usize = 16;

/// STUN servers asked.
pub const STUN_SERVERS_MAX: usize = 4;

/// Edges asked at once.
pub const EDGES_MAX: usize = 4;

/// Allocations of one agent, those of before a restart included.
pub const RELAYS_MAX: usize = 32;

/// Local candidates, peer-reflexive ones included.
pub const LOCAL_CANDIDATES_MAX: usize = 48;

/// Remote candidates taken from one description; the rest is left out.
pub const REMOTE_CANDIDATES_MAX: usize = 64;

/// Remote candidates learned from checks of one ICE session.
pub const PEER_REFLEXIVE_MAX: usize = 32;

/// Addresses of one remote host whose answers came from elsewhere, before no more of it are learned at that base.
pub const DEAD_ENDS_MAX: usize = 4;

/// Pairs of one check list (RFC 8445 section 6.1.2.5).
pub const PAIRS_MAX: usize = 100;

/// Checks that came before the remote description and wait for it.
pub const EARLY_CHECKS_MAX: usize = 32;

/// Pairs that wait for a triggered check.
pub const TRIGGERED_MAX: usize = PAIRS_MAX;

/// Triggered checks in a row, as long as an ordinary one waits.
pub const TRIGGERED_IN_A_ROW_MAX: u32 = 3;

/// Sources that media is taken from because a check from there was authentic.
pub const SOURCES_MAX: usize = 16;

/// Shortest and longest `ice-ufrag` (RFC 8839 section 5.4).
pub const UFRAG_CHARS: std::ops::RangeInclusive<usize> = 4..=256;

/// Shortest and longest `ice-pwd` (RFC 8839 section 5.4).
pub const PWD_CHARS: std::ops::RangeInclusive<usize> = 22..=256;

/// Longest foundation (RFC 8839 section 5.1).
pub const FOUNDATION_CHARS_MAX: usize = 32;

/// Longest value of an attribute that is read at all.
pub const ATTRIBUTE_CHARS_MAX: usize = 1_024;

/// Time between two checks that begin (RFC 8445 section 14.2).
pub const TA: Duration = Duration::from_millis(50);

/// Shortest first wait for the answer to a check (RFC 8445 section 14.3).
pub const CHECK_RTO_MIN: Duration = Duration::from_millis(500);

/// How often a check is sent, the first time included.
pub const CHECK_SENDS_MAX: u32 = 5;

/// Last wait for the answer to a check; with the first wait at its shortest a check is given up after 11.5 s.
pub const CHECK_LAST_WAIT: Duration = Duration::from_secs(4);

/// How long gathering waits for servers before it does with what it has.
pub const GATHER_TIMEOUT: Duration = Duration::from_secs(3);

/// How long gathering waits for other edges once one has given all that a call needs.
pub const GATHER_SPARE: Duration = Duration::from_millis(400);

/// How long a check list may go without a working pair before it counts as failed: peers begin late, and their checks
/// open ways (RFC 8863 section 4).
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How long checks that are still on their way may put off that verdict.
pub const PATIENCE_MAX: Duration = Duration::from_secs(40);

/// How long a controlling agent waits for a better pair than the one that works first.
pub const NOMINATION_GRACE: Duration = Duration::from_millis(500);

/// Mean time between two consent checks (RFC 7675 section 5.1); each is drawn between 0.8 and 1.2 of it.
pub const CONSENT_INTERVAL: Duration = Duration::from_secs(5);

/// How long consent lasts without an answer (RFC 7675 section 5.1).
pub const CONSENT_LIFETIME: Duration = Duration::from_secs(30);

/// Consent checks without answer that are remembered: those of one lifetime, and a burst.
pub const CONSENT_CHECKS_MAX: usize = 16;

/// After how much silence a pair on which media flowed is asked whether it still works.
pub const QUIET_AFTER: Duration = Duration::from_millis(1_000);

/// Time between two checks of a pair that went quiet.
pub const QUIET_INTERVAL: Duration = Duration::from_millis(500);

/// How long a pair on which media flowed may give no sign of life before that is told.
pub const QUIET_LIMIT: Duration = Duration::from_millis(2_250);

/// Silence of an edge that counts as its death while a pair goes through it.
pub const EDGE_SILENCE: Duration = Duration::from_secs(2);

/// How long the ways of before a restart stay open after the new ones are chosen.
pub const RELEASE_GRACE: Duration = Duration::from_secs(5);

/// Refusals of checks (400, 401) that are sent in any second; beyond, silence.
pub const REFUSALS_PER_SEC_MAX: u32 = 10;

/// Entries of a story.
pub const STORY_ENTRIES_MAX: usize = 96;

/// Events that a shell has not taken yet; beyond, the oldest is lost.
pub const EVENTS_MAX: usize = 256;
