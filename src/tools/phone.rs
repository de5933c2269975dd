//! A phone: calls, follows redirects, speaks, presses keys, listens and hangs up. It stands outside, as it were: nothing
//! but relayed candidates are told of it, so that no media goes but through an edge.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use postern_media::dtls::DtlsIdentity;
use postern_sip::limits::REDIRECTIONS_MAX;
use postern_sip::offer_answer::OfferAnswer;
use postern_sip::offer_answer_capabilities::{Capabilities, Codec, Local, OfferKeying};
use postern_sip::sdp::SessionDescription;
use postern_sip::sdp_media::Direction;
use postern_sip::user_agent_io::{CallHandle, EndCause, Invite};
use postern_sip::user_agent_options::UserAgentOptions;
use postern_sip::{CallEvent, NameAddr, Response, Uri, UserAgent};
use postern_transport::{Transport, TransportOptions};
use postern_worker::agreement;
use postern_worker::edges::Edges;
use tokio::time::{sleep, timeout};

use crate::phone_media::{PhoneMedia, Relayed};
use crate::phone_sound::Sound;

/// Where the phone is.
const HOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// From an INVITE to its final answer.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// From hanging up to the answer of the BYE, which waits until a message is safe.
const BYE_TIME: Duration = Duration::from_secs(5);

/// From one end of a digit to the next, in which the digit sounds first.
const DIGIT_PAUSE: Duration = Duration::from_millis(250);

/// A redirection that was followed.
#[derive(Clone, Debug)]
pub struct Hop {
    /// Whom the INVITE went to.
    pub asked: Uri,
    pub status: u16,
    /// Where it sent us.
    pub contact: Uri,
}

/// A phone that has a relay, ready to call.
pub struct IdlePhone {
    transport: Transport,
    agent: UserAgent,
    identity: Arc<DtlsIdentity>,
    negotiation: OfferAnswer,
    media: PhoneMedia,
    offer: String,
}

/// A phone in a call. Dropping it leaves the call to time out.
pub struct Phone {
    transport: Transport,
    agent: UserAgent,
    call: CallHandle,
    media: PhoneMedia,
    ended: Option<EndCause>,
}

/// How an INVITE was answered.
enum Outcome {
    Answered(CallHandle, Box<SessionDescription>),
    Redirected(Box<Hop>),
}

impl IdlePhone {
    /// Takes a relay of one of these edges, with credentials that their token service gives for a call of that name.
    ///
    /// # Errors
    /// No token, no relay, no socket.
    pub async fn with_relay(edges: &Edges, name: &str) -> Result<Self> {
        let identity = identity()?;
        let security = postern_dialplan::Security::Unsecured;
        let capabilities = Capabilities {
            offer: OfferKeying::Plain,
            // RTP and RTCP each by a relay of their own.
            rtcp_mux: false,
            ..agreement::capabilities(&[Codec::Pcmu], security, false, &identity)
        };
        let mut negotiation = OfferAnswer::new(capabilities, seed()?);
        let media = PhoneMedia::open(HOST, edges, name).await?;
        let (rtp, rtcp) = media.default_addresses();
        let ice = Some(agreement::local_ice(media.description()));
        let offer = negotiation.offer(&Local { rtp, rtcp, ice, direction: Direction::SendRecv });
        let options = UserAgentOptions { addresses: vec![HOST], ..UserAgentOptions::default() };
        Ok(Self {
            transport: Transport::bind(TransportOptions::default())?,
            agent: UserAgent::new(options, seed()?),
            identity,
            negotiation,
            media,
            offer,
        })
    }

    /// What the relays are.
    pub(crate) fn relays(&self) -> &[std::net::SocketAddr] {
        self.media.relays()
    }

