//! Label values of the roles that carry calls. As in [`labels`](crate::labels), the sets are closed.

use crate::labels::closed;

closed! {
    /// SIP methods of requests.
    SipMethod as "method" {
        Invite = "invite",
        Ack = "ack",
        Bye = "bye",
        Cancel = "cancel",
        Options = "options",
        Update = "update",
        Info = "info",
        Refer = "refer",
        Notify = "notify",
        Other = "other",
    }

    /// The final answer to a SIP request.
    SipResult as "result" {
        Success = "2xx",
        Redirect = "3xx",
        Code400 = "400",
        Code403 = "403",
        Code404 = "404",
        Code405 = "405",
        Code408 = "408",
        Code420 = "420",
        Code422 = "422",
        Code480 = "480",
        Code481 = "481",
        Code482 = "482",
        Code483 = "483",
        Code486 = "486",
        Code487 = "487",
        Code488 = "488",
        Code491 = "491",
        Code500 = "500",
        Code503 = "503",
        Other = "other",
    }

    /// What a request to the web services is about.
    WebRoute as "route" {
        Page = "page",
        SignIn = "sign_in",
        Messages = "messages",
        Options = "options",
        Calls = "calls",
        Events = "events",
        Admin = "admin",
        Other = "other",
    }

    /// The class of the answer to a request to the web services.
    WebStatus as "status" {
        Informed = "1xx",
        Success = "2xx",
        Redirect = "3xx",
        Refused = "4xx",
        Failed = "5xx",
    }

    /// What became of an attempt to sign in on the web.
    WebSignIn as "result" {
        Right = "right",
        Wrong = "wrong",
        Locked = "locked",
        /// Too many of one address.
        Limited = "limited",
    }

    /// How SIP came.
    SipTransport as "transport" {
        Udp = "udp",
        Tcp = "tcp",
        Tls = "tls",
    }

    /// Why a call is not taken.
    CallRefusal as "reason" {
        UnknownGateway = "unknown_gateway",
        Disabled = "disabled",
        NotSecure = "not_secure",
        NoOrigin = "no_origin",
        NoSuchAddress = "no_such_address",
        NoNewCalls = "no_new_calls",
        Loop = "loop",
        Full = "full",
        NotEncrypted = "not_encrypted",
        Unavailable = "unavailable",
    }

    /// Whether a UM service answers OPTIONS.
    ServiceHealth as "health" {
        Healthy = "healthy",
        /// It answers that it takes no calls: draining, or full.
        Refusing = "refusing",
        Dead = "dead",
    }

    /// A worker's slot.
    Slot as "slot" {
        A = "a",
        B = "b",
    }

    /// What a slot's worker does.
    SlotState as "state" {
        Empty = "empty",
        Starting = "starting",
        /// It could take calls, and waits.
        Ready = "ready",
        /// New calls go to it.
        Active = "active",
        Draining = "draining",
        /// Nothing was heard of it for too long.
        Silent = "silent",
    }

    /// Why a worker is replaced by a fresh one.
    RecycleCause as "cause" {
        Age = "age",
        Memory = "memory",
        NewBinary = "new_binary",
        Certificate = "certificate",
        /// SIGHUP, or a changed configuration.
        Asked = "asked",
    }

    /// How a worker ended.
    WorkerEnd as "end" {
        /// Its last call was over.
        Drained = "drained",
        /// The longest call had its time, and it still had calls.
        Overdue = "overdue",
        Crashed = "crashed",
        Silent = "silent",
        Shutdown = "shutdown",
    }

    /// What a call is for.
    CallKind as "kind" {
        Answering = "answering",
        SubscriberAccess = "subscriber_access",
        /// We called a mailbox's owner, to play a message or a greeting.
        PlayOnPhone = "play_on_phone",
        /// We called a mailbox's owner, to record a greeting.
        GreetingsRecording = "greetings_recording",
    }

    /// What became of an INVITE.
    OfferResult as "result" {
        Answered = "answered",
        /// A rule or a limit says no.
        Rejected = "rejected",
        Redirected = "redirected",
        /// The caller gave up before the answer.
        Cancelled = "cancelled",
        /// No media could be agreed on or set up, or something of ours broke.
        Failed = "failed",
    }

    /// What became of a call of ours.
    OutgoingResult as "result" {
        Answered = "answered",
        /// By its owner, before it was answered.
        HungUp = "hung_up",
        Busy = "busy",
        NoAnswer = "no_answer",
        /// Nobody there, or no gateway.
        Unavailable = "unavailable",
        Other = "other",
    }

    /// Who or what ended a call.
    CallEnd as "end" {
        CallerHungUp = "caller_hung_up",
        Finished = "finished",
        Transferred = "transferred",
        InputsFailed = "inputs_failed",
        LogonFailed = "logon_failed",
        Refused = "refused",
        /// An outgoing call rang too long.
        NotAnswered = "not_answered",
        StoreFailed = "store_failed",
        CallTooLong = "call_too_long",
        /// No audio any more, or none from the start.
        MediaLost = "media_lost",
        /// The signalling connection, session timer or ACK.
        SignallingLost = "signalling_lost",
        /// The edge died, and no other was reached in time.
        EdgeLost = "edge_lost",
        Shutdown = "shutdown",
        Internal = "internal",
    }

    /// What a call came to in the mailbox.
    MailboxResult as "result" {
        VoiceMessage = "voice_message",
        VoiceMessageUnconfirmed = "voice_message_unconfirmed",
        MissedCall = "missed_call",
        SubscriberAccess = "subscriber_access",
        UnauthenticatedPilot = "unauthenticated_pilot",
        PlayOnPhone = "play_on_phone",
        GreetingsRecording = "greetings_recording",
    }

    /// Something that happened in a mailbox.
    MailboxEvent as "event" {
        MailboxUnknown = "mailbox_unknown",
        MailboxFull = "mailbox_full",
        TooManyDeposits = "too_many_deposits",
        DiskFull = "disk_full",
        StoreFailed = "store_failed",
        MessageLeft = "message_left",
        CallMissed = "call_missed",
        LoggedOn = "logged_on",
        LogonFailed = "logon_failed",
        LockedOut = "locked_out",
        PinChanged = "pin_changed",
        MessageHeard = "message_heard",
        MessageSaved = "message_saved",
        MessageDeleted = "message_deleted",
        GreetingRecorded = "greeting_recorded",
        OperatorAsked = "operator_asked",
        TransferFailed = "transfer_failed",
        InputsFailed = "inputs_failed",
        CallTooLong = "call_too_long",
    }

    /// Which way audio flows, seen from the worker.
    AudioWay as "direction" {
        Received = "received",
        Sent = "sent",
    }

    /// Why a call had no audio in one direction.
    NoAudio as "reason" {
        NothingReceived = "nothing_received",
        WrongSource = "wrong_source",
        Payload = "payload",
        SrtpAuthentication = "srtp_authentication",
        Dtls = "dtls",
        Hold = "hold",
        Silence = "silence",
        Ice = "ice",
        EdgeUnreachable = "edge_unreachable",
        EdgeCredentials = "edge_credentials",
        EdgePorts = "edge_ports",
    }

    /// Why a received packet of media was not used.
    MediaDrop as "reason" {
        Malformed = "malformed",
        WrongSource = "wrong_source",
        PayloadType = "payload_type",
        SrtpAuthentication = "srtp_authentication",
        SrtpReplay = "srtp_replay",
        Srtcp = "srtcp",
        Dtls = "dtls",
        NotReceiving = "not_receiving",
        Duplicate = "duplicate",
        Late = "late",
        Overflow = "overflow",
        /// ICE knows nothing of its source, or nothing was agreed on yet.
        Ignored = "ignored",
    }

    /// How media is protected.
    Keying as "keying" {
        Rtp = "rtp",
        Sdes = "sdes",
        Dtls = "dtls",
    }

    /// The codec of received audio.
    Codec as "codec" {
        Pcmu = "pcmu",
        Pcma = "pcma",
        G722 = "g722",
    }

    /// What became of ICE in a call.
    IceOutcome as "outcome" {
        /// The peer does without.
        NotUsed = "not_used",
        Completed = "completed",
        /// No pair works.
        Failed = "failed",
        /// The peer fell silent after it had answered.
        ConsentLost = "consent_lost",
    }

    /// Our side of the pair that media goes by.
    LocalCandidate as "local" {
        Host = "host",
        PeerReflexive = "prflx",
        ServerReflexive = "srflx",
        Relayed = "relay",
    }

    /// The peer's side of the pair that media goes by.
    RemoteCandidate as "remote" {
        Host = "host",
        PeerReflexive = "prflx",
        ServerReflexive = "srflx",
        Relayed = "relay",
    }

    /// What became of a restart of ICE that we asked for.
    RestartResult as "result" {
        Restored = "restored",
        Unanswered = "unanswered",
        Failed = "failed",
    }

    /// The three ways in which an edge fails the worker.
    EdgeFailure as "failure" {
        /// Misconfigured or not running.
        Unreachable = "unreachable",
        /// No token was to be had, or the edge refuses it.
        NoCredentials = "no_credentials",
        OutOfPorts = "out_of_ports",
    }

    /// What asking for a token came to.
    TokenResult as "result" {
        Issued = "issued",
        /// The service says no.
        Refused = "refused",
        /// Nothing came back, or not in time, or by the wrong name.
        Unreachable = "unreachable",
        /// What came back is no answer.
        Malformed = "malformed",
    }

    /// Why a recording ended.
    RecordingEnd as "end" {
        Stopped = "stopped",
        Silence = "silence",
        Limit = "limit",
        /// The disk does not keep up.
        Overrun = "overrun",
        StoreFailed = "store_failed",
    }

    /// What was asked of the store.
    StoreRequest as "request" {
        FindMailbox = "find_mailbox",
        VerifyPin = "verify_pin",
        ChangePin = "change_pin",
        BeginRecording = "begin_recording",
        FinishRecording = "finish_recording",
        DiscardRecording = "discard_recording",
        ListMessages = "list_messages",
        SetMessageState = "set_message_state",
        UseGreeting = "use_greeting",
        ReadAudio = "read_audio",
    }

    /// Why the store did not do what it was asked.
    StoreFailure as "failure" {
        DiskFull = "disk_full",
        Busy = "busy",
        Unavailable = "unavailable",
        Gone = "gone",
        Damaged = "damaged",
    }

    /// A file of call records.
    RecordFile as "file" {
        Json = "json",
        Csv = "csv",
    }
}

