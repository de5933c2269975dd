//! Defects that a test plants in the simulated shell, to see that the simulation finds them.

use std::sync::Arc;

use postern_token::{Credentials, Grant, KEYS_MAX, Password, Refused, Verifier};

use crate::rules::Rules;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    None,
    /// The shell does not carry CloseRelay out.
    KeepsRelays,
    /// The socket is closed, its lease is not given back.
    KeepsLeases,
    /// The server's options allow 10.0.0.0/8, the operator's do not.
    OpensPolicy,
    /// A reload does not reach the last shard.
    MissesReload,
    /// Packets of peers are judged by a clock that is a millisecond late.
    SlowClock,
    /// Nobody calls the servers' timeouts.
    NoTimeouts,
    /// The broker is asked without a quota.
    NoQuota,
    /// Every hundredth payload has a wrong byte.
    SpoilsPayload,
    /// Frames for a client go to whoever got the frame before.
    MixesClients,
    /// A repeated answer ends in other bytes.
    AnswersAnew,
    /// Tokens are good for a minute longer.
    LongTokens,
    /// There is a password that is right for everybody.
    NoPasswords,
    /// Bit rates are twice what the token says.
    DoubleBitrate,
    /// A drain reaches no server.
    MissesDrain,
    /// A reserved socket is forgotten while its lease runs.
    DropsReservations,
}

impl Defect {
    /// The settings that the servers get to see.
    pub fn change_rules(self, rules: &Rules) -> Rules {
        let mut rules = rules.clone();
        if self == Self::OpensPolicy {
            rules.allow_peers.extend("10.0.0.0/8".parse::<ipnet::IpNet>());
        }
        rules
    }

    /// The judge of tokens that the servers get.
    pub fn credentials(self, verifier: Verifier) -> Arc<dyn Credentials> {
        match self {
            Self::LongTokens | Self::NoPasswords | Self::DoubleBitrate => Arc::new(Lenient { verifier, defect: self }),
            _ => Arc::new(verifier),
        }
    }
}

/// A verifier that lets too much pass.
struct Lenient {
    verifier: Verifier,
    defect: Defect,
}

impl Credentials for Lenient {
    fn candidates(&self) -> usize {
        self.verifier.candidates() + usize::from(self.defect == Defect::NoPasswords)
    }

    fn passwords(&self, username: &[u8], out: &mut [Option<Password>; KEYS_MAX]) {
        self.verifier.passwords(username, out);
        if self.defect == Defect::NoPasswords {
            out[self.verifier.candidates()] = Password::new(crate::client::WRONG_PASSWORD);
        }
    }

    fn grant(&self, username: &[u8], index: usize, now_unix_secs: u64) -> Result<Grant, Refused> {
        let longer_secs = if self.defect == Defect::LongTokens { 60 } else { 0 };
        let index = if index == self.verifier.candidates() { 0 } else { index };
        let mut grant = self.verifier.grant(username, index, now_unix_secs.saturating_sub(longer_secs))?;
        grant.expires_unix_secs += longer_secs;
        if self.defect == Defect::DoubleBitrate {
            grant.bitrate_bps = grant.bitrate_bps.map(|rate| rate * 2);
        }
        Ok(grant)
    }
}
