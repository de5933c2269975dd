//! Session timers (RFC 4028): what is agreed, and when to refresh or to give up.

use std::time::{Duration, Instant};

use crate::fields::{Refresher, SessionExpires};
use crate::headers::Headers;
use crate::limits::{MIN_SE_SECS, REFRESH_STEP, SESSION_EXPIRES_SECS_MAX};

/// The option tag.
pub const TIMER: &str = "timer";

/// What our side wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerOptions {
    /// What we ask for when the peer does not; `None` leaves sessions without a timer unless the peer asks.
    pub session_expires_secs: Option<u32>,
    /// Not below 90.
    pub min_se_secs: u32,
}

/// An agreed interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    pub secs: u32,
    pub we_refresh: bool,
}

/// The timer of one session.
#[derive(Clone, Copy, Debug, Default)]
pub struct SessionTimer {
    agreed: Option<Agreed>,
    /// When we refresh; taken when it is reported.
    refresh_at: Option<Instant>,
    /// When the session ends for want of a refresh.
    expires_at: Option<Instant>,
}

/// What a session timer asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    Nothing,
    Refresh,
    /// Nobody refreshed: BYE.
    Expired,
}

/// Our answer to a request's timer headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UasTimer {
    /// No timer in this session.
    Off,
    /// Put `Session-Expires` with this into the 2xx; with `Require: timer` when the peer is to refresh.
    On(Agreed),
    /// 422 with our Min-SE.
    TooSmall,
}

impl TimerOptions {
    /// The least interval that we take.
    pub fn floor_secs(&self) -> u32 {
        self.min_se_secs.max(MIN_SE_SECS)
    }

    /// Judges an INVITE or UPDATE of the peer (RFC 4028 section 9). `running` is what is agreed already: its refresher
    /// stays unless the request names another.
    pub fn judge_request(&self, headers: &Headers, running: Option<Agreed>) -> UasTimer {
        let asked = headers.session_expires().ok().flatten();
        let peer_has_timer = headers.supports(TIMER);
        let peer_floor = headers.min_se_secs().ok().flatten().unwrap_or(MIN_SE_SECS);
        let floor = self.floor_secs().max(peer_floor);
        let Some(asked) = asked else {
            let Some(wanted) = self.session_expires_secs else { return UasTimer::Off };
            // A peer that knows nothing of timers is refreshed by us, which needs nothing of it.
            let we_refresh = running.map_or(!peer_has_timer, |running| running.we_refresh) || !peer_has_timer;
            return UasTimer::On(Agreed { secs: wanted.max(floor).min(SESSION_EXPIRES_SECS_MAX), we_refresh });
        };
        if asked.secs < self.floor_secs() {
            if peer_has_timer {
                return UasTimer::TooSmall;
            }
            // A proxy put it in; nobody would understand a 422.
            return UasTimer::On(Agreed { secs: floor.min(SESSION_EXPIRES_SECS_MAX), we_refresh: true });
        }
        let secs = self.session_expires_secs.map_or(asked.secs, |wanted| asked.secs.min(wanted.max(floor)));
        let we_refresh = match asked.refresher {
            _ if !peer_has_timer => true,
            Some(refresher) => refresher == Refresher::Uas,
            None => running.is_some_and(|running| running.we_refresh),
        };
        UasTimer::On(Agreed { secs: secs.min(SESSION_EXPIRES_SECS_MAX), we_refresh })
    }

    /// What a 2xx to our INVITE or UPDATE agreed to (RFC 4028 section 7.2).
    pub fn judge_response(&self, headers: &Headers) -> Option<Agreed> {
        let SessionExpires { secs, refresher } = headers.session_expires().ok().flatten()?;
        let secs = secs.clamp(MIN_SE_SECS, SESSION_EXPIRES_SECS_MAX);
        Some(Agreed { secs, we_refresh: refresher != Some(Refresher::Uas) })
    }
}

impl Agreed {
    /// The header of a 2xx from us.
    pub fn as_uas(self) -> SessionExpires {
        let refresher = if self.we_refresh { Refresher::Uas } else { Refresher::Uac };
        SessionExpires { secs: self.secs, refresher: Some(refresher) }
    }

    /// The header of a refresh from us.
    pub fn as_uac(self) -> SessionExpires {
        let refresher = if self.we_refresh { Refresher::Uac } else { Refresher::Uas };
        SessionExpires { secs: self.secs, refresher: Some(refresher) }
    }
}

impl SessionTimer {
    pub fn agreed(&self) -> Option<Agreed> {
        self.agreed
    }

    /// Begins anew from now: a 2xx was sent or came.
    pub fn restart(&mut self, agreed: Option<Agreed>, now: Instant) {
        self.agreed = agreed;
        (self.refresh_at, self.expires_at) = match agreed {
            None => (None, None),
            Some(Agreed { secs, we_refresh }) => {
                let interval = Duration::from_secs(secs.into());
                // RFC 4028 section 10: the other side hangs up a little before the end.
                let early = Duration::from_secs(32).min(interval / 3);
                (we_refresh.then(|| now + interval / 2), Some(now + interval - early))
            }
        };
    }

    /// A refresh failed in a way that may pass: try once more halfway to the end, as long as that is worth it.
    pub fn retry(&mut self, now: Instant) {
        self.refresh_at = self.expires_at.and_then(|end| {
            let step = (end.saturating_duration_since(now) / 2).max(REFRESH_STEP);
            Some(now + step).filter(|at| *at < end)
        });
    }

    pub fn next(&self) -> Option<Instant> {
        self.refresh_at.into_iter().chain(self.expires_at).min()
    }

    /// What is due; a refresh is reported once.
    pub fn take_due(&mut self, now: Instant) -> Due {
        if self.expires_at.is_some_and(|end| end <= now) {
            *self = Self { agreed: self.agreed, ..Self::default() };
            return Due::Expired;
        }
        if self.refresh_at.is_some_and(|at| at <= now) {
            self.refresh_at = None;
            return Due::Refresh;
        }
        Due::Nothing
    }
}
