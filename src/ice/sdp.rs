//! The ICE attributes of a media description as plain values (RFC 8839 section 5), read from and written for whoever
//! keeps the rest of the SDP.

use std::net::SocketAddr;

use crate::candidate::{Candidate, CandidateError, Component, is_ice_chars};
use crate::limits::{COMPONENTS_MAX, PWD_CHARS, REMOTE_CANDIDATES_MAX, UFRAG_CHARS};
use crate::secret::Password;

/// What one side says of its ICE session: credentials and candidates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// `ice-ufrag`.
    pub ufrag: String,
    /// `ice-pwd`.
    pub password: Password,
    /// `ice-lite`: the peer answers checks and sends none.
    pub lite: bool,
    /// All candidates that we can use.
    pub candidates: Vec<Candidate>,
    /// `end-of-candidates`, or no word of trickling: no more will come.
    pub complete: bool,
    /// Where media would go without ICE: `c=`, `m=` and `a=rtcp`, per component.
    pub defaults: Vec<(Component, SocketAddr)>,
    /// `remote-candidates`: what a controlling side that is done has chosen of the other's; not read from the peer.
    pub remote_candidates: Vec<(Component, SocketAddr)>,
}

/// What a reader of SDP found, attribute by attribute, before it is judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// From the media, else from the session level.
    pub ufrag: Option<String>,
    pub password: Option<Password>,
    /// Session level.
    pub lite: bool,
    /// `ice-mismatch`: the peer found that somebody changed the default addresses.
    pub mismatch: bool,
    /// `ice-options` with `trickle` in it.
    pub trickle: bool,
    pub end_of_candidates: bool,
    pub candidates: Vec<Candidate>,
    /// `remote-candidates`: which of ours the peer took, per component.
    pub remote_candidates: Vec<(Component, SocketAddr)>,
    /// Candidates that were left out, by reason: TCP and names are usual.
    pub left_out: Vec<CandidateError>,
}

impl Attributes {
    /// Takes one attribute, name and value apart; whether it is one of ICE's. What cannot be read is left out.
    pub fn take(&mut self, name: &str, value: &str) -> bool {
        let value = value.trim();
        match name {
            "ice-ufrag" => self.ufrag = Some(value.to_owned()),
            "ice-pwd" => self.password = Some(Password::new(value)),
            "ice-lite" => self.lite = true,
            "ice-mismatch" => self.mismatch = true,
            "ice-options" => self.trickle |= value.split_ascii_whitespace().any(|option| option == "trickle"),
            "end-of-candidates" => self.end_of_candidates = true,
            "remote-candidates" => self.remote_candidates = remote_candidates(value),
            "candidate" => match value.parse() {
                Ok(candidate) if self.candidates.len() < REMOTE_CANDIDATES_MAX => self.candidates.push(candidate),
                Ok(_) => {}
                Err(why) if self.left_out.len() < REMOTE_CANDIDATES_MAX => self.left_out.push(why),
                Err(_) => {}
            },
            _ => return false,
        }
        true
    }

    /// The peer's description, if it speaks ICE; `defaults` are where media would go without.
    ///
    /// # Errors
    /// [`NoIce`]: the call goes on without ICE.
    pub fn description(&self, defaults: Vec<(Component, SocketAddr)>) -> Result<Description, NoIce> {
        let (Some(ufrag), Some(password)) = (&self.ufrag, &self.password) else { return Err(NoIce::Absent) };
        if self.mismatch {
            return Err(NoIce::Mismatch);
        }
        if !is_valid(ufrag, UFRAG_CHARS) || !is_valid(password.as_str(), PWD_CHARS) {
            return Err(NoIce::Credentials);
        }
        let description = Description {
            ufrag: ufrag.clone(),
            password: password.clone(),
            lite: self.lite,
            candidates: self.candidates.clone(),
            complete: self.end_of_candidates || !self.trickle,
            defaults,
            remote_candidates: Vec::new(),
        };
        if description.is_mismatched(self.left_out.contains(&CandidateError::Name)) {
            return Err(NoIce::Mismatch);
        }
        Ok(description)
    }
}

/// Why there is no ICE with a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoIce {
    /// The peer does not speak it.
    #[error("the peer does not speak ICE")]
    Absent,
    /// Somebody between changed the default addresses, or the peer says so: answer with `a=ice-mismatch` where the
    /// description was an offer (RFC 8839 section 4.2.5).
    #[error("the default address is none of the candidates")]
    Mismatch,
    #[error("ice-ufrag or ice-pwd is not what RFC 8839 allows")]
    Credentials,
}

impl Description {
    /// Whether a default address is none of the candidates of its component. An address that says "nowhere yet" (port 9
    /// or 0, or no address) fits any list, and so does any address beside a candidate whose name we do not look up.
    fn is_mismatched(&self, names: bool) -> bool {
        let nowhere = |address: SocketAddr| address.ip().is_unspecified() || matches!(address.port(), 0 | 9);
        self.defaults.iter().any(|&(component, address)| {
            let mut of_component =
                self.candidates.iter().filter(|candidate| candidate.component == component).peekable();
            of_component.peek().is_some()
                && !names
                && !nowhere(address)
                && of_component.all(|candidate| candidate.address != address)
        })
    }

    /// Attributes of the media description as name and value, in the order in which they are usually written. An answer
    /// leaves `remote-candidates` out.
    pub fn attributes(&self) -> Vec<(&'static str, String)> {
        let mut attributes = vec![
            ("ice-ufrag", self.ufrag.clone()),
            ("ice-pwd", self.password.as_str().to_owned()),
            // RFC 8445 section 10: no aggressive nomination.
            ("ice-options", "ice2".to_owned()),
        ];
        attributes.extend(self.candidates.iter().map(|candidate| ("candidate", candidate.to_string())));
        let remote = self
            .remote_candidates
            .iter()
            .map(|(component, address)| format!("{} {} {}", component.number(), address.ip(), address.port()));
        let remote: Vec<String> = remote.collect();
        if !remote.is_empty() {
            attributes.push(("remote-candidates", remote.join(" ")));
        }
        attributes
    }

    /// Where media goes without ICE, for `c=`, `m=` and `a=rtcp`.
    pub fn default_of(&self, component: Component) -> Option<SocketAddr> {
        self.defaults.iter().find(|(of, _)| *of == component).map(|(_, address)| *address)
    }

    /// Components for which there is a candidate.
    pub fn has_component(&self, component: Component) -> bool {
        self.candidates.iter().any(|candidate| candidate.component == component)
    }
}

fn is_valid(word: &str, chars: std::ops::RangeInclusive<usize>) -> bool {
    chars.contains(&word.len()) && is_ice_chars(word)
}

/// Component, address and port, once per component (RFC 8839 section 5.2).
fn remote_candidates(value: &str) -> Vec<(Component, SocketAddr)> {
    let words: Vec<&str> = value.split_ascii_whitespace().take(3 * COMPONENTS_MAX).collect();
    let (triples, _) = words.as_chunks::<3>();
    let read = |[component, ip, port]: &[&str; 3]| {
        let component = Component::new(component.parse().ok()?)?;
        Some((component, SocketAddr::new(ip.parse().ok()?, port.parse().ok()?)))
    };
    triples.iter().filter_map(read).collect()
}
