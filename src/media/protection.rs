//! How each component of a stream is protected, and the DTLS handshakes that tell.

use std::time::Instant;

use bytes::BytesMut;

use crate::dtls::{Dtls, DtlsKeying, DtlsKeys};
use crate::event::DtlsFailure;
use crate::report::DropReason;
use crate::session::{Component, Keying};
use crate::srtp::{Inbound, Outbound, Protect, SrtpError, Unprotect};
use crate::srtp_profile::{SdesKeying, SrtpProfile};
use crate::stream::SetupError;

/// Protection of both components.
pub struct Protection {
    keying: Keying,
    mux: bool,
    /// SRTP of each component. SDES keys serve both and stand in the first.
    srtp: [Option<Srtp>; 2],
    dtls: [Option<Dtls>; 2],
}

struct Srtp {
    outbound: Box<dyn Protect>,
    inbound: Box<dyn Unprotect>,
}

/// How DTLS of the component RTP ended.
pub type DtlsOutcome = Result<SrtpProfile, DtlsFailure>;

impl Protection {
    /// Sets up what was agreed.
    ///
    /// # Errors
    ///
    /// [`SetupError`].
    pub fn new(keying: Keying, mux: bool, now: Instant) -> Result<Self, SetupError> {
        let mut protection = Self { keying, mux, srtp: [None, None], dtls: [None, None] };
        match &protection.keying {
            Keying::Plain => {}
            Keying::Sdes(sdes) => protection.srtp[0] = Some(srtp_of(sdes)?),
            Keying::Dtls(dtls) => {
                let start = |keying: &DtlsKeying| Dtls::new(keying.clone(), now).map_err(SetupError::Dtls);
                protection.dtls[0] = Some(start(dtls)?);
                if !mux {
                    protection.dtls[1] = Some(start(dtls)?);
                }
            }
        }
        Ok(protection)
    }

    /// Replaces what a later offer and answer changed; keys that are the same go on, with their packet counts.
    ///
    /// # Errors
    ///
    /// [`SetupError`]; what was stays in force.
    pub fn renegotiate(&mut self, keying: Keying, mux: bool, now: Instant) -> Result<(), SetupError> {
        match (&self.keying, &keying) {
            (Keying::Sdes(former), Keying::Sdes(latter)) if former.profile == latter.profile => {
                let replaced = srtp_of(latter)?;
                let srtp = self.srtp[0].get_or_insert(srtp_of(latter)?);
                if former.local != latter.local {
                    srtp.outbound = replaced.outbound;
                }
                if former.remote != latter.remote {
                    srtp.inbound = replaced.inbound;
                }
                self.keying = keying;
                self.mux = mux;
            }
            (Keying::Dtls(former), Keying::Dtls(latter)) if same_association(former, latter) && mux == self.mux => {
                self.keying = keying;
            }
            (Keying::Plain, Keying::Plain) => self.mux = mux,
            _ => *self = Self::new(keying, mux, now)?,
        }
        Ok(())
    }

