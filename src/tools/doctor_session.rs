//! One way to a relay, from the first packet to the last: certificate, clock, allocation, speech.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use postern_net::system::unix_secs;
use stun_rs::AddressFamily;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::doctor::Notebook;
use crate::doctor_client::{Allocation, Client};
use crate::doctor_failure::Failure;
use crate::doctor_leg::Leg;
use crate::doctor_media::{Outcome, Peer, exchange};
use crate::doctor_message::{Challenge, Credentials, nonce_issued_unix_secs};
use crate::doctor_report::{Finding, LOSS_WARN_PERCENT, Media};
use crate::doctor_rtp::Speech;
use crate::doctor_target::{Route, Transport};
use crate::doctor_tls::Trust;
use crate::doctor_turn::CrateAllocation;
use crate::doctor_wire::Wire;

/// Packets of speech in a second.
const PACKETS_PER_SEC: u32 = 50;

/// How much later each further address of a route is tried (RFC 8305 section 5): where the registered port is filtered, its
/// silence costs no more than this.
const HEAD_START: Duration = Duration::from_millis(250);

/// Clocks that differ by more are worth a warning: edges allow each other 30 s.
const SKEW_WARN_SECS: u64 = 10;

/// Clocks that differ by more end or start tokens at the wrong time.
const SKEW_FAIL_SECS: u64 = 60;

/// Everything that one route is examined with.
pub(crate) struct Session {
    pub route: Route,
    pub credentials: Credentials,
    pub trust: Arc<Trust>,
    pub notebook: Notebook,
    pub seconds: u32,
    /// Tells the speech of this route from others'.
    pub stream_id: u64,
}

/// An address of the route that answers.
struct Reached {
    server: SocketAddr,
    client: Client,
    trusted: bool,
}

impl Session {
    /// Examines the route; what is found goes into the notebook.
    pub async fn run(self) {
        let path = self.route.path();
        let reached = match self.reach().await {
            Ok(reached) => reached,
            Err(failure) => {
                let finding = match &failure {
                    Failure::NoRoute(text) => Finding::unknown(format!("{path} reachable"), text, failure.remedy()),
                    _ => Finding::warn(format!("{path} reachable"), failure.to_string(), failure.remedy()),
                };
                return self.notebook.note(finding);
            }
        };
        let trusted = reached.trusted;
        let server = reached.server;
        let allocated = match self.allocate_after_challenge(reached).await {
            Ok(leg) => leg,
            Err(failure) => {
                let check = format!("{path} allocate");
                return self.notebook.note(Finding::fail(check, failure.to_string(), failure.remedy()));
            }
        };
        self.speak(server, allocated, trusted).await;
    }

    /// Connects to all addresses of the route, each one a little after the one before, and takes the first that answers.
    async fn reach(&self) -> Result<Reached, Failure> {
        let path = self.route.path();
        let mut tries = JoinSet::new();
        for (place, &server) in self.route.addresses.iter().enumerate() {
            let (route, trust) = (self.route.clone(), Arc::clone(&self.trust));
            tries.spawn(async move {
                sleep(HEAD_START * place as u32).await;
                (server, connect(&route, &trust, server).await)
            });
        }
        let mut failures = Vec::new();
        while let Some(tried) = tries.join_next().await {
            match tried {
                Ok((server, Ok(Connected { client, trusted, findings }))) => {
                    self.notebook.open().findings.extend(findings);
                    if self.route.transport != Transport::Udp {
                        self.notebook.note(Finding::ok(format!("{path} reachable"), format!("{server} answers")));
                    }
                    return Ok(Reached { server, client, trusted });
                }
                Ok((_, Err(failure))) => failures.push(failure),
                Err(broken) => failures.push(Failure::protocol(format!("a part of the doctor broke: {broken}"))),
            }
        }
        let nowhere = || Failure::Unreachable("no address".into());
        Err(failures
            .into_iter()
            .reduce(|all, next| match next {
                Failure::NoRoute(_) => all,
                _ => Failure::Unreachable(format!("{all}; {next}")),
            })
            .unwrap_or_else(nowhere))
    }

