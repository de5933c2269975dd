//! Digest authentication of a client (RFC 7616, for SIP RFC 3261 section 22 and RFC 8760): what a challenge asks, and the
//! answer to it.

use std::fmt;

use md5::Md5;
use sha2::{Sha256, Sha512_256};
use zeroize::Zeroizing;

use crate::limits::{CHALLENGE_BYTES_MAX, CHALLENGES_MAX};
use crate::text::is_token;

/// A user name and its password. Never shown by `Debug`, wiped when dropped.
#[derive(Clone)]
pub struct Credentials {
    username: String,
    password: Zeroizing<String>,
}

impl Credentials {
    /// `None` when either holds control characters, which no header line can carry.
    pub fn new(username: &str, password: &str) -> Option<Credentials> {
        let plain = |text: &str| !text.chars().any(char::is_control);
        let plain = plain(username) && plain(password);
        plain.then(|| Credentials { username: username.to_owned(), password: Zeroizing::new(password.to_owned()) })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(..)")
    }
}

/// Hash functions, the weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    Md5,
    Sha256,
    /// SHA-512/256.
    Sha512To256,
}

impl Algorithm {
    fn name(self) -> &'static str {
        match self {
            Algorithm::Md5 => "MD5",
            Algorithm::Sha256 => "SHA-256",
            Algorithm::Sha512To256 => "SHA-512-256",
        }
    }

    /// In lower-case hexadecimal. Wiped when dropped: the hash of a password serves as the password.
    fn hash(self, parts: &[&str]) -> Zeroizing<String> {
        fn of<D: sha2::Digest>(parts: &[&str]) -> Zeroizing<String> {
            let mut hash = D::new();
            for (at, part) in parts.iter().enumerate() {
                if at > 0 {
                    hash.update(b":");
                }
                hash.update(part.as_bytes());
            }
            let digits =
                hash.finalize().iter().flat_map(|byte| [byte >> 4, byte & 15]).map(u32::from).collect::<Vec<_>>();
            Zeroizing::new(digits.into_iter().filter_map(|digit| char::from_digit(digit, 16)).collect())
        }
        match self {
            Algorithm::Md5 => of::<Md5>(parts),
            Algorithm::Sha256 => of::<Sha256>(parts),
            Algorithm::Sha512To256 => of::<Sha512_256>(parts),
        }
    }
}

/// A challenge that can be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    realm: String,
    /// What the server made; of use once, or as long as it says.
    pub nonce: String,
    opaque: Option<String>,
    algorithm: Algorithm,
    /// The algorithm's `-sess` form: the hash of the password holds for this nonce alone.
    session: bool,
    /// Whether the answer counts its uses of the nonce (`qop=auth`); otherwise as in RFC 2069.
    counted: bool,
    /// The former answer was right but for its nonce.
    pub stale: bool,
}

impl Challenge {
    /// Reads one value of WWW-Authenticate or Proxy-Authenticate. `None` for another scheme, an unknown algorithm, a
    /// protection of the body alone (`auth-int`), or what cannot be read.
    pub fn parse(text: &str) -> Option<Challenge> {
        if text.len() > CHALLENGE_BYTES_MAX {
            return None;
        }
        let (scheme, rest) = text.trim().split_once([' ', '\t'])?;
        if !scheme.eq_ignore_ascii_case("Digest") {
            return None;
        }
        let fields = fields(rest)?;
        let value =
            |name: &str| fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| *value);
        let named = value("algorithm").unwrap_or("MD5").to_ascii_uppercase();
        let (name, session) = named.strip_suffix("-SESS").map_or((named.as_str(), false), |name| (name, true));
        let algorithms = [Algorithm::Md5, Algorithm::Sha256, Algorithm::Sha512To256];
        let algorithm = algorithms.into_iter().find(|algorithm| algorithm.name() == name)?;
        let counted = match value("qop") {
            Some(offered) if offered.split(',').any(|qop| qop.trim().eq_ignore_ascii_case("auth")) => true,
            Some(_) => return None,
            None => false,
        };
        Some(Challenge {
            realm: value("realm")?.to_owned(),
            nonce: value("nonce")?.to_owned(),
            opaque: value("opaque").map(str::to_owned),
            algorithm,
            session,
            counted,
            stale: value("stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true")),
        })
    }

    /// The one to answer of several values: the strongest (RFC 8760 section 2.4), of equals the first. Only the first
    /// [`CHALLENGES_MAX`] are looked at.
    pub fn best_of<'a>(values: impl Iterator<Item = &'a str>) -> Option<Challenge> {
        let mut best: Option<Challenge> = None;
        for challenge in values.take(CHALLENGES_MAX).filter_map(Challenge::parse) {
            if best.as_ref().is_none_or(|best| challenge.algorithm > best.algorithm) {
                best = Some(challenge);
            }
        }
        best
    }

    /// The value of Authorization or Proxy-Authorization for a request of `method` to `uri`, as both stand in its first
    /// line. `count` is how often the nonce has been used, this time included; `cnonce` must be new and unforeseeable,
    /// and a token.
    pub fn answer(&self, credentials: &Credentials, method: &str, uri: &str, count: u32, cnonce: &str) -> String {
        let uses = format!("{count:08x}");
        let response = self.response(credentials, method, uri, &uses, cnonce);
        let username = quoted(&credentials.username);
        let Challenge { realm, nonce, .. } = self;
        let mut answer =
            format!("Digest username={username}, realm=\"{realm}\", nonce=\"{nonce}\", uri={}", quoted(uri));
        answer.push_str(&format!(", response=\"{}\"", response.as_str()));
        let suffix = if self.session { "-sess" } else { "" };
        answer.push_str(&format!(", algorithm={}{suffix}", self.algorithm.name()));
        if self.counted {
            answer.push_str(&format!(", qop=auth, nc={uses}"));
        }
        if self.counted || self.session {
            answer.push_str(&format!(", cnonce=\"{cnonce}\""));
        }
        if let Some(opaque) = &self.opaque {
            answer.push_str(&format!(", opaque=\"{opaque}\""));
        }
        answer
    }

    /// RFC 7616 section 3.4.1.
    fn response(
        &self,
        credentials: &Credentials,
        method: &str,
        uri: &str,
        uses: &str,
        cnonce: &str,
    ) -> Zeroizing<String> {
        let hash = |parts: &[&str]| self.algorithm.hash(parts);
        let mut secret = hash(&[&credentials.username, &self.realm, &credentials.password]);
        if self.session {
            secret = hash(&[&secret, &self.nonce, cnonce]);
        }
        let what = hash(&[method, uri]);
        match self.counted {
            true => hash(&[&secret, &self.nonce, uses, cnonce, "auth", &what]),
            false => hash(&[&secret, &self.nonce, &what]),
        }
    }
}

