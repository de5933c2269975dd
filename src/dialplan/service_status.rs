//! What a UM service tells routers in its answer to OPTIONS: how many calls it could take, and where its worker is.

use postern_sip::headers::Headers;
use postern_sip::{HeaderName, NameAddr, SipUri, Uri};

use crate::limits::STATUS_WORKERS_MAX;

/// Name of the header with the number of calls.
const FREE_CALLS_HEADER: &str = "Postern-Free-Calls";
/// Name of the header with the active worker's addresses.
const WORKER_HEADER: &str = "Postern-Worker";

/// How a UM service is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceStatus {
    /// Calls that it could take now.
    pub free_calls: u32,
    /// Where its active worker takes calls, each with its transport; at most [`STATUS_WORKERS_MAX`].
    pub workers: Vec<SipUri>,
}

impl ServiceStatus {
    /// The header lines, for an answer that goes to a router.
    pub fn headers(&self) -> Vec<(HeaderName, String)> {
        let worker = |uri: &SipUri| NameAddr::new(uri.clone()).to_string();
        let workers: Vec<String> = self.workers.iter().take(STATUS_WORKERS_MAX).map(worker).collect();
        let mut headers = vec![(name(FREE_CALLS_HEADER), self.free_calls.to_string())];
        headers.extend((!workers.is_empty()).then(|| (name(WORKER_HEADER), workers.join(", "))));
        headers
    }

    /// What an answer says; `None` when it says nothing of free calls that can be read.
    pub fn read_from(headers: &Headers) -> Option<Self> {
        let free_calls = headers.value(name(FREE_CALLS_HEADER))?.trim().parse().ok()?;
        let listed = headers.list(name(WORKER_HEADER)).unwrap_or_default();
        let uri = |text: &str| match NameAddr::parse(text)?.uri {
            Uri::Sip(uri) => Some(uri),
            _ => None,
        };
        Some(Self { free_calls, workers: listed.into_iter().filter_map(uri).take(STATUS_WORKERS_MAX).collect() })
    }
}

fn name(name: &str) -> HeaderName {
    HeaderName::Other(name.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> SipUri {
        match Uri::parse(text) {
            Some(Uri::Sip(uri)) => uri,
            other => panic!("no SIP URI: {other:?}"),
        }
    }

    #[test]
    fn what_is_told_is_read_as_the_same() {
        let workers = vec![uri("sip:10.20.0.20:5065;transport=tcp"), uri("sip:worker.example.test:5066;transport=tls")];
        for status in [ServiceStatus { free_calls: 97, workers }, ServiceStatus::default()] {
            let mut headers = Headers::new();
            for (name, value) in status.headers() {
                headers.push(name, value);
            }
            assert_eq!(ServiceStatus::read_from(&headers), Some(status));
        }
    }

    #[test]
    fn an_answer_that_tells_nothing_is_none() {
        let mut headers = Headers::new();
        assert_eq!(ServiceStatus::read_from(&headers), None);
        headers.push(name(FREE_CALLS_HEADER), "many");
        assert_eq!(ServiceStatus::read_from(&headers), None);
    }
}