    /// Calls `uri` as `from` and follows redirects, each told to `on_hop`, until a call is answered.
    ///
    /// # Errors
    /// The call was refused, redirected too often, or not answered.
    pub async fn call(mut self, from: &str, uri: &str, mut on_hop: impl FnMut(&Hop)) -> Result<Phone> {
        let from = NameAddr::parse(from).with_context(|| format!("{from} is no address"))?;
        let mut uri = Uri::parse(uri).with_context(|| format!("{uri} is no URI"))?;
        for _ in 0..=REDIRECTIONS_MAX {
            match self.invite(&from, &uri).await? {
                Outcome::Redirected(hop) => {
                    on_hop(&hop);
                    uri = hop.contact;
                }
                Outcome::Answered(call, answer) => {
                    let agreed = self.negotiation.on_answer(&answer);
                    let agreed = agreed.map_err(|fault| anyhow!("the answer fits no offer of ours: {fault}"))?;
                    let mut media = self.media;
                    media.agree(&agreed, &self.identity)?;
                    return Ok(Phone { transport: self.transport, agent: self.agent, call, media, ended: None });
                }
            }
        }
        bail!("redirected more than {REDIRECTIONS_MAX} times")
    }

    async fn invite(&mut self, from: &NameAddr, uri: &Uri) -> Result<Outcome> {
        let invite = Invite {
            credentials: None,
            uri: uri.clone(),
            target: None,
            from: from.clone(),
            to: None,
            offer: Some(self.offer.clone()),
            headers: Vec::new(),
            ring_time: ANSWER_TIME,
            // Followed here, to be seen.
            follow_redirects: false,
        };
        let call = self.agent.invite(invite, Instant::now()).with_context(|| format!("{uri} cannot be called"))?;
        match timeout(ANSWER_TIME, self.final_answer(call)).await {
            Ok(Ok(answer)) => Ok(Outcome::Answered(call, Box::new(answer))),
            Ok(Err(EndCause::Refused(response))) if response.status.is_redirection() => {
                Ok(Outcome::Redirected(Box::new(hop(uri, &response)?)))
            }
            Ok(Err(EndCause::Refused(response))) => {
                bail!("{uri} answered {} {}", response.status.code(), response.phrase)
            }
            Ok(Err(cause)) => bail!("{uri} was not reached: {cause:?}"),
            Err(_) => bail!("{uri} did not answer within {} s", ANSWER_TIME.as_secs()),
        }
    }

    async fn final_answer(&mut self, call: CallHandle) -> Result<SessionDescription, EndCause> {
        loop {
            self.transport.drive(&mut self.agent).await;
            while let Some(event) = self.agent.poll_event() {
                match event {
                    CallEvent::Answer { call: of, answer } if of == call => return Ok(answer),
                    CallEvent::Ended { call: of, cause } if of == call => return Err(cause),
                    _ => {}
                }
            }
        }
    }
}

/// Where a redirection leads: its best contact (RFC 3261 section 8.1.3.4).
fn hop(asked: &Uri, response: &Response) -> Result<Hop> {
    let best = response.headers.contacts_by_preference().into_iter().next();
    let contact = best.with_context(|| format!("{asked} redirects without a contact"))?.uri;
    Ok(Hop { asked: asked.clone(), status: response.status.code(), contact })
}

impl Phone {
    /// Waits until ICE has found a way, and says which: of RTP, with the relay as our end.
    ///
    /// # Errors
    /// There is none in time, or it goes by no relay.
    pub async fn connected(&mut self, time: Duration) -> Result<Relayed> {
        let begun = Instant::now();
        loop {
            if let Some(pair) = self.media.connected()? {
                return Ok(pair);
            }
            ensure!(begun.elapsed() < time, "no way for media within {} s\n{}", time.as_secs(), self.media.tried());
            self.turn().await?;
        }
    }

    /// Waits for the first packet of audio, and says when it came.
    ///
    /// # Errors
    /// None comes in time, or the call has ended.
    pub async fn audio_began(&mut self, time: Duration) -> Result<Instant> {
        let begun = Instant::now();
        loop {
            if let Some(at) = self.media.audio_began() {
                return Ok(at);
            }
            ensure!(begun.elapsed() < time, "no audio within {} s", time.as_secs());
            self.turn().await?;
        }
    }

    /// All that was heard since the answer, at 8 kHz.
    pub(crate) fn heard(&self) -> &Sound {
        self.media.heard()
    }

    /// Listens until `until` is content with what was heard, at most for `time`. Whether it was.
    ///
    /// # Errors
    /// The call has ended, or its media.
    pub(crate) async fn listen(&mut self, time: Duration, mut until: impl FnMut(&Sound) -> bool) -> Result<bool> {
        let begun = Instant::now();
        loop {
            if until(self.media.heard()) {
                return Ok(true);
            }
            if begun.elapsed() >= time {
                return Ok(false);
            }
            self.turn().await?;
        }
    }

