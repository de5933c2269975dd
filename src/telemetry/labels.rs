//! Every label value that a metric of ours can carry. The sets are closed: nothing from the network becomes a label.

/// One label: a closed enum whose variants are its values.
pub trait Label: Copy + 'static {
    const NAME: &'static str;
    /// In the order of [`index`](Self::index).
    const VALUES: &'static [&'static str];

    /// Position of this value in [`VALUES`](Self::VALUES).
    fn index(self) -> usize;
}

/// The labels of one metric: none, one, or two.
pub trait LabelSet: Copy + 'static {
    /// Name and values of each label.
    const LABELS: &'static [(&'static str, &'static [&'static str])];
    /// How many series the metric has.
    const SERIES: usize;

    /// Position of this series, the last label running fastest.
    fn series(self) -> usize;
}

impl LabelSet for () {
    const LABELS: &'static [(&'static str, &'static [&'static str])] = &[];
    const SERIES: usize = 1;

    fn series(self) -> usize {
        0
    }
}

impl<A: Label> LabelSet for A {
    const LABELS: &'static [(&'static str, &'static [&'static str])] = &[(A::NAME, A::VALUES)];
    const SERIES: usize = A::VALUES.len();

    fn series(self) -> usize {
        self.index()
    }
}

impl<A: Label, B: Label> LabelSet for (A, B) {
    const LABELS: &'static [(&'static str, &'static [&'static str])] = &[(A::NAME, A::VALUES), (B::NAME, B::VALUES)];
    const SERIES: usize = A::VALUES.len() * B::VALUES.len();

    fn series(self) -> usize {
        self.0.index() * B::VALUES.len() + self.1.index()
    }
}

