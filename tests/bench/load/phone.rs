//! Signalling of many phones in one task, by the user agent of the product; their media is the measurement's own.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use postern_media::dtls::DtlsIdentity;
use postern_media::session::Session;
use postern_sip::offer_answer::OfferAnswer;
use postern_sip::offer_answer_capabilities::{Capabilities, Codec, Local, OfferKeying};
use postern_sip::sdp_media::Direction;
use postern_sip::user_agent_io::{CallHandle, EndCause, Invite};
use postern_sip::user_agent_options::UserAgentOptions;
use postern_sip::{CallEvent, NameAddr, Uri, UserAgent};
use postern_transport::{Transport, TransportOptions};
use postern_worker::agreement;

pub const HOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Nothing takes longer on a machine that is not ill.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A call that was made: where its media is to come, and what is being agreed on.
struct Asked {
    negotiation: OfferAnswer,
    rtp: UdpSocket,
    rtcp: UdpSocket,
}

/// A call that was answered.
pub struct Answered {
    pub call: CallHandle,
    pub session: Session,
    pub rtp: UdpSocket,
    /// Bound, so that nobody else gets what is sent there.
    pub rtcp: UdpSocket,
}

/// What became of a call.
pub enum News {
    Answered(Box<Answered>),
    Ended(EndCause),
}

pub struct Phones {
    transport: Transport,
    agent: UserAgent,
    identity: Arc<DtlsIdentity>,
    asked: HashMap<CallHandle, Asked>,
}

impl Phones {
    pub fn new() -> Result<Self> {
        let made = rcgen::generate_simple_self_signed(["bench".to_owned()])?;
        let identity = DtlsIdentity::new(made.cert.der().to_vec(), &made.signing_key.serialize_der());
        let options = UserAgentOptions { addresses: vec![HOST], ..UserAgentOptions::default() };
        Ok(Self {
            transport: Transport::bind(TransportOptions::default())?,
            agent: UserAgent::new(options, seed()?),
            identity: Arc::new(identity.map_err(|error| anyhow!("{error}"))?),
            asked: HashMap::new(),
        })
    }

    /// Calls `number` at a port of this machine, with media as `keying` says. Returns the call and the RTP socket.
    pub fn call(&mut self, number: &str, port: u16, keying: OfferKeying) -> Result<(CallHandle, UdpSocket)> {
        let security = postern_dialplan::Security::Unsecured;
        let capabilities = Capabilities {
            offer: keying,
            rtcp_mux: false,
            ..agreement::capabilities(&[Codec::Pcmu], security, false, &self.identity)
        };
        let mut negotiation = OfferAnswer::new(capabilities, seed()?);
        let (rtp, rtcp) = pair()?;
        let local =
            Local { rtp: rtp.local_addr()?, rtcp: rtcp.local_addr()?, ice: None, direction: Direction::SendRecv };
        let uri = format!("sip:{number}@{HOST}:{port};transport=tcp");
        let invite = Invite {
            uri: Uri::parse(&uri).context("a URI")?,
            target: None,
            from: NameAddr::parse("<sip:2002@127.0.0.1>").context("an address")?,
            to: None,
            offer: Some(negotiation.offer(&local)),
            headers: Vec::new(),
            ring_time: PATIENCE,
            follow_redirects: true,
            credentials: None,
        };
        let heard = rtp.try_clone()?;
        let call = self.agent.invite(invite, Instant::now())?;
        self.asked.insert(call, Asked { negotiation, rtp, rtcp });
        Ok((call, heard))
    }

    pub fn hang_up(&mut self, call: CallHandle) {
        // One that ended by itself is told of as ended.
        let _ = self.agent.hang_up(call, None, Instant::now());
    }

    /// Waits for what happens next and tells it. Cancel-safe.
    pub async fn turn(&mut self) -> Result<Vec<(CallHandle, News)>> {
        self.transport.drive(&mut self.agent).await;
        let mut news = Vec::new();
        while let Some(event) = self.agent.poll_event() {
            match event {
                CallEvent::Answer { call, answer } => {
                    let Some(mut asked) = self.asked.remove(&call) else { continue };
                    let agreed = asked.negotiation.on_answer(&answer).map_err(|fault| anyhow!("{fault}"))?;
                    let session = agreement::session(&agreed, &self.identity, None, None)?;
                    let Asked { rtp, rtcp, .. } = asked;
                    news.push((call, News::Answered(Box::new(Answered { call, session, rtp, rtcp }))));
                }
                CallEvent::Ended { call, cause } => {
                    self.asked.remove(&call);
                    news.push((call, News::Ended(cause)));
                }
                _ => {}
            }
        }
        Ok(news)
    }
}

/// Two sockets on ports of the system's choice.
fn pair() -> Result<(UdpSocket, UdpSocket)> {
    let bound = || -> Result<UdpSocket> {
        let socket = UdpSocket::bind((HOST, 0))?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    Ok((bound()?, bound()?))
}

pub fn seed() -> Result<[u8; 32]> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| anyhow!("no randomness from the system: {error}"))?;
    Ok(seed)
}
