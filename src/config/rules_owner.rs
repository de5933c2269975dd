//! Rules between the keys of what leaves by itself: our own calls and notifications, the page, mail.

use postern_dialplan::DialRule;

use crate::decode::{Draft, Placed, repeated};
use crate::reader::Notes;
use crate::sip_target::SipTransport;
use crate::tree_call::{DialPlanConfig, GatewayConfig, Security, UriType};

/// Notes every rule of these that `draft` breaks.
pub(crate) fn apply(draft: &Draft, notes: &Notes) {
    presence(draft, notes);
    for gateway in &draft.gateways {
        target(draft, gateway, notes);
    }
    for plan in &draft.dial_plans {
        dialling(draft, plan, notes);
    }
}

/// The UM service's process serves the page and sends the mail.
fn presence(draft: &Draft, notes: &Notes) {
    for (table, written) in [("web", draft.web.is_some()), ("mail", draft.mail.is_some())] {
        if written && !draft.roles.um {
            let remedy = format!("move [{table}] to the file of a UM service, or add [um]");
            notes.error(table, "stands without um", remedy);
        }
    }
}

fn target(draft: &Draft, Placed { key, value: gateway }: &Placed<GatewayConfig>, notes: &Notes) {
    let Some(target) = &gateway.target else { return };
    let path = format!("{key}.target");
    if target.transport == SipTransport::Tcp {
        let demands = |plan: &&DialPlanConfig| plan.security != Security::Unsecured;
        if let Some(plan) = plans_of(draft, gateway).find(demands) {
            let what = format!("{target} is not TLS, which dial plan {} demands", plan.name);
            notes.error(&path, what, "write one like \"sip:gw.example.test:5061;transport=tls\"");
        }
        return;
    }
    let roles = [
        ("um", draft.um.as_ref().map(|um| um.identity.is_some())),
        ("worker", draft.worker.as_ref().map(|worker| worker.identity.is_some())),
    ];
    for (role, _) in roles.into_iter().filter(|(_, named)| *named == Some(false)) {
        let faulty = ["startup_mode", "host", "certificate", "private_key", "client_ca"]
            .iter()
            .any(|key| notes.faulty(&format!("{role}.{key}")));
        if !faulty {
            let what = format!("{target} is TLS, and [{role}] has no certificate to show there");
            notes.error(&path, what, format!("add host, certificate, private_key and client_ca to [{role}]"));
        }
    }
}

/// The plans that a gateway leads to.
fn plans_of<'d>(draft: &'d Draft, gateway: &'d GatewayConfig) -> impl Iterator<Item = &'d DialPlanConfig> {
    let named = move |plan: &&DialPlanConfig| {
        let mut groups = draft.hunt_groups.iter().map(|placed| &placed.value);
        plan.name == gateway.dial_plan
            || groups.any(|group| group.gateway == gateway.peer && group.dial_plan == plan.name)
    };
    draft.dial_plans.iter().map(|placed| &placed.value).filter(named)
}

fn dialling(draft: &Draft, Placed { key, value: plan }: &Placed<DialPlanConfig>, notes: &Notes) {
    let path = format!("{key}.allow");
    if notes.faulty(&path) {
        return;
    }
    for (at, rule) in repeated(plan.allow.iter()) {
        notes.error(&format!("{path}[{at}]"), format!("{rule} is there twice"), "take one out");
    }
    for (at, rule) in plan.allow.iter().enumerate() {
        if let DialRule::Number(number) | DialRule::Prefix(number) = rule
            && plan.uri_type == UriType::E164
            && !number.is_empty()
            && !number.starts_with('+')
        {
            let what = format!("{rule} lets nothing pass: numbers of the plan begin with + once they are dialled");
            notes.warn(&format!("{path}[{at}]"), what, "write the number as +, country code and the rest");
        }
        if let DialRule::Prefix(prefix) = rule
            && matches!(prefix.as_str(), "" | "+")
        {
            let what = format!("{rule} lets every mailbox of the plan call everywhere at your expense");
            notes.warn(&format!("{path}[{at}]"), what, "name the numbers that calls may go to");
        }
    }
    let mut calling = draft.gateways.iter().map(|placed| &placed.value).filter(|gateway| gateway.outcalls);
    let leaves = calling.any(|gateway| plans_of(draft, gateway).any(|other| other.name == plan.name));
    if leaves && plan.allow.is_empty() {
        let what = "is empty: a gateway takes our calls, and nothing may be called";
        notes.warn(&path, what, "write what may be called, like allow = [\"+1*\"]");
    }
}