/// Declares a closed enum, its label name and the text of each value.
macro_rules! closed {
    ($($(#[$doc:meta])* $enum:ident as $name:literal { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ })+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $enum {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $enum {
            /// Every value, in label order.
            pub const ALL: &'static [$enum] = &[$($enum::$variant),+];

            /// The value of this name, in which dashes may stand for underscores.
            pub fn named(name: &str) -> Option<Self> {
                match name.replace('-', "_").as_str() {
                    $($text => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }

        impl $crate::labels::Label for $enum {
            const NAME: &'static str = $name;
            const VALUES: &'static [&'static str] = &[$($text),+];

            fn index(self) -> usize {
                self as usize
            }
        }
    )+};
}

pub(crate) use closed;

closed! {
    /// How a client reaches the edge.
    Transport as "transport" {
        Udp = "udp",
        Tcp = "tcp",
        Tls = "tls",
        Dtls = "dtls",
    }

    /// Family of a relayed transport address.
    Family as "family" {
        V4 = "ipv4",
        V6 = "ipv6",
    }

    /// Which way relayed media flows.
    Direction as "direction" {
        ToPeer = "to_peer",
        ToClient = "to_client",
    }

    /// How relayed media is framed between client and edge.
    Path as "path" {
        /// ChannelData.
        Channel = "channel",
        /// Send and Data indications.
        Indication = "indication",
        /// RFC 6062 data connections.
        Tcp = "tcp",
    }

    /// Why an allocation ended.
    EndReason as "reason" {
        Released = "released",
        LifetimeOver = "lifetime_over",
        CredentialExpired = "credential_expired",
        KeyRemoved = "key_removed",
        ClientClosed = "client_closed",
        Shutdown = "shutdown",
        RelayLost = "relay_lost",
    }

    /// Why a packet went nowhere.
    DropReason as "reason" {
        NotStun = "not_stun",
        Malformed = "malformed",
        BadFingerprint = "bad_fingerprint",
        UnknownAttribute = "unknown_attribute",
        NoAllocation = "no_allocation",
        NoChannel = "no_channel",
        NoPermission = "no_permission",
        PeerForbidden = "peer_forbidden",
        Oversize = "oversize",
        Bitrate = "bitrate",
        RateLimited = "rate_limited",
        UnknownRelay = "unknown_relay",
        Expired = "expired",
        QueueFull = "queue_full",
        FamilyMismatch = "family_mismatch",
        /// The kernel refused to send.
        SendFailed = "send_failed",
        /// The kernel dropped before a listener read (SO_RXQ_OVFL).
        KernelListener = "kernel_listener",
        /// The kernel dropped before a relay socket was read (SO_RXQ_OVFL).
        KernelRelay = "kernel_relay",
    }

    /// STUN and TURN methods of requests.
    Method as "method" {
        Binding = "binding",
        Allocate = "allocate",
        Refresh = "refresh",
        CreatePermission = "create_permission",
        ChannelBind = "channel_bind",
        Connect = "connect",
        ConnectionBind = "connection_bind",
    }

    /// What a request got: success or an error code.
    RequestResult as "result" {
        Success = "success",
        Code300 = "300",
        Code400 = "400",
        Code401 = "401",
        Code403 = "403",
        Code405 = "405",
        Code420 = "420",
        Code437 = "437",
        Code438 = "438",
        Code440 = "440",
        Code441 = "441",
        Code442 = "442",
        Code443 = "443",
        Code446 = "446",
        Code447 = "447",
        Code486 = "486",
        Code500 = "500",
        Code508 = "508",
    }

    /// Which endpoints a token is for.
    Location as "location" {
        Intranet = "intranet",
        Internet = "internet",
    }

    /// Why the token service issued nothing.
    TokenRefusal as "reason" {
        /// The TLS handshake failed: no client certificate, or none of our authority.
        Handshake = "handshake",
        NameNotAllowed = "name_not_allowed",
        RateLimited = "rate_limited",
        InvalidRequest = "invalid_request",
        /// The edge drains, and there is no alternate to name.
        Draining = "draining",
        Internal = "internal",
    }

    /// Whose quota was full.
    QuotaSubject as "subject" {
        Identity = "identity",
        /// A token that names nobody counts by client address.
        ClientAddress = "client_address",
    }

    /// Which certificate.
    CertificateRole as "role" {
        /// Shown to TURN clients.
        Edge = "edge",
        /// Shown by the token service.
        Tokens = "tokens",
    }

    /// What became of a reload.
    ReloadResult as "result" {
        Applied = "applied",
        Refused = "refused",
    }

    /// The forwarder that carries media.
    Tier as "tier" {
        Portable = "portable",
    }

    /// Which socket a buffer belongs to.
    SocketRole as "socket" {
        Listener = "listener",
        Relay = "relay",
    }

    /// Which of a socket's buffers.
    BufferSide as "buffer" {
        Receive = "receive",
    }

    /// Why a client's connection closed.
    CloseReason as "reason" {
        /// The client closed it.
        Client = "client",
        /// What came was neither STUN nor ChannelData.
        Protocol = "protocol",
        HandshakeFailed = "handshake_failed",
        HandshakeTimeout = "handshake_timeout",
        Idle = "idle",
        /// The client read nothing for too long.
        SlowReader = "slow_reader",
        /// Too many connections of one source, or altogether.
        Limit = "limit",
        /// Reset, or unacknowledged for too long.
        Transport = "transport",
        /// The peer's side of an RFC 6062 data connection closed.
        Peer = "peer",
    }

    /// How far the process is.
    State as "state" {
        Starting = "starting",
        Ready = "ready",
        Draining = "draining",
    }

    /// Severity of a log line.
    LogLevel as "level" {
        Error = "error",
        Warn = "warn",
        Info = "info",
        Debug = "debug",
        Trace = "trace",
    }
}

impl RequestResult {
    /// The label of a STUN error code; none of one that the edge does not answer with.
    pub fn from_code(code: u16) -> Option<Self> {
        Self::named(&code.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_of_two_labels_runs_over_every_cell_once() {
        let mut seen = [0; <(Transport, Family)>::SERIES];
        for &transport in Transport::ALL {
            for &family in Family::ALL {
                seen[(transport, family).series()] += 1;
            }
        }
        assert!(seen.iter().all(|&times| times == 1));
    }

    #[test]
    fn an_error_code_keeps_its_number_as_label() {
        for code in [300, 400, 401, 403, 405, 420, 437, 438, 440, 441, 442, 443, 446, 447, 486, 500, 508] {
            let label = RequestResult::from_code(code).map(|label| RequestResult::VALUES[label.index()]);
            assert_eq!(label, Some(code.to_string().as_str()));
        }
        assert_eq!(RequestResult::from_code(487), None);
    }
}