    /// Lets time pass, and listens.
    ///
    /// # Errors
    /// As [`listen`](Self::listen).
    pub(crate) async fn wait(&mut self, time: Duration) -> Result<()> {
        self.listen(time, |_| false).await.map(drop)
    }

    /// Says this, 8 kHz, and waits until it was said.
    ///
    /// # Errors
    /// As [`listen`](Self::listen).
    pub(crate) async fn say(&mut self, pcm: &[i16]) -> Result<()> {
        let playback = self.media.play(pcm)?;
        while !self.media.is_played(playback) {
            self.turn().await?;
        }
        Ok(())
    }

    /// Presses keys, one after the other, as RFC 4733 events.
    ///
    /// # Errors
    /// As [`listen`](Self::listen).
    pub(crate) async fn press(&mut self, keys: &str) -> Result<()> {
        for key in keys.chars() {
            self.media.press(key)?;
            self.wait(DIGIT_PAUSE).await?;
        }
        Ok(())
    }

    /// Hangs up and waits for the answer to the BYE, which comes when all is safe.
    ///
    /// # Errors
    /// The BYE was not answered in time.
    pub async fn hang_up(mut self) -> Result<()> {
        self.agent.hang_up(self.call, None, Instant::now())?;
        let answered = async {
            while self.agent.calls() > 0 {
                self.transport.drive(&mut self.agent).await;
                while self.agent.poll_event().is_some() {}
            }
        };
        timeout(BYE_TIME, answered)
            .await
            .map_err(|_| anyhow!("the BYE was not answered within {} s", BYE_TIME.as_secs()))?;
        self.transport.close(&mut self.agent).await;
        Ok(())
    }

    /// Waits for the next thing to happen.
    async fn turn(&mut self) -> Result<()> {
        tokio::select! {
            () = self.transport.drive(&mut self.agent) => {}
            told = self.media.turn() => told?,
            () = sleep(Duration::from_millis(50)) => {}
        }
        while let Some(event) = self.agent.poll_event() {
            match event {
                CallEvent::Bye { call, .. } => self.agent.confirm_bye(call, Instant::now())?,
                CallEvent::Ended { cause, .. } => self.ended = Some(cause),
                _ => {}
            }
        }
        match &self.ended {
            Some(cause) => bail!("the other side ended the call: {cause:?}"),
            None => Ok(()),
        }
    }
}

/// A certificate of this phone's own, should the other side want DTLS.
fn identity() -> Result<Arc<DtlsIdentity>> {
    let made = rcgen::generate_simple_self_signed(["phone".to_owned()])?;
    let identity = DtlsIdentity::new(made.cert.der().to_vec(), &made.signing_key.serialize_der());
    Ok(Arc::new(identity.map_err(|error| anyhow!("no certificate for DTLS: {error}"))?))
}

/// Bytes of the system's random source.
pub(crate) fn seed() -> Result<[u8; 32]> {
    postern_net::system::random().context("no randomness from the system")
}

#[cfg(test)]
mod tests {
    use postern_sip::{HeaderName, StatusCode};

    use super::*;

    fn redirect(contacts: &str) -> Result<Hop> {
        let asked = Uri::parse("sip:1001@127.0.0.1:5060;transport=tcp").unwrap();
        let request = postern_sip::Request::new(postern_sip::Method::Invite, asked.clone());
        let mut response = request.response(StatusCode::MOVED_TEMPORARILY, None);
        if !contacts.is_empty() {
            response = response.with(HeaderName::Contact, contacts);
        }
        hop(&asked, &response)
    }

    #[test]
    fn the_first_of_the_best_contacts_is_followed() {
        let hop = redirect("<sip:a@h1>;q=0.5, <sip:b@h2;transport=tcp>;q=0.9, <sip:c@h3>;q=0.9").unwrap();
        assert_eq!(hop.contact.to_string(), "sip:b@h2;transport=tcp");
        assert_eq!(hop.status, 302);
    }

    #[test]
    fn a_redirect_to_nowhere_is_an_error() {
        assert!(redirect("").is_err());
    }
}