impl SipMethod {
    /// The label of a method, as it stands in a request line.
    pub fn from_name(method: &str) -> Self {
        match method {
            "INVITE" => Self::Invite,
            "ACK" => Self::Ack,
            "BYE" => Self::Bye,
            "CANCEL" => Self::Cancel,
            "OPTIONS" => Self::Options,
            "UPDATE" => Self::Update,
            "INFO" => Self::Info,
            "REFER" => Self::Refer,
            "NOTIFY" => Self::Notify,
            _ => Self::Other,
        }
    }
}

impl SipResult {
    /// The label of a final status.
    pub fn from_status(status: u16) -> Self {
        match status {
            200..=299 => Self::Success,
            300..=399 => Self::Redirect,
            400 => Self::Code400,
            403 => Self::Code403,
            404 => Self::Code404,
            405 => Self::Code405,
            408 => Self::Code408,
            420 => Self::Code420,
            422 => Self::Code422,
            480 => Self::Code480,
            481 => Self::Code481,
            482 => Self::Code482,
            483 => Self::Code483,
            486 => Self::Code486,
            487 => Self::Code487,
            488 => Self::Code488,
            491 => Self::Code491,
            500 => Self::Code500,
            503 => Self::Code503,
            _ => Self::Other,
        }
    }
}

impl WebStatus {
    /// The class of an HTTP status.
    pub fn of(status: u16) -> Self {
        match status / 100 {
            1 => Self::Informed,
            2 => Self::Success,
            3 => Self::Redirect,
            4 => Self::Refused,
            _ => Self::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::Label;

    #[test]
    fn a_status_keeps_its_number_or_its_class_as_label() {
        for status in [400, 403, 404, 405, 408, 420, 422, 480, 481, 482, 483, 486, 487, 488, 491, 500, 503] {
            assert_eq!(SipResult::VALUES[SipResult::from_status(status).index()], status.to_string());
        }
        assert_eq!(SipResult::from_status(202), SipResult::Success);
        assert_eq!(SipResult::from_status(302), SipResult::Redirect);
        assert_eq!(SipResult::from_status(603), SipResult::Other);
    }

    #[test]
    fn methods_are_told_apart_by_case_as_sip_does() {
        for method in SipMethod::ALL {
            let name = SipMethod::VALUES[method.index()].to_ascii_uppercase();
            assert_eq!(SipMethod::from_name(&name), if name == "OTHER" { SipMethod::Other } else { *method });
        }
        assert_eq!(SipMethod::from_name("invite"), SipMethod::Other);
    }
}
