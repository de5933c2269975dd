//! What the doctor found, as text for people and as JSON for machines.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

/// How a single check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Checked, and as it should be.
    Ok,
    /// Works, but somebody should look at it.
    Warn,
    /// Does not work.
    Fail,
    /// Could not be determined from here; says nothing either way.
    Unknown,
}

/// One observation, with what to do about it.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What was checked, as a short path of words: `udp/ipv4 allocate`.
    pub check: String,
    pub status: Status,
    /// What was seen.
    pub detail: String,
    /// What to do; always present for [`Status::Warn`] and [`Status::Fail`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    pub fn ok(check: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { check: check.into(), status: Status::Ok, detail: detail.into(), remedy: None }
    }

    pub fn warn(check: impl Into<String>, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check: check.into(), status: Status::Warn, detail: detail.into(), remedy: Some(remedy.into()) }
    }

    pub fn fail(check: impl Into<String>, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check: check.into(), status: Status::Fail, detail: detail.into(), remedy: Some(remedy.into()) }
    }

    /// What cannot be determined, and how it could be.
    pub fn unknown(check: impl Into<String>, why: impl AsRef<str>, remedy: impl Into<String>) -> Self {
        let detail = format!("cannot be determined: {}", why.as_ref());
        Self { check: check.into(), status: Status::Unknown, detail, remedy: Some(remedy.into()) }
    }
}

/// Losses and delays of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Direction {
    /// Packets that entered this direction.
    pub sent: u32,
    /// Different ones of them that arrived, byte for byte as sent.
    pub received: u32,
    /// Packets that arrived with other bytes than were sent.
    pub altered: u32,
    /// Packets that arrived more than once.
    pub duplicated: u32,
    /// RFC 3550 section 6.4.1, at the end of the stream.
    pub jitter_ms: f64,
}

impl Direction {
    /// Share of the packets sent that did not arrive, in percent; 100 where none was sent.
    pub fn loss_percent(&self) -> f64 {
        if self.sent == 0 {
            return 100.0;
        }
        100.0 * f64::from(self.sent.saturating_sub(self.received)) / f64::from(self.sent)
    }
}

/// Round trips of the packets that came back, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct RoundTrip {
    pub p50_ms: f64,
    pub p95_ms: f64,
    pub max_ms: f64,
}

/// What happened to the speech that was sent over one transport.
#[derive(Clone, Debug, Serialize)]
pub struct Media {
    /// `udp/ipv4`, `tls/ipv6` and so on: how the endpoint reached its relay.
    pub path: String,
    /// Where the relay sent the speech: `own socket` or `second allocation`.
    pub peer: &'static str,
    /// Endpoint, channel, relay, peer.
    pub outward: Direction,
    /// Peer, relay, channel, endpoint.
    pub back: Direction,
    pub round_trip: Option<RoundTrip>,
    /// Whether a client would have used this path at all: false where the certificate would be refused.
    pub trusted: bool,
}

/// More loss than this in one direction is no conversation.
pub const LOSS_MAX_PERCENT: f64 = 20.0;

/// More loss than this can be heard.
pub const LOSS_WARN_PERCENT: f64 = 1.0;

impl Media {
    /// Whether speech went both ways unharmed, over a path that a client would use.
    pub fn flowed(&self) -> bool {
        let alive = |direction: &Direction| {
            direction.received > 0 && direction.altered == 0 && direction.loss_percent() <= LOSS_MAX_PERCENT
        };
        self.trusted && alive(&self.outward) && alive(&self.back)
    }
}

/// Everything that one run found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    pub findings: Vec<Finding>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub media: Vec<Media>,
}

impl Report {
    /// Whether media flowed both ways over at least one transport.
    pub fn media_flowed(&self) -> bool {
        self.media.iter().any(Media::flowed)
    }

    /// Whether any check failed.
    pub fn failed(&self) -> bool {
        self.findings.iter().any(|finding| finding.status == Status::Fail)
    }