    /// Asks without credentials first, which tells the server's clock, then with them.
    async fn allocate_after_challenge(&self, reached: Reached) -> Result<Arc<dyn Leg>, Failure> {
        let challenge = self.challenge(&reached.client).await?;
        self.notebook.note(judge_clock(&self.route.path(), &challenge.nonce, unix_secs()));
        let (leg, lifetime_secs): (Arc<dyn Leg>, u32) = if self.by_crate() {
            let allocation = CrateAllocation::new(reached.server, &self.credentials).await?;
            let lifetime_secs = allocation.lifetime_secs();
            (Arc::new(allocation), lifetime_secs)
        } else {
            let allocation = self.allocate(reached.server, reached.client, &challenge).await?;
            let lifetime_secs = allocation.lifetime_secs;
            (Arc::new(allocation), lifetime_secs)
        };
        let seen = leg.mapped().map_or_else(|| "an address it does not tell".into(), |mapped| mapped.to_string());
        let detail = format!("relay address {} for {lifetime_secs} s; the server sees us at {seen}", leg.relayed());
        self.notebook.note(Finding::ok(format!("{} allocate", self.route.path()), detail));
        Ok(leg)
    }

    /// A server that gives allocations to anybody is none of ours, and a danger.
    async fn challenge(&self, client: &Client) -> Result<Challenge, Failure> {
        let answer = client.ask_unauthenticated().await?;
        match (answer.code, answer.challenge) {
            (0, _) => Err(Failure::protocol("the server allocates without credentials: it is an open relay")),
            (401, Some(challenge)) => Ok(challenge),
            (401, None) => Err(Failure::protocol("the server's 401 carries no REALM or no NONCE")),
            (code, _) => Err(Failure::Refused { request: "Allocate without credentials", code }),
        }
    }

    /// A relay of our own family, so that our own socket can reach it; else whatever the server has.
    async fn allocate(&self, server: SocketAddr, client: Client, challenge: &Challenge) -> Result<Allocation, Failure> {
        let family = if self.route.is_ipv4() { AddressFamily::IPv4 } else { AddressFamily::IPv6 };
        match client.allocate(self.credentials.clone(), challenge, Some(family)).await {
            Err(Failure::Refused { code: 440, .. }) => {
                let check = format!("{} relay family", self.route.path());
                let failure = Failure::Refused { request: "a relay address of the client's family", code: 440 };
                self.notebook.note(Finding::warn(check, failure.to_string(), failure.remedy()));
                let again = connect(&self.route, &self.trust, server).await?.client;
                let challenge = self.challenge(&again).await?;
                again.allocate(self.credentials.clone(), &challenge, None).await
            }
            other => other,
        }
    }

    /// UDP over IPv4 is the `turn` crate's; it knows neither streams nor IPv6.
    fn by_crate(&self) -> bool {
        self.route.transport == Transport::Udp && self.route.is_ipv4()
    }

    /// Speech to our own socket, or where that is out of reach to a second allocation, and back.
    async fn speak(&self, server: SocketAddr, leg: Arc<dyn Leg>, trusted: bool) {
        let path = self.route.path();
        let spoken = async {
            let peer = self.find_peer(server, leg.as_ref()).await?;
            let speech = Speech::new(self.seconds * PACKETS_PER_SEC, self.stream_id as u32);
            let outcome = exchange(leg.as_ref(), &peer, &speech).await;
            peer.release().await;
            Ok::<_, Failure>((peer.kind(), outcome?))
        };
        let spoken = spoken.await;
        leg.release().await;
        match spoken {
            Ok((peer, outcome)) => {
                let media = Media {
                    path: path.clone(),
                    peer,
                    outward: outcome.outward,
                    back: outcome.back,
                    round_trip: outcome.round_trip,
                    trusted,
                };
                self.notebook.open().findings.extend(judge_media(&media, &outcome));
                self.notebook.open().media.push(media);
            }
            Err(failure) => {
                self.notebook.note(Finding::fail(format!("{path} media"), failure.to_string(), failure.remedy()));
            }
        }
    }