    /// `rtp`, `sdes` or `dtls`.
    pub fn name(&self) -> &'static str {
        match self.keying {
            Keying::Plain => "rtp",
            Keying::Sdes(_) => "sdes",
            Keying::Dtls(_) => "dtls",
        }
    }

    pub fn is_plain(&self) -> bool {
        matches!(self.keying, Keying::Plain)
    }

    pub fn is_dtls(&self) -> bool {
        matches!(self.keying, Keying::Dtls(_))
    }

    /// Whether a component's packets can be sent and opened.
    pub fn is_ready(&self, component: Component) -> bool {
        self.is_plain() || self.srtp[self.index(component)].is_some()
    }

    fn index(&self, component: Component) -> usize {
        match (&self.keying, component) {
            (Keying::Dtls(_), Component::Rtcp) if !self.mux => 1,
            _ => 0,
        }
    }

    /// Protects RTP or RTCP in place.
    ///
    /// # Errors
    ///
    /// [`SrtpError`]; the packet must not be sent.
    pub fn protect(&mut self, component: Component, rtcp: bool, packet: &mut Vec<u8>) -> Result<(), SrtpError> {
        if self.is_plain() {
            return Ok(());
        }
        let index = self.index(component);
        let srtp = self.srtp[index].as_mut().ok_or(SrtpError::Authentication)?;
        match rtcp {
            true => srtp.outbound.protect_rtcp(packet),
            false => srtp.outbound.protect_rtp(packet),
        }
    }

    /// Opens SRTP or SRTCP into `out`.
    ///
    /// # Errors
    ///
    /// The reason to drop the packet for.
    pub fn unprotect(
        &mut self,
        component: Component,
        rtcp: bool,
        packet: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), DropReason> {
        let index = self.index(component);
        let Some(srtp) = self.srtp[index].as_mut() else {
            return Err(if rtcp { DropReason::Srtcp } else { DropReason::Dtls });
        };
        out.clear();
        if rtcp {
            return srtp.inbound.unprotect_rtcp(packet, out).map_err(|_| DropReason::Srtcp);
        }
        srtp.inbound.unprotect_rtp(packet, out).map_err(|error| match error {
            SrtpError::Malformed => DropReason::Malformed,
            SrtpError::Replay => DropReason::SrtpReplay,
            _ => DropReason::SrtpAuthentication,
        })
    }

    /// The way to the peer is open on this component: a DTLS client begins.
    pub fn start_dtls(&mut self, component: Component, now: Instant) {
        if let Some(dtls) = &mut self.dtls[self.index(component)] {
            dtls.start(now);
        }
    }

    /// A DTLS datagram. `None` while the handshake goes on, and for the component RTCP, whose failure ends nothing.
    pub fn handle_dtls(&mut self, component: Component, datagram: &[u8], now: Instant) -> Option<DtlsOutcome> {
        let index = self.index(component);
        let outcome = self.dtls[index].as_mut()?.handle(datagram, now);
        self.settle(index, outcome)
    }

    /// Repeats flights and gives up, as time has come.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<DtlsOutcome> {
        let mut told = None;
        for index in 0..2 {
            if let Some(dtls) = &mut self.dtls[index]
                && dtls.next_timeout().is_some_and(|due| now >= due)
            {
                let outcome = dtls.handle_timeout(now);
                told = told.or(self.settle(index, outcome));
            }
        }
        told
    }

    fn settle(&mut self, index: usize, outcome: Option<Result<DtlsKeys, DtlsFailure>>) -> Option<DtlsOutcome> {
        let outcome = outcome?.and_then(|keys| {
            let srtp = srtp_of(&SdesKeying { profile: keys.profile, local: keys.local, remote: keys.remote });
            self.srtp[index] = Some(srtp.map_err(|_| DtlsFailure::Handshake)?);
            Ok(keys.profile)
        });
        (index == 0).then_some(outcome)
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.dtls.iter().flatten().filter_map(Dtls::next_timeout).min()
    }

    /// The next DTLS datagram of a component.
    pub fn poll_dtls(&mut self, component: Component) -> Option<BytesMut> {
        if self.mux && component == Component::Rtcp {
            return None;
        }
        let index = self.index(component);
        self.dtls[index].as_mut()?.poll_transmit()
    }
}

fn same_association(former: &DtlsKeying, latter: &DtlsKeying) -> bool {
    former.role == latter.role
        && std::sync::Arc::ptr_eq(&former.identity, &latter.identity)
        && former.fingerprints == latter.fingerprints
}

fn srtp_of(keys: &SdesKeying) -> Result<Srtp, SetupError> {
    Ok(Srtp {
        outbound: Box::new(Outbound::new(keys.profile, &keys.local).map_err(|_| SetupError::Key)?),
        inbound: Box::new(Inbound::new(keys.profile, &keys.remote).map_err(|_| SetupError::Key)?),
    })
}