/// `name=value` pairs between commas, values without their quotes. `None` for anything else, and for quotes or
/// backslashes within a value: what they mean in the hash is read differently by different servers.
fn fields(text: &str) -> Option<Vec<(&str, &str)>> {
    let mut fields = Vec::new();
    let mut rest = text.trim_start_matches([' ', '\t', ',']);
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=')?;
        let name = name.trim();
        let after = after.trim_start();
        let (value, after) = match after.strip_prefix('"') {
            Some(inner) => inner.split_once('"')?,
            None => {
                let (value, after) = after.split_at(after.find(',').unwrap_or(after.len()));
                (value.trim_end(), after)
            }
        };
        let readable = is_token(name) && !value.contains(['\\', '"']) && !value.chars().any(char::is_control);
        if !readable {
            return None;
        }
        fields.push((name, value));
        let after = after.trim_start();
        rest = match after.strip_prefix(',') {
            Some(next) => next.trim_start_matches([' ', '\t', ',']),
            None if after.is_empty() => after,
            None => return None,
        };
    }
    Some(fields)
}

fn quoted(text: &str) -> String {
    let escaped = text.chars().flat_map(|char| matches!(char, '"' | '\\').then_some('\\').into_iter().chain([char]));
    format!("\"{}\"", escaped.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CNONCE: &str = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";

    fn challenge(algorithm: &str) -> Challenge {
        let text = format!(
            "Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", algorithm={algorithm}, \
             nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", \
             opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""
        );
        Challenge::parse(&text).expect("a challenge")
    }

    fn mufasa(password: &str) -> Credentials {
        Credentials::new("Mufasa", password).expect("plain")
    }

    fn response(answer: &str) -> &str {
        answer.split("response=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a response")
    }

    #[test]
    fn the_answers_of_rfc_7616_section_3_9_1_come_out() {
        for (algorithm, wanted) in [
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
            ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ] {
            let answer = challenge(algorithm).answer(&mufasa("Circle of Life"), "GET", "/dir/index.html", 1, CNONCE);
            assert_eq!(response(&answer), wanted);
            let whole = format!(
                "Digest username=\"Mufasa\", realm=\"http-auth@example.org\", \
                 nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", uri=\"/dir/index.html\", \
                 response=\"{wanted}\", algorithm={algorithm}, qop=auth, nc=00000001, cnonce=\"{CNONCE}\", \
                 opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""
            );
            assert_eq!(answer, whole);
        }
    }

    #[test]
    fn an_answer_by_sha_512_256_is_what_another_implementation_computes() {
        let text = "Digest realm=\"api@example.org\", qop=\"auth\", algorithm=SHA-512-256, \
                    nonce=\"5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK\"";
        let jason = Credentials::new("J\u{e4}s\u{f8}n Doe", "Secret, or not?").expect("plain");
        let cnonce = "NTg6RKcb9boFIAS3KrFK9BGeh+niz/sm";
        let answer = Challenge::parse(text).expect("a challenge").answer(&jason, "GET", "/doe.json", 1, cnonce);
        assert_eq!(response(&answer), "7a4e1192babbba02e91182d2895bfdbf7adafc6e48d4e517ca301974843d840c");
    }

    #[test]
    fn the_answers_of_rfc_2617_and_of_servers_before_it_come_out() {
        let old = "Digest realm=\"testrealm@host.com\", nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\"";
        let credentials = mufasa("Circle Of Life");
        let with_qop = Challenge::parse(&format!("{old}, qop=\"auth,auth-int\"")).expect("a challenge");
        let answer = with_qop.answer(&credentials, "GET", "/dir/index.html", 1, "0a4f113b");
        assert_eq!(response(&answer), "6629fae49393a05397450978507c4ef1");
        let answer = Challenge::parse(old).expect("one").answer(&credentials, "GET", "/dir/index.html", 1, "0a4f113b");
        assert_eq!(response(&answer), "670fd8c2df070c60b045671b8b24ff02");
        assert!(!answer.contains("cnonce") && !answer.contains("nc=") && !answer.contains("qop"), "{answer}");
    }

    #[test]
    fn a_session_binds_the_password_to_nonce_and_cnonce() {
        let text = "Digest realm=\"http-auth@example.org\", qop=auth, algorithm=SHA-256-sess, nonce=\"n\"";
        let challenge = Challenge::parse(text).expect("a challenge");
        let answer = challenge.answer(&mufasa("Circle of Life"), "GET", "/dir/index.html", 1, "c");
        assert!(answer.contains("algorithm=SHA-256-sess"), "{answer}");
        assert_eq!(response(&answer), "a97e465e2b864dce479c25d9baff6106699558b16e7f4b88f1646874512d029e");
        let again = challenge.answer(&mufasa("Circle of Life"), "GET", "/dir/index.html", 2, "c");
        assert!(again.contains("nc=00000002") && response(&again) != response(&answer), "{again}");
    }

    #[test]
    fn the_strongest_challenge_is_answered() {
        let of =
            |algorithm: &str, nonce: &str| format!("Digest realm=\"gw\", nonce=\"{nonce}\"{algorithm}, qop=\"auth\"");
        let best = |values: &[String]| Challenge::best_of(values.iter().map(String::as_str)).map(|best| best.nonce);
        let (plain, md5, sha) = (of("", "a"), of(", algorithm=MD5", "b"), of(", algorithm=\"SHA-256\"", "c"));
        let unknown = of(", algorithm=SHA-3", "d");
        assert_eq!(best(&[md5.clone(), sha.clone(), plain.clone()]).as_deref(), Some("c"));
        assert_eq!(best(&[unknown.clone(), plain.clone(), md5.clone()]).as_deref(), Some("a"));
        assert_eq!(best(&["Basic realm=\"gw\"".into(), md5]).as_deref(), Some("b"));
        assert_eq!(best(&["NTLM".into(), unknown]), None);
        let many: Vec<String> =
            std::iter::repeat_n("Basic realm=\"gw\"".to_string(), CHALLENGES_MAX).chain([sha]).collect();
        assert_eq!(best(&many), None);
    }

    #[test]
    fn what_cannot_be_answered_is_no_challenge() {
        for text in [
            "",
            "Digest",
            "Digest ",
            "Digest realm=\"gw\"",
            "Digest nonce=\"n\"",
            "Digest realm=\"gw\", nonce=\"n\", qop=\"auth-int\"",
            "Digest realm=\"gw\", nonce=\"n\", algorithm=TIGER",
            "Digest realm=\"gw\", nonce=\"n",
            "Digest realm=\"g\\\"w\", nonce=\"n\"",
            "Digest realm=\"gw\" nonce=\"n\"",
            "Digest realm=\"gw\", nonce=\"n\r\nEvil: yes\"",
            "Digest re alm=\"gw\", nonce=\"n\"",
            "Basic realm=\"gw\", nonce=\"n\"",
        ] {
            assert_eq!(Challenge::parse(text), None, "{text:?}");
        }
        let long = format!("Digest realm=\"gw\", nonce=\"{}\"", "n".repeat(CHALLENGE_BYTES_MAX));
        assert_eq!(Challenge::parse(&long), None);
        let loose = Challenge::parse("digest  realm = gw ,, nonce= \"n\" , stale=TRUE,").expect("well enough");
        assert!(loose.stale && loose.nonce == "n");
    }

    #[test]
    fn a_password_is_never_shown() {
        let credentials = Credentials::new("postern", "open sesame").expect("plain");
        assert!(!format!("{credentials:?}").contains("sesame"));
        assert!(Credentials::new("postern\r\n", "x").is_none() && Credentials::new("postern", "x\n").is_none());
        let quoting = Credentials::new("a\"b\\c", "x").expect("plain");
        let answer =
            Challenge::parse("Digest realm=\"gw\", nonce=\"n\"").expect("one").answer(&quoting, "A", "u", 1, "c");
        assert!(answer.starts_with("Digest username=\"a\\\"b\\\\c\", "), "{answer}");
    }
}
