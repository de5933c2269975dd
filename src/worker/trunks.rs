//! The gateways that calls leave by: where they are, and how they answer OPTIONS.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use postern_dialplan::DialTarget;
use postern_sip::digest::Credentials;
use postern_sip::user_agent_io::{Alternative, PingFault, PingHandle, Pong};
use postern_sip::{SipUri, StatusCode, Target, Uri, UserAgent};
use postern_slots::{Order, OrderTarget};

use crate::limits;

/// A gateway that calls may leave by.
#[derive(Clone, Debug)]
pub(crate) struct Trunk {
    /// As calls that come from it name it.
    pub(crate) label: String,
    /// Where it is; without a user.
    pub(crate) uri: SipUri,
    /// TLS or nothing.
    pub(crate) secured: bool,
    /// Plain RTP is taken from the address that its signalling comes from.
    pub(crate) symmetric: bool,
    /// What its challenges are answered with.
    pub(crate) credentials: Option<Arc<Credentials>>,
}

impl Trunk {
    fn target(&self) -> Target {
        let target = Target::new(self.uri.clone()).answered_within(limits::GATEWAY_ANSWER_TIME);
        if self.secured { target.secured() } else { target }
    }

    /// How a call to `called` goes by it. `None`: the target makes no URI, or it is `sips:` and would go unencrypted.
    pub(crate) fn way_to(&self, called: &OrderTarget) -> Option<Alternative> {
        let uri = match called {
            OrderTarget::Number(number) => Uri::Sip(DialTarget::Number(number.clone()).uri(&self.uri)),
            OrderTarget::Uri(text) => {
                let fits = |uri: &Uri| uri.as_sip().is_some_and(|uri| self.secured || !uri.secure);
                Uri::parse(text).filter(fits)?
            }
        };
        Some(Alternative { uri, target: self.target(), credentials: self.credentials.clone() })
    }
}

/// Whether a gateway answers OPTIONS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    /// It was not asked yet, or has not answered yet for the first time.
    Unknown,
    Healthy,
    Failing,
}

/// All gateways that calls may leave by.
#[derive(Default)]
pub(crate) struct Trunks {
    trunks: Vec<Trunk>,
    health: BTreeMap<String, Health>,
    open: HashMap<PingHandle, String>,
    asked: Option<Instant>,
}

impl Trunks {
    pub(crate) fn new(trunks: Vec<Trunk>) -> Self {
        let health = trunks.iter().map(|trunk| (trunk.label.clone(), Health::Unknown)).collect();
        Self { trunks, health, ..Self::default() }
    }

    /// Asks each gateway how it is, if that is due; one that has not answered the last time is still being asked.
    pub(crate) fn ask(&mut self, agent: &mut UserAgent, now: Instant) {
        if self.asked.is_some_and(|asked| now.saturating_duration_since(asked) < limits::GATEWAY_PING_INTERVAL) {
            return;
        }
        self.asked = Some(now);
        for trunk in &self.trunks {
            if self.open.values().any(|label| *label == trunk.label) {
                continue;
            }
            match agent.ping(trunk.target(), &[], now) {
                Ok(ping) => drop(self.open.insert(ping, trunk.label.clone())),
                Err(error) => note(&mut self.health, &trunk.label, Health::Failing, &error.to_string()),
            }
        }
    }

    /// The answer to a question of ours, or none. Pings of others are passed over.
    pub(crate) fn on_pong(&mut self, ping: PingHandle, outcome: &Result<Pong, PingFault>) {
        let Some(label) = self.open.remove(&ping) else { return };
        match outcome {
            Err(fault) => note(&mut self.health, &label, Health::Failing, &fault.cause.to_string()),
            Ok(pong) => {
                let status = pong.response.status;
                // One that does not know OPTIONS, or not from us, is alive all the same.
                let fails = status == StatusCode::REQUEST_TIMEOUT || matches!(status.code(), 500 | 503 | 504);
                let health = if fails { Health::Failing } else { Health::Healthy };
                note(&mut self.health, &label, health, &format!("it answers {status}"));
            }
        }
    }

    /// The gateways of an order in its order, without those that do not answer or have no way to its target. `needs_tls`
    /// leaves out those without.
    pub(crate) fn choose(&self, order: &Order, needs_tls: bool) -> Vec<Trunk> {
        let of = |label: &String| self.trunks.iter().find(|trunk| trunk.label == *label);
        let may = |trunk: &&Trunk| {
            self.health.get(&trunk.label) != Some(&Health::Failing)
                && (trunk.secured || !needs_tls)
                && trunk.way_to(&order.target).is_some()
        };
        order.gateways.iter().filter_map(of).filter(may).cloned().collect()
    }

    /// Gateways that answer, and all of them.
    pub(crate) fn count(&self) -> (usize, usize) {
        let healthy = self.health.values().filter(|health| **health == Health::Healthy).count();
        (healthy, self.trunks.len())
    }
}

fn note(health: &mut BTreeMap<String, Health>, label: &str, now: Health, why: &str) {
    let before = health.insert(label.to_owned(), now);
    match now {
        _ if before == Some(now) => {}
        Health::Failing => tracing::warn!(gateway = label, "no call leaves by this gateway: {why}"),
        _ => tracing::info!(gateway = label, "calls may leave by this gateway: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use postern_slots::{OrderId, OrderPurpose};

    use super::*;

    #[test]
    fn a_sips_target_leaves_by_secured_gateways_alone() {
        let trunk = |label: &str, secured: bool| {
            let Some(Uri::Sip(uri)) = Uri::parse(&format!("sip:{label}")) else { panic!("a SIP URI") };
            Trunk { label: label.into(), uri, secured, symmetric: false, credentials: None }
        };
        let trunks = Trunks::new(vec![trunk("plain.example.test", false), trunk("tls.example.test", true)]);
        let chosen = |target: OrderTarget| {
            let order = Order {
                id: OrderId::new([1; 16]),
                mailbox: "alice".into(),
                plan: "office".into(),
                number: "1001".into(),
                purpose: OrderPurpose::PlayGreeting { greeting: "own".into() },
                target,
                dialled: "2002".into(),
                gateways: vec!["plain.example.test".into(), "tls.example.test".into()],
            };
            trunks.choose(&order, false).into_iter().map(|trunk| trunk.label).collect::<Vec<_>>()
        };
        let both = ["plain.example.test", "tls.example.test"];
        assert_eq!(chosen(OrderTarget::Uri("sips:bob@pbx.example.test".into())), both[1..]);
        assert_eq!(chosen(OrderTarget::Uri("sip:bob@pbx.example.test".into())), both);
        assert_eq!(chosen(OrderTarget::Number("2002".into())), both);
    }
}