    async fn find_peer(&self, server: SocketAddr, leg: &dyn Leg) -> Result<Peer, Failure> {
        let check = format!("{} own socket", self.route.path());
        match Peer::socket(leg, self.stream_id).await {
            Ok(peer) => {
                self.notebook.note(Finding::ok(check, format!("the relay hears it as {}", peer.address())));
                return Ok(peer);
            }
            Err(failure @ Failure::Refused { code: 403, .. }) => {
                let remedy =
                    "nothing to do where the doctor runs beside the edge or on a private network; see `allow_peers`";
                self.notebook.note(Finding::unknown(check, failure.to_string(), remedy));
            }
            Err(failure) => {
                let remedy = "let UDP through between this network and the edge's relay ports";
                let detail = format!("{failure}; speech goes to a second allocation instead");
                self.notebook.note(Finding::warn(check, detail, remedy));
            }
        }
        let second: Arc<dyn Leg> = if self.by_crate() {
            Arc::new(CrateAllocation::new(server, &self.credentials).await?)
        } else {
            let client = connect(&self.route, &self.trust, server).await?.client;
            let challenge = self.challenge(&client).await?;
            let family = if leg.relayed().is_ipv4() { AddressFamily::IPv4 } else { AddressFamily::IPv6 };
            Arc::new(client.allocate(self.credentials.clone(), &challenge, Some(family)).await?)
        };
        Peer::relay(leg, second).await
    }
}

/// What a connection to one address came to.
struct Connected {
    client: Client,
    /// False where a client would refuse the certificate.
    trusted: bool,
    findings: Vec<Finding>,
}

async fn connect(route: &Route, trust: &Trust, server: SocketAddr) -> Result<Connected, Failure> {
    let plain = |wire| Connected { client: Client::new(wire), trusted: true, findings: Vec::new() };
    match route.transport {
        Transport::Udp => Wire::udp(server).await.map(plain),
        Transport::Tcp => Wire::tcp(server).await.map(plain),
        Transport::Tls => {
            let (wire, handshake) = Wire::tls(server, &route.host, trust).await?;
            let (mut findings, trusted) = trust.judge(&route.path(), &route.host, &handshake.chain, unix_secs());
            findings.push(Finding::ok(format!("{} handshake", route.path()), handshake.version));
            Ok(Connected { client: Client::new(wire), trusted, findings })
        }
    }
}

/// What the issue time in a nonce says about the server's clock and ours.
fn judge_clock(path: &str, nonce: &str, now_unix_secs: u64) -> Finding {
    let check = format!("{path} clock skew");
    let Some(issued) = nonce_issued_unix_secs(nonce) else {
        let why = "the server's nonce does not carry its issue time";
        return Finding::unknown(check, why, "compare the clocks by hand, or run NTP on both machines");
    };
    let skew = issued.abs_diff(now_unix_secs);
    let detail = match issued.cmp(&now_unix_secs) {
        std::cmp::Ordering::Less => format!("the server's clock is {skew} s behind ours"),
        std::cmp::Ordering::Equal => "none".into(),
        std::cmp::Ordering::Greater => format!("the server's clock is {skew} s ahead of ours"),
    };
    let remedy = "run NTP on both machines: tokens expire by the server's clock";
    match skew {
        _ if skew > SKEW_FAIL_SECS => Finding::fail(check, detail, remedy),
        _ if skew > SKEW_WARN_SECS => Finding::warn(check, detail, remedy),
        _ => Finding::ok(check, detail),
    }
}