    /// The report for people: one line for a finding, its remedy below it, the verdict last.
    pub fn text(&self, verdict: &str) -> String {
        let mut text = String::new();
        for finding in &self.findings {
            let mark = match finding.status {
                Status::Ok => "ok  ",
                Status::Warn => "WARN",
                Status::Fail => "FAIL",
                Status::Unknown => "?   ",
            };
            let _ = writeln!(text, "{mark}  {}: {}", finding.check, finding.detail);
            if let Some(remedy) = &finding.remedy {
                let _ = writeln!(text, "      -> {remedy}");
            }
        }
        let _ = writeln!(text, "\n{verdict}");
        text
    }

    /// The report for machines: one object, with counts of findings by status.
    ///
    /// # Errors
    /// None that can be caused from outside; JSON allows all that a report holds.
    pub fn json(&self, passed: bool, verdict: &str) -> serde_json::Result<String> {
        let mut counts = BTreeMap::from([("ok", 0), ("warn", 0), ("fail", 0), ("unknown", 0)]);
        for finding in &self.findings {
            let key = match finding.status {
                Status::Ok => "ok",
                Status::Warn => "warn",
                Status::Fail => "fail",
                Status::Unknown => "unknown",
            };
            *counts.entry(key).or_default() += 1;
        }
        serde_json::to_string_pretty(&serde_json::json!({
            "passed": passed,
            "verdict": verdict,
            "media_flowed": self.media_flowed(),
            "counts": counts,
            "findings": self.findings,
            "media": self.media,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn media(received_outward: u32, received_back: u32) -> Media {
        Media {
            path: "udp/ipv4".into(),
            peer: "own socket",
            outward: Direction { sent: 100, received: received_outward, ..Direction::default() },
            back: Direction { sent: received_outward, received: received_back, ..Direction::default() },
            round_trip: None,
            trusted: true,
        }
    }

    fn report(media: Vec<Media>) -> Report {
        Report { findings: vec![Finding::ok("udp/ipv4 allocate", "fine")], media }
    }

    #[test]
    fn a_report_where_nothing_was_received_is_not_passed() {
        assert!(!report(vec![]).media_flowed());
        assert!(!report(vec![media(0, 0)]).media_flowed());
    }

    #[test]
    fn media_in_one_direction_alone_does_not_count() {
        assert!(!report(vec![media(100, 0)]).media_flowed());
        assert!(report(vec![media(100, 99)]).media_flowed());
    }

    #[test]
    fn one_transport_with_media_is_enough() {
        assert!(report(vec![media(0, 0), media(100, 100)]).media_flowed());
    }

    #[test]
    fn altered_payload_or_an_untrusted_certificate_does_not_count() {
        let mut altered = media(100, 100);
        altered.back.altered = 1;
        let mut untrusted = media(100, 100);
        untrusted.trusted = false;
        assert!(!report(vec![altered, untrusted]).media_flowed());
    }

    #[test]
    fn more_loss_than_a_fifth_is_no_conversation() {
        assert!(report(vec![media(80, 80)]).media_flowed());
        assert!(!report(vec![media(79, 79)]).media_flowed());
    }

    #[test]
    fn text_and_json_name_each_finding_with_its_remedy() {
        let mut report = report(vec![media(100, 100)]);
        report.findings.push(Finding::unknown("clock skew", "the nonce is opaque", "ask the operator"));
        let text = report.text("verdict line");
        assert!(text.contains("cannot be determined: the nonce is opaque") && text.contains("-> ask the operator"));
        assert!(text.trim_end().ends_with("verdict line"));
        let json: serde_json::Value = serde_json::from_str(&report.json(true, "v").unwrap()).unwrap();
        assert_eq!(json["counts"]["unknown"], 1);
        assert_eq!(json["findings"][1]["remedy"], "ask the operator");
        assert_eq!(json["media_flowed"], true);
    }
}
