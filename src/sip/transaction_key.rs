//! What makes a request belong to a server transaction (RFC 3261 section 17.2.3).

use crate::message::Request;
use crate::method::Method;
use crate::source::{Source, Transport};

/// Equal for a request, its repetitions, and (for an INVITE) the ACK to a non-2xx. TLS and other transports never
/// share one: nobody without TLS may touch a transaction that came by it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TransactionKey {
    tls: bool,
    method: Method,
    /// The branch and sent-by, or for elements of RFC 2543 what identified a request to them.
    identity: String,
}

impl TransactionKey {
    /// `None` when the request cannot be told from others.
    pub(crate) fn of(request: &Request, source: &Source) -> Option<TransactionKey> {
        let method = if request.method == Method::Ack { Method::Invite } else { request.method.clone() };
        TransactionKey::with_method(request, source, method)
    }

    /// The key of the INVITE that a CANCEL means (RFC 3261 section 9.2).
    pub(crate) fn cancelled_by(cancel: &Request, source: &Source) -> Option<TransactionKey> {
        TransactionKey::with_method(cancel, source, Method::Invite)
    }

    fn with_method(request: &Request, source: &Source, method: Method) -> Option<TransactionKey> {
        let via = request.headers.top_via().ok()?;
        let identity = match via.unique_branch() {
            Some(branch) => {
                let port = via.port.map_or(String::new(), |port| format!(":{port}"));
                format!("{branch} {}{port}", via.host)
            }
            // RFC 2543: without the tag of To, which an ACK has and its INVITE has not.
            None => {
                let cseq = request.headers.cseq().ok()?.number;
                let from_tag = request.headers.from_tag().unwrap_or_default();
                let call_id = request.headers.call_id().ok()?;
                format!("2543 {} {from_tag} {call_id} {cseq} {via}", request.uri)
            }
        };
        Some(TransactionKey { tls: source.transport == Transport::Tls, method, identity })
    }
}

/// What two copies of one request have in common that came by different ways (RFC 3261 section 8.2.2.2); `None` within a
/// dialog.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MergeKey(String);

impl MergeKey {
    pub(crate) fn of(request: &Request) -> Option<MergeKey> {
        if request.headers.to().ok()?.tag().is_some() {
            return None;
        }
        let from_tag = request.headers.from_tag()?;
        Some(MergeKey(format!("{from_tag} {} {}", request.headers.call_id().ok()?, request.headers.cseq().ok()?)))
    }
}
