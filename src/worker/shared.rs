//! What all calls of a worker share.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use postern_dialplan::Security;
use postern_mailbox::{Options, Store};
use postern_media::dtls::DtlsIdentity;
use postern_media::session;
use postern_sip::offer_answer_capabilities::Codec;

use crate::edges::Edges;
use crate::media::Media;
use crate::meters::Meters;
use crate::ports::PortPool;
use crate::prompts::Prompts;
use crate::records::RecordSink;
use crate::story::Stories;

/// What a dial plan means for its calls.
pub struct PlanSettings {
    pub options: Arc<Options>,
    pub security: Security,
}

pub(crate) struct Shared {
    pub(crate) media: Media,
    pub(crate) ports: Arc<PortPool>,
    /// Ours, the first of a family its default.
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) prompts: Prompts,
    pub(crate) identity: Arc<DtlsIdentity>,
    pub(crate) codecs: Vec<Codec>,
    pub(crate) edges: Edges,
    /// An instant and the Unix time at it.
    pub(crate) unix_origin: (Instant, Duration),
    /// No media for so long ends a call.
    pub(crate) media_timeout: Duration,
    /// A call of ours that is not answered for so long ends.
    pub(crate) ring_time: Duration,
    pub(crate) plans: HashMap<String, Arc<PlanSettings>>,
    pub(crate) meters: Meters,
    pub(crate) records: RecordSink,
    pub(crate) stories: Arc<Stories>,
    /// Our host and slot, for records.
    pub(crate) server: String,
    pub(crate) slot: Option<&'static str>,
}

impl Shared {
    /// The address that calls of a family are answered from: the one that signalling came to if it is ours.
    pub(crate) fn address_for(&self, local: IpAddr, wants_ipv6: Option<bool>) -> Option<IpAddr> {
        let wants_ipv6 = wants_ipv6.unwrap_or(local.is_ipv6());
        let of_family = |address: &&IpAddr| address.is_ipv6() == wants_ipv6;
        let same = self.addresses.iter().filter(of_family).find(|address| **address == local);
        same.or_else(|| self.addresses.iter().find(of_family)).copied()
    }

    /// What a stream keeps for life.
    pub(crate) fn stream_options(&self, rate_hz: u32) -> Result<session::Options, getrandom::Error> {
        let (mut seed, mut name) = ([0; 32], [0; 12]);
        getrandom::fill(&mut seed)?;
        getrandom::fill(&mut name)?;
        let cname: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut options = session::Options::new(seed, self.unix_origin, cname);
        options.pcm_rate = Some(rate_hz);
        options.inactivity = self.media_timeout;
        Ok(options)
    }
}