fn judge_media(media: &Media, outcome: &Outcome) -> Vec<Finding> {
    let path = &media.path;
    let check = format!("{path} media");
    let delay = outcome.round_trip.map_or_else(String::new, |times| {
        format!("; round trip p50 {:.1} ms, p95 {:.1} ms, max {:.1} ms", times.p50_ms, times.p95_ms, times.max_ms)
    });
    let one_way = |name: &str, direction: &crate::doctor_report::Direction| {
        format!(
            "{name} {}/{} packets (loss {:.1} %, jitter {:.1} ms{})",
            direction.received,
            direction.sent,
            direction.loss_percent(),
            direction.jitter_ms,
            if direction.altered > 0 { format!(", {} ALTERED", direction.altered) } else { String::new() },
        )
    };
    let detail = format!(
        "speech to {}: {}, {}{delay}",
        media.peer,
        one_way("out", &outcome.outward),
        one_way("back", &outcome.back)
    );
    let lossy = |direction: &crate::doctor_report::Direction| direction.loss_percent() > LOSS_WARN_PERCENT;
    let mut findings = vec![if !media.trusted {
        Finding::fail(
            check,
            format!("{detail}; but no client would accept the certificate"),
            "mend the certificate, see above",
        )
    } else if !media.flowed() {
        let remedy = if outcome.outward.altered + outcome.back.altered > 0 {
            "something between rewrites packets: look for a middlebox that inspects SIP or RTP"
        } else {
            "look at the drop counters of the edge, and at firewalls between this network, the edge and its relay ports"
        };
        Finding::fail(check, detail, remedy)
    } else if lossy(&outcome.outward) || lossy(&outcome.back) {
        Finding::warn(
            check,
            detail,
            "look for an overloaded link or firewall between, and at the drop counters of the edge",
        )
    } else {
        Finding::ok(check, detail)
    }];
    let check = format!("{path} channel");
    if outcome.by_channel {
        findings.push(Finding::ok(check, "the relay delivers by ChannelData"));
    } else if outcome.back.received > 0 {
        let remedy = "calls work, with 36 bytes more per packet; look for ChannelBind in the server's log";
        findings.push(Finding::warn(check, "the relay delivers by Data indications, not by the channel", remedy));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor_report::{Direction, Status};

    fn nonce(unix_secs: u32) -> String {
        use base64::Engine;
        let time = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(unix_secs.to_be_bytes());
        format!("obMatJos2AAAA{time}abcdefghijklmnopqrst")
    }

    #[test]
    fn a_clock_far_off_fails_and_an_opaque_nonce_is_unknown() {
        let now = 1_800_000_000;
        assert_eq!(judge_clock("udp", &nonce(1_800_000_002), now).status, Status::Ok);
        assert_eq!(judge_clock("udp", &nonce(1_799_999_970), now).status, Status::Warn);
        let ahead = judge_clock("udp", &nonce(1_800_003_600), now);
        assert_eq!(ahead.status, Status::Fail);
        assert!(ahead.detail.contains("3600 s ahead"), "{}", ahead.detail);
        assert_eq!(judge_clock("udp", "0123456789abcdef", now).status, Status::Unknown);
    }

    fn judged(received: u32, altered: u32, trusted: bool) -> Status {
        let outward = Direction { sent: 500, received: 500, altered, ..Direction::default() };
        let back = Direction { sent: 500, received, ..Direction::default() };
        let outcome = Outcome { outward, back, round_trip: None, by_channel: true };
        let media = Media { path: "udp/ipv4".into(), peer: "own socket", outward, back, round_trip: None, trusted };
        judge_media(&media, &outcome)[0].status
    }

    #[test]
    fn media_is_judged_by_loss_content_and_trust() {
        assert_eq!(judged(500, 0, true), Status::Ok);
        assert_eq!(judged(480, 0, true), Status::Warn);
        assert_eq!(judged(300, 0, true), Status::Fail);
        assert_eq!(judged(0, 0, true), Status::Fail);
        assert_eq!(judged(500, 1, true), Status::Fail);
        assert_eq!(judged(500, 0, false), Status::Fail);
    }
}
